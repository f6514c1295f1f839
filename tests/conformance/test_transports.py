"""Transports, held against the shipped suites: whole connections, and their streams."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from p2p.identity import Identity
from p2p.limits import DEFAULT_LIMITS
from p2p.muxers import Mplex, Yamux
from p2p.security.noise import Noise
from p2p.testing.conformance import streams, transports
from p2p.testing.conformance.transports import Setting, streams_of
from p2p.testing.links import LinkOptions
from p2p.testing.network import VirtualNetwork
from p2p.transports.memory import Memory, MemoryHub
from p2p.transports.tcp import TCP
from p2p.transports.upgraded import Upgraded
from p2p.wire.addresses import Multiaddr
from tests.conformance.unix_paths import unix_paths

#: Streams are closed while nothing moves: no need to wait long for that.
LIMITS = replace(DEFAULT_LIMITS, close=0.3)


def setting(dialing, listening, addr: str, *, securities, muxers) -> Setting:
    peers = Identity.generate(), Identity.generate()
    dialer, listener = (
        Upgraded(
            raw,
            local_peer=identity.peer_id,
            security=[security(identity) for security in securities],
            muxers=[muxer() for muxer in muxers],
            limits=LIMITS,
        )
        for raw, identity in zip((dialing, listening), peers, strict=True)
    )
    return Setting(dialer, peers[0].peer_id, listener, peers[1].peer_id, Multiaddr(addr))


def tcp(addr: str, **stack):
    @asynccontextmanager
    async def make():
        yield setting(TCP(), TCP(), addr, **stack)

    return make


def unix(**stack):
    @asynccontextmanager
    async def make():
        with unix_paths() as (transport, addr):
            yield setting(transport, transport, str(addr), **stack)

    return make


def memory(**stack):
    @asynccontextmanager
    async def make():
        hub = MemoryHub()
        yield setting(Memory(hub), Memory(hub), "/memory/0", **stack)

    return make


def network(options: LinkOptions, **stack):
    @asynccontextmanager
    async def make():
        async with VirtualNetwork(1, options=options) as net:
            near, far = net.transport("10.0.0.1"), net.transport("10.0.0.2")
            yield setting(near, far, "/ip4/10.0.0.2/tcp/0", **stack)

    return make


def real(make, check) -> None:
    trio.run(check, make)


def virtual(make, check) -> None:
    trio.run(check, make, clock=trio.testing.MockClock(autojump_threshold=0))


NOISE_YAMUX = {"securities": [Noise], "muxers": [Yamux]}
POOR = LinkOptions(latency=0.003, jitter=0.003, loss=0.005, stall=0.01, segment=(500, 20000))
TRANSPORTS = {
    "tcp4, noise, yamux": (real, tcp("/ip4/127.0.0.1/tcp/0", **NOISE_YAMUX)),
    "tcp6, noise, yamux": (real, tcp("/ip6/::1/tcp/0", **NOISE_YAMUX)),
    "unix, noise, yamux": (real, unix(**NOISE_YAMUX)),
    "memory, noise, yamux": (virtual, memory(**NOISE_YAMUX)),
    "poor network, noise, yamux": (virtual, network(POOR, **NOISE_YAMUX)),
}

NOISE_MPLEX = {"securities": [Noise], "muxers": [Mplex]}
UNCONTROLLED = {
    "tcp4, noise, mplex": (real, tcp("/ip4/127.0.0.1/tcp/0", **NOISE_MPLEX)),
    "memory, noise, mplex": (virtual, memory(**NOISE_MPLEX)),
    "poor network, noise, mplex": (virtual, network(POOR, **NOISE_MPLEX)),
}


@pytest.mark.parametrize("check", transports.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", TRANSPORTS)
def test_transport(name, check):
    run, make = TRANSPORTS[name]
    run(make, check)


@pytest.mark.parametrize("check", streams.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", TRANSPORTS)
def test_stream(name, check):
    run, make = TRANSPORTS[name]
    run(streams_of(make), check)


@pytest.mark.parametrize("check", transports.CHECKS_WITHOUT_FLOW_CONTROL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", UNCONTROLLED)
def test_transport_without_flow_control(name, check):
    run, make = UNCONTROLLED[name]
    run(make, check)


@pytest.mark.parametrize("check", streams.CHECKS_WITHOUT_FLOW_CONTROL, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", UNCONTROLLED)
def test_stream_without_flow_control(name, check):
    run, make = UNCONTROLLED[name]
    run(streams_of(make), check)
