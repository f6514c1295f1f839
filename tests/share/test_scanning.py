"""What can be shared, and that it is what it was when it is read again."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2p.limits import MIB, ShareLimits
from p2p.protocols.share import DiskTarget, scan
from p2p.protocols.share.disk import waiting
from p2p.protocols.share.errors import SourceChanged, UnfitSource
from p2p.wire.printable import printable
from tests.share import trees
from tests.share.trees import LIMITS, SMALL, Tree, chunks_of, make, read, scanned

TREE: Tree = {"t/a": b"a" * 1500, "t/b/c": b"c" * 200, "t/b/d": b"d" * 2000}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    make(tmp_path, TREE)
    return tmp_path


def unfit(top: Path, limits: ShareLimits = SMALL) -> UnfitSource:
    with pytest.raises(UnfitSource) as failure:
        scanned(top, "t", limits)
    assert printable(failure.value.path) in str(failure.value)
    return failure.value


@pytest.mark.parametrize("what", ["symbolic link", "named pipe", "socket", "device"])
def test_what_is_no_file_is_refused_by_its_path(top: Path, what: str) -> None:
    place = top / "t" / "b" / "it"
    if what == "symbolic link":
        place.symlink_to("c")
    elif what == "named pipe":
        os.mkfifo(place)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(place))
    else:
        try:
            os.mknod(place, 0o20666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("no right to make a device")
    error = unfit(top)
    assert (error.path, what in error.reason) == ("t/b/it", True)


def test_the_top_itself_may_be_no_link_either(top: Path) -> None:
    (top / "link").symlink_to("t")
    with pytest.raises(UnfitSource, match="symbolic link"):
        scanned(top, "link")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("A", "only by case"), ("new\nline", "control"), ("back\\slash", "separates"), (b"\xff", "UTF-8")],
    ids=str,
)
def test_a_name_that_others_could_not_tell_or_hold(top: Path, name: str | bytes, reason: str) -> None:
    with open(os.path.join(os.fsencode(top / "t"), os.fsencode(name)), "wb"):
        pass
    assert reason in unfit(top).reason


def test_clashing_folders(top: Path) -> None:
    (top / "t" / "B").mkdir()
    assert "only by case" in unfit(top).reason


def test_a_file_that_cannot_be_read(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: str, *arguments: int, **options: int) -> int:
        if path == "c":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    error = unfit(top)
    assert (error.path, error.reason) == ("t/b/c", "it cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_entries": 2}, "more than 2 files"),
        ({"max_paths": 10}, "10 bytes"),
        ({"max_chunks": 3}, "3000 bytes"),
        ({"max_depth": 2}, "2 names"),
        ({"max_folders": 1}, "1 folders"),
        ({"max_path": 4}, "4 bytes"),
    ],
    ids=str,
)
def test_what_no_getter_would_take(top: Path, limits: dict[str, int], reason: str) -> None:
    assert reason in unfit(top, replace(SMALL, **limits)).reason


# --- what changes ---------------------------------------------------------------------------------------


def test_a_file_that_changes_while_it_is_read(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found at the end of the file, by its size and its date."""
    readv = os.readv

    def write_too(fd: int, buffers: list[memoryview]) -> int:
        with (top / "t" / "b" / "d").open("r+b") as file:
            file.write(b"!")
        return readv(fd, buffers)

    monkeypatch.setattr(os, "readv", write_too)
    with pytest.raises(SourceChanged, match="t/b/d changed"):
        scanned(top, "t")


def changed(place: Path, how: str) -> None:
    status = place.stat()
    if how == "rewritten, its date kept":
        place.write_bytes(b"!" + place.read_bytes()[1:])
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif how == "longer":
        place.write_bytes(place.read_bytes() + b"!")
    elif how == "shorter":
        place.write_bytes(place.read_bytes()[:-1])
    elif how == "replaced by a link":
        place.rename(place.with_name("elsewhere"))
        place.symlink_to("elsewhere")
    elif how == "replaced by a pipe":
        place.unlink()
        os.mkfifo(place)
    else:
        place.unlink()


HOWS = ["rewritten, its date kept", "longer", "shorter", "replaced by a link", "replaced by a pipe", "gone"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("path", ["t/a", "t/b/c", "t/b/d"])
def test_a_file_that_changed_is_named(top: Path, path: str, how: str) -> None:
    """Files share chunks: the second one holds the end of a, all of c, and a part of d."""
    found = trees.scan(top, "t")
    changed(top / path, how)
    with pytest.raises(SourceChanged) as failure:
        chunks_of(top, found.manifest, found.stamps)
    assert failure.value.path == path


def test_a_new_date_is_no_change(top: Path) -> None:
    manifest = scanned(top, "t")
    before = chunks_of(top, manifest)
    os.utime(top / "t" / "a", (1, 1))
    assert chunks_of(top, manifest) == before


# --- in threads -----------------------------------------------------------------------------------------


async def test_from_disk_to_disk(top: Path) -> None:
    told: list[tuple[int, int]] = []
    with await scan(top / "t", SMALL, lambda *progress: told.append(progress)) as source:
        with DiskTarget(top / "got", SMALL) as target:
            assert await target.prepare(source.manifest)
            for chunk in range(source.manifest.layout.count):
                await target.write(chunk, await source.read(chunk))
            await target.finish()
    assert read(top / "got") == TREE and target.path == str(top / "got" / "t")
    assert told[-1] == (3700, 3700) if told else True


async def test_names_that_are_not_in_the_path(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top / "t" / "b")
    with await scan(".", SMALL) as source:
        assert source.manifest.name == "b"
    with await scan("../b/", SMALL) as source:
        assert source.manifest.name == "b"
    for nothing, reason in (
        ("/", "no name"),
        (str(top / "no" / "where"), "No such file"),
        ("nothing", "No such"),
        ("", "an empty path"),  # and not the folder we are in
    ):
        with pytest.raises(UnfitSource, match=reason):
            await scan(nothing, SMALL)


async def test_a_scan_that_is_cancelled_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of a file too, and at once: not when the garbage is collected."""
    monkeypatch.setattr(waiting, "_STEP", 0.0)
    make(tmp_path, {"t": bytes(4 * MIB)})
    before = len(os.listdir("/proc/self/fd"))
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        try:
            await scan(tmp_path / "t", LIMITS, lambda hashed, size: scope.cancel())
        except trio.Cancelled as cancelled:
            kept.append(cancelled)  # and all that was on the stack
            raise
    assert kept and len(os.listdir("/proc/self/fd")) == before
