"""A host for an asyncio program: the two event loops run in two threads, and a portal joins them."""

import asyncio

from anyio.from_thread import BlockingPortal, start_blocking_portal

from p2p import Host, Identity
from p2p.protocols.echo import ECHO, Echo
from p2p.streams import read_exactly


async def echoed(host: Host, addr: str, data: bytes) -> bytes:
    """Runs in Trio."""
    async with await host.open_stream(addr, ECHO) as stream:
        await stream.send_all(data)
        return await read_exactly(stream, len(data))


async def main(portal: BlockingPortal, alice: Host, addr: str) -> None:
    """Runs in asyncio, and never waits for the other loop but by await."""
    futures = [portal.start_task_soon(echoed, alice, addr, word) for word in (b"from", b"asyncio")]
    print(await asyncio.gather(*map(asyncio.wrap_future, futures)))


with start_blocking_portal(backend="trio") as portal:
    bob = Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"], services=[Echo()])
    with portal.wrap_async_context_manager(bob):
        with portal.wrap_async_context_manager(Host(Identity.generate())) as alice:
            asyncio.run(main(portal, alice, str(bob.addrs[0])))

# Output:
# [b'from', b'asyncio']
