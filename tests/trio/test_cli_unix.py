"""Two processes of one machine that talk over a file."""

from __future__ import annotations

import json
import os
from tempfile import TemporaryDirectory

from tests.trio.commands import node, one_line, p2p


async def test_a_node_on_a_unix_socket() -> None:
    with TemporaryDirectory(prefix="p2p-") as directory:
        path = f"{directory}/a socket"
        async with node("--listen", f"/unix{path}") as (started, addr):
            assert addr.startswith(f"/unix{directory}/a%20socket/p2p/12D3Koo")
            pinged = await p2p("ping", addr, "-c", "1", "--json")
            assert (pinged.returncode, pinged.stderr) == (0, b"")
            assert (await started.event("connected"))["addr"] == addr.partition("/p2p/")[0]
            echoed = await p2p("echo", addr, stdin=b"x" * 1_000_000)
            assert (echoed.returncode, echoed.stdout) == (0, b"x" * 1_000_000)
            measured = await p2p("perf", addr, "--json", "--upload", "1000000", "--download", "1000000")
            assert json.loads(measured.stdout)["download"]["bytes"] == 1_000_000
            again = await p2p("node", "--listen", f"/unix{path}")
            assert again.returncode == 1
            assert "Address already in use" in one_line(again.stderr)
            assert await started.interrupt() == (130, b"")
        assert os.listdir(directory) == []


async def test_a_node_that_was_killed_is_no_obstacle() -> None:
    with TemporaryDirectory(prefix="p2p-") as directory:
        path = f"{directory}/socket"
        async with node("--listen", f"/unix{path}") as (started, _):
            started.process.kill()
            await started.end()
            assert os.listdir(directory) == ["socket"]
        async with node("--listen", f"/unix{path}") as (_, addr):
            assert (await p2p("ping", addr, "-c", "1")).returncode == 0
