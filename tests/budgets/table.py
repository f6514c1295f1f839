"""What the hot path may cost, in counts: the one place to lower them, or to say why they rose.

They are recorded as measured; the tests say how much more is let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The version of CPython that the instructions are those of: others make others of the same source, and are held to the
#: calls alone.
RECORDED = (3, 11)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of the package's own code, each time: bytecode instructions, and calls."""

    instructions: float
    calls: float


#: Where most of the time goes, in bulk as in small exchanges.
HOT: Mapping[str, Cost] = {
    "yamux: a DATA frame received": Cost(99, 2),
    "yamux: a DATA frame gathered": Cost(148, 7),
    "noise: a frame sealed": Cost(81, 4),
    "noise: a frame opened": Cost(94, 2),
    "stream: send_all of 1 KiB that joins others": Cost(283, 22),
    "stream: send_all of 1 KiB after a silence": Cost(969, 63),
    "stream: receive_some of 1 KiB that is there": Cost(298, 22),
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """Of both sides together, each time: turns of any task, sends to the socket, receives from it."""

    steps: float
    sends: float
    receives: float


#: Between two hosts on the memory transport, Noise and yamux.
EXCHANGES: Mapping[str, Exchange] = {
    "a 32 B round trip on an open stream": Exchange(6, 2, 2),
    "a connection: dial, a request, identify both ways, close": Exchange(79.1, 14.25, 12.45),
    "a 64 KiB write": Exchange(3.45, 0.7, 0.7),
    "a request: open, 32 B, answer, close": Exchange(16.15, 2, 2),
    "an idle connection, each keep-alive period": Exchange(6, 4, 3),
    "a request, of 100 at once": Exchange(11.3, 0.07, 0.07),
}

#: Objects that 16 MiB of bulk may leave behind (Trio forgets the deadlines that a refusing socket sets by the
#: thousand), and bytes that may be allocated at one time while it flows: a batch is 256 KiB.
BULK_BLOCKS = 250
BULK_PEAK = 448 * 1024
