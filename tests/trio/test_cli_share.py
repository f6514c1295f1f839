"""``p2p send`` and ``p2p get`` as their users meet them: processes, on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p.cli.command import main
from p2p.cli.output import Output
from p2p.cli.send import _Watching
from p2p.identity import PeerId
from p2p.protocols.share.reports import ChunkSent, GetterCame, GetterLeft
from tests.trio.commands import P2P, PATIENCE, Running, one_line, p2p, running
from tests.trio.sharing import manifest_of

LOOPBACK = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def sending(path: Path, *arguments: str, listen: str = LOOPBACK) -> AsyncIterator[tuple[Running, str]]:
    """A sender, and its address."""
    async with running("send", str(path), "--json", "--listen", listen, *arguments) as started:
        sharing = json.loads(await started.line())
        assert sharing["event"] == "sharing"
        assert sharing["address"] == sharing["addresses"][0]
        yield started, sharing["address"]


async def get(address: str, directory: Path) -> dict[str, Any]:
    """Its last event; it must have succeeded."""
    ended = await p2p("get", address, "-o", str(directory), "--json")
    assert (ended.returncode, ended.stderr) == (0, b"")
    fetched: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert fetched["event"] == "fetched"
    return fetched


def same(one: Path, other: Path) -> bool:
    """Whether two trees hold the same."""
    if one.is_dir():
        names = sorted(entry.name for entry in one.iterdir())
        if not other.is_dir() or names != sorted(entry.name for entry in other.iterdir()):
            return False
        return all(same(one / name, other / name) for name in names)
    modes = [path.stat().st_mode & 0o100 for path in (one, other)]
    return modes[0] == modes[1] and one.read_bytes() == other.read_bytes()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "source" / "tree"
    (top / "a" / "b").mkdir(parents=True)
    (top / "nothing in it").mkdir()
    (top / "a" / "empty").touch()
    (top / "a" / "b" / "größer").write_bytes(os.urandom(5_000_003))
    (top / "a.b").write_bytes(b"sorted after a/b")
    script = top / "script"
    script.write_bytes(b"#!/bin/sh\n")
    script.chmod(0o755)
    return top


# --- arguments ----------------------------------------------------------------------------------------

PEER = "12D3KooWJWAE2ERZsYX8eikhqFK9pVTzUvFCpDDwUBKQQLUf1ZbT"


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}#",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}#short",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}#n22tpycw3r6ebfgdruo6hlwovm#",
        f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}#N22TPYCW3R6EBFGDRUO6HLWOVM",
        "/ip4/127.0.0.1/tcp/1#n22tpycw3r6ebfgdruo6hlwovm",
    ],
)
def test_no_address_of_a_share_is_wrong_usage(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["get", address])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "usage: p2p" in said
    assert "short" not in said and "n22tpycw" not in said.lower()


# --- what it is for -------------------------------------------------------------------------------------


async def test_a_file(tmp_path: Path) -> None:
    data = os.urandom(9_000_001)
    source = tmp_path / "file"
    source.write_bytes(data)
    async with sending(source) as (sender, address):
        fetched = await get(address, tmp_path / "got")
        assert (tmp_path / "got" / "file").read_bytes() == data
        assert fetched["path"] == str(tmp_path / "got" / "file")
        assert fetched["sha256"] == hashlib.sha256(data).hexdigest()
        assert (fetched["bytes"], fetched["fetched_bytes"], fetched["fetched_chunks"]) == (
            len(data),
            len(data),
            3,
        )
        assert os.listdir(tmp_path / "got") == ["file"]
        finished = await sender.event("finished")
        assert (finished["bytes"], finished["chunks"]) == (len(data), 3)

        again = await get(address, tmp_path / "got")
        assert again["fetched_chunks"] == 0
        assert await sender.interrupt() == (130, b"")


async def test_a_folder(tmp_path: Path, tree: Path) -> None:
    async with sending(tree) as (_, address):
        fetched = await get(address, tmp_path / "got")
    assert fetched["files"] == 4 and fetched["sha256"] is None
    assert same(tree, tmp_path / "got" / "tree")


@pytest.mark.parametrize("empty", ["file", "folder"])
async def test_nothing_at_all(tmp_path: Path, empty: str) -> None:
    source = tmp_path / "source"
    source.mkdir() if empty == "folder" else source.touch()
    async with sending(source) as (_, address):
        fetched = await get(address, tmp_path / "got")
    assert fetched["bytes"] == 0
    assert same(source, tmp_path / "got" / "source")


async def test_several_at_once(tmp_path: Path, tree: Path) -> None:
    async with sending(tree) as (_, address):
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(get, address, tmp_path / str(number))
    assert all(same(tree, tmp_path / str(number) / "tree") for number in range(4))


async def test_sentences_for_people(tmp_path: Path, tree: Path) -> None:
    """stdout holds the address, or the path, and nothing else."""
    async with running("send", str(tree), "--listen", LOOPBACK) as sender:
        address = (await sender.line()).decode()
        ended = await p2p("get", address, "-o", str(tmp_path / "got"))
        assert (ended.returncode, ended.stdout.decode()) == (0, f"{tmp_path}/got/tree\n")
        assert b"4 files, 4.8 MiB" in ended.stderr
        status, said = await sender.interrupt()
        assert status == 130
        assert await sender.line() == b""
        assert b"tree: 4 files, 4.8 MiB" in said and b"has it all" in said and b"Traceback" not in said


async def test_an_address_outlives_its_sender_with_its_key(tmp_path: Path) -> None:
    source, key = tmp_path / "file", str(tmp_path / "key")
    source.write_bytes(b"first")
    async with sending(source, "--key", key) as (_, address):
        pass
    listen = address.partition("/p2p/")[0]
    async with sending(source, "--key", key, listen=listen) as (_, again):
        assert again == address
        await get(address, tmp_path / "got")
    source.write_bytes(b"second")
    async with sending(source, "--key", key, listen=listen) as (_, other):
        assert other != address and other.partition("#")[0] == address.partition("#")[0]
        ended = await p2p("get", address, "-o", str(tmp_path / "other"))
        assert ended.returncode == 1 and "no longer shared" in one_line(ended.stderr)
        assert not (tmp_path / "other").exists()


async def test_a_wrong_secret(tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"x")
    async with sending(source) as (_, address):
        wrong = address[:-26] + "a" * 26
        ended = await p2p("get", wrong, "-o", str(tmp_path / "got"))
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert "nothing for this address" in one_line(ended.stderr)


async def test_something_else_is_there(tmp_path: Path) -> None:
    source, there = tmp_path / "file", tmp_path / "got" / "file"
    source.write_bytes(b"new")
    there.parent.mkdir()
    there.write_bytes(b"old")
    async with sending(source) as (_, address):
        ended = await p2p("get", address, "-o", str(there.parent))
    assert ended.returncode == 1 and "there already" in ended.stderr.decode()
    assert there.read_bytes() == b"old" and os.listdir(there.parent) == ["file"]


async def test_a_source_that_changes(tmp_path: Path) -> None:
    """Both sides name it, and end."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_bytes(os.urandom(3_000_000))
    async with sending(source) as (sender, address):
        status = (source / "b").stat()
        (source / "b").write_bytes(os.urandom(3_000_000))
        os.utime(source / "b", ns=(status.st_atime_ns, status.st_mtime_ns))
        ended = await p2p("get", address, "-o", str(tmp_path / "got"))
        assert ended.returncode == 1 and "source/b changed at the sender" in ended.stderr.decode()
        status_of_sender, said = await sender.end()
        assert status_of_sender == 1
        assert json.loads(said)["message"].startswith("source/b changed")
    assert os.listdir(tmp_path / "got") != ["source"]


