"""Raw streams that never leave this process: the core of the memory transport and of the virtual network.

A :class:`Pipe` is one direction: a bounded queue of bytes from one writer to one reader. Two of them make a
pair of :class:`PipeStream`. What stands between (delay, loss, a finite rate) goes in as another
:class:`Outlet`, as ``p2p.testing.links`` does it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import trio

from p2p.wire.addresses import Multiaddr

#: Streams dialed and not yet accepted; one more dial is refused.
BACKLOG = 128


class Outlet(Protocol):
    """The sending end of one direction."""

    def push(self, data: memoryview) -> int:
        """Take what fits now and return how many bytes that was. Raises ``trio.BrokenResourceError``."""
        ...

    async def wait_room(self) -> None:
        """Wait until ``push`` takes something or raises; always a checkpoint."""
        ...

    def finish(self) -> None:
        """No more bytes come: the reader finds its end after those that were pushed."""
        ...

    def break_off(self) -> None:
        """The reader is to fail at once, losing what it has not read."""
        ...


class Bell:
    """Where at most one task waits to be woken."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: trio.lowlevel.Task | None = None

    async def wait(self) -> None:
        """Raises ``trio.BusyResourceError`` when a task waits here already."""
        if self._task is not None:
            raise trio.BusyResourceError("another task is using this end of the stream")
        self._task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._task = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def ring(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)


class Pipe:
    """One direction, with nothing between its ends; itself an :class:`Outlet`.

    It holds at most ``capacity`` bytes. ``cut``, when given, is asked before each read for the most bytes
    that this one may return.
    """

    __slots__ = ("_broken", "_buffer", "_can_read", "_can_write", "_capacity", "_cut", "_deaf", "_finished")

    def __init__(self, capacity: int, cut: Callable[[], int] | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"a pipe of capacity {capacity} passes nothing")
        self._capacity = capacity
        self._cut = cut
        self._buffer = bytearray()
        self._finished = False  # the writer said so
        self._broken = False  # the writer vanished
        self._deaf = False  # the reader went away
        self._can_read = Bell()
        self._can_write = Bell()

    # --- the writer's end

    def push(self, data: memoryview) -> int:
        if self._deaf or self._broken:
            raise trio.BrokenResourceError("nobody reads at the other end")
        n = min(len(data), self._capacity - len(self._buffer))
        if n:
            self._buffer += data[:n]
            self._can_read.ring()
        return n

    async def wait_room(self) -> None:
        if self._has_room():
            await trio.lowlevel.checkpoint()
        while not self._has_room():
            await self._can_write.wait()

    def finish(self) -> None:
        self._finished = True
        self._can_read.ring()
        self._can_write.ring()

    def break_off(self) -> None:
        self._broken = True
        self._buffer.clear()
        self._can_read.ring()
        self._can_write.ring()

    @property
    def finished(self) -> bool:
        return self._finished

    def _has_room(self) -> bool:
        return len(self._buffer) < self._capacity or self._deaf or self._broken or self._finished

    # --- the reader's end

    async def wait_data(self) -> None:
        """Wait until ``pull_into`` returns or raises; always a checkpoint."""
        if self._has_data():
            await trio.lowlevel.checkpoint()
        while not self._has_data():
            await self._can_read.wait()

    def pull_into(self, buffer: memoryview) -> int:
        """Move bytes to the start of ``buffer`` and return how many: 0 at the end."""
        if self._broken:
            raise trio.BrokenResourceError("the other end reset the stream")
        n = min(len(buffer), len(self._buffer))
        if n == 0:
            return 0
        if self._cut is not None:
            n = min(n, self._cut())
        with memoryview(self._buffer) as held:
            buffer[:n] = held[:n]
        del self._buffer[:n]
        self._can_write.ring()
        return n

    def stop_reading(self) -> None:
        """The reader went away: what is unread is dropped, and the writer fails from now on."""
        self._deaf = True
        self._buffer.clear()
        self._can_read.ring()
        self._can_write.ring()

    def _has_data(self) -> bool:
        return bool(self._buffer) or self._finished or self._broken or self._deaf


class PipeStream:
    """A raw stream over one direction in and one out."""

    __slots__ = ("_closed", "_inlet", "_local", "_outlet", "_remote", "bytes_received", "bytes_sent")

    def __init__(self, inlet: Pipe, outlet: Outlet, local_addr: Multiaddr, remote_addr: Multiaddr) -> None:
        self._inlet = inlet
        self._outlet = outlet
        self._local = local_addr
        self._remote = remote_addr
        self._closed = False
        self.bytes_sent = 0
        self.bytes_received = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._local} to {self._remote}{' closed' * self._closed}>"

    @property
    def local_addr(self) -> Multiaddr:
        return self._local

    @property
    def remote_addr(self) -> Multiaddr:
        return self._remote

    async def receive_into(self, buffer: memoryview) -> int:
        self._check(buffer)
        await self._inlet.wait_data()
        self._check(buffer)
        n = self._inlet.pull_into(buffer)
        self.bytes_received += n
        return n

    def try_send(self, data: memoryview) -> int:
        self._check()
        n = self._outlet.push(data)
        self.bytes_sent += n
        return n

    async def wait_writable(self) -> None:
        self._check()
        await self._outlet.wait_room()
        self._check()

    async def aclose(self) -> None:
        """The peer reads what was sent, then the end; it cannot send any more."""
        if not self._closed:
            self._closed = True
            self._outlet.finish()
            self._inlet.stop_reading()
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Vanish: both ends fail from now on, and what was not read is lost. Synchronous; idempotent."""
        if not self._closed:
            self._closed = True
            self._outlet.break_off()
            self._inlet.stop_reading()

    def _check(self, buffer: memoryview | None = None) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end of the stream was closed")
        if buffer is not None and not len(buffer):
            raise ValueError("receiving into an empty buffer would look like the end of the stream")


class PipeListener:
    """Accepts, in order, what ``offer`` is given; whoever made it closes it."""

    def __init__(self, addr: Multiaddr) -> None:
        self._addr = addr
        self._waiting: deque[PipeStream] = deque()
        self._offered = Bell()
        self._closed = False

    def __repr__(self) -> str:
        return f"<PipeListener {self._addr}{' closed' * self._closed}>"

    @property
    def addr(self) -> Multiaddr:
        return self._addr

    @property
    def has_room(self) -> bool:
        return not self._closed and len(self._waiting) < BACKLOG

    def offer(self, stream: PipeStream) -> None:
        """Only while there is room."""
        self._waiting.append(stream)
        self._offered.ring()

    async def accept(self) -> PipeStream:
        """Raises ``trio.ClosedResourceError`` after ``aclose``. Cancelled: nothing was accepted."""
        if self._waiting:
            await trio.lowlevel.checkpoint()
        while not self._waiting and not self._closed:
            await self._offered.wait()
        if self._closed:
            raise trio.ClosedResourceError("this listener was closed")
        return self._waiting.popleft()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Streams not accepted are reset."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().reset()
        self._offered.ring()
