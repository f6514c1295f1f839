"""What is fetched lands where it should, whole or not at all, and nowhere else."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.protocols.share.disk import writing
from p2p.protocols.share.disk.writing import Landing
from p2p.protocols.share.errors import ShareError, TargetExists, TargetUnusable
from p2p.protocols.share.manifest import Manifest
from tests.share.trees import SMALL, Tree, chunks_of, land, lying, make, read, scanned, through

TREE: Tree = {
    "t/a/b/c": b"c" * 2500,
    "t/a/empty": b"",
    "t/a.b": b"x" * 999,
    "t/nothing": None,
    "t/z": bytes(range(256)) * 4,
}


@pytest.fixture
def tops(tmp_path: Path) -> tuple[Path, Path]:
    """A source with ``TREE``, and a place to put it."""
    source, target = tmp_path / "source", tmp_path / "target"
    make(source, TREE)
    target.mkdir()
    return source, target


def landing(target: Path, manifest: Manifest) -> Landing:
    return Landing(str(target), manifest, SMALL)


# --- trees ----------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(categories=["Ll", "Nd", "Zs", "Sm", "So"]), min_size=1, max_size=12).filter(
    lambda name: name.strip()
)
SIZES = st.one_of(st.integers(0, 20), st.sampled_from([999, 1000, 1001, 3000]))


@st.composite
def trees(draw: st.DrawFn) -> dict[str, bytes | None]:
    """Any tree that a share can hold: names are told apart by a number."""

    def folder(path: str, depth: int) -> Iterator[tuple[str, bytes | None]]:
        count = draw(st.integers(0, 4))
        if not count:
            yield path, None
        for number in range(count):
            inner = f"{path}/{number}{draw(NAMES)}"
            if depth < 4 and draw(st.booleans()):
                yield from folder(inner, depth + 1)
            else:
                yield inner, bytes([number + 1]) * draw(SIZES)

    return dict(folder("t", 0))


@settings(deadline=None)
@given(trees())
def test_any_tree_goes_round(tree: dict[str, bytes | None]) -> None:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "source"), Path(name, "target")
        make(source, tree)
        manifest = scanned(source, "t")
        chunks = chunks_of(source, manifest)
        assert land(landing(target, manifest), chunks) == len(chunks)
        assert read(target) == read(source) == tree
        assert land(landing(target, manifest), chunks) == 0


HOSTILE = st.lists(
    st.sampled_from(["..", ".", "", "a", "outside", "/etc", "t", "a\0", "~", "link", "."]),
    min_size=1,
    max_size=4,
).map("/".join)


@settings(deadline=None, max_examples=4 * settings().max_examples)
@given(st.dictionaries(HOSTILE, st.one_of(st.none(), st.binary(max_size=30)), min_size=1, max_size=4))
@example({"../outside": b"x"})
@example({"t/../../outside": b"x"})
@example({"t/link/x": b"x"})
@example({"t": b"x"})
@example({"": b"", "../../a": None})
@example({"..": b""})
def test_nothing_lands_elsewhere_whatever_the_manifest_says(tree: dict[str, bytes | None]) -> None:
    """Even with one that was never checked: names are refused before, and this is what stands behind that."""
    manifest, chunks = lying(tree)
    with tempfile.TemporaryDirectory() as name:
        target = Path(name, "in", "target")
        target.mkdir(parents=True)
        outside = Path(name, "in", "outside")
        outside.mkdir()
        (outside / "file").write_bytes(b"untouched")
        (target / "link").symlink_to(outside)
        try:
            land(landing(target, manifest), chunks)
        except (ShareError, RemoteProtocolError, OSError, ValueError):
            pass
        assert read(outside) == {"file": b"untouched"}
        assert sorted(os.listdir(Path(name, "in"))) == ["outside", "target"] and os.listdir(name) == ["in"]


# --- going on -------------------------------------------------------------------------------------------


def test_it_goes_on_where_it_was(tops: tuple[Path, Path]) -> None:
    source, target = tops
    manifest = scanned(source, "t")
    chunks = chunks_of(source, manifest)
    assert len(chunks) == 5
    first = landing(target, manifest)
    for _ in first.prepare():
        pass
    for chunk in (0, 1, 3):
        through(first.write(chunk, chunks[chunk]))
    first.close()
    assert not (target / "t").exists()
    assert land(landing(target, manifest), chunks) == 2
    assert read(target) == TREE


def test_other_chunks_of_the_same_content_go_on_too(tops: tuple[Path, Path]) -> None:
    source, target = tops
    manifest, other = scanned(source, "t"), scanned(source, "t", replace(SMALL, chunk=500))
    chunks, others = chunks_of(source, manifest), chunks_of(source, other)
    first = landing(target, manifest)
    for _ in first.prepare():
        pass
    through(first.write(0, chunks[0]))
    first.close()
    assert land(landing(target, other), others) == len(others) - 2
    assert read(target) == TREE


@pytest.mark.parametrize("damage", ["torn", "changed", "longer", "gone"])
def test_what_is_damaged_is_fetched_again(tops: tuple[Path, Path], damage: str) -> None:
    source, target = tops
    manifest = scanned(source, "t")
    chunks = chunks_of(source, manifest)
    first = landing(target, manifest)
    for _ in first.prepare():
        pass
    for number, chunk in enumerate(chunks):
        through(first.write(number, chunk))
    first.close()
    half = Path(first.working_path, "t", "a", "b", "c")
    data = half.read_bytes()
    if damage == "gone":
        half.unlink()
    else:
        half.write_bytes({"torn": data[:1500], "changed": b"!" + data[1:], "longer": data + b"more"}[damage])
    again = land(landing(target, manifest), chunks)
    assert again == {"torn": 2, "changed": 1, "longer": 0, "gone": 3}[damage]
    assert read(target) == TREE


def test_one_at_a_time(tops: tuple[Path, Path]) -> None:
    source, target = tops
    manifest = scanned(source, "t")
    first = landing(target, manifest)
    for _ in first.prepare():
        pass
    with pytest.raises(TargetUnusable, match="somebody else"):
        land(landing(target, manifest), [])
    first.close()
    assert land(landing(target, manifest), chunks_of(source, manifest)) == 5


def test_one_that_was_killed_at_its_very_end_is_cleaned_up(tops: tuple[Path, Path]) -> None:
    source, target = tops
    manifest = scanned(source, "t")
    chunks = chunks_of(source, manifest)
    assert land(landing(target, manifest), chunks) == 5
    Path(landing(target, manifest).working_path).mkdir(mode=0o700)
    assert land(landing(target, manifest), chunks) == 0
    assert os.listdir(target) == ["t"]


# --- what is in the way ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "there", ["file", "folder", "link", "dangling link", "pipe", "other content", "one more"]
)
def test_what_is_there_stays(tops: tuple[Path, Path], there: str) -> None:
    source, target = tops
    place = target / "t"
    if there == "file":
        place.write_bytes(b"mine")
    elif there == "folder":
        place.mkdir()
    elif there == "link":
        place.symlink_to(source / "t")
    elif there == "dangling link":
        place.symlink_to(target / "nowhere")
    elif there == "pipe":
        os.mkfifo(place)
    else:
        shutil.copytree(source / "t", place)
        (place / "z").write_bytes(b"?" * 1024)
        if there == "one more":
            shutil.copyfile(source / "t" / "z", place / "z")
            (place / "one more").touch()
    before = sorted(os.listdir(target)), read(target) if there != "pipe" else None
    manifest = scanned(source, "t")
    with pytest.raises(TargetExists):
        land(landing(target, manifest), chunks_of(source, manifest))
    assert before == (sorted(os.listdir(target)), read(target) if there != "pipe" else None)


@pytest.mark.parametrize("there", ["file", "folder", "filled folder"])
def test_what_appears_meanwhile_stays(tmp_path: Path, there: str) -> None:
    """Between looking and moving: a file is linked and not renamed over it, a folder does not replace one."""
    source, target = tmp_path / "source", tmp_path / "target"
    shared: Tree = {"t": b"single"} if there == "file" else {"t/x": b"one of several"}
    make(source, shared)
    manifest = scanned(source, "t")
    chunks = chunks_of(source, manifest)
    at = landing(target, manifest)
    for _ in at.prepare():
        pass
    through(at.write(0, chunks[0]))
    if there == "filled folder":
        make(target, {"t/mine": b"mine"})
    else:
        (target / "t").write_bytes(b"mine")
    with pytest.raises(TargetExists):
        for _ in at.finish():
            pass
    at.close()
    mine = target / "t" / "mine" if there == "filled folder" else target / "t"
    assert mine.read_bytes() == b"mine"


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    source, target = tmp_path / "source", tmp_path / "target"
    make(source, {"t": b"single"})
    manifest = scanned(source, "t")
    monkeypatch.setattr(os, "link", refuse)
    assert land(landing(target, manifest), chunks_of(source, manifest)) == 1
    assert read(target) == {"t": b"single"}


@pytest.mark.parametrize(
    "where", ["the working folder", "a folder in it", "a file in it", "a hard link in it"]
)
def test_links_in_the_working_folder_are_not_followed(tops: tuple[Path, Path], where: str) -> None:
    source, target = tops
    outside = target.parent / "outside"
    make(outside, {"c": b"untouched"})
    manifest = scanned(source, "t")
    work = Path(landing(target, manifest).working_path)
    if where == "the working folder":
        work.symlink_to(outside)
    else:
        work.mkdir(mode=0o700)
        (work / "t" / "a").mkdir(parents=True)
        place = work / "t" / "a" / "b"
        if where == "a folder in it":
            place.symlink_to(outside)
        else:
            place.mkdir()
            (place / "c").symlink_to(outside / "c") if where == "a file in it" else os.link(
                outside / "c", place / "c"
            )
    with pytest.raises((TargetUnusable, OSError)):
        land(landing(target, manifest), chunks_of(source, manifest))
    assert read(outside) == {"c": b"untouched"}


@pytest.mark.parametrize("linked", ["half", "all"])
def test_what_is_half_fetched_is_nobody_elses_file(tops: tuple[Path, Path], linked: str) -> None:
    """Killed between its last two steps, a getter leaves a target that the working folder still has a link to; its
    user may take it elsewhere and write on in it.
    """
    source, target = tops
    make(source, {"single": b"s" * 1500})
    manifest = scanned(source, "single")
    chunks = chunks_of(source, manifest)
    at = landing(target, manifest)
    through(at.prepare())
    for number, chunk in enumerate(chunks if linked == "all" else chunks[:1]):
        through(at.write(number, chunk))
    at.close()
    mine = target / "mine"
    os.link(Path(at.working_path, "single"), mine)
    with mine.open("ab") as file:
        file.write(b"and more")
    before = mine.read_bytes()
    with pytest.raises(TargetUnusable, match="linked from elsewhere: remove "):
        land(landing(target, manifest), chunks)
    assert mine.read_bytes() == before and not (target / "single").exists()


@pytest.mark.parametrize("strange", ["file", "folder", "link"])
def test_nothing_lands_that_is_not_of_the_share(tops: tuple[Path, Path], strange: str) -> None:
    """Whoever looks into the working folder may leave something there, as file managers do."""
    source, target = tops
    manifest = scanned(source, "t")
    chunks = chunks_of(source, manifest)
    at = landing(target, manifest)
    through(at.prepare())
    place = Path(at.working_path, "t", "a", ".DS_Store")
    place.parent.mkdir(exist_ok=True, parents=True)
    if strange == "file":
        place.write_bytes(b"?")
    elif strange == "folder":
        place.mkdir()
    else:
        place.symlink_to(source)
    at.close()
    with pytest.raises(TargetUnusable, match=r"a/\.DS_Store"):
        land(landing(target, manifest), chunks)
    assert not (target / "t").exists()
    place.rmdir() if strange == "folder" else place.unlink()
    assert land(landing(target, manifest), chunks) == 0
    assert read(target) == TREE


@pytest.mark.parametrize("what", ["a file", "a dangling link", "a closed folder", "nothing"])
def test_where_nothing_can_be_put_is_told_by_its_path(
    tops: tuple[Path, Path], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    source, target = tops
    place, told = target / "place", str(target / "place")
    if what == "a file":
        place.touch()
    elif what == "a dangling link":
        place.symlink_to(target / "nowhere")
    elif what == "a closed folder":
        place.mkdir()
    manifest = scanned(source, "t")
    at = Landing("" if what == "nothing" else str(place), manifest, SMALL)
    if what == "a closed folder":
        monkeypatch.setattr(os, "mkdir", refuse)
    if what == "nothing":
        told = "an empty path"
    with pytest.raises(TargetUnusable, match=re.escape(told)):
        land(at, [])


def test_a_working_folder_that_others_can_write_is_not_used(tops: tuple[Path, Path]) -> None:
    source, target = tops
    manifest = scanned(source, "t")
    work = Path(landing(target, manifest).working_path)
    work.mkdir()
    work.chmod(0o777)
    with pytest.raises(TargetUnusable, match="others"):
        land(landing(target, manifest), chunks_of(source, manifest))


# --- bad chunks, full disks -----------------------------------------------------------------------------


def test_a_wrong_chunk_is_not_written(tops: tuple[Path, Path]) -> None:
    source, target = tops
    manifest = scanned(source, "t")
    at = landing(target, manifest)
    for _ in at.prepare():
        pass
    before = read(target)
    with pytest.raises(RemoteProtocolError, match="chunk 1"):
        through(at.write(1, bytearray(1000)))
    at.close()
    assert read(target) == before and 1 not in at.held


def test_chunks_that_are_not_the_files(tmp_path: Path) -> None:
    """A sender may lie of the hash of a file. Which chunk is wrong nobody knows, so nothing is kept."""
    manifest, chunks = lying({"t": b"x" * 1500})
    other, _ = lying({"t": b"y" * 1500})
    mixed = type(manifest).of(other.entries, 1000, manifest.hashes)
    with pytest.raises(RemoteProtocolError, match="do not make up t"):
        land(landing(tmp_path, mixed), chunks)
    assert os.listdir(tmp_path) == []


def test_no_room_is_told_before_anything_is_fetched(
    tops: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tops
    there = os.statvfs(target)
    monkeypatch.setattr(os, "fstatvfs", lambda fd: os.statvfs_result((*there[:4], 0, *there[5:])))
    manifest = scanned(source, "t")
    with pytest.raises(TargetUnusable, match="there is room for 0"):
        land(landing(target, manifest), chunks_of(source, manifest))
    assert os.listdir(target) == []


def test_a_disk_that_fills_up_keeps_what_was_fetched(
    tops: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tops
    manifest = scanned(source, "t")
    chunks = chunks_of(source, manifest)
    written = 0

    def fill(fd: int, view: memoryview, offset: int) -> None:
        nonlocal written
        written += len(view)
        if written > 2500:
            os.pwrite(fd, view[:100], offset)  # torn, as it may be
            raise OSError(errno.ENOSPC, "No space left on device")
        os.pwrite(fd, view, offset)

    with monkeypatch.context() as filling:
        filling.setattr(writing, "_write_at", fill)
        with pytest.raises(TargetUnusable, match="No space left on device; what was fetched is kept in"):
            land(landing(target, manifest), chunks)
    assert not (target / "t").exists()
    assert land(landing(target, manifest), chunks) == 3
    assert read(target) == TREE


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this user may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_real_disk_that_fills_up(tmp_path: Path, small_disk: Path) -> None:
    source = tmp_path / "source"
    tree: Tree = {"t/a": os.urandom(400_000), "t/b": os.urandom(300_000)}
    make(source, tree)
    manifest = scanned(source, "t")
    chunks = chunks_of(source, manifest)
    at = landing(small_disk, manifest)
    for _ in at.prepare():
        pass
    (small_disk / "somebody else's").write_bytes(bytes(600_000))
    with pytest.raises(TargetUnusable, match="No space left on device"):
        for number, chunk in enumerate(chunks):
            through(at.write(number, chunk))
    held = len(at.held)
    at.close()
    assert 100 < held < len(chunks)
    with pytest.raises(TargetUnusable, match="there is room for"):
        land(landing(small_disk, manifest), chunks)
    (small_disk / "somebody else's").unlink()
    assert land(landing(small_disk, manifest), chunks) == len(chunks) - held
    assert read(small_disk) == tree
