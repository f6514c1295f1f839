"""What the suites are run on, where several test files need it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import trio

from p2p.abc import Muxer, RawStream
from p2p.errors import ConnectionLost, RemoteProtocolError
from p2p.limits import DEFAULT_LIMITS
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.stream import MuxedStream
from p2p.testing.conformance.raw_streams import RawStreamMaker
from p2p.testing.conformance.streams import StreamMaker
from p2p.testing.pairs import connections_over
from p2p.testing.pipes import raw_pair
from p2p.transports.pipe import PipeStream

#: Streams are closed while nothing moves: no need to wait long for that.
LIMITS = replace(DEFAULT_LIMITS, close=0.3)


async def _pump(connection: MuxedConnection) -> None:
    try:
        await connection.run()
    except (ConnectionLost, RemoteProtocolError):
        pass


def streams(muxer: Muxer | None = None, *, wrap: type | None = None, **options: object) -> StreamMaker:
    """Pairs of streams over a ``raw_pair(**options)``, each end in ``wrap`` if given."""

    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[MuxedStream, MuxedStream]]:
        left, right = connections_over(raw_pair(**options), muxer=muxer, limits=LIMITS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_pump, left)
            nursery.start_soon(_pump, right)
            opened = await left.open_stream()
            left.flush()
            ends = opened, await right.accept_stream()
            yield ends if wrap is None else tuple(map(wrap, ends))
            nursery.cancel_scope.cancel()

    return make


def raw_streams(wrap: type | None = None) -> RawStreamMaker:
    """Raw pairs, each end in ``wrap`` if given."""

    @asynccontextmanager
    async def make() -> AsyncIterator[tuple[RawStream, RawStream]]:
        ends: tuple[PipeStream, PipeStream] = raw_pair()
        yield ends if wrap is None else tuple(map(wrap, ends))
        for end in ends:
            await end.aclose()

    return make
