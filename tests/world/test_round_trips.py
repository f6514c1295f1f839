"""What a first byte costs, counted exactly between two of ours on the virtual network.

Counted is the longest chain of messages on the connection in which each was sent after the one before had been
received, two of them a round trip: what a connection costs on a link of any length, whatever the processors do. Over
TCP three is the least there can be, and the most we allow:

1. SYN and SYN-ACK: TCP itself.
2. The proposal of Noise with the first handshake message, sent before any answer, and both answers in one.
3. The last handshake message with the first sealed bytes: the proposal of the muxer (unless the handshake settled
   it), the opening of the stream, the proposal of its protocol, and the byte. Then the byte that comes back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from p2p.abc import HandshakeStream, ProtocolId, Role, Secured, Security
from p2p.host import Host
from p2p.identity import Identity, PeerId
from p2p.protocols.echo import ECHO, Echo
from p2p.protocols.identify import Identify
from p2p.protocols.ping import Ping
from p2p.security.noise import Noise
from p2p.testing.network import NetworkStream, VirtualNetwork, VirtualTransport
from p2p.transports.pipe import PipeListener
from p2p.wire.addresses import Multiaddr

ALICE, BOB = "10.0.0.1", "10.0.0.2"
ONE_WAY = 0.05  # seconds


@dataclass
class Remembering:
    """A virtual host's transport that keeps what it dialed, to ask how many round trips that took."""

    inner: VirtualTransport
    dialed: list[NetworkStream] = field(default_factory=list)

    def can_dial(self, addr: Multiaddr) -> bool:
        return self.inner.can_dial(addr)

    def can_listen(self, addr: Multiaddr) -> bool:
        return self.inner.can_listen(addr)

    async def dial(self, addr: Multiaddr) -> NetworkStream:
        stream = await self.inner.dial(addr)
        self.dialed.append(stream)
        return stream

    @asynccontextmanager
    async def listen(self, addr: Multiaddr) -> AsyncIterator[PipeListener]:
        async with self.inner.listen(addr) as listener:
            yield listener


class NoEarlyMuxers:
    """Noise of a peer that has no ``stream_muxers``, as rust's: the muxer is proposed after it."""

    def __init__(self, identity: Identity) -> None:
        self._noise = Noise(identity)

    @property
    def protocol(self) -> ProtocolId:
        return self._noise.protocol

    async def secure(
        self, raw: HandshakeStream, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        secured = await self._noise.secure(raw, role=role, peer=peer, muxers=())
        assert secured.early_muxer is None
        return secured


@pytest.mark.parametrize("noise", [Noise, NoEarlyMuxers])
async def test_connect_and_one_byte_each_way_is_three_round_trips(
    autojump_clock: trio.testing.MockClock, noise: type[Noise] | type[NoEarlyMuxers]
) -> None:
    def security(identity: Identity) -> list[Security]:
        return [noise(identity)]

    async with VirtualNetwork() as network:
        network.link(ALICE, BOB, latency=ONE_WAY)
        transport = Remembering(network.transport(BOB))
        alice, bob = Identity.generate(), Identity.generate()
        async with (
            Host(
                alice,
                transports=[network.transport(ALICE)],
                security=security(alice),
                listen=[f"/ip4/{ALICE}/tcp/4001"],
                services=[Identify(), Ping(), Echo()],
            ) as listening,
            Host(bob, transports=[transport], security=security(bob), services=[Identify()]) as dialing,
        ):
            begin = trio.current_time()
            async with await dialing.open_stream(listening.addrs[0], ECHO) as stream:
                await stream.send_all(b"?")
                assert await stream.receive_some(1) == b"?"
                (connection,) = transport.dialed
                assert connection.round_trips == 3
                assert trio.current_time() - begin == pytest.approx(3 * 2 * ONE_WAY)


async def test_a_byte_each_way_on_a_further_stream_is_one_round_trip(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with VirtualNetwork() as network:
        network.link(ALICE, BOB, latency=ONE_WAY)
        async with (
            Host(
                Identity.generate(),
                transports=[network.transport(ALICE)],
                listen=[f"/ip4/{ALICE}/tcp/4001"],
                services=[Echo()],
            ) as listening,
            Host(Identity.generate(), transports=[network.transport(BOB)]) as dialing,
        ):
            await dialing.dial(listening.addrs[0])
            begin = trio.current_time()
            for further in range(1, 4):
                async with await dialing.open_stream(listening.peer_id, ECHO) as stream:
                    await stream.send_all(b"?")
                    assert await stream.receive_some(1) == b"?"
                    assert trio.current_time() - begin == pytest.approx(further * 2 * ONE_WAY)
