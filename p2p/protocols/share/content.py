"""What a service needs of the places that content comes from and goes to: on disk, or, in tests, in memory."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from p2p.protocols.share.manifest import Manifest


class Source(Protocol):
    """Content to be shared."""

    @property
    def manifest(self) -> Manifest: ...

    async def read(self, chunk: int) -> bytes | bytearray:
        """The bytes of ``chunk``, which are what its hash says. Raises ``SourceChanged`` when they no longer are."""


class Target(Protocol):
    """Where what is fetched goes: :meth:`prepare`, then each chunk not :attr:`held`, then :meth:`finish`.

    Each may be cancelled; the same content prepared again goes on where that was.
    """

    @property
    def held(self) -> Set[int]:
        """Chunks that are there."""

    async def prepare(self, manifest: Manifest) -> bool:
        """Find out what is there. False: all of it, finished, and there is nothing to do.

        Raises ``ShareError``, ``OSError``.
        """

    async def write(self, chunk: int, data: bytearray) -> None:
        """Check ``data`` and keep it. Raises ``RemoteProtocolError`` for other bytes than the hash says."""

    async def finish(self) -> None:
        """All chunks are held: check the whole and put it in its place."""
