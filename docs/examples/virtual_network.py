"""Two hosts on a network of 100 ms latency, in virtual time: it takes no time, and the time it says is exact."""

import trio
import trio.testing

from p2p import Host, Identity
from p2p.protocols.echo import ECHO, Echo
from p2p.streams import read_exactly
from p2p.testing.links import LinkOptions
from p2p.testing.network import VirtualNetwork


async def main() -> None:
    async with VirtualNetwork(options=LinkOptions(latency=0.1)) as network:
        async with Host(
            Identity.generate(),
            transports=[network.transport("10.0.0.1")],
            listen=["/ip4/10.0.0.1/tcp/4001"],
            services=[Echo()],
        ) as bob:
            async with Host(Identity.generate(), transports=[network.transport("10.0.0.2")]) as alice:
                started = trio.current_time()
                async with await alice.open_stream(bob.addrs[0], ECHO) as stream:
                    await stream.send_all(b"!")
                    await read_exactly(stream, 1)
                passed = trio.current_time() - started
                # There and back takes 0.2 s: one for TCP, one for Noise, one for the byte.
                print(f"{passed / 0.2:.0f} round trips")


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

# Output:
# 3 round trips
