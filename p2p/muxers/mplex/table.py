"""The streams of one mplex session: how they begin, and which hold more than they may. PURE."""

from __future__ import annotations

from p2p.limits import MplexLimits
from p2p.muxers.ids import RemoteIds
from p2p.muxers.mplex.frames import MAX_ID
from p2p.muxers.mplex.sending import Outgoing
from p2p.muxers.mplex.stream import MplexStream
from p2p.muxers.session import Touched
from p2p.muxers.table import StreamTable
from p2p.resources.bucket import TokenBucket
from p2p.resources.memory import MemoryGrant


class MplexTable(StreamTable[MplexStream]):
    """Live streams by key, the ids used, and the streams that overflow."""

    __slots__ = ("_limits", "_next_id", "_patience", "_rationed", "_stalled_at", "overfull", "remote_ids")

    def __init__(self, limits: MplexLimits, outgoing: Outgoing, now: float, memory: MemoryGrant) -> None:
        super().__init__(limits, outgoing, memory, limits.receive_buffer)
        self._limits = limits
        self._next_id = 0
        self.remote_ids = RemoteIds(0, limits.max_inbound_streams, step=1)
        #: Streams that received more than their buffer, and may receive more still.
        self.overfull: dict[int, MplexStream] = {}
        #: Seconds that may be waited in vain for those that nobody has read; until when, since the pump waits.
        self._patience = TokenBucket(limits.stall_share, limits.stall_unread, now)
        self._rationed = now
        self._stalled_at: float | None = None

    # --- beginning ------------------------------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        return len(self.live) - self.inbound < self._limits.max_outbound_streams and self._next_id <= MAX_ID

    def open(self) -> MplexStream:
        """A stream of ours. Raises ``ResourceLimitExceeded``."""
        self.require_room()
        stream = MplexStream(self._next_id, inbound=False, limits=self._limits)
        self._next_id += 1
        return self.add(stream)

    def was_opened(self, stream_id: int, *, inbound: bool) -> bool:
        """Whether the stream has been opened, or passed over."""
        return self.remote_ids.within(stream_id) if inbound else stream_id < self._next_id

    def accept(self, stream_id: int) -> MplexStream:
        """A stream of the remote's."""
        return self.add(MplexStream(stream_id, inbound=True, limits=self._limits))

    # --- overflowing ----------------------------------------------------------------------------------

    def received(self, stream: MplexStream) -> None:
        """Bytes were added to what the stream holds."""
        if len(stream.received) > self._limits.receive_buffer:
            self.overfull[stream.key] = stream

    def read(self, stream: MplexStream) -> None:
        """Bytes were taken from it."""
        if self.overfull and len(stream.received) <= self._limits.receive_buffer:
            self.overfull.pop(stream.key, None)

    def stall(self, now: float) -> float:
        """When the first of the overfull streams is to be shed."""
        if self._stalled_at is None:
            self._stalled_at = now
            self._rationed = now + max(0.0, self._patience.available(now))
        return min(map(self._due, self.overfull.values()))

    def _due(self, stream: MplexStream) -> float:
        if stream.was_read:
            return stream.unread_since + self._limits.stall
        return min(stream.unread_since + self._limits.stall_unread, self._rationed)

    def shed(self, now: float) -> list[MplexStream]:
        """Reset the overfull streams whose time is up; returns them. Their readers see a reset.

        Only waiting in vain is charged: a reader that comes has its sender slowed down, as it should be.
        """
        shed = [stream for stream in self.overfull.values() if self._due(stream) <= now]
        if shed and self._stalled_at is not None:
            self._patience.reserve(now, now - self._stalled_at)
            self._stalled_at = now
        for stream in shed:
            self.spend_reset(now)
            self.reset(stream, 0)
            stream.reset_code, stream.overflowed = 0, True
            stream.touched |= Touched.RESET
        if not self.overfull:
            self._stalled_at = None
        return shed

    # --- ending ---------------------------------------------------------------------------------------

    def end(self, stream: MplexStream) -> None:
        super().end(stream)
        self.overfull.pop(stream.key, None)
