"""What a peer says of itself: its program, its protocols, where it listens and from where it sees us."""

import trio

from p2p import Host, Identity
from p2p.protocols.echo import Echo
from p2p.protocols.identify import Identify


async def main() -> None:
    bob = Host(
        Identity.generate(),
        listen=["/ip4/127.0.0.1/tcp/0"],
        services=[Identify(agent_version="bob/1.0"), Echo()],
    )
    async with bob:
        identify = Identify()
        async with Host(Identity.generate(), services=[identify]) as alice:
            connection = await alice.dial(bob.addrs[0])
            answer = await identify.wait_identified(connection)
            print(answer.agent_version, "speaks", ", ".join(answer.protocols))
            print("it listens where it was dialed:", answer.addrs == (connection.remote_addr,))
            print("it sees us where we are:", answer.observed_addr == connection.local_addr)
            # The host knows it now, too.
            print("remembered:", alice.peerstore.protocols(bob.peer_id) == answer.protocols)


trio.run(main)

# Output:
# bob/1.0 speaks /ipfs/id/1.0.0, /ipfs/id/push/1.0.0, /echo/1.0.0
# it listens where it was dialed: True
# it sees us where we are: True
# remembered: True
