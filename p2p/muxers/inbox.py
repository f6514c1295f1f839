"""What arrives at a connection: opened in place, handed to the session. PURE.

The mirror of ``outbox.py``. Sealed frames are received into the thread's scratch and used up there before anything
else happens; only the beginning of a frame is carried from one read to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from p2p.abc import SealedChannel
from p2p.muxers.scratch import scratch
from p2p.muxers.session import MuxerSession, SessionStream
from p2p.negotiation.multistream import Dialer


class Inbox:
    """The receiving half of one connection.

    ``sealed`` came with the end of the handshake, the plaintext ``opened`` with the muxer's negotiation. With
    ``preface`` the muxer was proposed lazily, and its answer is the first plaintext.

    ``begin`` and ``take`` give the streams touched, for each frame, and raise what the channel, the preface and the
    session raise; they must be used up at once.
    """

    __slots__ = ("_carried", "_channel", "_most", "_opened", "_preface", "_session", "bytes_received")

    def __init__(
        self,
        channel: SealedChannel,
        session: MuxerSession,
        *,
        sealed: bytes,
        opened: bytes,
        preface: Dialer | None,
    ) -> None:
        self._channel = channel
        self._session = session
        self._carried = sealed
        self._opened = opened
        self._preface = preface
        self._most = max(session.max_read, channel.frame_cipher)
        self.bytes_received = 0

    def begin(self, now: float) -> Iterator[Sequence[SessionStream]]:
        """Take in what came before."""
        if self._opened:
            plain, self._opened = self._opened, b""
            yield self._receive(memoryview(plain), now)
        if self._carried:
            yield from self._open(self._behind_carried(0), now)

    def room(self) -> memoryview:
        """Where to receive the next bytes."""
        return scratch().cipher[len(self._carried) : self._most]

    def take(self, n: int, now: float) -> Iterator[Sequence[SessionStream]]:
        """Take in the ``n`` bytes received there, without a suspension in between."""
        self.bytes_received += n
        return self._open(self._behind_carried(n), now)

    def _behind_carried(self, n: int) -> memoryview:
        carried, self._carried = self._carried, b""
        cipher = scratch().cipher
        cipher[: len(carried)] = carried
        return cipher[: len(carried) + n]

    def _open(self, sealed: memoryview, now: float) -> Iterator[Sequence[SessionStream]]:
        plain = scratch().plain
        offset, size = 0, len(sealed)
        while offset < size:
            consumed, produced = self._channel.open_into(sealed[offset:], plain)
            if not consumed:
                break
            offset += consumed
            if produced:
                yield self._receive(plain[:produced], now)
        if offset < size:
            self._carried = bytes(sealed[offset:])

    def _receive(self, data: memoryview, now: float) -> Sequence[SessionStream]:
        if self._preface is not None:
            data = data[self._preface.receive_data(data) :]
            if not self._preface.done:
                return ()
            self._preface = None
        return self._session.receive_data(data, now)
