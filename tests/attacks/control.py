"""The pipe between a test and the processes it starts: a line of JSON to ask, a line of JSON to answer."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

ROOT = Path(__file__).resolve().parents[2]

#: The longest answer: the lines of a log.
MAX_LINE = 1 << 20
#: A process that does not answer for so long hangs; its loop was blocked far beyond any bound.
ANSWER = 30.0
#: The name of the task that answers: what it does is not the victim's doing.
CONTROL_TASK = "control pipe"

Answers = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Lines:
    """Lines of a stream."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def next(self) -> bytes:
        """The next line, empty at the end."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_LINE:
                raise ValueError("a line without end")
            chunk = await self._stream.receive_some()
            if not chunk:
                return b""
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line


async def answer_commands(ready: dict[str, Any], answers: Answers) -> None:
    """In the process: say what it is, then answer until the test closes the pipe."""
    async with trio.lowlevel.FdStream(os.dup(0)) as stdin, trio.lowlevel.FdStream(os.dup(1)) as stdout:
        lines = Lines(stdin)
        await stdout.send_all(json.dumps(ready).encode() + b"\n")
        while line := await lines.next():
            answer = await answers(json.loads(line))
            await stdout.send_all(json.dumps(answer).encode() + b"\n")


class Controlled:
    """In the test: a process of ours."""

    def __init__(self, process: trio.Process, errors: Path) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._lines = Lines(process.stdout)
        self._errors = errors
        self._lock = trio.Lock()
        self.ready: dict[str, Any] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def died(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        self._process.kill()

    def errors(self) -> str:
        """What it wrote to its standard error."""
        return self._errors.read_text(errors="replace")

    async def _receive(self) -> dict[str, Any]:
        with trio.fail_after(ANSWER):
            line = await self._lines.next()
        if not line:
            await self._process.wait()
            raise AssertionError(f"the process ended ({self._process.returncode}):\n{self.errors()[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def wait_ready(self) -> None:
        self.ready = await self._receive()

    async def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        async with self._lock:
            try:
                await self._stdin.send_all(json.dumps({"do": do, **arguments}).encode() + b"\n")
            except trio.BrokenResourceError:
                pass  # it died: what it left on its pipes tells how
            return await self._receive()


@asynccontextmanager
async def controlled(module: str, config: dict[str, Any]) -> AsyncIterator[Controlled]:
    """Run ``python -m module CONFIG``; it is killed at the end, if closing its pipe did not end it."""
    with tempfile.TemporaryDirectory() as directory:
        errors = Path(directory) / "stderr"
        with errors.open("wb") as stderr:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", module, json.dumps(config)],
                stdin=-1,
                stdout=-1,
                stderr=stderr,
                cwd=ROOT,
            )
        child = Controlled(process, errors)
        try:
            await child.wait_ready()
            yield child
        finally:
            with trio.move_on_after(5.0, shield=True) as scope:
                await child._stdin.aclose()
                await process.wait()
            if scope.cancelled_caught:
                process.kill()
            with trio.move_on_after(5.0, shield=True):
                await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()
