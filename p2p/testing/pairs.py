"""Two ends of a connection, or of a stream, with everything real between them but the network and the
handshake.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from p2p.abc import Muxer, RawStream, Role, StreamRouter
from p2p.identity import Identity
from p2p.limits import DEFAULT_LIMITS, Limits
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.stream import MuxedStream
from p2p.muxers.yamux import Yamux
from p2p.security.noise.channel import NoiseChannel
from p2p.testing.pipes import raw_pair

#: The keys of a channel that no handshake made: good for tests, and for nothing else.
_KEYS = (bytes(range(32)), bytes(range(32, 64)))


def connections_over(
    raws: tuple[RawStream, RawStream],
    *,
    muxer: Muxer | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[MuxedConnection, MuxedConnection]:
    """The dialer's and the responder's end over two raw streams, sealed as Noise seals; their pumps do not
    run yet.
    """
    muxer = muxer or Yamux(limits.yamux)
    identities = (Identity.generate(), Identity.generate())
    dialer, responder = (
        MuxedConnection(
            raws[i],
            NoiseChannel(_KEYS[i], _KEYS[1 - i]),
            muxer.session(role, now=trio.current_time()),
            local_peer=identities[i].peer_id,
            remote_peer=identities[1 - i].peer_id,
            remote_key=identities[1 - i].public_key,
            role=role,
            limits=limits,
        )
        for i, role in enumerate((Role.DIALER, Role.RESPONDER))
    )
    return dialer, responder


@asynccontextmanager
async def connection_pair(
    raws: tuple[RawStream, RawStream] | None = None,
    *,
    muxer: Muxer | None = None,
    limits: Limits = DEFAULT_LIMITS,
    router: StreamRouter | None = None,
) -> AsyncIterator[tuple[MuxedConnection, MuxedConnection]]:
    """A dialer's and a responder's connection, both pumps running; aborted when the block ends.

    ``raws`` is what they talk over (a ``raw_pair()`` by default), ``router`` serves the responder's inbound
    streams. A pump that fails raises out of the block, unless the block's own exception does.
    """
    dialer, responder = connections_over(raws or raw_pair(), muxer=muxer, limits=limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run, None)
        nursery.start_soon(responder.run, router)
        try:
            yield dialer, responder
        finally:
            dialer.abort()
            responder.abort()


@asynccontextmanager
async def stream_pair(
    raws: tuple[RawStream, RawStream] | None = None,
    *,
    muxer: Muxer | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> AsyncIterator[tuple[MuxedStream, MuxedStream]]:
    """Both ends of one bare stream of a :func:`connection_pair`, the dialer's first."""
    async with connection_pair(raws, muxer=muxer, limits=limits) as (dialer, responder):
        opened = await dialer.open_stream()
        dialer.flush()
        yield opened, await responder.accept_stream()
