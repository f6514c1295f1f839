"""How bytes flow through a connection: which stream's go first, and what can be seen of them. PURE.

Priorities are those of RFC 9218.
"""

from __future__ import annotations

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


@frozen
class ConnectionStatistics:
    """A look at a connection; costs nothing while nobody looks."""

    bytes_sent: int
    bytes_received: int
    streams: int
    round_trip: float | None  # seconds
    queued: int  # sealed bytes the socket has not taken
