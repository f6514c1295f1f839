"""Memory: what a connection may hold is asked of its scopes before, and given back however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2p import (
    DialError,
    Host,
    Identity,
    Limits,
    Multiaddr,
    PeerIdMismatch,
    ResourceLimitExceeded,
    Stream,
    StreamReset,
)
from p2p.abc import Connection
from p2p.limits import KIB, MIB, MplexLimits
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.mplex import Mplex
from p2p.muxers.yamux import Yamux
from p2p.security.noise import Noise
from p2p.transports.memory import Memory, MemoryHub
from p2p.transports.upgraded import CONNECTION_MEMORY, Upgraded
from tests.limiting import limited
from tests.machines.budget import Budget
from tests.trio.test_resources import nothing_is_left

HANG = "/hang"
WINDOW = 256 * KIB
MUXERS = pytest.mark.parametrize("muxer", [Yamux, Mplex])
AROUND = pytest.mark.parametrize("scope", ["system", "peer", "connection"])


async def hang(stream: Stream) -> None:
    await stream.send_all(b"served")
    await trio.sleep_forever()


class OneAtATime(Mplex):
    """Mplex with a slot for one stream of ours."""

    def __init__(self) -> None:
        super().__init__(MplexLimits(max_outbound_streams=1))


@asynccontextmanager
async def two(muxer: type, here: Limits, there: Limits) -> AsyncIterator[tuple[Host, Host]]:
    """The first one listens, and the second one has dialed it."""
    hub = MemoryHub()
    async with (
        Host(
            Identity.generate(),
            transports=[Memory(hub)],
            muxers=[muxer()],
            listen=["/memory/1"],
            identify=False,
            limits=here,
        ) as one,
        Host(
            Identity.generate(), transports=[Memory(hub)], muxers=[muxer()], identify=False, limits=there
        ) as other,
    ):
        with one.handle(HANG, hang):
            await other.dial(one.addrs[0])
            yield one, other
    nothing_is_left(one, other)


def memory_of(host: Host) -> set[int]:
    """What every scope around its only connection has in use: all the same."""
    [connection] = [scope for scope in host.resources.scopes if scope.kind == "connection"]
    around = [scope for scope in host.resources.scopes if scope.kind in ("system", "peer", "connection")]
    assert len(around) == 3
    assert connection.in_use.connections == 1
    return {scope.in_use.memory for scope in around}


@MUXERS
async def test_a_stream_has_memory_from_its_beginning_to_its_end(muxer: type, autojump_clock: object) -> None:
    async with two(muxer, Limits(), Limits()) as hosts:
        here, there = hosts
        await here.wait_connected(there.peer_id)
        assert memory_of(here) == memory_of(there) == {CONNECTION_MEMORY}
        streams = [await there.open_stream(here.peer_id, HANG) for _ in range(3)]
        for stream in streams:
            assert await stream.receive_some() == b"served"
        assert memory_of(here) == memory_of(there) == {CONNECTION_MEMORY + 3 * WINDOW}
        streams[0].reset()
        await streams[1].aclose()
        assert memory_of(there) == {CONNECTION_MEMORY + WINDOW}
        await trio.testing.wait_all_tasks_blocked()
        there.connections[here.peer_id][0].abort()
        await there.wait_disconnected(here.peer_id)
        await trio.testing.wait_all_tasks_blocked()
        nothing_is_left(there)


@MUXERS
@AROUND
async def test_an_inbound_stream_without_memory_is_reset(
    scope: str, muxer: type, autojump_clock: object
) -> None:
    limits = limited(**{scope: {"memory": CONNECTION_MEMORY + 2 * WINDOW}})
    async with two(muxer, limits, Limits()) as (here, there):
        streams = [await there.open_stream(here.peer_id, HANG) for _ in range(3)]
        assert [await stream.receive_some() for stream in streams[:2]] == [b"served"] * 2
        with pytest.raises(StreamReset):
            await streams[2].receive_some()
        assert memory_of(here) == {CONNECTION_MEMORY + 2 * WINDOW}
        for stream in streams:
            stream.reset()


@MUXERS
@AROUND
async def test_an_outbound_stream_without_memory_is_not_opened(
    scope: str, muxer: type, autojump_clock: object
) -> None:
    limits = limited(**{scope: {"memory": CONNECTION_MEMORY + 2 * WINDOW}})
    async with two(muxer, Limits(), limits) as (here, there):
        streams = [await there.open_stream(here.peer_id, HANG) for _ in range(2)]
        for _ in range(3):
            with pytest.raises(ResourceLimitExceeded) as caught:
                await there.open_stream(here.peer_id, HANG)
            assert caught.value.scope == f"{scope}.memory"
        streams.pop().reset()
        assert await (await there.open_stream(here.peer_id, HANG)).receive_some() == b"served"


@pytest.mark.parametrize("scope", ["system", "transient", "connection"])
async def test_a_connection_without_memory_is_not_made(scope: str, autojump_clock: object) -> None:
    little = limited(**{scope: {"memory": CONNECTION_MEMORY - 1}})
    hub = MemoryHub()
    async with (
        Host(
            Identity.generate(), transports=[Memory(hub)], listen=["/memory/1"], identify=False, limits=little
        ) as here,
        Host(Identity.generate(), transports=[Memory(hub)], identify=False) as there,
        Host(Identity.generate(), transports=[Memory(hub)], identify=False, limits=little) as third,
    ):
        with pytest.raises(DialError):
            await there.dial(here.addrs[0])
        assert here.statistics().refusals == {f"{scope}.memory": 1}
        with pytest.raises(DialError) as caught:
            await third.dial(here.addrs[0])
        [(_, failure)] = caught.value.attempts
        assert isinstance(failure, ResourceLimitExceeded)
        assert failure.scope == f"{scope}.memory"
        await trio.testing.wait_all_tasks_blocked()
        nothing_is_left(here, there, third)


async def test_unread_bytes_of_a_stream_that_is_over_are_still_held(autojump_clock: object) -> None:
    async def give(stream: Stream) -> None:
        await stream.send_all(bytes(100 * KIB))

    async with two(Yamux, Limits(), Limits()) as (here, there):
        with here.handle("/give", give):
            stream = await there.open_stream(here.peer_id, "/give")
            await stream.send_eof()
            await trio.testing.wait_all_tasks_blocked()
            assert memory_of(there) == {CONNECTION_MEMORY + WINDOW}
            assert memory_of(here) == {CONNECTION_MEMORY}
            assert sum([len(chunk) async for chunk in stream]) == 100 * KIB
            assert memory_of(there) == {CONNECTION_MEMORY}


@MUXERS
async def test_what_nobody_read_is_held_until_the_close(muxer: type, autojump_clock: object) -> None:
    """The remote ended a stream and then reset it: what it sent stays readable, but here nobody reads it."""

    async def give(stream: Stream) -> None:
        await stream.send_all(bytes(100 * KIB))
        await stream.send_eof()
        await trio.sleep(1)
        stream.reset()

    async with two(muxer, Limits(), Limits()) as (here, there):
        with here.handle("/give", give):
            stream = await there.open_stream(here.peer_id, "/give")
            assert await stream.receive_some(1)
            await trio.sleep(2)
            with pytest.raises(StreamReset):
                await stream.send_all(b"x")
            assert memory_of(there) == {CONNECTION_MEMORY + WINDOW}
            await stream.aclose()
            assert memory_of(there) == {CONNECTION_MEMORY}


async def test_an_opener_without_memory_gives_its_turn_to_the_next(autojump_clock: object) -> None:
    limits = limited(connection={"memory": CONNECTION_MEMORY + WINDOW})
    raised = []

    async def open_one(connection: Connection) -> None:
        try:
            await connection.open_stream()
        except ResourceLimitExceeded as error:
            raised.append(error)

    async with two(OneAtATime, Limits(), limits) as (here, there), trio.open_nursery() as nursery:
        [connection] = there.connections[here.peer_id]
        assert isinstance(connection, MuxedConnection)
        first = await connection.open_stream()
        for _ in range(20):
            nursery.start_soon(open_one, connection)
        await trio.testing.wait_all_tasks_blocked()
        first.reset()
        connection._memory.require(WINDOW)  # somebody else was quicker
        await trio.testing.wait_all_tasks_blocked()
        assert len(raised) == 20


@MUXERS
async def test_what_waits_to_be_sent_is_held(muxer: type, autojump_clock: object) -> None:
    """In steps, and never beyond what there is: then less is taken."""
    hub = MemoryHub()
    limits = limited(connection={"memory": CONNECTION_MEMORY + 8 * WINDOW + 128 * KIB})
    async with (
        Host(
            Identity.generate(),
            transports=[Memory(hub, buffer=1000)],
            muxers=[muxer()],
            listen=["/memory/1"],
            identify=False,
        ) as here,
        Host(
            Identity.generate(),
            transports=[Memory(hub, buffer=1000)],
            muxers=[muxer()],
            identify=False,
            limits=limits,
        ) as there,
    ):
        with here.handle(HANG, hang):
            await there.dial(here.addrs[0])
            streams = [await there.open_stream(here.peer_id, HANG) for _ in range(8)]
            assert memory_of(there) == {CONNECTION_MEMORY + 8 * WINDOW}
            taken = 0
            for stream in streams * 20:
                taken += stream.send_nowait(bytes(60 * KIB))
            assert 64 * KIB < taken < 1 * MIB
            assert memory_of(there) == {CONNECTION_MEMORY + 8 * WINDOW + 128 * KIB}
            for stream in streams:
                stream.reset()
            await trio.testing.wait_all_tasks_blocked()
            assert memory_of(there) == {CONNECTION_MEMORY}
    nothing_is_left(here, there)


async def test_attempts_that_lose_hold_nothing(autojump_clock: object) -> None:
    """Eight addresses are tried at once, each with a connection's memory."""
    hub = MemoryHub()
    listen = [f"/memory/{number}" for number in range(1, 9)]
    async with (
        Host(Identity.generate(), transports=[Memory(hub)], listen=listen, identify=False) as here,
        Host(Identity.generate(), transports=[Memory(hub)], identify=False) as there,
    ):
        there.peerstore.add_addrs(here.peer_id, [Multiaddr(addr) for addr in listen], ttl=100, now=0.0)
        await there.dial(here.peer_id)
        await trio.testing.wait_all_tasks_blocked()
        assert memory_of(there) == {CONNECTION_MEMORY}
    nothing_is_left(here, there)


