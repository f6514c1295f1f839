"""The books of one yamux stream. PURE.

Plain attributes, written by the session and its outbox only: they are read and written for every frame.
"""

from __future__ import annotations

from p2p.limits import YamuxLimits
from p2p.muxers.yamux.frames import ACK, SYN


class YamuxStream:
    """What is known of one stream. A :class:`p2p.muxers.session.SessionStream`."""

    __slots__ = (
        "_send_buffer",
        "abandoned",
        "acknowledged",
        "credit",
        "empty_frames",
        "eof_received",
        "eof_sent",
        "fin_written",
        "granted_at",
        "held",
        "inbound",
        "linger_until",
        "opening",
        "over",
        "pending",
        "receive_window",
        "received",
        "reset_after_fin",
        "reset_code",
        "seen",
        "send_window",
        "stream_id",
        "takes_data",
        "touched",
    )

    def __init__(self, stream_id: int, *, inbound: bool, limits: YamuxLimits, now: float) -> None:
        self.stream_id = stream_id
        self.inbound = inbound
        self.touched = 0
        #: The ``receive_data`` in which it was reported last.
        self.seen = 0

        #: SYN or ACK, to ride on the first frame; 0 once that is written.
        self.opening = ACK if inbound else SYN
        #: Whether the remote has acknowledged it (inbound: nothing to acknowledge).
        self.acknowledged = inbound

        self.received = bytearray()
        #: The receive window, how much of it the remote may still use, and when it was last granted some
        #: (ours: when the remote may have heard of it).
        self.receive_window = limits.initial_window
        self.credit = limits.initial_window
        self.granted_at = now
        #: Whether DATA is appended: the remote knows the stream, has not ended it, and somebody reads it.
        self.takes_data = inbound
        self.eof_received = False
        self.empty_frames = 0

        #: Accepted and copied; what is held by reference comes after it.
        self.pending = bytearray()
        self.held: memoryview | None = None
        self._send_buffer = limits.send_buffer
        #: What the remote lets us send.
        self.send_window = limits.initial_window
        self.eof_sent = False
        self.fin_written = False

        self.reset_code: int | None = None
        #: Closed by the application: what comes is dropped, and answered by RST once FIN is written.
        self.abandoned = False
        self.reset_after_fin = False
        self.linger_until = 0.0
        #: Ended in both directions, or reset: the session has forgotten it.
        self.over = False

    def __repr__(self) -> str:
        return f"<yamux stream {self.stream_id}>"

    @property
    def waiting(self) -> int:
        """Bytes accepted that no frame carries yet."""
        return len(self.pending) + (len(self.held) if self.held is not None else 0)

    @property
    def unsent(self) -> int:
        """Bytes accepted that no frame carries yet, FIN counting as one; 0 once it was reset."""
        return self.waiting + (self.eof_sent and not self.fin_written and not self.over)

    @property
    def holding(self) -> bool:
        return self.held is not None

    @property
    def send_room(self) -> int:
        """How many bytes would be copied now; 0 while a write is held."""
        return 0 if self.held is not None else self._send_buffer - len(self.pending)

    @property
    def buffered(self) -> int:
        """Bytes that lie here in either direction, a held write not counted: it lies with its owner."""
        return len(self.received) + len(self.pending)

    @property
    def sendable(self) -> bool:
        """Whether a frame can be cut for it now."""
        if self.opening:
            return True
        if self.pending or self.held is not None:
            return self.send_window > 0
        return self.eof_sent and not self.fin_written
