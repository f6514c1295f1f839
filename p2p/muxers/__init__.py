"""How many streams share one connection: hand a list of these to ``Host(muxers=…)``, the preferred one first."""

from p2p.muxers.mplex import Mplex
from p2p.muxers.yamux import Yamux

__all__ = ["Mplex", "Yamux"]
