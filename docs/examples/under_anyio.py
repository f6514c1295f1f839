"""A host in a program written for anyio, run on its Trio backend."""

import anyio

from p2p import Host, Identity
from p2p.protocols.ping import PING, Ping, ping


async def main() -> None:
    listen = ["/ip4/127.0.0.1/tcp/0"]
    async with Host(Identity.generate(), listen=listen, services=[Ping()]) as bob:
        async with Host(Identity.generate()) as alice:
            with anyio.fail_after(10):
                async with await alice.open_stream(bob.addrs[0], PING) as stream:
                    print("answered:", await ping(stream) > 0)


anyio.run(main, backend="trio")

# Output:
# answered: True
