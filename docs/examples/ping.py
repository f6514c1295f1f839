"""How long 32 bytes take to a peer and back."""

import trio

from p2p import Host, Identity
from p2p.protocols.ping import PING, Ping, Rounds


async def main() -> None:
    async with Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"], services=[Ping()]) as bob:
        async with Host(Identity.generate()) as alice:
            async with await alice.open_stream(bob.addrs[0], PING) as stream:
                taken = []
                async for seconds in Rounds(stream):
                    taken.append(seconds)
                    if len(taken) == 3:
                        break
    print(f"{len(taken)} rounds, none of them took a second: {max(taken) < 1}")


trio.run(main)

# Output:
# 3 rounds, none of them took a second: True
