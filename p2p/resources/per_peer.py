"""How many of something each peer has at once. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from p2p.identity import PeerId


class PerPeer:
    """Counts by peer, and keeps nothing of a peer that has none."""

    def __init__(self) -> None:
        self._counts: dict[PeerId, int] = {}

    @contextmanager
    def one_more(self, peer: PeerId, limit: int) -> Iterator[bool]:
        """Whether ``peer`` may have one more, ``limit`` at most; it has it while the context is entered."""
        count = self._counts.get(peer, 0)
        if count >= limit:
            yield False
            return
        self._counts[peer] = count + 1
        try:
            yield True
        finally:
            self._counts[peer] -= 1
            if not self._counts[peer]:
                del self._counts[peer]

    def __len__(self) -> int:
        """How many peers have any."""
        return len(self._counts)
