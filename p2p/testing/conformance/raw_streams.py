"""The laws of raw streams (:class:`p2p.abc.RawStream`).

The maker gives both ends of one connection, as an async context manager, and closes them afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import trio
import trio.testing

from p2p.abc import RawStream
from p2p.testing.cancellation import Outcome, cancelled_everywhere
from p2p.testing.conformance.verdict import check, must_be_checkpoint, must_raise, run_checks

RawStreamMaker = Callable[[], AbstractAsyncContextManager[tuple[RawStream, RawStream]]]
_SCRATCH = 64 * 1024
#: More than any socket takes unread.
_TOO_MUCH = 64 * 1024 * 1024


async def send(stream: RawStream, data: bytes) -> None:
    """Send all of ``data``, as the users of raw streams do."""
    view = memoryview(data)
    while view:
        view = view[stream.try_send(view) :]
        if view:
            await stream.wait_writable()


async def receive(stream: RawStream, most: int = _SCRATCH) -> bytes:
    """What one ``receive_into`` gives."""
    buffer = memoryview(bytearray(most))
    return bytes(buffer[: await stream.receive_into(buffer)])


async def receive_exactly(stream: RawStream, n: int) -> bytes:
    got = b""
    while len(got) < n:
        chunk = await receive(stream, n - len(got))
        assert chunk, f"the stream ended after {len(got)} of {n} bytes"
        got += chunk
    return got


async def receive_all(stream: RawStream) -> bytes:
    got = bytearray()
    while chunk := await receive(stream):
        got += chunk
    return bytes(got)


async def fill(stream: RawStream) -> int:
    """Send until nothing more is taken for a while; how many bytes that was."""
    chunk = memoryview(bytes(_SCRATCH))
    total = 0
    while total < _TOO_MUCH:
        taken = stream.try_send(chunk)
        total += taken
        if taken == 0:
            with trio.move_on_after(0.2) as scope:
                await stream.wait_writable()
            if scope.cancelled_caught:
                return total
    raise AssertionError(f"{total} bytes were taken and none were read: nothing bounds what is buffered")


@check
async def check_bytes_cross_both_ways(make: RawStreamMaker) -> None:
    rng = random.Random(1)
    there, back = rng.randbytes(1_000_003), rng.randbytes(300_007)
    async with make() as (a, b), trio.open_nursery() as nursery:

        async def expect(stream: RawStream, data: bytes) -> None:
            got = b""
            while len(got) < len(data):
                chunk = await receive(stream, rng.randint(1, _SCRATCH))
                assert chunk, f"the stream ended after {len(got)} of {len(data)} bytes"
                got += chunk
            assert got == data, "other bytes arrived than were sent"

        nursery.start_soon(send, a, there)
        nursery.start_soon(send, b, back)
        nursery.start_soon(expect, b, there)
        nursery.start_soon(expect, a, back)


@check
async def check_never_more_than_asked_for(make: RawStreamMaker) -> None:
    async with make() as (a, b):
        await send(a, b"abcdef")
        buffer = bytearray(b"......")
        n = await b.receive_into(memoryview(buffer)[:2])
        assert 1 <= n <= 2, f"a buffer of 2 bytes received {n}"
        assert buffer == b"abcdef"[:n] + b"......"[n:], "bytes were written elsewhere than at the start"
        assert await receive_exactly(b, 6 - n) == b"abcdef"[n:]


@check
async def check_end_after_close(make: RawStreamMaker) -> None:
    async with make() as (a, b):
        await send(a, b"last words")
        await a.aclose()
        assert await receive_all(b) == b"last words", "not all that was sent before aclose arrived"


@check
async def check_end_stays(make: RawStreamMaker) -> None:
    async with make() as (a, b):
        await a.aclose()
        await receive_all(b)
        for _ in range(3):
            assert await receive(b) == b"", "bytes came after the end"


@check
async def check_close_loses_nothing_taken(make: RawStreamMaker) -> None:
    """Also while unread bytes lie at the end that is closed, which makes a naive TCP socket send RST."""
    async with make() as (a, b):
        await send(b, b"never read")
        await trio.testing.wait_all_tasks_blocked(0.01)
        taken = await fill(a)
        await a.aclose()
        got = len(await receive_all(b))
        assert got >= taken, f"{got} bytes arrived of {taken} taken before aclose"


@check
async def check_backpressure(make: RawStreamMaker) -> None:
    async with make() as (a, b):
        taken = await fill(a)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_exactly, b, taken)
            await a.wait_writable()


@check
async def check_writable_at_once(make: RawStreamMaker) -> None:
    async with make() as (a, _):
        await a.wait_writable()
        await a.wait_writable()


@check
async def check_cancelled_receive_consumes_nothing(make: RawStreamMaker) -> None:
    async with make() as (a, b):
        buffer = bytearray(4)
        with trio.move_on_after(0.01):
            await b.receive_into(memoryview(buffer))
            raise AssertionError("bytes were received that nobody sent")
        await send(a, b"kept")
        with trio.CancelScope() as scope:
            scope.cancel()
            await b.receive_into(memoryview(buffer))
        assert scope.cancelled_caught, "receive_into with bytes waiting did not let itself be cancelled"
        assert await receive_exactly(b, 4) == b"kept"

        async def look(attempt: Outcome[bytes]) -> None:
            got = b"".join(attempt.results)
            got += await receive_exactly(b, 4 - len(got))
            assert got == b"kept", "a cancelled receive_into took bytes with it"
            await send(a, b"kept")
            await trio.testing.wait_all_tasks_blocked(0.01)

        await send(a, b"kept")
        await cancelled_everywhere(lambda: receive(b, 4), look)


class _BufferWatch(trio.abc.Instrument):
    """Looks at a buffer whenever the task that receives into it is about to run."""

    def __init__(self, buffer: bytearray) -> None:
        self.buffer = buffer
        self.before = bytes(buffer)
        self.task = trio.lowlevel.current_task()
        self.changed = False

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task and self.buffer != self.before:
            self.changed = True


@check
async def check_buffer_is_written_last(make: RawStreamMaker) -> None:
    """Nothing may change in the buffer while ``receive_into`` waits: other connections use it then."""
    async with make() as (a, b):
        for early in (True, False):
            buffer = bytearray(b"----")
            watch = _BufferWatch(buffer)
            async with trio.open_nursery() as nursery:
                if early:
                    await send(a, b"data")
                    await trio.testing.wait_all_tasks_blocked(0.01)
                else:
                    nursery.start_soon(send, a, b"data")
                trio.lowlevel.add_instrument(watch)
                try:
                    n = await b.receive_into(memoryview(buffer))
                finally:
                    trio.lowlevel.remove_instrument(watch)
            assert not watch.changed, "the buffer was written before the last suspension"
            assert buffer[:n] == b"data"[:n]
            await receive_exactly(b, 4 - n)


@check
async def check_closed_after_aclose(make: RawStreamMaker) -> None:
    async with make() as (a, _):
        await a.aclose()
        await a.aclose()
        with must_raise(trio.ClosedResourceError, what="receive_into after aclose"):
            await receive(a)
        with must_raise(trio.ClosedResourceError, what="try_send after aclose"):
            a.try_send(memoryview(b"x"))
        with must_raise(trio.ClosedResourceError, what="wait_writable after aclose"):
            await a.wait_writable()


@check
async def check_own_close_wakes_waiters(make: RawStreamMaker) -> None:
    async with make() as (a, _):
        await fill(a)

        async def wait(function: Callable[[], Awaitable[object]], what: str) -> None:
            with must_raise(trio.ClosedResourceError, what=f"{what}, closed meanwhile,"):
                await function()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, lambda: receive(a), "receive_into")
            nursery.start_soon(wait, a.wait_writable, "wait_writable")
            await trio.testing.wait_all_tasks_blocked(0.01)
            await a.aclose()


@check
async def check_sending_to_a_closed_peer_breaks(make: RawStreamMaker) -> None:
    async with make() as (a, b):
        await a.aclose()
        with must_raise(trio.BrokenResourceError, what="sending to a peer that closed"):
            while True:
                b.try_send(memoryview(b"x"))
                await b.wait_writable()
                await trio.sleep(0.001)


@check
async def check_every_wait_is_a_checkpoint(make: RawStreamMaker) -> None:
    async with make() as (a, b):
        await send(a, b"x")
        await trio.testing.wait_all_tasks_blocked(0.01)
        with must_be_checkpoint("receive_into with bytes waiting"):
            await receive(b)
        with must_be_checkpoint("wait_writable"):
            await a.wait_writable()
        with must_be_checkpoint("aclose"):
            await a.aclose()
        with must_be_checkpoint("aclose of what is closed"):
            await a.aclose()


@check
async def check_addresses_agree(make: RawStreamMaker) -> None:
    async with make() as (a, b):
        for one, other in ((a, b), (b, a)):
            assert one.remote_addr == other.local_addr, (
                f"one end calls the other {one.remote_addr}, which calls itself {other.local_addr}"
            )


CHECKS = (
    check_bytes_cross_both_ways,
    check_never_more_than_asked_for,
    check_end_after_close,
    check_end_stays,
    check_close_loses_nothing_taken,
    check_backpressure,
    check_writable_at_once,
    check_cancelled_receive_consumes_nothing,
    check_buffer_is_written_last,
    check_closed_after_aclose,
    check_own_close_wakes_waiters,
    check_sending_to_a_closed_peer_breaks,
    check_every_wait_is_a_checkpoint,
    check_addresses_agree,
)


async def run_all(make: RawStreamMaker) -> None:
    """Run every check; raises an ``ExceptionGroup`` of :class:`CheckFailed`."""
    await run_checks(CHECKS, make)
