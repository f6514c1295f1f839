"""Drive a libp2p program that speaks the control contract of README.md in this directory."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, NewType

import trio

LONGEST_LINE = 1 << 20  # bytes: the longest answer is an identify with every address
STDERR_KEPT = 64 * 1024  # bytes, of the end
READY_TIMEOUT = 30  # seconds: node takes one on a quiet machine
COMMAND_TIMEOUT = 20  # seconds: a command's own default
CALL_TIMEOUT = 30  # seconds: longer than that
QUIT_GRACE = 3  # seconds from the end of stdin to the kill
LAST_WORDS = 1  # seconds from the exit to the end of its stdout and stderr
REAP_TIMEOUT = 5  # seconds from the kill to the exit code

Answer = Mapping[str, Any]
_CallId = NewType("_CallId", int)


class PeerError(Exception):
    """The peer answered ``"ok": false``; ``answer`` holds all it said."""

    def __init__(self, name: str, command: str, answer: Answer) -> None:
        super().__init__(f"{name} peer: {command}: {answer.get('kind')}: {answer.get('error')}")
        self.kind = str(answer.get("kind"))
        self.answer = answer


class PeerDied(Exception):
    """The peer ended, or broke the contract, while something was wanted of it."""


class _Call:
    """One command that waits for its answer."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.answer: Answer | None = None


class Peer:
    """A running peer: ``async with Peer("go", build("go"), listen=["/ip4/127.0.0.1/tcp/0"]) as peer``.

    Inside the block ``peer_id`` and ``addrs`` (multiaddrs with ``/p2p/``) are known and :meth:`call` works,
    from any number of tasks. Leaving it ends the process, first by asking, then by killing it. An exception
    that leaves the block carries the end of the peer's stderr as a note.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, listen: Sequence[str] = (), flags: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.peer_id = ""
        self.addrs: list[str] = []
        self._command = [*command, *(f"--listen={addr}" for addr in listen), *flags]
        self._process: trio.Process | None = None
        self._stdin_lock = trio.Lock()
        self._calls: dict[_CallId, _Call] = {}
        self._next_id = 0
        self._ready = trio.Event()
        self._stderr = bytearray()
        self._ended: str | None = None  # why nothing more will be answered
        self._running: AbstractAsyncContextManager[None] | None = None

    @property
    def addr(self) -> str:
        """The first address this peer listens on."""
        return self.addrs[0]

    @property
    def stderr(self) -> str:
        """The end of what the peer has logged."""
        return self._stderr.decode(errors="replace")

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; ``None`` while it runs."""
        return None if self._process is None else self._process.returncode

    async def call(self, command: str, *, timeout_ms: int | None = None, **arguments: object) -> Answer:
        """Send one command and return its answer.

        Raises :exc:`PeerError` when the peer says that it failed, :exc:`PeerDied` when there will be no
        answer, and ``trio.TooSlowError`` after 30 s, or 10 s after ``timeout_ms`` when there is one. Cancelled,
        the command runs on in the peer and its answer is dropped.
        """
        call_id = _CallId(self._next_id)
        self._next_id += 1
        patience: float = CALL_TIMEOUT
        if timeout_ms is not None:
            arguments["timeout_ms"] = timeout_ms
            patience = timeout_ms / 1000 + CALL_TIMEOUT - COMMAND_TIMEOUT
        line = json.dumps({"id": call_id, "command": command, **arguments}).encode() + b"\n"
        call = self._calls[call_id] = _Call()
        try:
            with trio.fail_after(patience):
                await self._send(line)
                await call.done.wait()
        finally:
            del self._calls[call_id]
        if call.answer is None:
            raise PeerDied(f"{self.name} peer: {command}: {self._ended}")
        if call.answer.get("ok") is not True:
            raise PeerError(self.name, command, call.answer)
        return call.answer

    async def __aenter__(self) -> Peer:
        self._running = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._running is not None
        return await self._running.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncGenerator[None, None]:
        process = await trio.lowlevel.open_process(self._command, stdin=-1, stdout=-1, stderr=-1)
        assert process.stdout is not None and process.stderr is not None
        self._process = process
        left_with: BaseException | None = None
        try:
            async with process.stdout, process.stderr, trio.open_nursery() as nursery:
                nursery.start_soon(self._read_answers)
                nursery.start_soon(self._read_stderr)
                try:
                    with trio.fail_after(READY_TIMEOUT):
                        await self._ready.wait()
                    if not self.peer_id:
                        raise PeerDied(f"{self.name} peer: not ready: {self._ended}")
                    yield
                except BaseException as error:
                    left_with = error
                    raise
                finally:
                    await self._end(process)
                    # Its last words are in the pipe; but a child of its own could keep that open.
                    nursery.cancel_scope.deadline = trio.current_time() + LAST_WORDS
        except BaseExceptionGroup as group:
            if group.exceptions != (left_with,):
                raise
        if left_with is not None:  # the nursery's wrapping tells a test nothing
            left_with.add_note(f"{self.name} peer: exit code {process.returncode}, stderr:\n{self.stderr}")
            raise left_with

    async def _end(self, process: trio.Process) -> None:
        assert process.stdin is not None
        try:
            await process.stdin.aclose()  # EOF: the contract's other way to say quit
            with trio.move_on_after(QUIT_GRACE):
                await process.wait()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
            # What was killed ends: the shield only keeps us from leaving a zombie, and has a deadline too.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + REAP_TIMEOUT):
                await process.wait()

    async def _send(self, line: bytes) -> None:
        assert self._process is not None and self._process.stdin is not None
        if self._ended is not None:
            raise PeerDied(f"{self.name} peer: {self._ended}")
        async with self._stdin_lock:
            # A torn line would break the contract: the shield lets a begun line be finished.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CALL_TIMEOUT) as scope:
                try:
                    await self._process.stdin.send_all(line)
                except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                    raise PeerDied(f"{self.name} peer: its stdin is closed") from error
            if scope.cancelled_caught:
                raise PeerDied(f"{self.name} peer: does not read its stdin")

    async def _read_answers(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        pending = bytearray()
        try:
            async for chunk in self._process.stdout:
                pending += chunk
                *lines, rest = pending.split(b"\n")
                pending = bytearray(rest)
                for line in lines:
                    self._take(json.loads(line))
                if len(pending) > LONGEST_LINE:
                    raise ValueError(f"a line of more than {LONGEST_LINE} bytes")
            self._ended = "the process closed its stdout"
        except (ValueError, KeyError, TypeError) as error:
            self._ended = f"broke the contract: {error!r}"
        self._ready.set()
        for call in self._calls.values():
            call.done.set()

    def _take(self, line: Any) -> None:
        if not isinstance(line, dict):
            raise ValueError(f"not an object: {line!r}")
        if line.get("event") == "ready":
            self.peer_id, self.addrs = str(line["peer_id"]), [str(addr) for addr in line["addrs"]]
            self._ready.set()
            return
        if line["id"] is None:
            raise ValueError(f"could not read a command of ours: {line}")
        call = self._calls.get(line["id"])
        if call is not None:  # else its caller was cancelled
            call.answer = line
            call.done.set()

    async def _read_stderr(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        async for chunk in self._process.stderr:
            self._stderr += chunk
            del self._stderr[:-STDERR_KEPT]
