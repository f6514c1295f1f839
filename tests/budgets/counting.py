"""What code does, counted: instructions and calls, steps of tasks, what goes to a socket and comes from it."""

from __future__ import annotations

import gc
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import trio

import p2p
from p2p.abc import RawListener, RawStream
from p2p.transports.memory import Memory
from p2p.wire.addresses import Multiaddr

PACKAGE = str(Path(p2p.__file__).parent)


@dataclass
class Executed:
    """By the package's own code: bytecode instructions, and calls of anything but a class."""

    instructions: int = 0
    calls: int = 0


@contextmanager
def executed() -> Iterator[Executed]:
    """Count what this thread executes within the block. Exact: for the same work the same, on one version of Python."""
    count = Executed()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count.instructions += event == "opcode"
        return trace

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(PACKAGE):
            count.calls += 1

    tracing, profiling = sys.gettrace(), sys.getprofile()
    gc.disable()  # a collection runs finalizers, at its own time
    sys.setprofile(profile)
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)
        gc.enable()


# --- under Trio ---------------------------------------------------------------------------------------


@dataclass
class Traffic:
    """Of all streams that were made with it: what would be system calls on a socket."""

    #: ``try_send`` with something in it, whatever became of it.
    sends: int = 0
    #: ``receive_into`` that gave something.
    receives: int = 0


class CountedRaw:
    """A raw stream, and what is asked of it."""

    def __init__(self, inner: RawStream, traffic: Traffic) -> None:
        self._inner = inner
        self._traffic = traffic

    @property
    def local_addr(self) -> Multiaddr:
        return self._inner.local_addr

    @property
    def remote_addr(self) -> Multiaddr:
        return self._inner.remote_addr

    async def receive_into(self, buffer: memoryview) -> int:
        n = await self._inner.receive_into(buffer)
        self._traffic.receives += n > 0
        return n

    def try_send(self, data: memoryview) -> int:
        self._traffic.sends += 1
        return self._inner.try_send(data)

    async def wait_writable(self) -> None:
        await self._inner.wait_writable()

    async def aclose(self) -> None:
        await self._inner.aclose()


class CountedListener:
    """Accepts counted streams."""

    def __init__(self, inner: RawListener, traffic: Traffic) -> None:
        self._inner = inner
        self._traffic = traffic

    @property
    def addr(self) -> Multiaddr:
        return self._inner.addr

    async def accept(self) -> CountedRaw:
        return CountedRaw(await self._inner.accept(), self._traffic)

    async def aclose(self) -> None:
        await self._inner.aclose()


class CountedMemory:
    """The memory transport, of counted streams."""

    def __init__(self, inner: Memory, traffic: Traffic) -> None:
        self._inner = inner
        self._traffic = traffic

    def can_dial(self, addr: Multiaddr) -> bool:
        return self._inner.can_dial(addr)

    def can_listen(self, addr: Multiaddr) -> bool:
        return self._inner.can_listen(addr)

    async def dial(self, addr: Multiaddr) -> CountedRaw:
        return CountedRaw(await self._inner.dial(addr), self._traffic)

    @asynccontextmanager
    async def listen(self, addr: Multiaddr) -> AsyncIterator[CountedListener]:
        async with self._inner.listen(addr) as listener:
            yield CountedListener(listener, self._traffic)


class Steps(trio.abc.Instrument):
    """How often any task was given its turn."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


@contextmanager
def steps() -> Iterator[Steps]:
    """Count within the block, the steps of all tasks of this run."""
    instrument = Steps()
    trio.lowlevel.add_instrument(instrument)
    try:
        yield instrument
    finally:
        trio.lowlevel.remove_instrument(instrument)
