"""One mplex session, kept by the parts of this package. PURE.

``receiving`` takes messages in, ``sending`` cuts them, ``table`` keeps the streams. Source: libp2p/specs,
mplex/README.md. What the protocol has not: windows (a stream that nobody reads is reset), pings (TCP's keep-alive
must do), codes of resets, and a goodbye: ours is kept in mind, the remote's is the end of the transport.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.abc import ProtocolId, Role
from p2p.errors import NORMAL_TERMINATION, LocalProtocolError, RemoteProtocolError
from p2p.limits import MplexLimits
from p2p.muxers.bookkeeping import Bookkeeper
from p2p.muxers.mplex.receiving import Receiver
from p2p.muxers.mplex.sending import Outgoing
from p2p.muxers.mplex.stream import MplexStream
from p2p.muxers.mplex.table import MplexTable
from p2p.muxers.session import SessionStream
from p2p.resources.memory import UNACCOUNTED, MemoryGrant

PROTOCOL = ProtocolId("/mplex/6.7.0")


class Mplex:
    """Mplex, as a :class:`p2p.abc.Muxer`."""

    __slots__ = ("_limits",)

    def __init__(self, limits: MplexLimits | None = None) -> None:
        self._limits = MplexLimits() if limits is None else limits

    @property
    def protocol(self) -> ProtocolId:
        return PROTOCOL

    def session(self, role: Role, *, now: float, memory: MemoryGrant = UNACCOUNTED) -> MplexSession:
        return MplexSession(self._limits, now, memory)


class MplexSession(Bookkeeper[MplexStream]):
    """One connection's mplex, the same on both sides: who opened a stream stands in each message.

    See :class:`p2p.muxers.session.MuxerSession` for what each method promises.
    """

    __slots__ = ("_closed_by_remote", "_limits", "_outgoing", "_receiver", "_table")

    def __init__(self, limits: MplexLimits, now: float, memory: MemoryGrant = UNACCOUNTED) -> None:
        self._limits = limits
        self._outgoing = Outgoing(limits, memory)
        self._table = MplexTable(limits, self._outgoing, now, memory)
        self._receiver = Receiver(limits, self._table)
        self._closed_by_remote: int | None = None
        super().__init__(MplexStream, self._table, self._outgoing)

    # --- bytes ----------------------------------------------------------------------------------------

    def receive_data(self, data: memoryview, now: float) -> Sequence[MplexStream]:
        if self._broken:
            raise LocalProtocolError("the remote broke the rules: nothing more is read from it")
        try:
            return self._receiver.receive(data, now)
        except RemoteProtocolError:
            self._break()
            raise

    @property
    def max_read(self) -> int:
        return self._limits.max_read

    def receive_eof(self) -> None:
        self._closed_by_remote = NORMAL_TERMINATION

    @property
    def overfull(self) -> bool:
        return bool(self._table.overfull)

    def stall(self, now: float) -> float:
        return self._table.stall(now)

    def shed(self, now: float) -> Sequence[MplexStream]:
        try:
            return self._table.shed(now)
        except RemoteProtocolError:
            self._break()
            raise

    def read(self, stream: SessionStream, max_bytes: int | None, now: float) -> bytes | bytearray:
        data = super().read(stream, max_bytes, now)
        self._books(stream).was_read = True
        return data

    # --- streams --------------------------------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        return (
            self._table.can_open
            and not self._broken
            and not self.closed_by_us
            and self._closed_by_remote is None
        )

    def open_stream(self) -> MplexStream:
        if not self.can_open:
            raise LocalProtocolError("no stream can be opened now: look at can_open first")
        return self._table.open()

    # --- the session as a whole -----------------------------------------------------------------------

    def close(self, code: int) -> None:
        """Take no more streams, and open none. Nothing of it is said: there is no message for it."""
        self._receiver.closed_by_us = True

    @property
    def closed_by_us(self) -> bool:
        return self._receiver.closed_by_us

    @property
    def closed_by_remote(self) -> int | None:
        return self._closed_by_remote

    def next_timer(self) -> float | None:
        return self._table.first_linger if self._table.lingering and not self._broken else None

    def handle_timer(self, now: float) -> Sequence[MplexStream]:
        """An end to lingering streams: returns those, which were reset."""
        return () if self._broken else self._table.end_lingering(now)

    @property
    def round_trip(self) -> float | None:
        return None

    # --- inside ---------------------------------------------------------------------------------------

    def _took(self, books: MplexStream, now: float) -> None:
        self._table.read(books)
        if books.key not in self._table.overfull:  # else a reader of single bytes would hold up all others
            books.unread_since = now

    def _stops_reading(self, books: MplexStream) -> None:
        self._table.read(books)

    def _windows(self, books: MplexStream) -> tuple[int | None, int, int | None]:
        return None, self._limits.receive_buffer, None
