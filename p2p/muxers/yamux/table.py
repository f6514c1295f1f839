"""The streams of one session: how they begin, end, and are counted. PURE."""

from __future__ import annotations

from collections import OrderedDict

from p2p.abc import Role
from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.session import Touched
from p2p.muxers.yamux.frames import MAX_U32, SYN
from p2p.muxers.yamux.ids import RecentIds, RemoteIds
from p2p.muxers.yamux.sending import Outgoing
from p2p.muxers.yamux.stream import YamuxStream
from p2p.muxers.yamux.window import tuned
from p2p.resources.bucket import TokenBucket


class StreamTable:
    """Live streams by id, and what outlives them: used ids, and resets the remote need not be told again."""

    __slots__ = (
        "_backlog",
        "_budget",
        "_growth_left",
        "_limits",
        "_next_id",
        "_outgoing",
        "answered",
        "inbound",
        "lingering",
        "live",
        "remote_ids",
        "unacknowledged",
    )

    def __init__(self, role: Role, limits: YamuxLimits, outgoing: Outgoing, now: float) -> None:
        self._limits = limits
        self._outgoing = outgoing
        self.live: dict[int, YamuxStream] = {}
        # Yamux spec, "StreamID Field": the client, which is the dialer, uses odd ids.
        dialer = role is Role.DIALER
        self._next_id = 1 if dialer else 2
        self.remote_ids = RemoteIds(2 if dialer else 1, limits.ack_backlog)
        #: Streams ended by an RST of ours: what was on its way then is dropped without another.
        self.answered = RecentIds(limits.remembered_resets)
        #: Live streams that the remote opened, and live ones of ours that it has not acknowledged.
        self.inbound = 0
        self.unacknowledged = 0
        #: How many of the latter there may be now.
        self._backlog = min(limits.early_streams, limits.ack_backlog)
        #: Closed here and not ended by the remote, in the order of their deadlines.
        self.lingering: OrderedDict[int, YamuxStream] = OrderedDict()
        self._budget = TokenBucket(limits.reset_rate, limits.reset_burst, now)
        self._growth_left = limits.max_window_growth

    # --- beginning ------------------------------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        return self.unacknowledged < self._backlog and not self.out_of_ids

    @property
    def out_of_ids(self) -> bool:
        """Whether this side has opened all the streams it can."""
        return self._next_id > MAX_U32

    def heard(self) -> None:
        """The remote has said something of a stream, so it is ready for more than early ones."""
        self._backlog = self._limits.ack_backlog

    def open(self) -> YamuxStream:
        """A stream of ours."""
        stream = YamuxStream(self._next_id, inbound=False, limits=self._limits, now=0.0)
        self._next_id += 2
        self.unacknowledged += 1
        self.live[stream.stream_id] = stream
        self._outgoing.schedule(stream)
        return stream

    def was_opened(self, stream_id: int) -> bool:
        """Whether either side has opened ``stream_id``, or has passed it over."""
        if self.remote_ids.belongs(stream_id):
            return self.remote_ids.within(stream_id)
        return stream_id < self._next_id

    @property
    def has_room(self) -> bool:
        """Whether the remote may open one more."""
        return self.inbound < self._limits.max_inbound_streams

    def accept(self, stream_id: int, now: float) -> YamuxStream:
        """A stream of the remote's."""
        stream = YamuxStream(stream_id, inbound=True, limits=self._limits, now=now)
        self.inbound += 1
        self.live[stream_id] = stream
        self._outgoing.schedule(stream)
        return stream

    def acknowledge(self, stream: YamuxStream) -> None:
        """The remote knows of it: it no longer counts towards the backlog."""
        stream.acknowledged = True
        stream.touched |= Touched.SLOT
        self.unacknowledged -= 1

    # --- ending ---------------------------------------------------------------------------------------

    def end(self, stream: YamuxStream) -> None:
        """Forget a live stream. What was received of it stays readable."""
        stream.over = True
        stream.takes_data = False
        del self.live[stream.stream_id]
        self.lingering.pop(stream.stream_id, None)
        self._outgoing.forget(stream)
        self._growth_left += stream.receive_window - self._limits.initial_window
        if stream.inbound:
            self.inbound -= 1
        elif not stream.acknowledged:
            self.acknowledge(stream)

    def reset(self, stream: YamuxStream, code: int) -> None:
        """End a live stream by RST, dropping what is buffered both ways."""
        if stream.opening != SYN:  # else the remote has not heard of it, and need not
            self._outgoing.reset(stream.stream_id, code)
            if not stream.eof_received:
                self.answered.add(stream.stream_id)
        stream.received = bytearray()
        self._outgoing.drop(stream)
        self.end(stream)

    def stop_remote(self, stream: YamuxStream) -> None:
        """The remote sends what nobody will read: RST, once what was accepted, and FIN, are written."""
        if stream.fin_written:
            self.reset(stream, 0)
        else:
            stream.reset_after_fin = True

    def fin_written(self, stream: YamuxStream) -> None:
        """FIN is in a frame: that ends the stream, or leaves its end to the remote."""
        if stream.eof_received:
            self.end(stream)
        elif stream.reset_after_fin:
            self.reset(stream, 0)

    def linger(self, stream: YamuxStream, now: float) -> None:
        """Give the remote a while to end a stream that was closed here."""
        stream.linger_until = now + self._limits.closed_linger
        self.lingering[stream.stream_id] = stream

    # --- bounds ---------------------------------------------------------------------------------------

    def spend_reset(self, now: float) -> None:
        """The remote caused a reset; raises ``RemoteProtocolError`` when that is one too many."""
        if not self._budget.take(now):
            raise RemoteProtocolError("expected fewer streams refused, reset, or used after their end")

    def refuse(self, stream_id: int, now: float) -> None:
        """Answer a frame of a stream that has no books by RST."""
        self.spend_reset(now)
        self.answered.add(stream_id)
        self._outgoing.reset(stream_id, 0)

    def grant(self, stream: YamuxStream, round_trip: float | None, now: float) -> None:
        """Give the remote the credit it has used up, and more when it keeps using it up quickly."""
        if not self._outgoing.update(stream):
            return
        window = stream.receive_window
        stream.receive_window = tuned(
            window, now - stream.granted_at, round_trip, self._growth_left, self._limits.max_window
        )
        self._growth_left -= stream.receive_window - window
        stream.granted_at = now


def check_code(code: int) -> int:
    """Raises ``LocalProtocolError`` unless ``code`` fits its 32 bits."""
    if not 0 <= code <= MAX_U32:
        raise LocalProtocolError(f"a code is between 0 and {MAX_U32}, not {code}")
    return code