async def test_a_connection_that_nobody_wants_gives_its_memory_back(autojump_clock: object) -> None:
    hub, identity, budget = MemoryHub(), Identity.generate(), Budget(10 * MIB)
    upgraded = Upgraded(
        Memory(hub),
        local_peer=identity.peer_id,
        security=[Noise(identity)],
        muxers=[Yamux()],
        limits=Limits(),
    )
    async with Host(Identity.generate(), transports=[Memory(hub)], listen=["/memory/1"], identify=False):
        connection = await upgraded.dial(Multiaddr("/memory/1"), peer=None, memory=budget)
        assert budget.in_use == CONNECTION_MEMORY
        await connection.aclose()
        assert budget.in_use == 0
        with pytest.raises(PeerIdMismatch):
            await upgraded.dial(Multiaddr("/memory/1"), peer=identity.peer_id, memory=budget)
        assert budget.in_use == 0


@MUXERS
async def test_what_nobody_has_read_is_counted_after_the_end_too(muxer: type, autojump_clock: object) -> None:
    """A remote that fills windows and leaves, again and again: handlers hold it for their grace, so it counts."""
    async with two(muxer, Limits(), Limits()) as (here, there):
        stream = await there.open_stream(here.peer_id, HANG)
        assert await stream.receive_some() == b"served"
        await stream.send_all(bytes(100_000))
        await trio.testing.wait_all_tasks_blocked()
        there.connections[here.peer_id][0].abort()
        await here.wait_disconnected(there.peer_id)
        assert here.statistics().handlers == 1
        assert here.resources.scope("system").in_use.memory >= 100_000
        await trio.sleep(here.limits.shutdown_grace + 0.1)
        nothing_is_left(here)
