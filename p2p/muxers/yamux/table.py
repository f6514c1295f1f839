"""The streams of one yamux session: how they begin, and what they are granted. PURE."""

from __future__ import annotations

from p2p.abc import Role
from p2p.errors import LocalProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.ids import RemoteIds
from p2p.muxers.session import Touched
from p2p.muxers.table import StreamTable
from p2p.muxers.yamux.frames import MAX_U32
from p2p.muxers.yamux.sending import Outgoing
from p2p.muxers.yamux.stream import YamuxStream
from p2p.muxers.yamux.window import tuned
from p2p.resources.memory import MemoryGrant


class YamuxTable(StreamTable[YamuxStream]):
    """Live streams by id, and the ids used."""

    __slots__ = (
        "_backlog",
        "_finishing",
        "_limits",
        "_next_id",
        "_outgoing",
        "remote_ids",
        "unacknowledged",
    )

    def __init__(self, role: Role, limits: YamuxLimits, outgoing: Outgoing, memory: MemoryGrant) -> None:
        super().__init__(limits, outgoing, memory, limits.initial_window)
        self._limits = limits
        self._outgoing = outgoing
        # Yamux spec, "StreamID Field": the client, which is the dialer, uses odd ids.
        dialer = role is Role.DIALER
        self._next_id = 1 if dialer else 2
        self.remote_ids = RemoteIds(2 if dialer else 1, limits.ack_backlog, step=2)
        #: Live streams of ours that the remote has not acknowledged.
        self.unacknowledged = 0
        #: Those that it has, and that were closed here before it ended them. To whom streams are a message each they
        #: all are, and nothing else keeps their number below what the remote takes.
        self._finishing = 0
        #: How many of both there may be now.
        self._backlog = min(limits.early_streams, limits.ack_backlog)

    # --- beginning ------------------------------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        return self.unacknowledged + self._finishing < self._backlog and not self.out_of_ids

    @property
    def out_of_ids(self) -> bool:
        """Whether this side has opened all the streams it can."""
        return self._next_id > MAX_U32

    def heard(self) -> None:
        """The remote has said something of a stream, so it is ready for more than early ones."""
        self._backlog = self._limits.ack_backlog

    def open(self) -> YamuxStream:
        """A stream of ours. Raises ``ResourceLimitExceeded``."""
        self.require_room()
        stream = YamuxStream(self._next_id, inbound=False, limits=self._limits, now=0.0)
        self._next_id += 2
        self.unacknowledged += 1
        return self.add(stream)

    def was_opened(self, stream_id: int) -> bool:
        """Whether either side has opened ``stream_id``, or has passed it over."""
        if self.remote_ids.belongs(stream_id):
            return self.remote_ids.within(stream_id)
        return stream_id < self._next_id

    def accept(self, stream_id: int, now: float) -> YamuxStream:
        """A stream of the remote's."""
        return self.add(YamuxStream(stream_id, inbound=True, limits=self._limits, now=now))

    def acknowledge(self, stream: YamuxStream) -> None:
        """The remote knows of it: it no longer counts towards the backlog, unless it is closed here."""
        stream.acknowledged = True
        stream.touched |= Touched.SLOT
        self.unacknowledged -= 1
        self._finishing += stream.key in self.lingering

    # --- ending, and going on -------------------------------------------------------------------------

    def linger(self, stream: YamuxStream, now: float) -> None:
        super().linger(stream, now)
        if stream.acknowledged and not stream.inbound:
            self._finishing += 1

    def end(self, stream: YamuxStream) -> None:
        finishing = stream.key in self.lingering and stream.acknowledged and not stream.inbound
        super().end(stream)
        if not stream.acknowledged:
            self.acknowledge(stream)
        elif finishing:
            self._finishing -= 1
            stream.touched |= Touched.SLOT

    def grant(self, stream: YamuxStream, round_trip: float | None, now: float) -> None:
        """Give the remote the credit it has used up, and more when it keeps using it up quickly."""
        if not self._outgoing.update(stream):
            return
        window = stream.receive_window
        growth = tuned(window, now - stream.granted_at, round_trip, self._limits.max_window) - window
        if growth and self._memory.reserve(growth, nice_to_have=True):
            stream.receive_window += growth
            stream.reserved += growth
        stream.granted_at = now


def check_code(code: int) -> int:
    """Raises ``LocalProtocolError`` unless ``code`` fits its 32 bits."""
    if not 0 <= code <= MAX_U32:
        raise LocalProtocolError(f"a code is between 0 and {MAX_U32}, not {code}")
    return code
