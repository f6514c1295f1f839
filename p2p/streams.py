"""Reading exactly so many bytes, and messages with their length in front, over any Trio stream.

These are the only readers of length prefixes on streams: the maximum has no default, and is checked before
memory is spent. None has a deadline: that is the caller's, ``with trio.fail_after(…)``.
"""

from __future__ import annotations

import trio

from p2p.errors import RemoteProtocolError
from p2p.wire.framing import FrameReader, encode_frame
from p2p.wire.varint import Buffer, decode_partial


async def read_exactly(stream: trio.abc.ReceiveStream, n: int) -> bytes:
    """The next ``n`` bytes, and none of what follows them. Always a checkpoint, for no bytes too.

    Raises ``RemoteProtocolError`` when the stream ends before, and what ``receive_some`` raises. Cancelled: the
    bytes read so far are lost, so the stream is out of step; reset it.
    """
    if not n:
        await trio.lowlevel.checkpoint()
        return b""
    first = await stream.receive_some(n)
    if len(first) == n:
        return bytes(first)
    data = bytearray(first)
    last = len(first)
    while len(data) < n and last:
        chunk = await stream.receive_some(n - len(data))
        last = len(chunk)
        data += chunk
    if len(data) < n:
        raise RemoteProtocolError(f"the stream ended after {len(data)} of {n} bytes")
    return bytes(data)


async def read_lp(stream: trio.abc.ReceiveStream, *, max: int) -> bytes:
    """One message of at most ``max`` bytes, and nothing of what follows it.

    Raises ``RemoteProtocolError`` for a malformed length, one above ``max``, and an early end; cancellation as
    with :func:`read_exactly`. For many messages :class:`MessageReader` is quicker and safe to cancel.
    """
    prefix = bytearray()
    while (found := decode_partial(prefix, max_value=max)) is None:
        byte = await stream.receive_some(1)
        if not byte:
            raise RemoteProtocolError("the stream ended before a message did")
        prefix += byte
    return await read_exactly(stream, found[0]) if found[0] else b""


async def write_lp(stream: trio.abc.SendStream, message: Buffer) -> None:
    """Send ``message`` with its length in front. Raises, and is cancelled, as ``send_all``."""
    await stream.send_all(encode_frame(message))


class MessageReader(trio.abc.ReceiveChannel[bytes]):
    """All messages of a stream from here on, each of at most ``max`` bytes.

    ::

        async for message in MessageReader(stream, max=4096):
            ...

    It reads ahead, so the stream's receiving side is its own until the end. What it keeps is one message and
    one chunk of the stream.
    """

    def __init__(self, stream: trio.abc.ReceiveStream, *, max: int) -> None:
        self._stream = stream
        self._frames = FrameReader(max)
        self._chunk = memoryview(b"")

    async def receive(self) -> bytes:
        """The next message. Cancelled: nothing is lost.

        Raises ``trio.EndOfChannel`` at the end of the stream, ``RemoteProtocolError`` when that is inside a
        message, or for a length that is malformed or too large; and what ``receive_some`` raises.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if (message := self._take()) is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return message
        while message is None:
            chunk = await self._stream.receive_some()
            if not chunk:
                self._frames.feed_eof()
                raise trio.EndOfChannel
            self._chunk = memoryview(chunk)
            message = self._take()
        return message

    def _take(self) -> bytes | None:
        self._chunk = self._chunk[self._frames.feed(self._chunk) :]
        return self._frames.next()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._stream.aclose()
