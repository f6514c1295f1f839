"""What every test runs under."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

pytest_plugins = ["tests.leaks", "tests.skips", "tests.lifting"]

HERE = Path(__file__).parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background has us ignore Ctrl-C, and all that we start inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A change is judged by the same examples each time: what CI finds must be of the change. Elsewhere they are random.
IN_CI = bool(os.environ.get("CI"))

# Deadlines of single examples say more about the machine than about the code; what must not be slow has tests
# of its own. `too_slow` is silent for the same reason.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=IN_CI,
    max_examples=40,
    stateful_step_count=30,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "property", parent=hypothesis.settings.get_profile("tests"), max_examples=300, stateful_step_count=60
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tests"))

#: A directory of one of these names marks what is in it.
MARKED = ("attacks", "interop", "conformance", "world")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            for part in item.path.relative_to(HERE).parts[:-1]:
                if part in MARKED:
                    item.add_marker(part)
