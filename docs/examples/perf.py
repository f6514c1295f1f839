"""How fast bytes go to a peer, and come from it."""

import trio

from p2p import Host, Identity
from p2p.protocols.perf import Perf, perf

MIB = 1024 * 1024


async def main() -> None:
    async with Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"], services=[Perf()]) as bob:
        async with Host(Identity.generate()) as alice:
            result = await perf(alice, bob.addrs[0], upload=2 * MIB, download=1 * MIB)
    for name, transfer in (("up", result.upload), ("down", result.download)):
        print(f"{name}: {transfer.bytes} bytes, in no time: {transfer.seconds == 0}")


trio.run(main)

# Output:
# up: 2097152 bytes, in no time: False
# down: 1048576 bytes, in no time: False
