"""What leaves a connection: gathered from the session, sealed in place, handed to the socket. PURE.

Whoever has something to say calls :meth:`Outbox.flush`, which never waits. What the socket does not take stays where
it was sealed, and from then on only the connection's writer sends, so no frame is ever torn by a cancelled caller.
While much is written, :meth:`Outbox.collect` seals frames as they get full, and sends several at once.

What is sealed has its place for good: an urgent frame goes behind it. So no more is sealed at once than a slow socket
takes in a moment, and a slow one is known by how long it took what it refused: one batch of full size is what it
costs to learn that. With :data:`SMALL_BATCH` and what the kernel holds (``TCPLimits.unsent``), at 10 Mbit/s an urgent
frame then waits for at most 80 KiB, 66 ms; a fast socket goes on taking four full frames in one system call.
"""

from __future__ import annotations

from p2p.abc import RawStream, SealedChannel
from p2p.muxers.scratch import SCRATCH_SIZE, scratch
from p2p.muxers.sending import MIN_ROOM
from p2p.muxers.session import MuxerSession, SessionStream

#: Gathers in one flush: bounds how long the event loop is held (about 1 MiB, 0.7 ms) when the socket takes all.
MAX_GATHERS = 4
#: Sealed at once for a slow socket: 13 ms at 10 Mbit/s, and two headers in a thousand bytes of it at most.
SMALL_BATCH = 16 * 1024
#: Seconds in which a fast socket has taken what it refused: what it may refuse takes this at 26 MB/s.
FAST = 0.01
#: Small batches one after the other that only a fast socket takes whole; the kernel's buffer holds no more of them.
FAST_BATCHES = 8


class Outbox:
    """The sending half of one connection."""

    __slots__ = (
        "_batch",
        "_begin",
        "_blocked_at",
        "_channel",
        "_end",
        "_most",
        "_preface",
        "_prefix",
        "_raw",
        "_session",
        "_stuck",
        "_taken",
        "blocked",
        "bytes_sent",
    )

    def __init__(
        self, raw: RawStream, channel: SealedChannel, session: MuxerSession, *, prefix: bytes, preface: bytes
    ) -> None:
        """``prefix`` goes out first, unsealed (the end of the handshake); ``preface`` is the first plaintext."""
        self._raw = raw
        self._channel = channel
        self._session = session
        self._prefix = prefix
        self._preface = preface
        #: Sealed bytes lie in ``_batch[_begin:_end]``; without any there is no batch.
        self._batch: memoryview | None = None
        self._begin = self._end = 0
        #: Whether the socket took less than it was offered: then only the writer sends.
        self.blocked = False
        self._blocked_at = 0.0
        #: How large a batch may become, and how many small ones the socket took whole since it refused one.
        self._most = SCRATCH_SIZE
        self._taken = 0
        #: Copied bytes that the last collecting left for want of credit: they fill no frame, however many they are.
        self._stuck = 0
        self.bytes_sent = 0

    @property
    def frame(self) -> int:
        """The plaintext that fills a frame."""
        return self._channel.frame_plain

    @property
    def queued(self) -> int:
        """Sealed bytes the socket has not taken."""
        return self._end - self._begin

    @property
    def wants_flush(self) -> bool:
        """Whether there is anything to send."""
        return self._session.wants_write or bool(self._end or self._prefix or self._preface)

    def flush(self, now: float) -> bool:
        """Send what there is, as far as the socket takes it; True when nothing is left that could go out now.

        Raises what ``RawStream.try_send`` raises.
        """
        if self.blocked:
            return False
        self._stuck = 0
        for _ in range(MAX_GATHERS):
            whole = self._gather(now)
            if self._end and not self._send(now):
                return False
            if whole:
                return True
        return not self.wants_flush

    def collect(self, now: float, stream: SessionStream) -> None:
        """Seal full frames while ``stream`` holds a write, or one is copied; send them when they fill a batch.

        Raises what ``RawStream.try_send`` raises.
        """
        session, frame = self._session, self._channel.frame_plain
        for _ in range(MAX_GATHERS):
            if self.blocked:
                return
            while stream.holding or session.copied - self._stuck >= frame:
                room = self._room()
                if len(room) < frame and self._end:
                    break
                n = session.write_into(room, now)
                if n:
                    self._seal(n)
                if n + MIN_ROOM < len(room):  # that is all the windows allow
                    self._stuck = session.copied
                    self._give_back()
                    return
            else:
                return
            self._send(now)

    def send_refused(self, now: float) -> None:
        """The writer's part: offer the socket what it refused before."""
        self._send(now)

    def drop(self) -> None:
        """Let go of what was sealed: the connection is over."""
        if self._batch is not None:
            self._end = self._begin = 0
            self._give_back()
        self.blocked = False

    # --- inside ---------------------------------------------------------------------------------------

    def _send(self, now: float) -> bool:
        """Offer the socket what is sealed; whether it took all."""
        batch = self._batch
        assert batch is not None
        sent = self._raw.try_send(batch[self._begin : self._end])
        self.bytes_sent += sent
        self._begin += sent
        if self._begin < self._end:
            if not self.blocked:
                self.blocked = True
                self._blocked_at = now
                self._taken = 0
            return False
        if self.blocked:
            self.blocked = False
            self._most = SCRATCH_SIZE if now - self._blocked_at < FAST else SMALL_BATCH
        elif self._most < SCRATCH_SIZE and self._end > self._most - MIN_ROOM:
            self._taken += 1
            if self._taken == FAST_BATCHES:
                self._most = SCRATCH_SIZE
        self._begin = self._end = 0
        self._batch = None
        scratch().give_batch(batch)
        return True

    def _room(self) -> memoryview:
        """Where the plaintext of the next frame belongs."""
        batch = self._batch
        if batch is None:
            batch = self._batch = scratch().take_batch()
        return self._channel.room(batch[self._end : self._most])

    def _seal(self, n: int) -> None:
        batch = self._batch
        assert batch is not None
        self._end += self._channel.seal(batch[self._end :], n)

    def _gather(self, now: float) -> bool:
        """Fill the batch with frames; whether all that waits is in it."""
        session = self._session
        if self._prefix:
            batch = self._batch = scratch().take_batch()
            self._end = len(self._prefix)
            batch[: self._end] = self._prefix
            self._prefix = b""
        while True:
            room = self._room()
            n = 0
            if self._preface:
                n = len(self._preface)
                if n > len(room):
                    return False
                room[:n] = self._preface
                self._preface = b""
            n += session.write_into(room[n:], now)
            if not n:
                self._give_back()
                return len(room) >= MIN_ROOM
            self._seal(n)
            # With room left the session had no more, but that a goodbye waits for streams to be opened before it.
            if n + MIN_ROOM < len(room) and not session.closed_by_us:
                return True
            if not session.wants_write:
                return True

    def _give_back(self) -> None:
        if not self._end and self._batch is not None:
            scratch().give_batch(self._batch)
            self._batch = None
