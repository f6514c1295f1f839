"""Length-delimited messages: a varint with the length, then that many bytes.

:class:`FrameReader` is fed whatever arrived and gives whole messages. It takes no more than it needs: bytes
after a message stay with the caller until that message was taken with :meth:`FrameReader.next`, so what is
stored never exceeds one prefix and one message, and bytes that belong to the next protocol are never
swallowed.
"""

from __future__ import annotations

from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.wire.varint import MAX_BYTES, Buffer, decode_partial, encode


def encode_frame(payload: Buffer) -> bytes:
    """``payload`` with its length in front."""
    return encode(len(payload)) + payload


class FrameReader:
    """Cuts a byte stream into messages of at most ``max_size`` bytes.

    ::

        while True:
            while (message := reader.next()) is not None:
                ...
            if not data:
                break
            data = data[reader.feed(data):]

    The work is linear in the bytes fed however they are cut. After a ``RemoteProtocolError`` the reader is
    spent: nothing that follows a broken prefix has a meaning.
    """

    __slots__ = ("_body", "_failed", "_max_size", "_missing", "_prefix", "_ready")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._prefix = bytearray()
        self._body = bytearray()
        self._missing = -1  # bytes of the body still to come; -1: the prefix is not complete
        self._ready: bytes | None = None
        self._failed = False

    def feed(self, data: Buffer) -> int:
        """Take bytes up to the end of the message under way and return how many that were.

        0 while a message waits in :meth:`next`. Raises ``RemoteProtocolError`` for a length that is malformed
        or above ``max_size``, before anything is stored for it; ``LocalProtocolError`` after such a failure.
        """
        if self._failed:
            raise LocalProtocolError("a frame reader that failed was fed again")
        if self._ready is not None or not data:
            return 0
        taken = 0
        if self._missing < 0:
            taken = self._feed_prefix(data)
            if self._missing < 0:
                return taken
        size = min(self._missing, len(data) - taken)
        chunk = memoryview(data)[taken : taken + size]
        self._missing -= size
        if self._missing:
            self._body += chunk
        elif self._body:
            self._body += chunk
            self._finish(bytes(self._body))
        else:
            self._finish(bytes(chunk))
        return taken + size

    def next(self) -> bytes | None:
        """The message that is whole, once; None when more bytes are needed. An empty message is ``b""``."""
        ready, self._ready = self._ready, None
        return ready

    def feed_eof(self) -> None:
        """The stream ended. Raises ``RemoteProtocolError`` when that is inside a message."""
        if self._prefix or self._missing >= 0:
            self._failed = True
            raise RemoteProtocolError("the stream ended inside a message")

    @property
    def buffered(self) -> int:
        """Bytes stored now, a waiting message included; at most nine more than ``max_size``."""
        return len(self._prefix) + len(self._body) + len(self._ready or b"")

    def _feed_prefix(self, data: Buffer) -> int:
        held = len(self._prefix)
        self._prefix += memoryview(data)[: MAX_BYTES - held]
        try:
            found = decode_partial(self._prefix, max_value=self._max_size)
        except RemoteProtocolError:
            self._failed = True
            raise
        if found is None:
            return len(self._prefix) - held
        self._missing, end = found
        self._prefix.clear()
        return end - held

    def _finish(self, message: bytes) -> None:
        self._ready = message
        self._body.clear()
        self._missing = -1
