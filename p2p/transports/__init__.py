"""How bytes get from one host to another. A stream transport becomes a transport by :class:`Upgraded`."""

from typing import TYPE_CHECKING

from p2p.lazily import lazily
from p2p.transports.tcp import TCP
from p2p.transports.upgraded import Upgraded

if TYPE_CHECKING:
    from p2p.transports.interfaces import expand as expand
    from p2p.transports.memory import Memory, MemoryHub
    from p2p.transports.unix import Unix
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "Memory": "p2p.transports.memory",
            "MemoryHub": "p2p.transports.memory",
            "Unix": "p2p.transports.unix",
            # For those who listen on a wildcard: what it stands on runs ``ldconfig`` when it is imported.
            "expand": "p2p.transports.interfaces",
        },
    )

__all__ = ["TCP", "Memory", "MemoryHub", "Unix", "Upgraded"]
