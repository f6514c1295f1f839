"""Streams of the one pump, held against the shipped suite."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from p2p.errors import ConnectionLost
from p2p.testing.conformance import streams
from p2p.testing.pairs import connections_over
from p2p.testing.pipes import raw_pair


def yamux(**options):
    @asynccontextmanager
    async def make():
        left, right = connections_over(raw_pair(**options))

        async def pump(connection) -> None:
            try:
                await connection.run()
            except ConnectionLost:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, left)
            nursery.start_soon(pump, right)
            opened = await left.open_stream()
            left.flush()
            yield opened, await right.accept_stream()
            nursery.cancel_scope.cancel()

    return make


STREAMS = {"yamux": yamux(), "yamux, small pieces": yamux(buffer=5000, cut=lambda: 1777)}


@pytest.mark.parametrize("check", streams.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", STREAMS)
async def test_stream(name, check, autojump_clock):
    await check(STREAMS[name])
