"""Raw streams and the transports that give them, held against the shipped suites."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from p2p.testing.conformance import raw_streams, stream_transports
from p2p.testing.conformance.stream_transports import Setting, raw_streams_of
from p2p.testing.links import LinkOptions
from p2p.testing.network import VirtualNetwork
from p2p.testing.pipes import raw_pair
from p2p.transports.adapter import RawStreamAdapter
from p2p.transports.memory import Memory, MemoryHub
from p2p.transports.tcp import TCP
from p2p.wire.addresses import Multiaddr
from tests.conformance.unix_paths import unix_paths

FOREIGN = Multiaddr("/dns4/example.org/udp/4001/quic-v1")


def real(make, check) -> None:
    trio.run(check, make)


def virtual(make, check) -> None:
    trio.run(check, make, clock=trio.testing.MockClock(autojump_threshold=0))


def tcp(addr: str):
    @asynccontextmanager
    async def make():
        yield Setting(TCP(), TCP(), Multiaddr(addr), FOREIGN)

    return make


@asynccontextmanager
async def unix():
    with unix_paths() as (transport, addr):
        yield Setting(transport, transport, addr, FOREIGN)


@asynccontextmanager
async def memory():
    hub = MemoryHub()
    yield Setting(Memory(hub), Memory(hub), Multiaddr("/memory/0"), FOREIGN)


def network(options: LinkOptions):
    @asynccontextmanager
    async def make():
        async with VirtualNetwork(1, options=options) as net:
            addr = Multiaddr("/ip4/10.0.0.2/tcp/0")
            yield Setting(net.transport("10.0.0.1"), net.transport("10.0.0.2"), addr, FOREIGN)

    return make


TRANSPORTS = {
    "tcp4": (real, tcp("/ip4/127.0.0.1/tcp/0")),
    "tcp6": (real, tcp("/ip6/::1/tcp/0")),
    "unix": (real, unix),
    "memory": (virtual, memory),
    "perfect network": (virtual, network(LinkOptions())),
    "poor network": (
        virtual,
        network(LinkOptions(latency=0.02, jitter=0.01, loss=0.02, segment=(1000, 20000), window=100_000)),
    ),
}


@asynccontextmanager
async def pipes():
    a, b = raw_pair()
    yield a, b
    await a.aclose()
    await b.aclose()


@asynccontextmanager
async def adapted():
    left, right = trio.socket.socketpair()
    here, there = Multiaddr("/memory/1"), Multiaddr("/memory/2")
    ends = (
        RawStreamAdapter(trio.SocketStream(left), here, there),
        RawStreamAdapter(trio.SocketStream(right), there, here),
    )
    yield ends
    for end in ends:
        await end.aclose()


RAW_STREAMS = {name: (run, raw_streams_of(make)) for name, (run, make) in TRANSPORTS.items()}
RAW_STREAMS["raw_pair"] = (virtual, pipes)
RAW_STREAMS["adapter"] = (real, adapted)
#: These give up waiting for a full stream, after which `send_all` does not say how far it came.
NOT_FOR_ADAPTERS = {
    raw_streams.check_backpressure,
    raw_streams.check_close_loses_nothing_taken,
    raw_streams.check_own_close_wakes_waiters,
}


@pytest.mark.parametrize("check", stream_transports.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", TRANSPORTS)
def test_stream_transport(name, check):
    run, make = TRANSPORTS[name]
    run(make, check)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.__name__}")
        for name in RAW_STREAMS
        for check in raw_streams.CHECKS
        if name != "adapter" or check not in NOT_FOR_ADAPTERS
    ],
)
def test_raw_stream(name, check):
    run, make = RAW_STREAMS[name]
    run(make, check)
