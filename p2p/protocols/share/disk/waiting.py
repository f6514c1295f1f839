"""Files as sources and targets: the blocking work of this package, awaited in threads. Trio.

A thread never outlives the call that awaits it, and what it does between two of them is bounded: a chunk, or as many
small steps as fit in ``_STEP``. Cancelled: the step under way is finished first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence, Set
from contextlib import closing
from pathlib import Path
from typing import Final

import trio

from p2p.limits import ShareLimits
from p2p.protocols.share.disk.scanning import Scan, Steps, read_chunk
from p2p.protocols.share.disk.writing import Landing
from p2p.protocols.share.errors import UnfitSource
from p2p.protocols.share.manifest import Manifest

#: Seconds in a thread before the event loop is asked whether to go on.
_STEP: Final = 0.05


async def _through(steps: Steps, after: Callable[[], None] = lambda: None) -> None:
    """Take all ``steps``, in threads; ``after`` some of them, call that here."""

    def some() -> bool:
        until = time.monotonic() + _STEP
        for _ in steps:
            if time.monotonic() >= until:
                return True
        return False

    with closing(steps):  # with what it has open, when it is cancelled
        while await trio.to_thread.run_sync(some):
            after()


class DiskSource:
    """A file or folder on disk, read once for its manifest; see :func:`scan`.

    Holds one descriptor, given back by :meth:`close` or at the end of a ``with``.
    """

    def __init__(self, top: int, manifest: Manifest, stamps: Sequence[int]) -> None:
        self._top = top
        self._stamps = stamps
        self._manifest = manifest
        # In turn, whoever reads: one thread reads while another one's bytes are on their way.
        self._readers = trio.CapacityLimiter(2)

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    async def read(self, chunk: int) -> bytearray:
        return await trio.to_thread.run_sync(
            read_chunk, self._top, self._manifest, self._stamps, chunk, limiter=self._readers
        )

    def close(self) -> None:
        os.close(self._top)

    def __enter__(self) -> DiskSource:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


async def scan(
    path: str | os.PathLike[str],
    limits: ShareLimits,
    watch: Callable[[int, int], None] = lambda hashed, size: None,
) -> DiskSource:
    """Read what is at ``path`` once. ``watch`` is told the bytes read so far, and how many there are.

    Raises ``UnfitSource`` and ``SourceChanged``, which name what is at fault. Cancelled: nothing is left.
    """
    if not os.fspath(path):  # a variable of a shell that was not set means no folder, and not this one
        raise UnfitSource("an empty path", "it names nothing")
    whole = _absolute(path)
    if not whole.name:
        raise UnfitSource(str(whole), "it has no name")
    try:
        top = os.open(whole.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UnfitSource(str(path), f"it cannot be read: {error.strerror}") from error
    try:
        found = Scan(top, whole.name, limits)
        try:
            os.stat(whole.name, dir_fd=top, follow_symlinks=False)
        except OSError as error:
            raise UnfitSource(str(path), f"it cannot be read: {error.strerror}") from error
        await _through(found.walk())
        await _through(found.hash(), lambda: watch(found.hashed, found.size))
        return DiskSource(top, found.manifest, found.stamps)
    except BaseException:
        os.close(top)
        raise


def _absolute(path: str | os.PathLike[str]) -> Path:
    """With a name even where ``path`` has none, as ``.``; links in it are left alone."""
    return Path(os.path.abspath(path))


class DiskTarget:
    """The folder ``directory``: what is fetched comes to lie in it, under the name that the share has.

    Used as a context manager: at its end what was fetched so far is kept, and given free for others to go on with.
    """

    def __init__(self, directory: str | os.PathLike[str], limits: ShareLimits) -> None:
        self._directory = os.fspath(directory)
        self._limits = limits
        self._landing: Landing | None = None

    @property
    def _at(self) -> Landing:
        assert self._landing is not None, "prepared first"
        return self._landing

    @property
    def path(self) -> str:
        """Where it comes to lie."""
        return self._at.path

    @property
    def held(self) -> Set[int]:
        return self._at.held

    async def prepare(self, manifest: Manifest) -> bool:
        self.close()
        self._landing = landing = Landing(self._directory, manifest, self._limits)
        await _through(landing.prepare())
        return not landing.complete

    async def write(self, chunk: int, data: bytearray) -> None:
        await _through(self._at.write(chunk, data))

    async def finish(self) -> None:
        await _through(self._at.finish())

    def close(self) -> None:
        if self._landing is not None:
            self._landing.close()

    def __enter__(self) -> DiskTarget:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
