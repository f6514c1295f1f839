"""As much of Redis's protocol as two programs need to tell each other an address.

Source: redis.io, "Redis serialization protocol specification" (RESP 2).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

MAX_ANSWER = 64 * 1024  # bytes: an address is much shorter
_CHUNK = 4096  # bytes, of one receive

Answer = bytes | int | list["Answer"] | None


class RedisError(Exception):
    """The server refused a command, or said something else than an answer."""


class Redis:
    """One connection. Not for two tasks at once."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = bytearray()

    async def command(self, *words: str) -> Answer:
        """Send one command and return its answer; raises :exc:`RedisError`. Cancelled, the connection is of no use."""
        encoded = [word.encode() for word in words]
        line = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
        await self._stream.send_all(b"*%d\r\n%s" % (len(encoded), line))
        return await self._answer()

    async def _answer(self) -> Answer:
        line = await self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            raise RedisError(rest.decode(errors="replace"))
        if kind not in (b":", b"$", b"*"):
            raise RedisError(f"expected an answer, got {line!r}")
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"$":
            return (await self._take(number + 2))[:-2]
        return [await self._answer() for _ in range(number)]

    async def _line(self) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            await self._receive()
        return (await self._take(end + 2))[:-2]

    async def _take(self, n: int) -> bytes:
        while len(self._received) < n:
            await self._receive()
        taken = bytes(self._received[:n])
        del self._received[:n]
        return taken

    async def _receive(self) -> None:
        if len(self._received) > MAX_ANSWER:
            raise RedisError(f"an answer of more than {MAX_ANSWER} bytes")
        chunk = await self._stream.receive_some(_CHUNK)
        if not chunk:
            raise RedisError("the server closed the connection")
        self._received += chunk


@asynccontextmanager
async def connected(addr: str) -> AsyncGenerator[Redis, None]:
    """A connection to the server at ``host:port``."""
    host, _, port = addr.rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        yield Redis(stream)
