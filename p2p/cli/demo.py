"""Two processes, a file from one to the other, and what happened: ``python -m p2p.cli.demo [FILE]``."""

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
from typing import Final

import trio

from p2p.cli.output import duration, size

MADE_SIZE: Final = 64 * 1024 * 1024
_CHUNK: Final = 1024 * 1024
_P2P: Final = (sys.executable, "-m", "p2p.cli")
_INTERRUPTED: Final = 130
#: A line of a process is some hundreds of bytes.
_MAX_LINE: Final = 64 * 1024
#: In order with what the processes print.
_say = partial(print, flush=True)
#: Seconds for a process to end after an interrupt.
_PATIENCE: Final = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 only when every step did what it should."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Started in the background by a shell: the sender would inherit that, and not be interrupted.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m p2p.cli.demo", description=__doc__)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, help="what to send (default: 64 MiB of noise)"
    )
    chosen: Path | None = parser.parse_args(argv).file
    good = False
    with tempfile.TemporaryDirectory(prefix="p2p-demo-") as name:
        try:
            good = _demonstrate(chosen or _make_noise(Path(name, "noise")), Path(name, "got"))
        except* KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
        except* OSError as group:
            _say(f"demo: {group.exceptions[0]}", file=sys.stderr)
    _say("all is well" if good else "SOMETHING WENT WRONG")
    return 0 if good else 1


def _demonstrate(source: Path, directory: Path) -> bool:
    before = _sha256(source)
    _say(f"file:        {source}, {size(source.stat().st_size)}")
    _say(f"sha256:      {before}")
    if not trio.run(_exchange, source, directory):
        return False
    copy = directory / source.name
    after = _sha256(copy)
    _say(f"got:         {copy}, {size(copy.stat().st_size)}")
    _say(f"sha256:      {after}, {'the same' if after == before else 'NOT THE SAME'}")
    return after == before


async def _exchange(source: Path, directory: Path) -> bool:
    """Send ``source`` into ``directory``, from one process to another; whether both ended as they should."""
    async with trio.open_nursery() as nursery:
        command = [*_P2P, "send", str(source), "--json", "--listen", "/ip4/127.0.0.1/tcp/0"]
        send: trio.Process = await nursery.start(
            partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
        )
        line = await _first_line(send)
        if not line:
            print("demo: the sending process did not start", file=sys.stderr)
            return False
        address = json.loads(line)["address"]
        # Its secret is worth nothing to anybody once this has ended.
        _say(f"process {send.pid}: p2p send {source.name}")
        _say(f"             shared at {address}")
        start = trio.current_time()
        get: trio.Process = await nursery.start(
            partial(
                trio.run_process,
                [*_P2P, "get", address, "-o", str(directory)],
                stdout=subprocess.DEVNULL,
                check=False,
            )
        )
        _say(f"process {get.pid}: p2p get, fetches it from there")
        await get.wait()
        taken = duration(trio.current_time() - start)
        _say(f"process {get.pid}: ended with {get.returncode} after {taken}, its start included")
        send.send_signal(signal.SIGINT)
        with trio.move_on_after(_PATIENCE):
            await _drain(send)  # a process that tells more than a pipe holds must not wait for us
            await send.wait()
        nursery.cancel_scope.cancel()
    _say(f"process {send.pid}: interrupted, ended with {send.returncode}")
    return get.returncode == 0 and send.returncode == _INTERRUPTED


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
