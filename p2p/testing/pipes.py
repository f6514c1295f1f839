"""A pair of raw streams in memory, for tests of what lies on top of one."""

from __future__ import annotations

from collections.abc import Callable

from p2p.transports.pipe import Pipe, PipeStream
from p2p.wire.addresses import Multiaddr


def raw_pair(
    *, buffer: int = 64 * 1024, cut: Callable[[], int] | None = None
) -> tuple[PipeStream, PipeStream]:
    """Two raw streams: what one sends the other receives, in the same tick.

    ``buffer`` is how many bytes each direction holds before ``try_send`` takes no more. ``cut``, when given,
    is asked before each receive for the most bytes it may return: ``lambda: 1`` re-chunks to single bytes.
    ``aclose`` lets the peer read what was sent; ``reset`` fails it at once. Works under any clock.
    """
    left, right = Multiaddr("/memory/1"), Multiaddr("/memory/2")
    there, back = Pipe(buffer, cut), Pipe(buffer, cut)
    return PipeStream(back, there, left, right), PipeStream(there, back, right, left)
