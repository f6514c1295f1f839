"""What happened on a virtual network, in order: the evidence that two runs were the same."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import NamedTuple

import trio

from p2p.wire.addresses import Multiaddr


class TraceEvent(NamedTuple):
    """``size`` is in bytes; ciphertext itself is never recorded, since it may differ where nothing else
    does.
    """

    time: float
    kind: str
    subject: str
    size: int


class Trace:
    """The last ``keep`` events, and a digest over all there were."""

    def __init__(self, keep: int = 10_000) -> None:
        self.events: deque[TraceEvent] = deque(maxlen=keep)
        self.count = 0
        self._hash = hashlib.sha256()

    def note(self, kind: str, subject: str | Multiaddr = "", size: int = 0) -> None:
        """Record an event at the present time; programs add their own kinds."""
        event = TraceEvent(trio.current_time(), kind, str(subject), size)
        self.events.append(event)
        self.count += 1
        self._hash.update(repr(event).encode())

    def digest(self) -> str:
        """Equal for equal histories, also where ``events`` no longer holds their beginnings."""
        return self._hash.hexdigest()
