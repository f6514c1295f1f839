"""How bytes flow through a connection: which stream's go first, and what can be seen of them. PURE.

Priorities are those of RFC 9218.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from p2p.frozen import frozen

#: Urgencies are 0 to 7 (RFC 9218, section 4.1); the smaller number goes first.
LEAST_URGENT: Final = 7


@frozen
class Priority:
    """When a stream's bytes go, of all that wait on one connection; see ``docs/explanation/priorities.md``.

    ``urgency``: 0 (most urgent) to 7. While a stream of a smaller number has anything to send, none of a larger one
    sends. ``incremental``: of one urgency, such streams share, a frame each in turn; one that is not is sent as far as
    it can be before the next has its turn. Only what *this* side sends is ordered: muxers carry no such signal, so
    each side sets its own.

    Raises ``ValueError`` for another urgency.
    """

    urgency: int = 3
    #: RFC 9218 begins with false, as for documents; a stream here is a conversation, which would hold up all others.
    incremental: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.urgency <= LEAST_URGENT:
            raise ValueError(f"an urgency of {self.urgency}, expected 0 to {LEAST_URGENT}")


#: What every stream begins with.
DEFAULT_PRIORITY: Final = Priority()
#: For the few bytes somebody waits for.
MOST_URGENT: Final = Priority(urgency=0)


class WaitsFor(Enum):
    """What keeps bytes that were accepted and are in no frame yet."""

    #: The remote has not read enough of this stream: it gave no credit for more.
    WINDOW = "window"
    #: Other streams of the connection go before it.
    STREAMS = "streams"
    #: Nothing but the socket, which takes no more for now: it is the next to send.
    SOCKET = "socket"


@frozen
class StreamStatistics:
    """A look at a stream; costs nothing while nobody looks. All sizes in bytes."""

    #: What the remote lets us send beyond what was sent; None where the muxer has no flow control.
    send_window: int | None
    #: Accepted from the application and in no frame yet: ``copied`` of it lies here, the rest with who sends it.
    unsent: int
    copied: int
    #: Whether a ``send_all`` waits for its last byte to be in a frame.
    send_waits: bool
    #: What those bytes wait for; None when there are none.
    waits_for: WaitsFor | None
    #: What the remote may have sent that nobody has read here, and what of it it has not sent yet (None: no flow
    #: control, and it may send on).
    receive_window: int
    credit: int | None
    #: Received and not yet read.
    unread: int


@frozen
class ConnectionStatistics:
    """A look at a connection; costs nothing while nobody looks. Sizes in bytes."""

    #: On the wire, sealed, what the handshake took not counted.
    bytes_sent: int
    bytes_received: int
    #: Frames of the secure channel; 0 where it has none.
    frames_sent: int
    frames_received: int
    #: Open streams that the remote opened, and that we did.
    inbound: int
    outbound: int
    #: The least round-trip time measured, in seconds; None where none was, or can be.
    round_trip: float | None
    #: Sealed, and the socket has not taken them.
    queued: int
    #: Over all streams: accepted and in no frame yet; received and not yet read.
    unsent: int
    unread: int

    @property
    def streams(self) -> int:
        """Open streams."""
        return self.inbound + self.outbound
