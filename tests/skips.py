"""With ``CI`` in the environment a skip is a failure, unless ``allowed_skips.txt`` names it.

A test that silently stops running is worse than one that fails. A line of the list is a node id, or the
beginning of one that ends at a ``[`` or ``::``, then ``#`` and the reason.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

LIST = Path(__file__).with_name("allowed_skips.txt")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def read_allowed(text: str) -> dict[str, str]:
    """Node id to reason. A line without a reason is refused."""
    allowed = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, mark, reason = line.partition("  # ")
        if not mark or not reason.strip():
            raise ValueError(f"{LIST.name}: no reason given in {line!r}")
        allowed[name.strip()] = reason.strip()
    return allowed


def is_allowed(nodeid: str, allowed: dict[str, str]) -> bool:
    return any(nodeid == name or nodeid.startswith((f"{name}[", f"{name}::")) for name in allowed)


def refuse(nodeid: str, report: Report, allowed: dict[str, str]) -> Report:
    """Make a failure of a skip nobody decided on; an expected failure is not a skip."""
    if report.outcome == "skipped" and getattr(report, "wasxfail", None) is None:
        if not is_allowed(nodeid, allowed):
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            report.outcome = "failed"
            report.longrepr = f"{nodeid} was skipped ({why}), and tests/{LIST.name} does not allow it"
    return report


class RefuseSkips:
    """The plugin: registered in CI only."""

    def __init__(self, allowed: dict[str, str]) -> None:
        self.allowed = allowed

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        return refuse(item.nodeid, report, self.allowed)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        return refuse(collector.nodeid, report, self.allowed)


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get("CI"):
        config.pluginmanager.register(RefuseSkips(read_allowed(LIST.read_text())))
