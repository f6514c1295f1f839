"""One yamux session, kept by the parts of this package. PURE.

``receiving`` takes frames in, ``sending`` cuts them, ``table`` keeps the streams, ``keepalive`` the pings. Source:
libp2p/specs, yamux/README.md; codes of resets as go-yamux sends them.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.abc import ProtocolId, Role
from p2p.errors import NORMAL_TERMINATION, LocalProtocolError, RemoteProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.bookkeeping import Bookkeeper
from p2p.muxers.session import SessionStream
from p2p.muxers.yamux.keepalive import KeepAlive
from p2p.muxers.yamux.receiving import Receiver
from p2p.muxers.yamux.sending import Outgoing
from p2p.muxers.yamux.stream import YamuxStream
from p2p.muxers.yamux.table import YamuxTable, check_code
from p2p.muxers.yamux.window import due
from p2p.resources.memory import UNACCOUNTED, MemoryGrant

PROTOCOL = ProtocolId("/yamux/1.0.0")


class Yamux:
    """Yamux, as a :class:`p2p.abc.Muxer`."""

    __slots__ = ("_limits",)

    def __init__(self, limits: YamuxLimits | None = None) -> None:
        self._limits = YamuxLimits() if limits is None else limits

    @property
    def protocol(self) -> ProtocolId:
        return PROTOCOL

    def session(self, role: Role, *, now: float, memory: MemoryGrant = UNACCOUNTED) -> YamuxSession:
        return YamuxSession(role, self._limits, now, memory)


class YamuxSession(Bookkeeper[YamuxStream]):
    """One connection's yamux. See :class:`p2p.muxers.session.MuxerSession` for what each method promises."""

    __slots__ = ("_goodbye", "_keepalive", "_limits", "_outgoing", "_receiver", "_table")

    def __init__(
        self, role: Role, limits: YamuxLimits, now: float, memory: MemoryGrant = UNACCOUNTED
    ) -> None:
        self._limits = limits
        self._keepalive = KeepAlive(limits, now)
        self._outgoing = Outgoing(limits, self._keepalive, memory)
        self._table = YamuxTable(role, limits, self._outgoing, memory)
        self._receiver = Receiver(limits, self._table, self._outgoing, self._keepalive)
        self._goodbye: int | None = None
        super().__init__(YamuxStream, self._table, self._outgoing)

    # --- bytes ----------------------------------------------------------------------------------------

    def receive_data(self, data: memoryview, now: float) -> Sequence[YamuxStream]:
        if self._broken:
            raise LocalProtocolError("the remote broke the rules: nothing more is read from it")
        self._keepalive.heard(now)
        try:
            touched = self._receiver.receive(data, now)
        except RemoteProtocolError:
            self._break()
            raise
        if touched:
            self._keepalive.moved(now)
            self._table.heard()
        return touched

    # --- streams --------------------------------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        return (
            self._table.can_open
            and not self._broken
            and self._goodbye is None
            and self._receiver.closed_by_remote is None
        )

    def open_stream(self) -> YamuxStream:
        if not self.can_open:
            raise LocalProtocolError("no stream can be opened now: look at can_open first")
        stream = self._table.open()
        if self._table.out_of_ids:  # a new connection has all of them again, so let there be one
            self.close(NORMAL_TERMINATION)
        return stream

    def reset(self, stream: SessionStream, code: int = 0) -> None:
        check_code(code)
        super().reset(stream, code)

    # --- the session as a whole -----------------------------------------------------------------------

    def close(self, code: int) -> None:
        """GoAway with ``code``. Once only, but that a plain goodbye is followed by the error that came after it."""
        check_code(code)
        if self._goodbye is None or (self._goodbye == NORMAL_TERMINATION and code != NORMAL_TERMINATION):
            self._goodbye = self._outgoing.goodbye = code
            self._receiver.closed_by_us = True

    @property
    def closed_by_us(self) -> bool:
        return self._goodbye is not None

    @property
    def closed_by_remote(self) -> int | None:
        return self._receiver.closed_by_remote

    def next_timer(self) -> float | None:
        if self._broken:
            return None
        return min(self._keepalive.due(), self._table.first_linger)

    def handle_timer(self, now: float) -> Sequence[YamuxStream]:
        """Keep-alive, and an end to lingering streams: returns those, which were reset."""
        if self._broken:
            return ()
        over = self._table.end_lingering(now)
        try:
            self._keepalive.handle_timer(now)
        except RemoteProtocolError:
            self._break()
            raise
        return over

    @property
    def round_trip(self) -> float | None:
        return self._keepalive.round_trip

    # --- inside ---------------------------------------------------------------------------------------

    def _took(self, books: YamuxStream, now: float) -> None:
        ceiling = self._limits.max_window
        if books.takes_data and due(books.receive_window, books.credit, len(books.received), ceiling):
            self._table.grant(books, self._keepalive.round_trip, now)

    def _stops_reading(self, books: YamuxStream) -> None:
        self._outgoing.forget_update(books)

    def _windows(self, books: YamuxStream) -> tuple[int | None, int, int | None]:
        return books.send_window, books.receive_window, books.credit
