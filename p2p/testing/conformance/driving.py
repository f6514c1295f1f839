"""How the checks of streams use them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio
import trio.testing

from p2p.abc import Stream

StreamMaker = Callable[[], AbstractAsyncContextManager[tuple[Stream, Stream]]]

#: Seconds in which a message and its answer cross.
SETTLE = 0.05
#: More than any window lets through unread.
_TOO_MUCH = 64 * 1024 * 1024
CHUNK = bytes(64 * 1024)


async def settle() -> None:
    """Until all that was sent has arrived: what is checked must have a round trip below :data:`SETTLE`."""
    await trio.sleep(SETTLE)
    await trio.testing.wait_all_tasks_blocked()


async def receive_exactly(stream: Stream, n: int) -> bytes:
    got = bytearray()
    while len(got) < n:
        chunk = await stream.receive_some(n - len(got))
        assert chunk, f"the stream ended after {len(got)} of {n} bytes"
        got += chunk
    return bytes(got)


async def receive_all(stream: Stream) -> bytes:
    return b"".join([bytes(chunk) async for chunk in stream])


async def clog(stream: Stream) -> int:
    """Send until the stream takes no more for a while; how many bytes it took."""
    total = silent = 0
    while total < _TOO_MUCH:
        taken = stream.send_nowait(CHUNK)
        total += taken
        silent = 0 if taken else silent + 1
        if silent == 3:
            return total
        if silent:
            await trio.sleep(SETTLE)
    raise AssertionError(f"{total} bytes were taken and none were read: nothing bounds what is buffered")


@asynccontextmanager
async def another(left: Stream, right: Stream) -> AsyncIterator[tuple[Stream, Stream]]:
    """A second stream between the connections of the first."""
    here = await left.connection.open_stream()
    await here.send_all(b"!")
    there = await right.connection.accept_stream()
    assert await receive_exactly(there, 1) == b"!"
    try:
        yield here, there
    finally:
        here.reset()
        there.reset()
