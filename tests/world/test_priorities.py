"""What priorities are for: 10 Mbit/s and 40 ms of round-trip time, and somebody who waits beside bulk.

The virtual link holds of one connection what Linux would (``TCPLimits.unsent``), in segments of Ethernet's size. A ping
that is urgent waits for what the link holds and one small batch; one that is not waits for a frame of every bulk stream
besides, so what priorities are worth grows with the number of those.
"""

from __future__ import annotations

import pytest
import trio

from p2p.flow import DEFAULT_PRIORITY, MOST_URGENT, Priority
from p2p.limits import TCP_LIMITS
from p2p.muxers import Mplex, Yamux
from p2p.testing.links import LinkOptions
from p2p.testing.network import VirtualNetwork
from p2p.wire.addresses import Multiaddr
from tests.world.contention import Contention, Seen

ROUND_TRIP = 0.040
RATE = 10e6 / 8
LINK = LinkOptions(latency=ROUND_TRIP / 2, bandwidth=RATE, unsent=TCP_LIMITS.unsent, segment=(1448, 1448))
ADDR = Multiaddr("/ip4/10.0.0.2/tcp/1")
BULK = 48


async def over_the_link(contention: Contention, muxer: type[Yamux] | type[Mplex], seconds: float) -> Seen:
    async with (
        VirtualNetwork(options=LINK) as network,
        network.transport("10.0.0.2").listen(ADDR) as listener,
    ):
        dialed = await network.transport("10.0.0.1").dial(ADDR)
        raws = dialed, await listener.accept()
        return await contention.watch(raws, seconds=seconds, warm_up=2, muxer=muxer())


@pytest.mark.parametrize("muxer", [Yamux, Mplex])
async def test_an_urgent_ping_beside_bulk(muxer, autojump_clock):
    urgent, equal, alone = [
        await over_the_link(Contention(streams=BULK, ping=ping), muxer, 6)
        for ping in (MOST_URGENT, DEFAULT_PRIORITY, None)
    ]
    in_ms = [
        round(1000 * seconds) for seconds in (urgent.median, urgent.pings[-1], equal.median, equal.pings[-1])
    ]
    print(
        f"median and worst: urgent {in_ms[:2]} ms, equal {in_ms[2:]} ms; {[urgent.rate, equal.rate, alone.rate]}"
    )
    assert urgent.pings[-1] <= ROUND_TRIP + 0.150
    assert equal.median >= 5 * urgent.median
    assert equal.pings[-1] >= 5 * urgent.pings[-1]
    assert urgent.rate >= 0.95 * alone.rate
    assert alone.rate >= 0.95 * RATE


async def test_an_urgent_ping_beside_bulk_both_ways(autojump_clock):
    """It waits on its way there and on its way back."""
    seen = await over_the_link(Contention(streams=8, ping=MOST_URGENT, both=True), Yamux, 3)
    assert seen.pings[-1] <= ROUND_TRIP + 0.150


async def test_what_is_less_urgent_than_bulk_starves_until_that_ends(autojump_clock):
    """As RFC 9218 has it; what opens a stream does not."""
    contention = Contention(streams=8, ping=Priority(7))
    with trio.move_on_after(20) as scope:
        await over_the_link(contention, Yamux, 10)
    assert scope.cancelled_caught
    assert contention.received > 10 * RATE
