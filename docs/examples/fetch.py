"""A value by its key, from a peer that looks it up."""

import trio

from p2p import Host, Identity, PeerId
from p2p.protocols.fetch import Fetch, FetchError, fetch

NOTES = {b"/notes/milk": b"two bottles"}


async def find_note(key: bytes, peer: PeerId) -> bytes | None:
    return NOTES.get(key)


async def main() -> None:
    listen = ["/ip4/127.0.0.1/tcp/0"]
    services = [Fetch({b"/notes/": find_note})]
    async with Host(Identity.generate(), listen=listen, services=services) as bob:
        async with Host(Identity.generate()) as alice:
            for key in (b"/notes/milk", b"/notes/bread", b"/photos/1"):
                try:
                    print(key.decode(), await fetch(alice, bob.addrs[0], key))
                except FetchError as error:
                    print(key.decode(), str(error).replace(str(bob.peer_id), "bob"))


trio.run(main)

# Output:
# /notes/milk b'two bottles'
# /notes/bread None
# /photos/1 bob cannot tell: no key that begins like this is looked up here
