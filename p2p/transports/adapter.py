"""Any Trio stream as a raw stream: a TLS stream, a subprocess, a test double, a stream of another connection.

The two differ in who waits. ``send_all`` waits until it has sent; ``try_send`` never waits. No task of its
own bridges that: the bytes offered are *staged*, ``wait_writable`` sends them in the caller's task, and the
next ``try_send``, which by then is offered the same bytes again, counts them as taken. So whoever has got rid
of its bytes has left none here, and nothing needs an owner.
"""

from __future__ import annotations

import trio

from p2p.errors import LocalProtocolError
from p2p.wire.addresses import Multiaddr

#: What one ``wait_writable`` sends, and this may hold: a sealed frame of the largest kind fits.
_STAGE = 128 * 1024


class RawStreamAdapter:
    """A raw stream over ``stream``, which belongs to it from now on.

    As ``send_all`` does not say how far it came, a cancelled ``wait_writable`` may leave the direction torn:
    it then raises ``trio.BrokenResourceError`` ever after. Receiving is not touched by that.
    """

    def __init__(self, stream: trio.abc.Stream, local_addr: Multiaddr, remote_addr: Multiaddr) -> None:
        self._stream = stream
        self._local_addr = local_addr
        self._remote_addr = remote_addr
        self._staged = b""
        self._sent = False  # whether all of it was
        self._torn = False
        self._ended = False
        self._closed = False

    def __repr__(self) -> str:
        return f"<RawStreamAdapter of {self._stream!r}>"

    @property
    def local_addr(self) -> Multiaddr:
        return self._local_addr

    @property
    def remote_addr(self) -> Multiaddr:
        return self._remote_addr

    async def receive_into(self, buffer: memoryview) -> int:
        self._check()
        if not len(buffer):
            raise ValueError("receiving into an empty buffer would look like the end of the stream")
        if self._ended:  # not every stream says so twice
            await trio.lowlevel.checkpoint()
            return 0
        data = await self._stream.receive_some(len(buffer))
        buffer[: len(data)] = data
        self._ended = not data
        return len(data)

    def try_send(self, data: memoryview) -> int:
        """Raises ``LocalProtocolError`` when other bytes are offered than those not taken the last time."""
        self._check_sending()
        if not self._staged:
            self._staged = bytes(data[:_STAGE])
            return 0
        n = len(self._staged)
        if data[:n] != self._staged:
            raise LocalProtocolError("bytes that were offered and not taken must be offered again")
        if not self._sent:
            return 0
        self._staged, self._sent = b"", False
        return n

    async def wait_writable(self) -> None:
        self._check_sending()
        if not self._staged or self._sent:
            await trio.lowlevel.checkpoint()
            return
        self._torn = True
        await self._stream.send_all(self._staged)
        self._torn, self._sent = False, True

    async def aclose(self) -> None:
        """Closes the stream as it closes itself; bytes staged and not sent are dropped."""
        self._closed = True
        await self._stream.aclose()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end of the stream was closed")

    def _check_sending(self) -> None:
        self._check()
        if self._torn:
            raise trio.BrokenResourceError("sending failed or was cancelled half-way")
