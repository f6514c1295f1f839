"""A ping beside bulk on one connection, over any two raw streams: what waits for what, by this side's priorities."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from p2p.abc import Muxer, RawStream, Stream
from p2p.flow import Priority
from p2p.testing.pairs import connection_pair

MIB = 1024 * 1024
WRITE = bytes(64 * 1024)
PING = bytes(32)


@dataclass
class Seen:
    """``rate``: bytes per second of all bulk streams in one direction; ``pings``: sorted, in seconds."""

    rate: float
    pings: list[float]

    @property
    def median(self) -> float:
        return self.pings[len(self.pings) // 2]


class Contention:
    """Bulk streams from the dialer (``both``: in both directions), each with a backlog of writes without end."""

    def __init__(self, *, streams: int, ping: Priority | None, both: bool = False) -> None:
        self.streams = streams
        self.ping = ping
        self.both = both
        self.received = 0

    async def watch(
        self, raws: tuple[RawStream, RawStream], *, seconds: float, warm_up: float, muxer: Muxer | None = None
    ) -> Seen:
        """Ping ten times a second, or not at all, after ``warm_up`` seconds."""
        async with connection_pair(raws, muxer=muxer) as (dialer, responder), trio.open_nursery() as nursery:

            async def stream() -> tuple[Stream, Stream]:
                near = await dialer.open_stream()
                await near.send_all(b"?")
                far = await responder.accept_stream()
                assert await far.receive_some() == b"?"
                return near, far

            near, far = await stream()
            nursery.start_soon(_echo, far)
            for end in (near, far):
                end.priority = self.ping or Priority()
            ends = [await stream() for _ in range(self.streams)]
            for here, there in ends:
                nursery.start_soon(_send, here)
                nursery.start_soon(self._count, there)
                if self.both:
                    nursery.start_soon(_send, there)
                    nursery.start_soon(_drain, here)
            await trio.sleep(warm_up)
            pings = []
            before, began = self.received, trio.current_time()
            while trio.current_time() < began + seconds:
                start = trio.current_time()
                if self.ping is not None:
                    await near.send_all(PING)
                    assert len(await near.receive_some()) == len(PING)
                    pings.append(trio.current_time() - start)
                await trio.sleep_until(start + 0.1)
            rate = (self.received - before) / (trio.current_time() - began)
            nursery.cancel_scope.cancel()
        return Seen(rate, sorted(pings))

    async def _count(self, stream: Stream) -> None:
        while data := await stream.receive_some():
            self.received += len(data)


async def _send(stream: Stream) -> None:
    while True:
        await stream.send_all(WRITE)


async def _drain(stream: Stream) -> None:
    async for _ in stream:
        pass


async def _echo(stream: Stream) -> None:
    async for data in stream:
        await stream.send_all(data)
