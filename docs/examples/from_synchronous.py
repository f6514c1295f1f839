"""A host for code that knows nothing of async: it lives in a thread of its own, behind a portal."""

from collections.abc import Iterator
from contextlib import contextmanager

from anyio.from_thread import BlockingPortal, start_blocking_portal

from p2p import Host, Identity
from p2p.protocols.echo import ECHO, Echo
from p2p.streams import read_exactly


@contextmanager
def running_host(portal: BlockingPortal, host: Host) -> Iterator[Host]:
    with portal.wrap_async_context_manager(host) as running:
        yield running


async def echoed(host: Host, addr: str, data: bytes) -> bytes:
    async with await host.open_stream(addr, ECHO) as stream:
        await stream.send_all(data)
        return await read_exactly(stream, len(data))


with start_blocking_portal(backend="trio") as portal:
    bob = Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"], services=[Echo()])
    with running_host(portal, bob), running_host(portal, Host(Identity.generate())) as alice:
        addr = str(bob.addrs[0])
        print(portal.call(echoed, alice, addr, b"from a plain function"))

# Output:
# b'from a plain function'
