"""What leaves a connection: gathered from the session, sealed in place, handed to the socket. PURE.

Whoever has something to say calls :meth:`Outbox.flush`, which never waits. What the socket does not take is
kept here, and from then on only the connection's writer sends, so no frame is ever torn by a cancelled caller.
"""

from __future__ import annotations

from p2p.abc import RawStream, SealedChannel
from p2p.muxers.scratch import scratch
from p2p.muxers.session import MuxerSession

#: Gathers in one flush: bounds how long the event loop is held (about 1 MiB, 0.7 ms) when the socket takes all.
MAX_GATHERS = 4


class Outbox:
    """The sending half of one connection."""

    __slots__ = ("_channel", "_preface", "_prefix", "_raw", "_session", "bytes_sent", "refused")

    def __init__(
        self, raw: RawStream, channel: SealedChannel, session: MuxerSession, *, prefix: bytes, preface: bytes
    ) -> None:
        """``prefix`` goes out first, unsealed (the end of the handshake); ``preface`` is the first plaintext."""
        self._raw = raw
        self._channel = channel
        self._session = session
        self._prefix = prefix
        self._preface = preface
        #: Sealed bytes the socket has not taken yet.
        self.refused = bytearray()
        self.bytes_sent = 0

    @property
    def wants_flush(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.refused or self._prefix or self._preface) or self._session.wants_write

    def flush(self, now: float) -> bool:
        """Send what the socket takes; True when nothing is left that could go out now.

        Raises what ``RawStream.try_send`` raises.
        """
        if self.refused:
            return False
        out = scratch().out
        for _ in range(MAX_GATHERS):
            if not self.wants_flush:
                return True
            size = self._gather(out, now)
            if not size:
                return True
            sent = self._raw.try_send(out[:size])
            self.bytes_sent += sent
            if sent < size:
                self.refused += out[sent:size]
                return False
        return not self.wants_flush

    def send_refused(self) -> int:
        """The writer's part: offer the socket what it refused before; returns how many bytes it took."""
        with memoryview(self.refused) as view:
            sent = self._raw.try_send(view)
        self.bytes_sent += sent
        del self.refused[:sent]
        return sent

    def _gather(self, out: memoryview, now: float) -> int:
        channel, write_into = self._channel, self._session.write_into
        size = 0
        if self._prefix:
            size = len(self._prefix)
            out[:size] = self._prefix
            self._prefix = b""
        while room := channel.room(out[size:]):
            n = 0
            if self._preface:
                n = len(self._preface)
                if n > len(room):
                    break
                room[:n] = self._preface
                self._preface = b""
            n += write_into(room[n:], now)
            if not n:
                break
            size += channel.seal(out[size:], n)
        return size
