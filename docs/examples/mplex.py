"""A host that speaks yamux, and mplex with peers that know nothing newer."""

import trio

from p2p import Host, Identity
from p2p.muxers import Mplex, Yamux
from p2p.protocols.echo import ECHO, Echo


async def main() -> None:
    listen = ["/ip4/127.0.0.1/tcp/0"]
    async with (
        Host(Identity.generate(), muxers=[Mplex()], listen=listen, services=[Echo()]) as old,
        Host(Identity.generate(), muxers=[Yamux(), Mplex()]) as new,
    ):
        async with await new.open_stream(old.addrs[0], ECHO) as stream:
            await stream.send_all(b"hello, old friend")
            await stream.send_eof()
            async for chunk in stream:
                print(chunk.decode())


trio.run(main)

# Output:
# hello, old friend
