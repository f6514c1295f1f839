"""Receive windows: when credit is granted, and how far the tuner opens a window. PURE.

A window is what may be on its way to us and unread at the same time. Too small for bandwidth × round trip, and
the sender stalls. Where that is near, halves of the window are consumed in quick succession, so the tuner measures
that in round trips (go-yamux does the same), and doubles. A window that cannot be opened further is granted in smaller
parts: what the sender may send lies idle here for as long as a part takes to arrive.
"""

from __future__ import annotations

from typing import Final

from p2p.limits import MIB

#: Two grants closer than this many round trips mean that the window bounds the throughput.
BUSY_ROUND_TRIPS: Final = 4.0
#: The part in which a window of the largest size is granted: with 16 MiB, 1 Gbit/s and 200 ms of round-trip time
#: 96 % of what the window allows gets through, and by halves 75 %. Each grant is a frame and a ``send``.
PART_AT_CEILING: Final = MIB


def due(window: int, credit: int, buffered: int, ceiling: int) -> bool:
    """Whether the remote should be given credit: half of ``window`` was consumed and not granted again, or a part of it
    where it is as large as ``ceiling`` lets it be.

    ``credit`` is what the remote may still send, ``buffered`` what it sent and nobody has read.
    """
    consumed = window - credit - buffered
    return 2 * consumed >= window or (consumed >= PART_AT_CEILING and window >= ceiling)


def tuned(window: int, since_last: float, round_trip: float | None, ceiling: int) -> int:
    """The window from this grant on; ``since_last`` is the time since the grant before, in seconds.

    Doubled when the reader keeps up with the sender, up to ``ceiling``. Without a measured round trip nothing is
    known, and nothing changes.
    """
    if round_trip is None or since_last >= BUSY_ROUND_TRIPS * round_trip:
        return window
    return max(window, min(2 * window, ceiling))
