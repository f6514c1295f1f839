"""How bytes get from one host to another. A stream transport becomes a transport by :class:`Upgraded`."""

from p2p.transports.memory import Memory, MemoryHub
from p2p.transports.tcp import TCP
from p2p.transports.unix import Unix
from p2p.transports.upgraded import Upgraded

__all__ = ["TCP", "Memory", "MemoryHub", "Unix", "Upgraded"]
