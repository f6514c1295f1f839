"""The ``attack`` fixture: see ``harness.py``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests import lifting
from tests.attacks import harness

Attack = Callable[..., AbstractAsyncContextManager[harness.Scene]]


@pytest.fixture
def attack(request: pytest.FixtureRequest) -> Attack:
    """Makes the scene of an attack, with the bound of this test lifted when pytest runs with ``--lifted``."""
    lifted = lifting.overrides(request.node)

    def start(
        *,
        limits: dict[str, Any] | None = None,
        patches: dict[str, str] | None = None,
        verdict: harness.Verdict | None = None,
    ) -> AbstractAsyncContextManager[harness.Scene]:
        return harness.attacking(
            limits=harness.merged(limits or {}, lifted.get("limits", {})),
            patches={**(patches or {}), **lifted.get("patches", {})},
            verdict=verdict or harness.Verdict(),
        )

    return start
