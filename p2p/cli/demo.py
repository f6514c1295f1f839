"""Two processes, a file from one to the other and back, and what happened: ``python -m p2p.cli.demo [FILE]``."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import trio

from p2p.cli.output import duration, size

MADE_SIZE: Final = 64 * 1024 * 1024
_CHUNK: Final = 1024 * 1024
_P2P: Final = (sys.executable, "-m", "p2p.cli")
_INTERRUPTED: Final = 130
#: The first line of a node is some hundreds of bytes.
_MAX_LINE: Final = 64 * 1024
#: In order with what the processes print.
_say = partial(print, flush=True)
#: Seconds for a node to end after an interrupt.
_PATIENCE: Final = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 only when every step did what it should."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background by a shell: the node would inherit that, and not be interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m p2p.cli.demo", description=__doc__)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, help="what to send (default: 64 MiB of noise)"
    )
    chosen: Path | None = parser.parse_args(argv).file
    good = False
    with tempfile.TemporaryDirectory(prefix="p2p-demo-") as name:
        try:
            good = _demonstrate(chosen or _make_noise(Path(name, "noise")), Path(name, "came-back"))
        except* KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        except* OSError as group:
            _say(f"demo: {group.exceptions[0]}", file=sys.stderr)
    _say("all is well" if good else "SOMETHING WENT WRONG")
    return 0 if good else 1


def _demonstrate(source: Path, copy: Path) -> bool:
    before = _sha256(source)
    _say(f"file:        {source}, {size(source.stat().st_size)}")
    _say(f"sha256:      {before}")
    with source.open("rb") as stdin, copy.open("wb") as stdout:
        went_well = trio.run(_exchange, stdin, stdout)
    after = _sha256(copy)
    _say(f"came back:   {size(copy.stat().st_size)}, sha256 {'the same' if after == before else after}")
    return went_well and after == before


async def _exchange(stdin: BinaryIO, stdout: BinaryIO) -> bool:
    """Send ``stdin`` through two processes into ``stdout``; whether both ended as they should."""
    async with trio.open_nursery() as nursery:
        node: trio.Process = await nursery.start(
            partial(trio.run_process, [*_P2P, "node", "--json"], stdout=subprocess.PIPE, check=False)
        )
        line = await _first_line(node)
        if not line:
            print("demo: the listening process did not start", file=sys.stderr)
            return False
        listening = json.loads(line)
        addr = listening["addrs"][0]
        _say(f"process {node.pid}: p2p node, I am {listening['peer_id']}")
        _say(f"             listening on {addr}")
        start = trio.current_time()
        echo: trio.Process = await nursery.start(
            partial(trio.run_process, [*_P2P, "echo", addr], stdin=stdin, stdout=stdout, check=False)
        )
        _say(f"process {echo.pid}: p2p echo, sends the file there and gets it back")
        await echo.wait()
        taken = duration(trio.current_time() - start)
        _say(f"process {echo.pid}: ended with {echo.returncode} after {taken}, its start included")
        node.send_signal(signal.SIGINT)
        with trio.move_on_after(_PATIENCE):
            await _drain(node)  # a node that tells more than a pipe holds must not wait for us
            await node.wait()
        nursery.cancel_scope.cancel()
    _say(f"process {node.pid}: interrupted, ended with {node.returncode}")
    return echo.returncode == 0 and node.returncode == _INTERRUPTED


async def _first_line(process: trio.Process) -> bytes:
    """Empty when it printed none."""
    line = bytearray()
    while process.stdout is not None and len(line) < _MAX_LINE and not line.endswith(b"\n"):
        byte = await process.stdout.receive_some(1)
        if not byte:
            return b""
        line += byte
    return bytes(line)


async def _drain(process: trio.Process) -> None:
    if process.stdout is not None:
        async with process.stdout:
            async for _ in process.stdout:
                pass


def _make_noise(path: Path) -> Path:
    with path.open("wb") as file:
        for _ in range(MADE_SIZE // _CHUNK):
            file.write(os.urandom(_CHUNK))
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
