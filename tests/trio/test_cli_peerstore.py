"""``p2p node --peerstore FILE``: what a node knows of peers survives it, however it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2p.cli.command import main
from p2p.limits import PeerstoreLimits
from p2p.peerstore.file import PeerFile
from p2p.peerstore.memory import KnownPeer
from tests.trio.commands import node, one_line, p2p


def known(path: Path) -> list[KnownPeer]:
    file = PeerFile(path, PeerstoreLimits())
    try:
        return file.read(ahead=0.0) or []
    finally:
        file.close()


async def test_a_node_that_keeps_what_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "peers.db"
    async with node("--peerstore", str(path)) as (started, addr):
        assert (await p2p("ping", addr, "-c", "2")).returncode == 0
        first = (await started.event("identified"))["peer_id"]
        await started.event("disconnected")

        refused = await p2p("node", "--peerstore", str(path))
        assert refused.returncode == 1
        assert "another process uses it" in one_line(refused.stderr)
        assert await started.interrupt() == (130, b"")
    (one,) = known(path)
    assert str(one.peer) == first and one.agent_version.startswith("p2p-trio/")
    assert "/ipfs/id/1.0.0" in one.protocols and one.public_key is not None

    async with node("--peerstore", str(path)) as (started, addr):
        assert (await p2p("ping", addr, "-c", "2")).returncode == 0
        second = (await started.event("identified"))["peer_id"]
        await started.event("disconnected")
        assert await started.interrupt() == (130, b"")
    assert [str(one.peer) for one in known(path)] == [first, second]


def test_a_file_that_is_no_peerstore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "diary"
    path.write_text("Dear diary, " * 100)
    assert main(["node", "--peerstore", str(path)]) == 1
    assert "it is not a peerstore" in one_line(capsys.readouterr().err.encode())
    assert main(["node", "--json", "--peerstore", str(tmp_path / "no" / "where")]) == 1
    assert "No such file" in json.loads(capsys.readouterr().err)["message"]
