"""What interop tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interop.matrix import KEPT
from tests.interop.toolchains import MissingToolchain, build


@pytest.fixture(scope="session")
def peer_command() -> Callable[[str], list[str]]:
    """Build a peer by its name; a machine without its toolchain skips the test.

    Ask in a fixture, not within a test: a first build takes minutes and blocks.
    """

    def command(name: str) -> list[str]:
        try:
            return build(name)
        except MissingToolchain as missing:
            pytest.skip(str(missing))

    return command


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    matrix = config.stash.get(KEPT, None)
    if matrix is not None:
        terminalreporter.section("interop: dialer → responder")
        terminalreporter.write_line(matrix.as_text())
        terminalreporter.write_line(f"{matrix.ran} cells ran, {len(matrix.failed)} failed")
