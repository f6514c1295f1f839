"""What the two sides tell whoever watches, as it happens: frozen values for a function that returns at once. PURE."""

from __future__ import annotations

from collections.abc import Callable

from p2p.frozen import frozen
from p2p.identity import PeerId
from p2p.protocols.share.manifest import Manifest


@frozen
class GetterCame:
    """Somebody proved to know the secret. ``getter`` numbers the streams that were let in: a peer that dials again
    may have two for a while.
    """

    peer: PeerId
    getter: int


@frozen
class ChunkSent:
    """``size`` more bytes were sent."""

    peer: PeerId
    getter: int
    size: int


@frozen
class GetterLeft:
    """``chunks``: how many were sent on this stream, the last perhaps in part. ``finished``: it has all now."""

    peer: PeerId
    getter: int
    chunks: int
    finished: bool


@frozen
class SourceSpoilt:
    """A file changed; the share cannot be completed any more by anybody who lacks what it was."""

    path: str


@frozen
class ManifestRead:
    """What is to come; ``held`` bytes of it are there."""

    manifest: Manifest
    held: int


@frozen
class ChunkFetched:
    """``size`` more bytes are written."""

    size: int


@frozen
class SenderLost:
    """The connection broke after ``chunks`` chunks were asked for on it; it is made anew."""

    chunks: int
    reason: str


Report = GetterCame | ChunkSent | GetterLeft | SourceSpoilt | ManifestRead | ChunkFetched | SenderLost
Watch = Callable[[Report], None]


def unwatched(report: Report) -> None:
    """Nobody watches."""
