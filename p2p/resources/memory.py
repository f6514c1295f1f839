"""Memory that a connection may hold for its remote: asked for before it is used, in pieces of some size. PURE.

Asking for every byte would cost more than the bytes. So a muxer asks for a stream's window when the stream begins, and
for more when the window is to grow, whether or not the remote ever fills it.
"""

from __future__ import annotations

from typing import Protocol

from p2p.errors import LocalProtocolError


class MemoryGrant(Protocol):
    """Where memory is asked for: a connection's scope, or one of the kinds below."""

    def require(self, n: int) -> None:
        """``n`` bytes more. Raises ``ResourceLimitExceeded``."""
        ...

    def reserve(self, n: int, *, nice_to_have: bool = False) -> bool:
        """``n`` bytes more, or none: then False. What is ``nice_to_have`` leaves room for what is needed."""
        ...

    def release(self, n: int) -> None:
        """``n`` bytes fewer."""
        ...


class Unaccounted:
    """Gives without end and keeps no books: for what no host owns."""

    __slots__ = ()

    def require(self, n: int) -> None:
        pass

    def reserve(self, n: int, *, nice_to_have: bool = False) -> bool:
        return True

    def release(self, n: int) -> None:
        pass


UNACCOUNTED = Unaccounted()


class Allowance:
    """What one connection has of ``source``, which several attempts at one may share: it all goes back at once."""

    __slots__ = ("_closed", "_source", "in_use")

    def __init__(self, source: MemoryGrant = UNACCOUNTED) -> None:
        self._source = source
        self._closed = False
        self.in_use = 0

    def require(self, n: int) -> None:
        if self._closed:
            raise LocalProtocolError("the connection is over: it holds nothing any more")
        self._source.require(n)
        self.in_use += n

    def reserve(self, n: int, *, nice_to_have: bool = False) -> bool:
        if self._closed or not self._source.reserve(n, nice_to_have=nice_to_have):
            return False
        self.in_use += n
        return True

    def release(self, n: int) -> None:
        """``n`` bytes fewer; nothing once it is closed, since then all went back."""
        if not self._closed:
            self.in_use -= n
            self._source.release(n)

    def close(self) -> None:
        """Give everything back, and nothing out any more. Idempotent."""
        if not self._closed:
            self._closed = True
            self._source.release(self.in_use)
            self.in_use = 0
