"""A host for programs that are not written for Trio: it lives in a thread of its own.

``anyio.from_thread.start_blocking_portal(backend="trio")`` runs Trio in a thread, and the context managers below own
that thread: leaving them leaves the host first, then ends the thread. Synchronous code calls in with ``portal.call``;
asyncio code does the same from a worker thread, so that its own loop never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from anyio.from_thread import BlockingPortal, start_blocking_portal

from p2p import Host, Identity, Stream

ECHO = "/echo/1.0.0"


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


async def ask(host: Host, address: str, question: bytes) -> bytes:
    """What a program does with a host: this runs in Trio."""
    async with await host.open_stream(address, ECHO) as stream:
        await stream.send_all(question)
        await stream.send_eof()
        return b"".join([chunk async for chunk in stream])


@asynccontextmanager
async def hosts() -> AsyncIterator[tuple[Host, str]]:
    """A host, and the address of another one that echoes: entered, like all that touches a host, in Trio."""
    async with (
        Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"]) as echoing,
        Host(Identity.generate()) as dialing,
    ):
        with echoing.handle(ECHO, echo):
            yield dialing, str(echoing.addrs[0])


@contextmanager
def hosts_in_a_thread() -> Iterator[tuple[BlockingPortal, Host, str]]:
    """A portal into Trio, and the hosts there."""
    with start_blocking_portal(backend="trio") as portal:
        with portal.wrap_async_context_manager(hosts()) as (host, address):
            yield portal, host, address


def synchronous() -> bytes:
    with hosts_in_a_thread() as (portal, host, address):
        return portal.call(ask, host, address, b"hello from a thread")


def from_asyncio() -> bytes:
    async def main() -> bytes:
        with hosts_in_a_thread() as (portal, host, address):
            return await asyncio.to_thread(portal.call, ask, host, address, b"hello from asyncio")

    return asyncio.run(main())


if __name__ == "__main__":
    print(synchronous())
    print(from_asyncio())

# Output:
# b'hello from a thread'
# b'hello from asyncio'
