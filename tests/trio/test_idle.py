"""What a connection costs that nobody uses: tasks, objects, bytes and wake-ups, counted. No clock, no resident memory.

The figures are of CPython 3.11, for each side, with everything a host has by default (Noise, yamux, identify), between
one host that dials and many that listen, on real sockets.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import CORO_SUSPENDED, getcoroutinestate
from types import BuiltinFunctionType, CoroutineType, FunctionType, ModuleType

import trio
from trio.testing import wait_all_tasks_blocked

from p2p import Connection, Host, Identity
from p2p.limits import DEFAULT_LIMITS
from p2p.muxers.scratch import scratch
from p2p.protocols.identify import Identify
from p2p.transports import Memory, MemoryHub
from p2p.wire.addresses import parse_user_addr

COUNT = 32
#: The task of the connection, which reads, and its writer.
TASKS = 2
#: Objects that the garbage collector follows, and bytes of all objects, with what is kept of so few peers to know them
#: again. What OpenSSL has is not among those: two ciphers of 2 KB, and a key.
OBJECTS = 128
BYTES = 22_500
#: Bytes from which on something is a buffer.
BUFFER = 1024
#: In ``keep_alive`` seconds, of both sides. Both fell idle at the same time, so each asks, and each answers: a turn for
#: each writer; for one reader two, which first hears a question and then an answer, and for the other one, which hears
#: them together.
TURNS = 5


@asynccontextmanager
async def crowd() -> AsyncIterator[tuple[Host, Identify, Sequence[tuple[Host, Identify]]]]:
    """One host, and as many as it is to dial."""
    async with AsyncExitStack() as stack:
        identify = Identify()
        dialer = await stack.enter_async_context(Host(Identity.generate(), services=[identify]))
        listeners = []
        for _ in range(COUNT):
            theirs = Identify()
            host = Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"], services=[theirs])
            listeners.append((await stack.enter_async_context(host), theirs))
        yield dialer, identify, listeners


async def connect(
    dialer: Host, identify: Identify, listeners: Sequence[tuple[Host, Identify]]
) -> list[Connection]:
    """Both ends of a connection to each, identified and idle."""
    connections = []
    for listener, theirs in listeners:
        connection = await dialer.dial(listener.addrs[0])
        await identify.wait_identified(connection)
        back = await listener.wait_connected(dialer.peer_id)
        await theirs.wait_identified(back)
        connections += [connection, back]
    await wait_all_tasks_blocked(0.2)
    gc.collect()
    return connections


async def test_two_tasks() -> None:
    async with crowd() as (dialer, identify, listeners):
        before = trio.lowlevel.current_statistics().tasks_living
        await connect(dialer, identify, listeners)
        assert trio.lowlevel.current_statistics().tasks_living - before == TASKS * 2 * COUNT


async def test_few_objects() -> None:
    async with crowd() as (dialer, identify, listeners):
        gc.collect()
        before = len(gc.get_objects())
        connections = await connect(dialer, identify, listeners)
        each = (len(gc.get_objects()) - before) / len(connections)
        print(f"{each:.1f} objects")
        assert each <= OBJECTS


async def test_few_bytes() -> None:
    async with crowd() as (dialer, identify, listeners):
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            connections = await connect(dialer, identify, listeners)
            each = (tracemalloc.get_traced_memory()[0] - before) / len(connections)
        finally:
            tracemalloc.stop()
        print(f"{each:.0f} bytes")
        assert each <= BYTES


async def test_no_buffer() -> None:
    async with crowd() as (dialer, identify, listeners):
        connections = await connect(dialer, identify, listeners)
        shared = {id(scratch().cipher.obj), id(scratch().plain.obj)}
        found = [
            value
            for value in _reachable([*connections, *_waiting_for(connections)])
            if isinstance(value, bytes | bytearray | memoryview) and len(value) >= BUFFER
        ]
        assert not [value for value in found if id(getattr(value, "obj", value)) not in shared]
        assert found  # the shared one, of each reader: so the walk gets there


async def test_nothing_wakes_it_but_its_keep_alive(autojump_clock: trio.testing.MockClock) -> None:
    hub = MemoryHub()
    listen = [parse_user_addr("/memory/0")]
    async with (
        Host(Identity.generate(), transports=[Memory(hub)], listen=listen) as one,
        Host(Identity.generate(), transports=[Memory(hub)]) as other,
    ):
        await other.dial(one.addrs[0])
        interval = DEFAULT_LIMITS.yamux.keep_alive
        await trio.sleep(interval / 2)  # all that there is to say was said long before
        turns = Turns()
        trio.lowlevel.add_instrument(turns)
        try:
            await trio.sleep(20 * interval)
        finally:
            trio.lowlevel.remove_instrument(turns)
        del turns.at[trio.current_time()]  # our own
        assert turns.at == {interval * round_: TURNS for round_ in range(1, 21)}


class Turns(trio.abc.Instrument):
    """At each moment, the turns of all tasks."""

    def __init__(self) -> None:
        self.at: Counter[float] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.at[trio.current_time()] += 1


def _waiting_for(connections: Sequence[Connection]) -> Iterator[object]:
    """What the tasks of these connections hold in their frames while they wait."""
    for task in gc.get_objects():
        if isinstance(task, trio.lowlevel.Task) and isinstance(task.coro, CoroutineType):
            frames = list(_frames(task.coro))
            if any(
                value in connections
                for frame in frames
                for value in frame.values()
                if isinstance(value, Connection)
            ):
                for frame in frames:
                    yield from frame.values()


def _frames(awaited: object) -> Iterator[dict[str, object]]:
    while isinstance(awaited, CoroutineType) and getcoroutinestate(awaited) == CORO_SUSPENDED:
        yield dict(awaited.cr_frame.f_locals)
        awaited = awaited.cr_await


def _reachable(roots: Sequence[object]) -> list[object]:
    """What is reached from there through the parts of a connection, and not through what it shares with others."""
    shared = (
        type,
        ModuleType,
        FunctionType,
        BuiltinFunctionType,
        Host,
        Identify,
        trio.Nursery,
        trio.lowlevel.Task,
    )
    found: dict[int, object] = {}
    left = list(roots)
    while left:
        value = left.pop()
        if id(value) in found or isinstance(value, shared):
            continue
        found[id(value)] = value
        if _is_part(value):
            left += gc.get_referents(value)
    return list(found.values())


def _is_part(value: object) -> bool:
    """Whether to look inside: containers, and what is of one connection alone."""
    if isinstance(value, dict | list | tuple | set | memoryview):
        return True
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    whole = ("p2p.host.", "p2p.resources.resources", "p2p.peerstore", "p2p.limits", "p2p.transports.upgraded")
    return name.startswith("p2p.") and not name.startswith(whole)
