"""Peerstores in files for tests: in the loop, at a time of the test's own, with their writes counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import trio

from p2p.errors import PeerstoreError
from p2p.identity import Identity, PeerId
from p2p.limits import PeerstoreLimits
from p2p.peerstore.file import PeerFile
from p2p.peerstore.memory import KnownPeer
from p2p.peerstore.sqlite import SQLitePeerstore
from p2p.wire.addresses import Multiaddr

LIMITS = PeerstoreLimits()
PEOPLE = tuple(Identity.generate().peer_id for _ in range(8))
ADDR = Multiaddr("/ip4/1.2.3.4/tcp/5")


class Wall:
    """Unix time as the test says; it goes on as Trio's does."""

    def __init__(self, start: float = 1_000_000.0) -> None:
        self.start = start

    def __call__(self) -> float:
        return self.start + trio.current_time()


class Writes:
    """What was written, transaction by transaction."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[list[PeerId]] = []
        self.fail = ""
        write = PeerFile.write

        def watched(
            file: PeerFile, changes: Iterable[tuple[PeerId, KnownPeer | None]], *, ahead: float
        ) -> None:
            if self.fail:
                raise PeerstoreError(self.fail)
            changes = list(changes)
            write(file, changes, ahead=ahead)
            self.done.append([peer for peer, _ in changes])

        monkeypatch.setattr(PeerFile, "write", watched)


def peerstore(path: Path, limits: PeerstoreLimits = LIMITS, wall: Wall | None = None) -> SQLitePeerstore:
    return SQLitePeerstore(path, limits, in_loop=True, wall_clock=wall or Wall())


def note(store: SQLitePeerstore, *numbers: int, value: bytes = b"x") -> None:
    for number in numbers:
        store.set_metadata(PEOPLE[number], "note", value)


def on_disk(path: Path) -> Iterator[KnownPeer]:
    """What another process would find, were this one dead: the file and its log are copied as they are."""
    copy = path.parent / "copy.db"
    for name in ("", "-wal"):
        source = path.parent / f"{path.name}{name}"
        if source.exists():
            (path.parent / f"copy.db{name}").write_bytes(source.read_bytes())
    file = PeerFile(copy, LIMITS)
    try:
        while (found := file.read(ahead=0.0)) is not None:
            yield from found
    finally:
        file.close()
        copy.unlink()
