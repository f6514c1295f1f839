"""What a host has in use, for people and for programs; and memory that a handler holds for a remote."""

from dataclasses import replace

import trio

from p2p import DEFAULT_LIMITS, Host, Identity, ResourceLimitExceeded, Stream

SIZE = 1000


async def main() -> None:
    resources = DEFAULT_LIMITS.resources
    few = replace(resources, stream=replace(resources.stream, memory=1500))

    async def keep(stream: Stream) -> None:
        with bob.reserve_memory(stream, SIZE):  # before there is anything to hold
            try:
                with bob.reserve_memory(stream, SIZE):
                    pass
            except ResourceLimitExceeded as refused:
                told = f"{refused.scope}: {refused.in_use} of {refused.limit} bytes in use"
                await stream.send_all(told.encode())

    listen = ["/ip4/127.0.0.1/tcp/0"]
    limits = replace(DEFAULT_LIMITS, resources=few)
    async with (
        Host(Identity.generate(), listen=listen, limits=limits) as bob,
        Host(Identity.generate()) as alice,
    ):
        with bob.handle("/keep/1", keep):
            async with await alice.open_stream(bob.addrs[0], "/keep/1") as stream:
                async for chunk in stream:
                    print(chunk.decode())
        peer = bob.resources.scope("peer", str(alice.peer_id))
        assert peer is not None
        print(f"connections of alice: {peer.in_use.connections} of {peer.limits.connections}")
        assert "connections" in str(bob.resources)  # print(bob.resources): the whole table


trio.run(main)

# Output:
# stream.memory: 1000 of 1500 bytes in use
# connections of alice: 1 of 8
