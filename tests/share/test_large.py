"""What takes a while: a gigabyte between two processes, interrupted ten times on its way; ten thousand small files."""

from __future__ import annotations

import os
import random
import resource
from pathlib import Path

import pytest
import trio

from tests.share.test_interrupted import TEN, interrupted
from tests.share.trees import read
from tests.trio.commands import running

GIGABYTE = 1_000_000_000
FILES = 10_000

pytestmark = [pytest.mark.property, pytest.mark.timeout(300)]


async def test_a_gigabyte_interrupted_ten_times(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    await interrupted(tmp_path, GIGABYTE, random.Random(seed).sample(TEN, len(TEN)), seed)


async def cross(source: Path, directory: Path) -> dict[str, float]:
    """From one process to another; what ``fetched`` says, and the seconds of processor of both together."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    async with running("send", str(source), "--json", "--listen", "/ip4/127.0.0.1/tcp/0") as sender:
        address = (await sender.event("sharing"))["address"]
        async with running("get", address, "-o", str(directory), "--json") as getter:
            with trio.fail_after(200):
                fetched = await getter.event("fetched")
            assert await getter.end() == (0, b"")
        assert (await sender.interrupt())[0] == 130
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rate = fetched["bytes"] / fetched["seconds"] / 1e6
    print(
        f"{fetched['files']} files, {fetched['bytes']} bytes in {fetched['seconds']:.2f} s: {rate:.0f} MB/s"
    )
    print(f"processor of both processes, start and scan included: {seconds:.2f} s")
    return fetched


async def test_a_gigabyte(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        for _ in range(GIGABYTE // 1_000_000):
            file.write(os.urandom(1_000_000))
    fetched = await cross(source, tmp_path / "got")
    assert fetched["fetched_bytes"] == GIGABYTE and fetched["fetched_chunks"] == 239


async def test_ten_thousand_small_files(tmp_path: Path) -> None:
    """Few chunks hold them all: no round trip for each."""
    chance = random.Random(0)
    source = tmp_path / "source"
    for number in range(FILES):
        place = source / "tree" / f"{number % 10}" / f"{number % 100:02}" / f"{number:05}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(chance.randbytes(chance.randrange(2000)))
    fetched = await cross(source / "tree", tmp_path / "got")
    assert fetched["files"] == FILES and fetched["fetched_chunks"] == 3
    assert read(tmp_path / "got") == read(source)
    assert os.listdir(tmp_path / "got") == ["tree"]
