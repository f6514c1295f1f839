"""``p2p perf`` as its users meet it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import termios

import pytest
import trio

from p2p.abc import Stream
from p2p.cli.command import main
from p2p.protocols.perf import PERF
from tests.trio.commands import P2P, PATIENCE, hostile, node, one_line, p2p


async def test_a_node_is_measured() -> None:
    async with node() as (_, addr):
        sizes = ["--upload", "3000000", "--download", "2000001"]
        measured = await p2p("perf", addr, *sizes, "--json")
        assert (measured.returncode, measured.stderr) == (0, b"")
        facts = json.loads(measured.stdout.splitlines()[-1])
        assert facts.keys() == {"event", "upload", "download"}
        assert facts["upload"].keys() == facts["download"].keys() == {"bytes", "seconds"}
        assert (facts["upload"]["bytes"], facts["download"]["bytes"]) == (3_000_000, 2_000_001)
        assert facts["upload"]["seconds"] > 0 and facts["download"]["seconds"] > 0
        told = await p2p("perf", addr, *sizes)
        assert (told.returncode, told.stderr) == (0, b"")
        up, down = told.stdout.decode().splitlines()
        assert up.startswith("up:   2.9 MiB in ") and down.startswith("down: 1.9 MiB in ")
        assert up.endswith("iB/s") and down.endswith("iB/s")


async def test_a_terminal_shows_how_far_it_is() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    async with node() as (_, addr):
        arguments = [*P2P, "perf", addr, "--upload", "1000000", "--download", "1000000"]
        with trio.fail_after(PATIENCE):
            told = await trio.run_process(arguments, capture_stdout=True, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:
        pass  # how a terminal ends that nobody writes to
    os.close(ours)
    assert b"up:   0%" in shown and b"down:   0%" in shown and b"977k" in shown
    assert b"\r" not in told.stdout


@pytest.mark.parametrize(
    "size", ["-1", "1MB", "", "18446744073709551616", "9" * 5000], ids=lambda size: size[:20]
)
def test_what_is_no_number_of_bytes(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    addr = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
    with pytest.raises(SystemExit) as end:
        main(["perf", addr, f"--upload={size}"])
    assert end.value.code == 2
    assert "number of bytes" in capsys.readouterr().err


async def test_peers_that_do_not_speak_it_or_do_it_badly() -> None:
    async def short(stream: Stream) -> None:
        async for _ in stream:
            pass

    async with hostile({}) as addr:
        ended = await p2p("perf", addr)
        assert (ended.returncode, ended.stdout) == (1, b"")
        assert "refused /perf/1.0.0" in one_line(ended.stderr)
    async with hostile({PERF: short}) as addr:
        ended = await p2p("perf", addr, "--upload", "10", "--download", "10")
        assert (ended.returncode, ended.stdout) == (1, b"")
        assert "sent 0 of 10 bytes" in one_line(ended.stderr)
