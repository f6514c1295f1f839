"""Both peers of an echo, in one program."""

import trio

from p2p import Host, Identity, Stream


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


async def main() -> None:
    async with Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"]) as bob:
        async with Host(Identity.generate()) as alice:
            with bob.handle("/echo/1", echo):
                async with await alice.open_stream(bob.addrs[0], "/echo/1") as stream:
                    await stream.send_all(b"hello")
                    await stream.send_eof()
                    print((await stream.receive_some()).decode())


trio.run(main)

# Output:
# hello
