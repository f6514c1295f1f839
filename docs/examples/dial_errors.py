"""A dial that fails tells why, for each address."""

import socket

import trio

from p2p import AllAttemptsFailed, Host, Identity, PeerIdMismatch


async def main() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connecting is refused
        port = taken.getsockname()[1]
        async with Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"]) as bob:
            async with Host(Identity.generate()) as alice:
                try:
                    await alice.dial(f"/ip4/127.0.0.1/tcp/{port}")
                except AllAttemptsFailed as failed:
                    for _addr, reason in failed.attempts:
                        print(type(reason).__name__)
                somebody = Identity.generate().peer_id
                where = str(bob.addrs[0]).rpartition("/p2p/")[0]
                try:
                    await alice.dial(f"{where}/p2p/{somebody}")
                except AllAttemptsFailed as failed:
                    reason = failed.attempts[0][1]
                    print(type(reason).__name__)
                    if isinstance(reason, PeerIdMismatch):
                        print("bob answered:", reason.got == bob.peer_id)


trio.run(main)

# Output:
# ConnectionRefusedError
# PeerIdMismatch
# bob answered: True
