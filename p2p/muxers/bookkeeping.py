"""What every session does with its books, whatever the protocol. PURE.

A protocol's session adds what its wire says: bytes in, how streams begin, and how the whole ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic

from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.flow import Priority, StreamStatistics, WaitsFor
from p2p.muxers.books import S
from p2p.muxers.scratch import SCRATCH_SIZE
from p2p.muxers.sending import SendQueue
from p2p.muxers.session import SessionStream
from p2p.muxers.table import StreamTable


class Bookkeeper(ABC, Generic[S]):
    """The half of a :class:`p2p.muxers.session.MuxerSession` that is the same for all; see there for the promises.

    ``kind`` is the class of the books.
    """

    __slots__ = ("_broken", "_ended", "_kind", "_queue", "_streams")

    def __init__(self, kind: type[S], streams: StreamTable[S], queue: SendQueue[S]) -> None:
        self._kind = kind
        self._streams = streams
        self._queue = queue
        self._ended: list[S] = []
        self._broken = False

    # --- what the protocol adds -----------------------------------------------------------------------

    @abstractmethod
    def _took(self, books: S, now: float) -> None:
        """Received bytes were read."""

    @abstractmethod
    def _stops_reading(self, books: S) -> None:
        """Nobody will read of it any more: what was received is gone."""

    @abstractmethod
    def _windows(self, books: S) -> tuple[int | None, int, int | None]:
        """What may be sent, what may be received unread, and what of that is still to come."""

    # --- reading: as it is with flow control, a goodbye, and headers of some length ---------------------

    @property
    def max_read(self) -> int:
        return SCRATCH_SIZE

    def receive_eof(self) -> None:
        pass

    @property
    def overfull(self) -> bool:
        return False

    def stall(self, now: float) -> float:
        return now

    def shed(self, now: float) -> Sequence[S]:
        return ()

    # --- writing --------------------------------------------------------------------------------------

    def write_into(self, out: memoryview, now: float) -> int:
        ended = self._ended
        n = self._queue.gather(out, now, ended)
        if ended:
            for stream in ended:
                self._streams.fin_written(stream)
            ended.clear()
            n = self._queue.write_control(out, n, now)
        self._queue.give_back()
        return n

    @property
    def wants_write(self) -> bool:
        return not self._queue.empty

    @property
    def copied(self) -> int:
        return self._queue.copied

    @property
    def congested(self) -> bool:
        return self._queue.congested

    @property
    def crowded(self) -> bool:
        return self._queue.crowded

    # --- streams --------------------------------------------------------------------------------------

    def send(self, stream: SessionStream, data: memoryview) -> int:
        return self._queue.send(self._books(stream), data)

    def send_copy(self, stream: SessionStream, data: memoryview) -> int:
        return self._queue.send_copy(self._books(stream), data)

    def prioritize(self, stream: SessionStream, priority: Priority) -> None:
        self._queue.turns.place(self._books(stream), priority)

    def statistics(self, stream: SessionStream) -> StreamStatistics:
        books = self._books(stream)
        send_window, receive_window, credit = self._windows(books)
        waits_for = None
        if books.waiting:
            if not books.send_window:
                waits_for = WaitsFor.WINDOW
            else:
                waits_for = WaitsFor.SOCKET if next(iter(self._queue.turns)) is books else WaitsFor.STREAMS
        return StreamStatistics(
            send_window=send_window,
            unsent=books.waiting,
            copied=len(books.pending),
            send_waits=books.holding,
            waits_for=waits_for,
            receive_window=receive_window,
            credit=credit,
            unread=len(books.received),
        )

    def withdraw(self, stream: SessionStream) -> int:
        return self._queue.withdraw(self._books(stream))

    def read(self, stream: SessionStream, max_bytes: int | None, now: float) -> bytes | bytearray:
        books = self._books(stream)
        data = books.received
        if not data:
            return b""
        if max_bytes is None or max_bytes >= len(data):
            books.received = bytearray()
        else:
            data = data[:max_bytes]
            del books.received[:max_bytes]
        self._took(books, now)
        if books.receives_no_more:
            self._streams.settle(books)
        return data

    def unread_negotiation(self, stream: SessionStream, n: int, now: float) -> None:
        books = self._books(stream)
        del books.received[:n]
        self._took(books, now)
        if books.receives_no_more:
            self._streams.settle(books)

    def send_eof(self, stream: SessionStream) -> None:
        books = self._books(stream)
        if not books.eof_sent and not books.over:
            books.eof_sent = True
            self._queue.schedule(books)

    def abandon(self, stream: SessionStream, now: float) -> None:
        books = self._books(stream)
        unread = bool(books.received)
        books.received = bytearray()
        self._stops_reading(books)
        if books.over or books.abandoned:
            self._streams.settle(books)
            return
        books.abandoned = True
        books.takes_data = False
        self._streams.settle(books)
        self.send_eof(books)
        self._streams.linger(books, now)
        if unread:
            self._streams.stop_remote(books)

    def reset(self, stream: SessionStream, code: int = 0) -> None:
        books = self._books(stream)
        if books.over:
            books.received = bytearray()
            self._streams.settle(books)
        else:
            self._streams.reset(books, code)
            self._stops_reading(books)

    def refused(self, now: float) -> None:
        try:
            self._streams.spend_reset(now)
        except RemoteProtocolError:
            self._break()
            raise

    @property
    def live_streams(self) -> int:
        return len(self._streams.live)

    # --- inside ---------------------------------------------------------------------------------------

    def _books(self, stream: SessionStream) -> S:
        if isinstance(stream, self._kind):
            return stream
        raise LocalProtocolError(f"{stream!r} is no stream of this protocol")

    def _break(self) -> None:
        self._broken = True
        self._queue.only_goodbye = True
