"""What interop tests share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
