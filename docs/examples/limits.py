"""Limits are values: replace some, hand them to a host, and what goes beyond is refused."""

from dataclasses import replace

import trio

from p2p import DEFAULT_LIMITS, Host, Identity, ResourceLimitExceeded


async def main() -> None:
    resources = DEFAULT_LIMITS.resources
    one = replace(resources.system, connections=1)
    few = replace(DEFAULT_LIMITS, resources=replace(resources, system=one))
    listen = ["/ip4/127.0.0.1/tcp/0"]
    async with (
        Host(Identity.generate(), listen=listen) as bob,
        Host(Identity.generate(), listen=listen) as carol,
    ):
        async with Host(Identity.generate(), limits=few) as alice:
            await alice.dial(bob.addrs[0])
            try:
                await alice.dial(carol.addrs[0])
            except ResourceLimitExceeded as refused:
                print(f"{refused.scope}: {refused.in_use} of {refused.limit} in use")


trio.run(main)

# Output:
# system.connections: 1 of 1 in use
