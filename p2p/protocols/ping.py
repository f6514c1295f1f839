"""Ping: 32 random bytes there and back, as often as the dialer likes on one stream.

Source: libp2p specs, ping/ping.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import trio

from p2p.abc import Handler, HostView, ProtocolId, Stream
from p2p.errors import RemoteProtocolError
from p2p.events import Disconnected, EventsLost
from p2p.flow import MOST_URGENT
from p2p.identity import PeerId
from p2p.limits import PingLimits
from p2p.resources.bucket import TokenBucket
from p2p.streams import read_exactly

PING: Final = ProtocolId("/ipfs/ping/1.0.0")
#: Bytes there, and the same back.
PAYLOAD_SIZE: Final = 32


async def ping(stream: Stream, *, random: Callable[[int], bytes] = os.urandom) -> float:
    """One round on an open ping stream: the seconds from sending the payload to its last byte back.

    Rounds may follow each other on one stream; a dialer has one such stream per peer at most (ping.md).
    Has no deadline of its own. Raises ``RemoteProtocolError`` for a wrong or cut answer, and what the stream
    raises. After a failure or a cancellation the stream is out of step: reset it.

    The stream becomes most urgent, at both ends where both are ours: a round measures the path, and not what the
    application has queued before it. It is 32 bytes at a time, so it holds up nobody.
    """
    stream.priority = MOST_URGENT
    payload = random(PAYLOAD_SIZE)
    start = trio.current_time()
    await stream.send_all(payload)
    answer = await read_exactly(stream, PAYLOAD_SIZE)
    seconds = trio.current_time() - start
    if answer != payload:
        raise RemoteProtocolError(
            f"ping: {stream.connection.remote_peer} sent back other bytes than it was sent"
        )
    return seconds


class Rounds:
    """An endless async iterator over rounds on one open ping stream, in seconds each.

    ::

        async with await host.open_stream(peer, PING) as stream:
            async for seconds in Rounds(stream):
                ...

    A round that takes longer than ``limits.timeout`` raises ``trio.TooSlowError``; else as :func:`ping`.
    """

    def __init__(
        self, stream: Stream, *, limits: PingLimits | None = None, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._stream = stream
        self._limits = limits or PingLimits()
        self._random = random

    def __aiter__(self) -> Rounds:
        return self

    async def __anext__(self) -> float:
        with trio.fail_after(self._limits.timeout):
            return await ping(self._stream, random=self._random)


@dataclass(slots=True)
class _Peer:
    """What one peer uses of us; lives no longer than its connections."""

    bucket: TokenBucket
    streams: int = 0


class Ping:
    """Answers ``/ipfs/ping/1.0.0``, within ``host.limits.ping``.

    Per peer at most ``streams_per_peer`` streams (one more is reset) and ``rate`` rounds a second: a flood waits,
    it is not refused. A stream on which no round ends for ``idle`` seconds is ended.
    """

    def __init__(self) -> None:
        self._limits = PingLimits()
        self._peers: dict[PeerId, _Peer] = {}

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {PING: self._answer}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until cancelled. For one host at a time."""
        self._limits = host.limits.ping
        async with host.events() as events:
            task_status.started()
            async for event in events:
                match event:
                    case Disconnected(peer=peer, last=True):
                        self._peers.pop(peer, None)
                    case EventsLost():
                        for peer in [peer for peer in self._peers if peer not in host.connections]:
                            del self._peers[peer]

    async def _answer(self, stream: Stream) -> None:
        limits = self._limits
        remote = stream.connection.remote_peer
        peer = self._peers.get(remote)
        if peer is None:
            bucket = TokenBucket(limits.rate, limits.burst, trio.current_time())
            peer = self._peers[remote] = _Peer(bucket)
        if peer.streams >= limits.streams_per_peer:
            stream.reset()
            return
        peer.streams += 1
        stream.priority = MOST_URGENT  # see ``ping``; ``rate`` bounds it
        try:
            await self._echo(stream, peer.bucket)
        finally:
            peer.streams -= 1
            # The event of its disconnection may be behind us already.
            if not peer.streams and stream.connection.closing and self._peers.get(remote) is peer:
                del self._peers[remote]

    async def _echo(self, stream: Stream, bucket: TokenBucket) -> None:
        with (
            trio.CancelScope() as idle
        ):  # one for all rounds: to move its deadline costs a third of a new one
            while True:
                idle.deadline = trio.current_time() + self._limits.idle
                payload = await stream.receive_some(PAYLOAD_SIZE)
                if not payload:
                    return
                if len(payload) < PAYLOAD_SIZE:
                    payload += await read_exactly(stream, PAYLOAD_SIZE - len(payload))
                if wait := bucket.reserve(trio.current_time()):
                    await trio.sleep(wait)
                await stream.send_all(payload)
