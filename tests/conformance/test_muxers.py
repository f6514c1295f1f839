"""Muxer sessions, held against the shipped suite."""

from __future__ import annotations

import pytest

from p2p.muxers import Mplex, Yamux
from p2p.testing.conformance import muxers


@pytest.mark.parametrize("check", muxers.CHECKS, ids=lambda check: check.__name__)
async def test_yamux(check, autojump_clock):
    await check(Yamux)


@pytest.mark.parametrize("check", muxers.CHECKS_WITHOUT_FLOW_CONTROL, ids=lambda check: check.__name__)
async def test_mplex(check, autojump_clock):
    await check(Mplex)
