"""Watching a host: what happens is told to whoever listens, from the moment the context is entered."""

import trio

from p2p import Host, Identity
from p2p.events import Connected, Disconnected


async def main() -> None:
    async with Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"]) as bob, bob.events() as events:
        async with Host(Identity.generate()) as alice:
            await alice.dial(bob.addrs[0])
            async for event in events:
                if isinstance(event, Connected):
                    print("alice came:", event.peer == alice.peer_id)
                    break
        async for event in events:
            if isinstance(event, Disconnected):
                print("alice left; others of hers:", len(bob.connections.get(event.peer, ())))
                break


trio.run(main)

# Output:
# alice came: True
# alice left; others of hers: 0
