"""Yamux and mplex sessions with one defect each."""

from __future__ import annotations

from collections.abc import Sequence

from p2p.abc import ProtocolId, Role
from p2p.errors import RemoteProtocolError
from p2p.flow import Priority
from p2p.limits import MplexLimits, YamuxLimits
from p2p.muxers import mplex
from p2p.muxers.mplex import MplexSession, MplexStream
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


class NothingIsUrgent(YamuxSession):
    """What is incremental and what is not is heeded, and urgency is not."""

    def prioritize(self, stream: SessionStream, priority: Priority) -> None:
        super().prioritize(stream, Priority(incremental=priority.incremental))


class AllIsIncremental(YamuxSession):
    """Streams of one urgency share, whether they want to or not."""

    def prioritize(self, stream: SessionStream, priority: Priority) -> None:
        super().prioritize(stream, Priority(priority.urgency))


BROKEN = {
    FinOnlyClose: "check_abandon_with_unread_data_resets",
    TornFrame: "check_a_withdrawn_write_leaves_whole_frames",
    UnenforcedWindow: "check_a_remote_beyond_the_window_is_refused",
    CreditOnArrival: "check_no_credit_for_what_is_not_read",
    NoCredit: "check_credit_is_granted_for_what_is_read",
    StartsReadingAnew: "check_bytes_cross_however_sliced",
    ResetWithoutCode: "check_reset_carries_its_code",
    NothingIsUrgent: "check_urgent_streams_go_first",
    AllIsIncremental: "check_what_is_not_incremental_is_sent_whole",
}

#: The same defects, as the streams on top show them.
BROKEN_STREAMS = {
    FinOnlyClose: {"check_close_stops_a_sender"},
    TornFrame: {"check_cancelled_send_tears_nothing"},
}


class BrokenMplex:
    """A muxer whose sessions are of the class given."""

    def __init__(self, session: type[MplexSession]) -> None:
        self._session = session

    @property
    def protocol(self) -> ProtocolId:
        return mplex.PROTOCOL

    def session(self, role: Role, *, now: float) -> MplexSession:
        return self._session(MplexLimits(), now)


class CloseOnlyClose(MplexSession):
    """Closing with unread data says that this side has ended, and the remote sends on."""

    def abandon(self, stream: SessionStream, now: float) -> None:
        stream.received = bytearray()
        super().abandon(stream, now)


class TornMessage(MplexSession):
    """A write withdrawn half-way leaves a header whose bytes never come."""

    torn = b""

    def withdraw(self, stream: SessionStream) -> int:
        left = super().withdraw(stream)
        if left:
            self.torn = stream.message + b"\x64"
        return left

    def write_into(self, out: memoryview, now: float) -> int:
        torn, self.torn = self.torn, b""
        out[: len(torn)] = torn
        return len(torn) + super().write_into(out[len(torn) :], now)

    @property
    def wants_write(self) -> bool:
        return bool(self.torn) or super().wants_write


class ForgetsHalfAHeader(MplexSession):
    """A header that comes in pieces is thrown away."""

    def receive_data(self, data: memoryview, now: float) -> Sequence[MplexStream]:
        touched = super().receive_data(data, now)
        self._receiver._head = b""
        return touched


class OneFirst(MplexSession):
    """The oldest stream is served as long as it has anything to send."""

    def write_into(self, out: memoryview, now: float) -> int:
        for ready in filter(None, self._outgoing.turns.queues):
            ready.move_to_end(min(ready, key=lambda stream: stream.key), last=False)
        return super().write_into(out, now)


class BlamesWhatWasOnItsWay(MplexSession):
    """After a reset of ours the remote may not say one more word of the stream."""

    ours: frozenset[int] = frozenset()

    def reset(self, stream: SessionStream, code: int = 0) -> None:
        super().reset(stream, code)
        self.ours |= {stream.key}

    def receive_data(self, data: memoryview, now: float) -> Sequence[MplexStream]:
        touched = super().receive_data(data, now)
        if data and data[0] & 7 == 2 and data[0] >> 3 << 1 | 1 in self.ours:
            raise RemoteProtocolError("expected nothing of a stream that was reset")
        return touched


class KeepsEverything(MplexSession):
    """What nobody reads is kept, however much it is."""

    @property
    def overfull(self) -> bool:
        return False


class ShedsAll(MplexSession):
    """When one stream overflows, all are reset."""

    def shed(self, now: float) -> Sequence[MplexStream]:
        for stream in self._table.live.values() if self.overfull else ():
            self._table.overfull[stream.key] = stream
        return super().shed(now)


class NumbersAreEnough(MplexSession):
    """The fourth stream of the remote is taken for the fourth of its own."""

    def receive_data(self, data: memoryview, now: float) -> Sequence[MplexStream]:
        theirs, ours = 3 << 1 | 1, 3 << 1
        live = self._table.live
        if theirs not in live or ours not in live:
            return super().receive_data(data, now)
        live[theirs], live[ours] = live[ours], live[theirs]
        try:
            return super().receive_data(data, now)
        finally:
            live[theirs], live[ours] = live[ours], live[theirs]


BROKEN_MPLEX = {
    CloseOnlyClose: "check_abandon_with_unread_data_resets",
    TornMessage: "check_a_withdrawn_write_leaves_whole_frames",
    ForgetsHalfAHeader: "check_bytes_cross_however_sliced",
    OneFirst: "check_streams_take_turns",
    BlamesWhatWasOnItsWay: "check_data_after_a_reset_is_discarded",
    KeepsEverything: "check_overflow_ends_that_stream_alone",
    ShedsAll: "check_overflow_ends_that_stream_alone",
    NumbersAreEnough: "check_both_sides_open_streams",
}

BROKEN_MPLEX_STREAMS = {
    KeepsEverything: {"check_overflow_resets_that_stream_alone"},
    ShedsAll: {"check_overflow_resets_that_stream_alone"},
}
