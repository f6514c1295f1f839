"""What remotes find at our interop peer, and how the streams they opened here ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import trio

from p2p.abc import Handler, Stream
from p2p.errors import StreamReset
from p2p.host import Host
from p2p.streams import read_exactly

ECHO = "/echo/1.0.0"
SINK = "/test/sink/1.0.0"
RESET = "/test/reset/1.0.0"
RESET_ME = "/test/reset-me/1.0.0"
HALF = "/test/half/1.0.0"
HALF_FIRST = "/test/half-first/1.0.0"

#: Reads what the remote sends: the bytes read at EOF, or None when this side's own reset ended it.
_Counted = Callable[[Stream], Awaitable[int | None]]


@dataclass
class Tally:
    """How the streams of one protocol, opened by remotes, ended."""

    opened: int = 0
    eof: int = 0
    eof_bytes: int = 0
    reset: int = 0
    other: int = 0
    last_code: int | None = None


@dataclass
class Tallies:
    """A tally per protocol, and a way to wait for a change of anything."""

    streams: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in _HANDLERS})
    _next_change: trio.Event = field(default_factory=trio.Event)

    def change(self) -> None:
        """Something is another than it was."""
        self._next_change.set()
        self._next_change = trio.Event()

    async def wait_for_change(self) -> None:
        await self._next_change.wait()

    def as_answer(self) -> dict[str, Any]:
        return {name: asdict(tally) for name, tally in self.streams.items()}

    def serve(self, host: Host) -> ExitStack:
        """Serve every test protocol while the result is entered."""
        stack = ExitStack()
        for name, (protocol, handler) in _HANDLERS.items():
            stack.enter_context(host.handle(protocol, self._counting(self.streams[name], handler)))
        return stack

    def _counting(self, tally: Tally, handler: _Counted) -> Handler:
        async def handle(stream: Stream) -> None:
            tally.opened += 1
            self.change()
            other = 1
            try:
                read = await handler(stream)
                await stream.aclose()
                other = 0
                if read is not None:
                    tally.eof += 1
                    tally.eof_bytes += read
            except StreamReset as error:
                other = 0
                tally.reset += 1
                tally.last_code = error.code
                raise
            finally:
                tally.other += other
                self.change()

        return handle


class Added:
    """Protocols that are served from some time on, until some other time."""

    def __init__(self) -> None:
        self._leave: dict[str, ExitStack] = {}

    def handle(self, host: Host, protocol: str) -> None:
        stack = self._leave[protocol] = ExitStack()
        stack.enter_context(host.handle(protocol, drain))

    def unhandle(self, protocol: str) -> None:
        self._leave.pop(protocol).close()


async def drain(stream: Stream) -> int:
    """Read to EOF; how many bytes there were."""
    return sum([len(chunk) async for chunk in stream])


async def _echo(stream: Stream) -> int:
    count = 0
    async for chunk in stream:
        count += len(chunk)
        await stream.send_all(chunk)
    await stream.send_eof()
    return count


async def _reset(stream: Stream) -> None:
    (code,) = await read_exactly(stream, 1)
    stream.reset(code)


async def _reset_me(stream: Stream) -> int:
    await stream.send_all(b"r")
    return await drain(stream)


async def _half(stream: Stream) -> int:
    count = await drain(stream)
    await stream.send_all(b"done:%d" % count)
    return count


async def _half_first(stream: Stream) -> int:
    await stream.send_all(b"hello")
    await stream.send_eof()
    return await drain(stream)


_HANDLERS: dict[str, tuple[str, _Counted]] = {
    "echo": (ECHO, _echo),
    "sink": (SINK, drain),
    "reset": (RESET, _reset),
    "reset_me": (RESET_ME, _reset_me),
    "half": (HALF, _half),
    "half_first": (HALF_FIRST, _half_first),
}
