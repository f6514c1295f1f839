"""What is counted, and how much of it. PURE.

The same eight numbers say what a scope has in use and what it may have at most.
"""

from __future__ import annotations

import sys
from dataclasses import fields
from operator import attrgetter
from typing import Final

from p2p.frozen import frozen

#: Without a limit. There is no other way to say so: a limit that is left out is 0 and refuses everything.
UNLIMITED: Final = sys.maxsize


@frozen
class Amounts:
    """Numbers of things, and bytes of memory; as limits, the most that may be in use at once."""

    #: Bytes that a remote can make this side hold: receive windows, and what waits to be sent.
    memory: int = 0
    #: Streams with a protocol, in both directions together, and in each.
    streams: int = 0
    inbound_streams: int = 0
    outbound_streams: int = 0
    #: Connections, and attempts at one, in both directions together, and in each.
    connections: int = 0
    inbound_connections: int = 0
    outbound_connections: int = 0
    #: Sockets of connections, and of attempts at one.
    descriptors: int = 0

    def __post_init__(self) -> None:
        for name, value in zip(NAMES, by_index(self), strict=True):
            if value < 0:
                raise ValueError(f"{name} is {value}: an amount is 0 or more")


NAMES: Final = tuple(field.name for field in fields(Amounts))
_NUMBERS: Final = attrgetter(*NAMES)
(
    MEMORY,
    STREAMS,
    INBOUND_STREAMS,
    OUTBOUND_STREAMS,
    CONNECTIONS,
    INBOUND_CONNECTIONS,
    OUTBOUND_CONNECTIONS,
    DESCRIPTORS,
) = range(len(NAMES))

#: Something to be charged: (index, how many) for each amount that is not zero.
Charge = tuple[tuple[int, int], ...]

INBOUND_CONNECTION: Final[Charge] = ((CONNECTIONS, 1), (INBOUND_CONNECTIONS, 1))
OUTBOUND_CONNECTION: Final[Charge] = ((CONNECTIONS, 1), (OUTBOUND_CONNECTIONS, 1))
DESCRIPTOR: Final[Charge] = ((DESCRIPTORS, 1),)


def by_index(amounts: Amounts) -> tuple[int, ...]:
    """The numbers as a scope compares them."""
    numbers: tuple[int, ...] = _NUMBERS(amounts)
    return numbers
