"""Running the ``p2p`` command as its users do: in processes, on loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import trio

from p2p.abc import Stream
from p2p.host import Host
from p2p.identity import Identity
from p2p.protocols.identify import Identify
from p2p.transports.tcp import TCP

P2P = [sys.executable, "-X", "dev", "-m", "p2p.cli"]
PATIENCE = 30


async def p2p(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            [*P2P, *arguments], stdin=stdin, capture_stdout=True, capture_stderr=True, check=False
        )


class Running:
    """A process of ours, and the lines it prints."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._rest = b""

    async def line(self) -> bytes:
        """The next line on stdout; empty at the end."""
        assert self.process.stdout is not None
        with trio.fail_after(PATIENCE):
            while b"\n" not in self._rest:
                chunk = await self.process.stdout.receive_some()
                if not chunk:
                    return b""
                self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    async def event(self, name: str) -> dict[str, Any]:
        """The next JSON line with the event ``name``."""
        while line := await self.line():
            facts: dict[str, Any] = json.loads(line)
            if facts["event"] == name:
                return facts
        raise AssertionError(f"it ended without {name}")

    async def interrupt(self) -> tuple[int, bytes]:
        """As Ctrl-C does; its exit status and what it said on stderr."""
        self.process.send_signal(signal.SIGINT)
        return await self.end()

    async def end(self) -> tuple[int, bytes]:
        assert self.process.stderr is not None
        with trio.fail_after(PATIENCE):
            said = b"".join([bytes(chunk) async for chunk in self.process.stderr])
            return await self.process.wait(), said


@asynccontextmanager
async def running(*arguments: str, **streams: Any) -> AsyncIterator[Running]:
    command = [*P2P, *arguments]
    start = partial(
        trio.run_process,
        command,
        check=False,
        **{"stdout": subprocess.PIPE, **streams},
        stderr=subprocess.PIPE,
    )
    async with AsyncExitStack() as pipes, trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(start)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipes.push_async_callback(trio.aclose_forcefully, pipe)
        yield Running(process)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def node(*arguments: str) -> AsyncIterator[tuple[Running, str]]:
    """A node, and its first address."""
    async with running("node", "--json", *arguments) as started:
        listening = json.loads(await started.line())
        assert listening["event"] == "listening"
        yield started, listening["addrs"][0]


@asynccontextmanager
async def hostile(handlers: dict[str, Callable[[Stream], Any]], **identify: str) -> AsyncIterator[str]:
    """The address of a host in this process that speaks ``handlers``."""
    listen = ["/ip4/127.0.0.1/tcp/0"]
    services = [Identify(**identify)]
    async with Host(Identity.generate(), transports=[TCP()], listen=listen, services=services) as host:
        with ExitStack() as registrations:
            for protocol, handler in handlers.items():
                registrations.enter_context(host.handle(protocol, handler))
            yield str(host.addrs[0])


def one_line(said: bytes) -> str:
    """A failure is told in one sentence, and never by a traceback."""
    text = said.decode()
    assert text.startswith("p2p: ") and "Traceback" not in text
    return text
