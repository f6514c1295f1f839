"""Security protocols, held against the shipped suite."""

from __future__ import annotations

import pytest

from p2p.security.noise import Noise
from p2p.testing.conformance import securities


@pytest.mark.parametrize("check", securities.CHECKS, ids=lambda check: check.__name__)
async def test_noise(check, autojump_clock):
    await check(Noise)
