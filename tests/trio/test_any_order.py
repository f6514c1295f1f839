"""Two connected ends and users who do anything in any order: in the end nothing is left, and nobody was harmed.

Each seed is one world: the size of the buffers below, the limits, how bytes are cut, what users and handlers do and
when they are cancelled. After all of them are gone, and every deadline has passed, the books of both ends are empty,
and a goodbye ends the connection.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio

from p2p.abc import Muxer, ProtocolId, Stream
from p2p.errors import (
    ConnectionLost,
    NegotiationError,
    NoCommonProtocol,
    RemoteProtocolError,
    StreamReset,
)
from p2p.host.reports import Reports
from p2p.host.serving import Serving
from p2p.limits import DEFAULT_LIMITS, Limits, MplexLimits, YamuxLimits
from p2p.muxers import Mplex, Yamux
from p2p.muxers.connection import MuxedConnection
from p2p.resources.resources import Resources
from p2p.testing.deterministic import run
from p2p.testing.pairs import connections_over
from p2p.testing.pipes import raw_pair

KNOWN, UNKNOWN = ProtocolId("/known"), ProtocolId("/unknown")
#: What an operation on a stream may end with.
ENDS = (
    StreamReset,
    ConnectionLost,
    NoCommonProtocol,
    NegotiationError,
    RemoteProtocolError,
    trio.ClosedResourceError,
    trio.BusyResourceError,
)


class World:
    """One seed's choices, and two ends to make them on."""

    def __init__(self, seed: int, muxer: str) -> None:
        self.rng = random.Random(seed)
        pick = self.rng.choice
        inbound, outbound = pick([4, 256]), pick([2, 256])
        self.limits: Limits = replace(
            DEFAULT_LIMITS,
            yamux=YamuxLimits(max_inbound_streams=inbound, ack_backlog=outbound, reset_burst=10**6),
            mplex=MplexLimits(max_inbound_streams=inbound, max_outbound_streams=outbound, reset_burst=10**6),
        )
        muxers: dict[str, Muxer] = {"yamux": Yamux(self.limits.yamux), "mplex": Mplex(self.limits.mplex)}
        cut: Callable[[], int] | None = None
        if self.rng.random() < 0.5:
            cut = lambda: pick([30, 1000, 50_000])  # noqa: E731
        raws = raw_pair(buffer=pick([1000, 4096, 65_536]), cut=cut)
        self.ends: tuple[MuxedConnection, MuxedConnection] = connections_over(
            raws, muxer=muxers[muxer], limits=self.limits
        )
        self.reports = Reports(self.limits)
        self.resources = Resources(self.limits.resources)

    async def handler(self, stream: Stream) -> None:
        mood = self.rng.random()
        if mood < 0.1:
            raise StreamReset(3)
        if mood < 0.2:
            return
        if mood < 0.3:
            await stream.send_all(bytes(self.rng.choice([1, 1000, 300_000])))
        if mood < 0.4:
            await stream.send_eof()
        wanted = self.rng.choice([1, 10, 10**6])
        async for chunk in stream:
            wanted -= len(chunk)
            if mood > 0.4 and self.rng.random() < 0.5:
                await stream.send_all(chunk)
            if wanted < 0:
                return

    async def serve(self, end: MuxedConnection, nursery: trio.Nursery) -> None:
        serving = Serving(self.limits, lambda: None)
        with serving.handle(KNOWN, self.handler), self.resources.outbound(None, None) as scope:
            scope.assign(end.remote_peer)
            await end.run(serving.router(nursery, self.reports.log("remote"), scope))

    async def user(self) -> None:
        pick, chance = self.rng.choice, self.rng.random
        with trio.move_on_after(pick([0, 0.001, 1, 5, 30])):
            wanted = pick([(KNOWN,), (KNOWN,), (UNKNOWN,), (UNKNOWN, KNOWN)])
            lazy = len(wanted) == 1 and chance() < 0.7
            try:
                stream = await pick(self.ends).open_stream(*wanted, lazy=lazy)
            except ENDS:
                return
            try:
                async with trio.open_nursery() as tasks:
                    for _ in range(pick([1, 2, 3])):
                        tasks.start_soon(self.operate, stream)
            finally:
                if chance() < 0.2:
                    stream.reset()
                else:
                    await stream.aclose()
                if chance() < 0.3:
                    await stream.aclose()

    async def operate(self, stream: Stream) -> None:
        pick, chance = self.rng.choice, self.rng.random
        for _ in range(self.rng.randrange(6)):
            with trio.move_on_after(pick([0, 0.01, 3, 100])):
                try:
                    match pick(["send", "send", "eof", "receive", "receive", "receive", "nowait", "end"]):
                        case "send":
                            await stream.send_all(bytes(pick([0, 1, 1000, 70_000, 300_000])))
                        case "eof":
                            await stream.send_eof()
                        case "receive":
                            await stream.receive_some(pick([None, 1, 1000]))
                        case "nowait":
                            stream.send_nowait(bytes(pick([1, 5000])))
                        case "end" if chance() < 0.3:
                            await stream.aclose()
                        case "end" if chance() < 0.3:
                            stream.reset(self.rng.randrange(5))
                except ENDS:
                    pass
                if chance() < 0.2:
                    await trio.sleep(pick([0, 0.1, 11]))

    async def live(self) -> None:
        async with trio.open_nursery() as pumps:
            for end in self.ends:
                pumps.start_soon(self.serve, end, pumps)
            async with trio.open_nursery() as users:
                for _ in range(self.rng.randrange(1, 40)):
                    users.start_soon(self.user)
                    if self.rng.random() < 0.3:
                        await trio.sleep(self.rng.random())
            await trio.sleep(2 * self.limits.yamux.closed_linger)
            for end in self.ends:
                self.assert_empty(end)
            self.rng.choice(self.ends).go_away()
            await trio.sleep(1)
            assert [end.lost for end in self.ends] == ["closed", "closed"]

    def assert_empty(self, end: MuxedConnection) -> None:
        assert end.lost is None
        assert not end.streams
        assert not end.session.live_streams
        assert not end.queued
        assert not end.waiters.waiting
        assert end._negotiating.first() == float("inf")
        assert end.session.can_open

    def assert_nobody_at_fault(self) -> None:
        """Only what handlers and peers may cause was counted: no bug of ours."""
        bugs = [reason for reason in self.reports.counts if "LocalProtocolError" in reason]
        assert not bugs, self.reports.counts


@pytest.mark.parametrize("muxer", ["yamux", "mplex"])
@pytest.mark.parametrize("batch", range(4))
def test_anything_in_any_order_leaves_nothing(batch: int, muxer: str) -> None:
    for seed in range(10 * batch, 10 * batch + 10):
        world: list[World] = []

        async def main(seed: int = seed, world: list[World] = world) -> None:
            world.append(World(seed, muxer))
            await world[0].live()

        run(main, seed=seed)
        world[0].assert_nobody_at_fault()
