"""The whole stack on the virtual network: the same seed gives the same trace."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys, trio
from p2p.errors import ConnectionLost, StreamReset
from p2p.identity import Identity, PrivateKey
from p2p.limits import DEFAULT_LIMITS
from p2p.muxers.yamux import Yamux
from p2p.security.noise import Noise
from p2p.testing import LinkOptions, Trace, VirtualNetwork, deterministic
from p2p.transports import Upgraded
from p2p.wire.addresses import Multiaddr

HOSTS = 4

async def host(network, i, seed):
    identity = Identity.generate()
    transport = Upgraded(
        network.transport(f"10.0.0.{i}"), local_peer=identity.peer_id, security=[Noise(identity)],
        muxers=[Yamux()], limits=DEFAULT_LIMITS,
    )
    async with transport.listen(Multiaddr(f"/ip4/10.0.0.{i}/tcp/1")) as listener, trio.open_nursery() as nursery:
        async def run(connection):
            try:
                await connection.run()
            except ConnectionLost:
                pass
        async def echo(stream):
            async for chunk in stream:
                await stream.send_all(chunk)
            await stream.aclose()
        async def serve(incoming):
            connection = await incoming.upgrade()
            nursery.start_soon(run, connection)
            try:
                while True:
                    nursery.start_soon(echo, await connection.accept_stream())
            except (trio.EndOfChannel, ConnectionLost):
                pass
        async def accept():
            while True:
                nursery.start_soon(serve, await listener.accept())
        async def ask(connection, size):
            stream = await connection.open_stream()
            await stream.send_all(bytes(size))
            await stream.send_eof()
            async for _ in stream:
                pass
            await stream.aclose()
        nursery.start_soon(accept)
        await trio.sleep(1)
        for j in range(1, HOSTS + 1):
            if j != i:
                connection = await transport.dial(Multiaddr(f"/ip4/10.0.0.{j}/tcp/1"), peer=None)
                nursery.start_soon(run, connection)
                async with trio.open_nursery() as asking:
                    for n in range(5):
                        asking.start_soon(ask, connection, 1000 * n + i)
        await trio.sleep(50)
        nursery.cancel_scope.cancel()

async def main(seed):
    trace = Trace()
    options = LinkOptions(latency=0.01, jitter=0.005, loss=0.02, segment=(100, 3000))
    async with VirtualNetwork(seed, options=options, trace=trace) as network, trio.open_nursery() as nursery:
        for i in range(1, HOSTS + 1):
            nursery.start_soon(host, network, i, seed)
    print(trace.count, trace.digest())

deterministic.run(main, int(sys.argv[1]), seed=int(sys.argv[1]))
"""


def test_the_same_seed_gives_the_same_trace_through_the_whole_stack():
    def trace_of(seed: int, hash_seed: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, str(seed)],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=50,
        ).stdout

    first = trace_of(1, 1)
    assert int(first.split()[0]) > 400
    assert trace_of(1, 2) == first
    assert trace_of(2, 1) != first
