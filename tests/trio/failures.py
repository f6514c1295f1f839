"""Thirty kinds of exceptions, and the places they are thrown from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import trio

from p2p import ConnectionLost, Host, ProtocolId, RemoteProtocolError, Stream, StreamReset
from p2p.abc import Handler, HostView
from p2p.errors import LocalProtocolError, P2PError
from tests.trio.fakes import FakeConnection, FakeNetwork, fake_host, memory

HELLO = ProtocolId("/hello")
#: How many seconds a test is given in which nothing should hang.
SOON = 1.0


class Worker:
    """A service that does what it is told once it serves."""

    def __init__(
        self, work: Callable[[], Awaitable[object]], handlers: Mapping[ProtocolId, Handler] | None = None
    ):
        self.work = work
        self.handlers = handlers or {}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        await self.work()


class Odd(BaseException):
    """Neither an Exception nor anything Python knows."""


def make_failures() -> list[BaseException]:
    """Thirty kinds of exceptions."""
    kinds: list[BaseException] = [
        cls("no")
        for cls in (
            ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, IndexError, KeyError,
            LookupError, MemoryError, NameError, OSError, RecursionError, ReferenceError, RuntimeError,
            ZeroDivisionError, StopAsyncIteration, SyntaxError, TimeoutError, TypeError, ValueError, Exception,
            trio.BrokenResourceError, trio.BusyResourceError, trio.TooSlowError, asyncio.QueueFull,
            P2PError, LocalProtocolError, RemoteProtocolError, ConnectionLost,
        )
    ]  # fmt: skip
    kinds.append(StreamReset(7))
    kinds.append(ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [TypeError("two")])]))
    return kinds


FAILURES = make_failures()
BEYOND_EXCEPTION = [KeyboardInterrupt("no"), SystemExit("no"), GeneratorExit("no"), Odd("no")]


def named(value: object) -> str:
    return type(value).__name__


def raising(error: BaseException) -> Callable[..., Awaitable[None]]:
    async def work(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return work


async def hang(*_: object) -> None:
    await trio.sleep_forever()


@asynccontextmanager
async def connected(
    **options: object,
) -> AsyncIterator[tuple[Host, Host, FakeConnection, FakeNetwork]]:
    """A listening host, one that dialed it, and the listening host's connection."""
    network = FakeNetwork()
    async with fake_host(network, listen=[1], **options) as here, fake_host(network) as there:
        await there.dial(memory(1))
        connection = await here.wait_connected(there.peer_id)
        assert isinstance(connection, FakeConnection)
        yield here, there, connection, network


async def open_stream(here: Host, there: Host, handler: Handler) -> Stream:
    with here.handle(HELLO, handler):
        return await there.open_stream(here.peer_id, HELLO, "/other")
