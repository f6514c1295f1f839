"""Priorities on a real socket that is slow: TCP of 10 Mbit/s over the loopback, paced by the kernel.

The one test whose subject is time by the real clock: it compares what two runs saw, and one bound is four times what a
quiet machine needs.
"""

from __future__ import annotations

import socket
import sys

import pytest

from p2p.flow import DEFAULT_PRIORITY, MOST_URGENT
from p2p.transports import TCP
from p2p.wire.addresses import Multiaddr
from tests.world.contention import Contention, Seen

RATE = 10_000_000 // 8
#: Of Ethernet: a segment of the loopback is 64 KiB, 52 ms.
SEGMENT = 1448
#: ``asm-generic/socket.h``; Python has no name for it.
SO_MAX_PACING_RATE = 47

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel paces no socket here")


async def beside_bulk(ping) -> Seen:
    tcp = TCP()
    async with tcp.listen(Multiaddr("/ip4/127.0.0.1/tcp/0")) as listener:
        listener._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        dialed = await tcp.dial(listener.addr)
        accepted = await listener.accept()
        dialed._socket.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, RATE)
        contention = Contention(streams=64, ping=ping)
        return await contention.watch((dialed, accepted), seconds=3, warm_up=1.5)


async def test_an_urgent_ping_beside_bulk():
    urgent, equal, alone = [await beside_bulk(ping) for ping in (MOST_URGENT, DEFAULT_PRIORITY, None)]
    print(f"median: urgent {urgent.median * 1000:.0f} ms, equal {equal.median * 1000:.0f} ms")
    print(f"bytes a second: {urgent.rate:.0f}, {equal.rate:.0f}, {alone.rate:.0f}")
    assert urgent.median <= 0.150
    assert equal.median >= 5 * urgent.median
    assert urgent.rate >= 0.9 * alone.rate
