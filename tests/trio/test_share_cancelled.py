"""Cancel at every step: getting, and being got from. Nothing is left, and what follows goes on where it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
import trio.testing

from p2p.host import Host
from p2p.identity import Identity
from p2p.protocols.share import Share, ShareAddress, get
from p2p.protocols.share.reports import GetterCame, GetterLeft, Report
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.testing.deterministic import run
from p2p.transports.memory import Memory, MemoryHub
from tests.trio.sharing import SECRET, MemorySource, MemoryTarget

SENDER, GETTER = Identity.generate(), Identity.generate()
FILES = {"top/a": b"a" * 2500, "top/b": b"b" * 600}
CHUNKS = 4


@asynccontextmanager
async def sender(hub: MemoryHub, source: MemorySource, reports: list[Report]) -> AsyncIterator[Host]:
    service = Share({SECRET: source}, watch=reports.append)
    memory = [Memory(hub)]
    async with Host(
        SENDER, transports=memory, listen=["/memory/7"], services=[service], identify=False
    ) as host:
        yield host
        await trio.testing.wait_all_tasks_blocked()
        assert not service._getters and not len(service._streams)


def getter(hub: MemoryHub) -> Host:
    return Host(GETTER, transports=[Memory(hub)], identify=False)


def everywhere(attempt: Callable[[int], Awaitable[Outcome[object]]]) -> int:
    """Run ``attempt(k)`` in runs of their own, for every k until it comes through; the number of steps it has."""
    for step in range(2000):
        if run(attempt, step).finished:
            return step
    raise AssertionError("the operation never came through")


def balanced(reports: list[Report]) -> bool:
    came, left = ([kind for kind in reports if isinstance(kind, of)] for of in (GetterCame, GetterLeft))
    return len(came) == len(left)


def test_cancel_everywhere_get() -> None:
    async def attempt(step: int) -> Outcome[object]:
        hub, source, target, reports = MemoryHub(), MemorySource(FILES), MemoryTarget(), []
        async with sender(hub, source, reports) as alice, getter(hub) as bob:
            address = ShareAddress(alice.addrs[0], SECRET)
            outcome = await cancelled_after(step, lambda: get(bob, address, target))
            await trio.testing.wait_all_tasks_blocked()
            for host in (alice, bob):
                assert not [stream for c in host.connections.values() for one in c for stream in one.streams]
            assert outcome.finished <= target.finished
            await get(bob, address, target)
            await trio.testing.wait_all_tasks_blocked()
        assert target.finished and target.whole == b"".join(FILES.values())
        assert len(source.reads) <= CHUNKS + 1 and balanced(reports)
        return outcome

    assert everywhere(attempt) > 20


def test_cancel_everywhere_serving() -> None:
    """The sender is cancelled, and comes back with the same key, address and secret; the getter goes on by itself."""

    async def attempt(step: int) -> Outcome[object]:
        hub, source, target, reports = MemoryHub(), MemorySource(FILES), MemoryTarget(), []
        begun, done = trio.Event(), trio.Event()

        async def fetch(address: ShareAddress) -> None:
            async with getter(hub) as bob:
                await get(bob, address, target, watch=lambda report: begun.set())
            done.set()

        async with trio.open_nursery() as nursery:
            # Counted from where the getter knows what is to come.
            with trio.CancelScope() as scope:
                async with sender(hub, source, reports) as alice:
                    nursery.start_soon(fetch, ShareAddress(alice.addrs[0], SECRET))
                    await begun.wait()
                    outcome = await cancelled_after(step, done.wait)
                    scope.cancel()
            with trio.fail_after(60):
                async with sender(hub, source, reports):
                    await done.wait()
        assert target.finished and target.whole == b"".join(FILES.values())
        assert len(source.reads) <= CHUNKS + 1 and balanced(reports)
        return Outcome(outcome.steps, (True,) if outcome.finished else ())

    assert everywhere(attempt) > 20
