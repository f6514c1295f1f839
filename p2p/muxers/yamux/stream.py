"""The books of one yamux stream. PURE."""

from __future__ import annotations

from p2p.limits import YamuxLimits
from p2p.muxers.books import StreamBooks
from p2p.muxers.yamux.frames import ACK, SYN


class YamuxStream(StreamBooks):
    """What is known of one stream."""

    __slots__ = ("acknowledged", "credit", "granted_at", "opening", "receive_window")

    def __init__(self, stream_id: int, *, inbound: bool, limits: YamuxLimits, now: float) -> None:
        super().__init__(
            stream_id,
            stream_id,
            inbound=inbound,
            send_buffer=limits.send_buffer,
            send_window=limits.initial_window,
        )
        #: SYN or ACK, to ride on the first frame; 0 once that is written.
        self.opening = ACK if inbound else SYN
        #: Whether the remote has acknowledged it (inbound: nothing to acknowledge).
        self.acknowledged = inbound
        #: The receive window, how much of it the remote may still use, and when it was last granted some
        #: (ours: when the remote may have heard of it).
        self.receive_window = limits.initial_window
        self.credit = limits.initial_window
        self.granted_at = now

    def __repr__(self) -> str:
        return f"<yamux stream {self.stream_id}>"

    @property
    def sendable(self) -> bool:
        """Whether a frame can be cut for it now."""
        if self.opening:
            return True
        if self.pending or self.held is not None:
            return self.send_window > 0
        return self.eof_sent and not self.fin_written
