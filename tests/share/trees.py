"""Trees on disk for tests of shares: made, read back, and carried over without a network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from p2p.limits import ShareLimits
from p2p.protocols.share.disk.scanning import Scan, Steps, read_chunk
from p2p.protocols.share.disk.writing import Landing
from p2p.protocols.share.manifest import Manifest
from p2p.wire.share_messages import EntryKind, EntryMessage

LIMITS = ShareLimits()
#: Small, so that little data has many chunks.
SMALL = replace(LIMITS, chunk=1000)

#: A tree: what is in each file, by its path; None for a folder with nothing in it.
Tree = Mapping[str, bytes | None]


def make(top: Path, tree: Tree) -> None:
    for path, data in tree.items():
        place = top / path
        if data is None:
            place.mkdir(parents=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def read(top: Path) -> dict[str, bytes | None]:
    """What lies in ``top``, links and all else included."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(top):
        for name in [*files, *(name for name in folders if os.path.islink(os.path.join(folder, name)))]:
            path = Path(folder, name)
            found[str(path.relative_to(top))] = (
                path.read_bytes() if path.is_file() and not path.is_symlink() else b"<not a file>"
            )
        if not folders and not files and Path(folder) != top:
            found[str(Path(folder).relative_to(top))] = None
    return found


def scan(top: Path, name: str, limits: ShareLimits = SMALL) -> Scan:
    fd = os.open(top, os.O_RDONLY)
    try:
        scan = Scan(fd, name, limits)
        for _ in scan.walk():
            pass
        for _ in scan.hash():
            pass
        return scan
    finally:
        os.close(fd)


def scanned(top: Path, name: str, limits: ShareLimits = SMALL) -> Manifest:
    return scan(top, name, limits).manifest


def chunks_of(top: Path, manifest: Manifest, stamps: Sequence[int] | None = None) -> list[bytearray]:
    fd = os.open(top, os.O_RDONLY)
    try:
        stamps = stamps or [0] * len(manifest.files)
        return [read_chunk(fd, manifest, stamps, chunk) for chunk in range(manifest.layout.count)]
    finally:
        os.close(fd)


def through(steps: Steps) -> None:
    """All of them."""
    for _ in steps:
        pass


def land(landing: Landing, chunks: list[bytearray]) -> int:
    """All of it, as a getter does; how many chunks were not held."""
    try:
        for _ in landing.prepare():
            pass
        if landing.complete:
            return 0
        missing = [chunk for chunk in range(len(chunks)) if chunk not in landing.held]
        for chunk in missing:
            through(landing.write(chunk, chunks[chunk]))
        for _ in landing.finish():
            pass
        return len(missing)
    finally:
        landing.close()


def lying(tree: Tree, chunk_size: int = 1000) -> tuple[Manifest, list[bytearray]]:
    """A manifest that nobody checked, as a hostile sender could make up, and its chunks."""
    entries = [
        EntryMessage(path, EntryKind.FOLDER)
        if data is None
        else EntryMessage(path, EntryKind.FILE, len(data), hashlib.sha256(data).digest())
        for path, data in tree.items()
    ]
    whole = b"".join(data or b"" for data in tree.values())
    chunks = [bytearray(whole[at : at + chunk_size]) for at in range(0, len(whole), chunk_size)]
    hashes = b"".join(hashlib.sha256(chunk).digest() for chunk in chunks)
    return Manifest.of(entries, chunk_size, hashes), chunks
