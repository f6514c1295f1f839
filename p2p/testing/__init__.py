"""For tests of programs that use this package, and of parts that fit into it, as ``trio.testing`` is for
Trio.

Pairs of raw streams, connections and streams; a virtual network in virtual time; runs that a seed repeats.
The suites for parts written elsewhere are in :mod:`p2p.testing.conformance`; :mod:`p2p.testing.strategies`
needs ``hypothesis``.
"""

from p2p.testing.cancellation import cancelled_after, cancelled_everywhere
from p2p.testing.deterministic import deterministic_scheduling
from p2p.testing.links import LinkOptions, Loss
from p2p.testing.network import VirtualNetwork
from p2p.testing.pairs import connection_pair, stream_pair
from p2p.testing.pipes import raw_pair
from p2p.testing.trace import Trace

__all__ = [
    "LinkOptions",
    "Loss",
    "Trace",
    "VirtualNetwork",
    "cancelled_after",
    "cancelled_everywhere",
    "connection_pair",
    "deterministic_scheduling",
    "raw_pair",
    "stream_pair",
]
