"""Streams of the one pump, held against the shipped suite."""

from __future__ import annotations

import pytest

from p2p.muxers import Mplex
from p2p.testing.conformance import streams
from tests.conformance import makers

STREAMS = {
    "yamux": makers.streams(),
    "yamux, small pieces": makers.streams(buffer=5000, cut=lambda: 1777),
}

UNCONTROLLED = {
    "mplex": makers.streams(Mplex()),
    "mplex, small pieces": makers.streams(Mplex(), buffer=5000, cut=lambda: 1777),
}


@pytest.mark.parametrize("check", streams.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", STREAMS)
async def test_stream(name, check, autojump_clock):
    await check(STREAMS[name])


@pytest.mark.parametrize("check", streams.CHECKS_WITHOUT_FLOW_CONTROL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", UNCONTROLLED)
async def test_stream_without_flow_control(name, check, autojump_clock):
    await check(UNCONTROLLED[name])
