"""A host that knows its peers again after a restart."""

import tempfile
from pathlib import Path

import trio

from p2p import Host, Identity
from p2p.peerstore.sqlite import SQLitePeerstore


async def main() -> None:
    identity = Identity.generate()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "peers.db"
        async with Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"]) as friend:
            async with SQLitePeerstore(file) as peerstore, Host(identity, peerstore=peerstore) as host:
                await host.dial(friend.addrs[0])
                peerstore.set_metadata(friend.peer_id, "nickname", b"bob")
                await peerstore.flush()  # what was changed until here outlives whatever happens

            async with SQLitePeerstore(file) as peerstore, Host(identity, peerstore=peerstore) as host:
                await host.dial(friend.peer_id)  # where it was
                nickname = peerstore.metadata(friend.peer_id)["nickname"].decode()
                print(f"found {nickname} again: {friend.peer_id in host.connections}")


trio.run(main)

# Output:
# found bob again: True
