"""What remotes find at the py-libp2p peer, and how their streams ended."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import trio
from libp2p.abc import IHost, INetStream
from libp2p.custom_types import TProtocol
from libp2p.network.stream.exceptions import StreamEOF, StreamReset
from libp2p.stream_muxer.mplex.mplex_stream import MplexStream
from libp2p.stream_muxer.yamux.yamux import YamuxStream

ECHO = TProtocol("/echo/1.0.0")
SINK = TProtocol("/test/sink/1.0.0")
RESET = TProtocol("/test/reset/1.0.0")
RESET_ME = TProtocol("/test/reset-me/1.0.0")
HALF = TProtocol("/test/half/1.0.0")
HALF_FIRST = TProtocol("/test/half-first/1.0.0")
CHUNK = 64 * 1024  # bytes

#: Reads what the remote sends: the bytes read at EOF, or None when this side's own reset ended it.
_Counted = Callable[[INetStream], Awaitable["int | None"]]


@dataclass
class Tally:
    """How the streams of one protocol, opened by remotes, ended."""

    opened: int = 0
    eof: int = 0
    eof_bytes: int = 0
    reset: int = 0
    other: int = 0
    last_code: None = None  # no muxer of this library knows codes


@dataclass
class Tallies:
    """A tally per protocol, and a way to wait for a change of anything."""

    streams: dict[str, Tally] = field(default_factory=lambda: {name: Tally() for name in _HANDLERS})
    _next_change: trio.Event = field(default_factory=trio.Event)

    def change(self) -> None:
        self._next_change.set()
        self._next_change = trio.Event()

    async def wait_for_change(self) -> None:
        await self._next_change.wait()

    def as_answer(self) -> dict[str, Any]:
        return {name: asdict(tally) for name, tally in self.streams.items()}

    def serve(self, host: IHost) -> None:
        for name, (protocol, handler) in _HANDLERS.items():
            host.set_stream_handler(protocol, self._counting(self.streams[name], protocol, handler))

    def _counting(
        self, tally: Tally, protocol: TProtocol, handler: _Counted
    ) -> Callable[[INetStream], Awaitable[None]]:
        async def handle(stream: INetStream) -> None:
            tally.opened += 1
            self.change()
            try:
                read = await handler(stream)
                if read is not None:
                    await stream.close()
                    tally.eof += 1
                    tally.eof_bytes += read
            except StreamReset:
                tally.reset += 1
            except Exception as error:  # one that leaves a handler ends the program
                print(f"{protocol}: {error!r}", file=sys.stderr)
                tally.other += 1
                await stream.reset()
            self.change()

        return handle


async def chunks(stream: INetStream) -> AsyncIterator[bytes]:
    """What comes until EOF, which is an exception here."""
    while True:
        try:
            chunk = await stream.read(CHUNK)
        except StreamEOF:
            break
        if not chunk:
            break
        yield chunk
    # Readers are told EOF of a reset too where the muxer has forgotten the stream before they ask.
    match stream.muxed_stream:
        case YamuxStream(reset_received=True):
            raise StreamReset("the remote reset it")
        case MplexStream() as muxed:
            await muxed.event_remote_closed.wait()  # before which it is not told which of the two it was
            if muxed.event_reset.is_set():
                raise StreamReset("the remote reset it")


async def drain(stream: INetStream) -> int:
    """Read to EOF; how many bytes there were."""
    return sum([len(chunk) async for chunk in chunks(stream)])


async def _echo(stream: INetStream) -> int:
    count = 0
    async for chunk in chunks(stream):
        count += len(chunk)
        await stream.write(chunk)
    return count


async def _reset(stream: INetStream) -> None:
    await stream.read(1)
    await stream.reset()


async def _reset_me(stream: INetStream) -> int:
    await stream.write(b"r")
    return await drain(stream)


async def _half(stream: INetStream) -> int:
    count = await drain(stream)
    await stream.write(b"done:%d" % count)
    return count


async def _half_first(stream: INetStream) -> int:
    await stream.write(b"hello")
    await stream.close_write()
    return await drain(stream)


async def added(stream: INetStream) -> None:
    """For protocols that are served later."""
    await drain(stream)
    await stream.close()


_HANDLERS: dict[str, tuple[TProtocol, _Counted]] = {
    "echo": (ECHO, _echo),
    "sink": (SINK, drain),
    "reset": (RESET, _reset),
    "reset_me": (RESET_ME, _reset_me),
    "half": (HALF, _half),
    "half_first": (HALF_FIRST, _half_first),
}
