"""How many streams share one connection: hand a list of these to ``Host(muxers=…)``, the preferred one first."""

from typing import TYPE_CHECKING

from p2p.lazily import lazily
from p2p.muxers.yamux import Yamux

if TYPE_CHECKING:
    from p2p.muxers.mplex import Mplex
else:
    __getattr__, __dir__ = lazily(__name__, {"Mplex": "p2p.muxers.mplex"})

__all__ = ["Mplex", "Yamux"]
