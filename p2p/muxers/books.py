"""The books of one stream, whatever the protocol. PURE.

Plain attributes, written by the session and its parts only: they are read and written for every frame.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar


class StreamBooks:
    """What every session knows of a stream: a :class:`p2p.muxers.session.SessionStream`. Each protocol adds its own.

    ``key`` tells the streams of one session apart, where ``stream_id`` alone may not.
    """

    __slots__ = (
        "abandoned",
        "empty_frames",
        "eof_received",
        "eof_sent",
        "fin_written",
        "held",
        "inbound",
        "incremental",
        "key",
        "linger_until",
        "over",
        "overflowed",
        "pending",
        "queue",
        "received",
        "reserved",
        "reset_after_fin",
        "reset_code",
        "seen",
        "send_buffer",
        "send_window",
        "stream_id",
        "takes_data",
        "touched",
        "unknown",
    )

    #: Where it stands while a frame can be cut for it, and whether it shares with the others there: see ``Turns``.
    queue: OrderedDict[Any, None]
    incremental: bool

    def __init__(
        self, key: int, stream_id: int, *, inbound: bool, send_buffer: int, send_window: int
    ) -> None:
        self.key = key
        self.stream_id = stream_id
        self.inbound = inbound
        self.touched = 0
        #: The ``receive_data`` in which it was reported last.
        self.seen = 0
        #: Whether the remote has not heard of it yet: its opening is not in a frame.
        self.unknown = not inbound

        self.received = bytearray()
        #: Bytes of memory granted for what it receives.
        self.reserved = 0
        #: Whether DATA is appended: the remote knows the stream, has not ended it, and somebody reads it.
        self.takes_data = inbound
        self.eof_received = False
        self.empty_frames = 0

        #: Accepted and copied; what is held by reference comes after it.
        self.pending = bytearray()
        self.held: memoryview | None = None
        self.send_buffer = send_buffer
        #: What the remote lets us send.
        self.send_window = send_window
        self.eof_sent = False
        self.fin_written = False

        self.reset_code: int | None = None
        self.overflowed = False
        #: Closed by the application: what comes is dropped, and answered by a reset once FIN is written.
        self.abandoned = False
        self.reset_after_fin = False
        self.linger_until = 0.0
        #: Ended in both directions, or reset: the session has forgotten it.
        self.over = False

    @property
    def receives_no_more(self) -> bool:
        return self.eof_received or self.over or self.abandoned

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
        return 0 if self.held is not None else self.send_buffer - len(self.pending)

    @property
    def buffered(self) -> int:
        """Bytes that lie here in either direction, a held write not counted: it lies with its owner."""
        return len(self.received) + len(self.pending)

    @property
    def sendable(self) -> bool:
        """Whether a frame can be cut for it now."""
        return self.unknown or self.holding or bool(self.pending) or (self.eof_sent and not self.fin_written)


S = TypeVar("S", bound=StreamBooks)
