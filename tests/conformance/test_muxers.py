"""Muxer sessions, held against the shipped suite."""

from __future__ import annotations

import pytest

from p2p.muxers.yamux import Yamux
from p2p.testing.conformance import muxers


@pytest.mark.parametrize("check", muxers.CHECKS, ids=lambda check: check.__name__)
async def test_yamux(check, autojump_clock):
    await check(Yamux)
