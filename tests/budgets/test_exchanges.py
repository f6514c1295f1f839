"""How often tasks take turns and sockets are asked, for small exchanges between two whole hosts: exact, and bounded.

Time stands still, as windows are tuned by it, or jumps.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest
import trio
import trio.testing

from p2p.abc import ProtocolId, Stream
from p2p.host import Host
from p2p.identity import Identity
from p2p.limits import DEFAULT_LIMITS, KIB
from p2p.streams import read_exactly
from p2p.testing.deterministic import deterministic_scheduling
from p2p.transports.memory import Memory, MemoryHub
from tests.budgets.counting import CountedMemory, Steps, Traffic, steps
from tests.budgets.table import EXCHANGES, Exchange

ANSWER, SINK = ProtocolId("/answer/1"), ProtocolId("/sink/1")
SMALL = 32
AT_ONCE = 100
FEW, MANY = 5, 25
#: Beyond the budget, which averages over a few: less than one turn or one send more in each.
SLACK = 1.03


@dataclass(frozen=True, slots=True)
class Hosts:
    """Two of them, connected and identified, and what went between them."""

    dialing: Host
    listening: Host
    traffic: Traffic


async def answer(stream: Stream) -> None:
    while asked := await stream.receive_some(SMALL):
        await stream.send_all(asked)


async def sink(stream: Stream) -> None:
    async for _ in stream:
        pass


@asynccontextmanager
async def hosts() -> AsyncIterator[Hosts]:
    # As much room as a socket's buffers come to have.
    memory, traffic = Memory(MemoryHub(), buffer=1024 * KIB), Traffic()
    transport = CountedMemory(memory, traffic)
    with deterministic_scheduling():
        async with (
            Host(Identity.generate(), transports=[transport], listen=["/memory/0"]) as listening,
            Host(Identity.generate(), transports=[transport]) as dialing,
        ):
            with listening.handle(ANSWER, answer), listening.handle(SINK, sink):
                await dialing.dial(listening.addrs[0])
                await trio.testing.wait_all_tasks_blocked()
                yield Hosts(dialing, listening, traffic)


async def cost(traffic: Traffic, times: int, operation: Callable[[], Awaitable[object]]) -> Exchange:
    """Of so many, and of waiting until all has settled."""
    sends, receives = traffic.sends, traffic.receives
    with steps() as counted:
        for _ in range(times):
            await operation()
        await trio.testing.wait_all_tasks_blocked()
    return Exchange(counted.count, traffic.sends - sends, traffic.receives - receives)


async def each(traffic: Traffic, operation: Callable[[], Awaitable[object]], of: int = 1) -> Exchange:
    """What one more costs, of what ``operation`` does ``of`` at a time."""
    await cost(traffic, FEW, operation)  # what is done once for all
    few = await cost(traffic, FEW, operation)
    many = await cost(traffic, MANY, operation)
    more = (MANY - FEW) * of
    return Exchange(
        (many.steps - few.steps) / more,
        (many.sends - few.sends) / more,
        (many.receives - few.receives) / more,
    )


def assert_within(name: str, measured: Exchange) -> None:
    budget = EXCHANGES[name]
    said = f"{name}: {measured}, {budget} is allowed"
    assert measured.steps <= budget.steps * SLACK, said
    assert measured.sends <= budget.sends * SLACK, said
    assert measured.receives <= budget.receives * SLACK, said


async def ask(stream: Stream) -> None:
    await stream.send_all(bytes(SMALL))
    await read_exactly(stream, SMALL)


async def test_a_round_trip_on_an_open_stream(mock_clock: trio.testing.MockClock) -> None:
    async with hosts() as pair, await pair.dialing.open_stream(pair.listening.peer_id, ANSWER) as stream:
        await ask(stream)
        measured = await each(pair.traffic, lambda: ask(stream))
    assert_within("a 32 B round trip on an open stream", measured)


async def test_a_write(mock_clock: trio.testing.MockClock) -> None:
    data = bytes(64 * KIB)
    async with hosts() as pair, await pair.dialing.open_stream(pair.listening.peer_id, SINK) as stream:
        measured = await each(pair.traffic, lambda: stream.send_all(data))
    assert_within("a 64 KiB write", measured)


async def request(pair: Hosts) -> None:
    async with await pair.dialing.open_stream(pair.listening.peer_id, ANSWER) as stream:
        await ask(stream)


async def test_a_request(mock_clock: trio.testing.MockClock) -> None:
    async with hosts() as pair:
        measured = await each(pair.traffic, lambda: request(pair))
    assert_within("a request: open, 32 B, answer, close", measured)


async def test_a_hundred_requests_at_once(mock_clock: trio.testing.MockClock) -> None:
    async with hosts() as pair:

        async def all_at_once() -> None:
            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(request, pair)

        measured = await each(pair.traffic, all_at_once, AT_ONCE)
    assert_within("a request, of 100 at once", measured)


async def test_a_handshake(mock_clock: trio.testing.MockClock) -> None:
    async with hosts() as pair:
        here, there = pair.dialing, pair.listening

        async def come_and_go() -> None:
            connection = await here.dial(there.addrs[0])
            async with await here.open_stream(there.peer_id, ANSWER) as stream:
                await ask(stream)
            await trio.testing.wait_all_tasks_blocked()  # each has told the other who it is
            await connection.aclose()
            await there.wait_disconnected(here.peer_id)

        measured = await each(pair.traffic, come_and_go)
    assert_within("a connection: dial, a request, identify both ways, close", measured)


async def test_nothing_wakes_an_idle_connection_but_the_keep_alive(
    autojump_clock: trio.testing.MockClock,
) -> None:
    period = DEFAULT_LIMITS.yamux.keep_alive
    async with hosts() as pair:
        measured = await each(pair.traffic, partial(trio.sleep, period))
    assert_within("an idle connection, each keep-alive period", measured)


@pytest.mark.parametrize("spurious", [0, 1, 2])
async def test_a_turn_more_is_seen(spurious: int) -> None:
    """The counting itself: the same again is the same, and each checkpoint counts."""

    async def counted(checkpoints: int) -> Steps:
        with steps() as count:
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
        return count

    assert (await counted(3 + spurious)).count - (await counted(3)).count == spurious
