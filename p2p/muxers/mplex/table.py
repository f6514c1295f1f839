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


class MplexTable(StreamTable[MplexStream]):
    """Live streams by key, the ids used, and the streams that overflow."""

    __slots__ = ("_limits", "_next_id", "_patience", "_waiting_since", "overfull", "remote_ids")

    def __init__(self, limits: MplexLimits, outgoing: Outgoing, now: float) -> None:
        super().__init__(limits, outgoing, now)
        self._limits = limits
        self._next_id = 0
        self.remote_ids = RemoteIds(0, limits.max_inbound_streams, step=1)
        #: Streams that received more than their buffer, and may receive more still.
        self.overfull: dict[int, MplexStream] = {}
        #: Seconds that may be waited in vain for their readers.
        self._patience = TokenBucket(limits.stall_share, limits.stall_burst, now)
        self._waiting_since = now

    # --- beginning ------------------------------------------------------------------------------------

    @property
    def can_open(self) -> bool:
        return len(self.live) - self.inbound < self._limits.max_outbound_streams and self._next_id <= MAX_ID

    def open(self) -> MplexStream:
        """A stream of ours."""
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
        """Until when the readers of overfull streams are given."""
        self._waiting_since = now
        return now + max(0.0, min(self._limits.stall, self._patience.available(now)))

    def shed(self, now: float) -> list[MplexStream]:
        """Reset the streams that nobody read since ``stall``; returns them. Their readers see a reset.

        Only waiting in vain is charged: a reader that comes has its sender slowed down, as it should be.
        """
        shed = list(self.overfull.values())
        if shed:
            self._patience.reserve(now, now - self._waiting_since)
        for stream in shed:
            self.spend_reset(now)
            self.reset(stream, 0)
            stream.reset_code, stream.overflowed = 0, True
            stream.touched |= Touched.RESET
        return shed

    # --- ending ---------------------------------------------------------------------------------------

    def end(self, stream: MplexStream) -> None:
        super().end(stream)
        self.overfull.pop(stream.key, None)
