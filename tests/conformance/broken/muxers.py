"""Yamux sessions with one defect each."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.abc import ProtocolId, Role
from p2p.limits import YamuxLimits
from p2p.muxers.session import SessionStream
from p2p.muxers.yamux import PROTOCOL, YamuxSession, YamuxStream


class BrokenYamux:
    """A muxer whose sessions are of the class given."""

    def __init__(self, session: type[YamuxSession]) -> None:
        self._session = session

    @property
    def protocol(self) -> ProtocolId:
        return PROTOCOL

    def session(self, role: Role, *, now: float) -> YamuxSession:
        return self._session(role, YamuxLimits(), now)


class FinOnlyClose(YamuxSession):
    """Closing with unread data says FIN and no more: who is sending waits for credit for ever."""

    def abandon(self, stream: SessionStream, now: float) -> None:
        stream.received = bytearray()
        super().abandon(stream, now)


class TornFrame(YamuxSession):
    """A write withdrawn half-way leaves a header whose bytes never come."""

    torn = b""

    def withdraw(self, stream: SessionStream) -> int:
        left = super().withdraw(stream)
        if left:
            self.torn = b"\0\0\0\0" + stream.stream_id.to_bytes(4, "big") + (100).to_bytes(4, "big")
        return left

    def write_into(self, out: memoryview, now: float) -> int:
        torn, self.torn = self.torn, b""
        out[: len(torn)] = torn
        return len(torn) + super().write_into(out[len(torn) :], now)

    @property
    def wants_write(self) -> bool:
        return bool(self.torn) or super().wants_write


class UnenforcedWindow(YamuxSession):
    """What a remote sends beyond its window is taken all the same."""

    def receive_data(self, data: memoryview, now: float) -> Sequence[YamuxStream]:
        streams = list(self._table.live.values())
        for stream in streams:
            stream.credit += 2**24
        try:
            return super().receive_data(data, now)
        finally:
            for stream in streams:
                stream.credit -= 2**24


class CreditOnArrival(YamuxSession):
    """Credit is granted for what arrives, read or not."""

    def receive_data(self, data: memoryview, now: float) -> Sequence[YamuxStream]:
        touched = super().receive_data(data, now)
        for stream in touched:
            unread, stream.received = stream.received, bytearray()
            self._took(stream, now)
            stream.received = unread
        return touched

    def write_into(self, out: memoryview, now: float) -> int:
        unread = {stream: stream.received for stream in self._table.live.values()}
        for stream in unread:
            stream.received = bytearray()
        n = super().write_into(out, now)
        for stream, received in unread.items():
            stream.received = received
        return n


class NoCredit(YamuxSession):
    """Reading grants nothing: a stream carries one window and no more."""

    def _took(self, books: YamuxStream, now: float) -> None:
        pass


class StartsReadingAnew(YamuxSession):
    """A frame that comes in pieces within its header is thrown away."""

    def receive_data(self, data: memoryview, now: float) -> Sequence[YamuxStream]:
        if len(data) < 12:
            return []
        return super().receive_data(data, now)


class ResetWithoutCode(YamuxSession):
    """Every reset carries the code 0."""

    def reset(self, stream: SessionStream, code: int = 0) -> None:
        super().reset(stream, 0)


BROKEN = {
    FinOnlyClose: "check_abandon_with_unread_data_resets",
    TornFrame: "check_a_withdrawn_write_leaves_whole_frames",
    UnenforcedWindow: "check_a_remote_beyond_the_window_is_refused",
    CreditOnArrival: "check_no_credit_for_what_is_not_read",
    NoCredit: "check_credit_is_granted_for_what_is_read",
    StartsReadingAnew: "check_bytes_cross_however_sliced",
    ResetWithoutCode: "check_reset_carries_its_code",
}

#: The same defects, as the streams on top show them.
BROKEN_STREAMS = {
    FinOnlyClose: {"check_close_stops_a_sender"},
    TornFrame: {"check_cancelled_send_tears_nothing"},
}
