"""One yamux session: :class:`p2p.muxers.session.MuxerSession` kept by the parts of this package. PURE.

``receiving`` takes frames in, ``sending`` cuts them, ``table`` keeps the streams, ``keepalive`` the pings. Source:
libp2p/specs, yamux/README.md; codes of resets as go-yamux sends them.
"""

from __future__ import annotations

from collections.abc import Sequence

from p2p.abc import ProtocolId, Role
from p2p.errors import NORMAL_TERMINATION, LocalProtocolError, RemoteProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.session import SessionStream
from p2p.muxers.yamux.keepalive import KeepAlive
from p2p.muxers.yamux.receiving import Receiver
from p2p.muxers.yamux.sending import Outgoing
from p2p.muxers.yamux.stream import YamuxStream
from p2p.muxers.yamux.table import StreamTable, check_code
from p2p.muxers.yamux.window import due

PROTOCOL = ProtocolId("/yamux/1.0.0")


class Yamux:
    """Yamux, as a :class:`p2p.abc.Muxer`."""

    __slots__ = ("_limits",)

    def __init__(self, limits: YamuxLimits | None = None) -> None:
        self._limits = YamuxLimits() if limits is None else limits

    @property
    def protocol(self) -> ProtocolId:
        return PROTOCOL

    def session(self, role: Role, *, now: float) -> YamuxSession:
        return YamuxSession(role, self._limits, now)


class YamuxSession:
    """One connection's yamux. See :class:`p2p.muxers.session.MuxerSession` for what each method promises."""

    __slots__ = ("_broken", "_ended", "_goodbye", "_keepalive", "_limits", "_outgoing", "_receiver", "_table")

    def __init__(self, role: Role, limits: YamuxLimits, now: float) -> None:
        self._limits = limits
        self._keepalive = KeepAlive(limits, now)
        self._outgoing = Outgoing(limits, self._keepalive)
        self._table = StreamTable(role, limits, self._outgoing, now)
        self._receiver = Receiver(limits, self._table, self._outgoing, self._keepalive)
        self._ended: list[YamuxStream] = []
        self._goodbye: int | None = None
        self._broken = False

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

    def write_into(self, out: memoryview, now: float) -> int:
        ended = self._ended
        n = self._outgoing.gather(out, now, ended)
        if ended:
            for stream in ended:
                self._table.fin_written(stream)
            ended.clear()
            n = self._outgoing.write_control(out, n, now)
        return n

    @property
    def wants_write(self) -> bool:
        return not self._outgoing.empty

    @property
    def congested(self) -> bool:
        return self._outgoing.congested

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

    def send(self, stream: SessionStream, data: memoryview) -> int:
        books = _books(stream)
        size = len(data)
        if size <= books.send_room and self._outgoing.copied + size <= self._limits.send_buffers:
            return self._copy(books, data, size)
        _check_sending(books)
        if books.held is not None:
            return 0
        books.held = data
        self._outgoing.schedule(books)
        return size

    def send_copy(self, stream: SessionStream, data: memoryview) -> int:
        books = _books(stream)
        room = min(books.send_room, self._limits.send_buffers - self._outgoing.copied)
        return self._copy(books, data, min(len(data), room))

    def withdraw(self, stream: SessionStream) -> int:
        books = _books(stream)
        if books.held is None:
            return 0
        left = len(books.held)
        books.held = None
        self._outgoing.schedule(books)
        return left

    def read(self, stream: SessionStream, max_bytes: int | None, now: float) -> bytes | bytearray:
        books = _books(stream)
        data = books.received
        if not data:
            return b""
        if max_bytes is None or max_bytes >= len(data):
            books.received = bytearray()
        else:
            data = data[:max_bytes]
            del books.received[:max_bytes]
        self._grant(books, now)
        return data

    def unread_negotiation(self, stream: SessionStream, n: int, now: float) -> None:
        books = _books(stream)
        del books.received[:n]
        self._grant(books, now)

    def send_eof(self, stream: SessionStream) -> None:
        books = _books(stream)
        if not books.eof_sent and not books.over:
            books.eof_sent = True
            self._outgoing.schedule(books)

    def abandon(self, stream: SessionStream, now: float) -> None:
        books = _books(stream)
        unread = bool(books.received)
        books.received = bytearray()
        if books.over or books.abandoned:
            return
        books.abandoned = True
        books.takes_data = False
        self._outgoing.forget_update(books)
        self.send_eof(books)
        self._table.linger(books, now)
        if unread:
            self._table.stop_remote(books)

    def reset(self, stream: SessionStream, code: int = 0) -> None:
        books = _books(stream)
        check_code(code)
        if not books.over:
            self._table.reset(books, code)

    def refused(self, now: float) -> None:
        try:
            self._table.spend_reset(now)
        except RemoteProtocolError:
            self._break()
            raise

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

    @property
    def live_streams(self) -> int:
        return len(self._table.live)

    def next_timer(self) -> float | None:
        if self._broken:
            return None
        due_at = self._keepalive.due()
        if self._table.lingering:
            due_at = min(due_at, next(iter(self._table.lingering.values())).linger_until)
        return due_at

    def handle_timer(self, now: float) -> Sequence[YamuxStream]:
        """Keep-alive, and an end to lingering streams: returns those, which were reset."""
        over: list[YamuxStream] = []
        if self._broken:
            return over
        lingering = self._table.lingering
        while lingering:
            stream = next(iter(lingering.values()))
            if stream.linger_until > now:
                break
            self._table.reset(stream, 0)
            over.append(stream)
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

    def _copy(self, books: YamuxStream, data: memoryview, size: int) -> int:
        _check_sending(books)
        if size:
            books.pending += data[:size]
            self._outgoing.copied += size
            self._outgoing.schedule(books)
        return size

    def _grant(self, books: YamuxStream, now: float) -> None:
        if books.takes_data and due(books.receive_window, books.credit, len(books.received)):
            self._table.grant(books, self._keepalive.round_trip, now)

    def _break(self) -> None:
        self._broken = True
        self._outgoing.only_goodbye = True


def _books(stream: SessionStream) -> YamuxStream:
    if not isinstance(stream, YamuxStream):
        raise LocalProtocolError(f"{stream!r} is not a yamux stream")
    return stream


def _check_sending(books: YamuxStream) -> None:
    if books.eof_sent or books.over:
        how = "ended" if books.eof_sent else "reset"
        raise LocalProtocolError(f"{books!r} was {how}: it sends no more")