# --- who listens ----------------------------------------------------------------------------------------


async def test_a_sender_that_nobody_reads_any_more_ends(tmp_path: Path) -> None:
    """And does not take it for a fault of the stream that it serves just then."""
    source = tmp_path / "file"
    source.write_bytes(b"x")
    async with sending(source) as (sender, address):
        assert sender.process.stdout is not None
        await sender.process.stdout.aclose()
        await p2p("get", address, "-o", str(tmp_path / "got"))
        assert await sender.end() == (141, b"")


@pytest.mark.parametrize("how", ["2>&-", "closed pipe"])
async def test_remarks_that_nobody_reads_stop_nothing(tmp_path: Path, how: str) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"x" * 5_000_000)
    async with sending(source) as (_, address):
        command = shlex.join([*P2P, "get", address, "-o", str(tmp_path / "got")])
        redirected = f"{command} 2>&-" if how == "2>&-" else f"{{ {command} 2>&1 >&3 | true; }} 3>&1"
        status = "" if how == "2>&-" else "set -o pipefail; "
        with trio.fail_after(PATIENCE):
            ended = await trio.run_process(
                ["bash", "-c", status + redirected], capture_stdout=True, check=False
            )
    assert (ended.returncode, ended.stdout.decode()) == (0, f"{tmp_path}/got/file\n")


async def test_what_holds_no_bytes_was_not_there_already(tmp_path: Path) -> None:
    source = tmp_path / "empty"
    source.touch()
    async with sending(source) as (_, address):
        ended = await p2p("get", address, "-o", str(tmp_path / "got"))
    assert ended.returncode == 0 and b"1 file, 0 B, 0 B fetched" in ended.stderr


async def test_two_streams_of_one_peer_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """As when it dials again before its old connection is known to be lost."""
    peer = PeerId.from_text(PEER)
    manifest = manifest_of({"top": bytes(3000)}, 1000)
    watching = _Watching(manifest, Output(as_json=True))
    for report in (
        GetterCame(peer, 1),
        ChunkSent(peer, 1, 1000),
        GetterCame(peer, 2),
        ChunkSent(peer, 2, 1000),
        ChunkSent(peer, 2, 1000),
        GetterLeft(peer, 1, 1, finished=False),
        ChunkSent(peer, 2, 1000),
        GetterLeft(peer, 2, 3, finished=True),
    ):
        watching.watch(report)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    left = [(event["event"], event["getter"], event["bytes"]) for event in told if "bytes" in event]
    assert left == [("getter_left", 1, 1000), ("finished", 2, 3000)]
