"""Two hosts on the memory transport, connected: for tests of services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from p2p.abc import Connection, Service
from p2p.host import Host
from p2p.identity import Identity
from p2p.limits import DEFAULT_LIMITS, Limits
from p2p.muxers.connection import MuxedConnection
from p2p.transports.memory import Memory, MemoryHub
from p2p.wire.addresses import parse_user_addr


@dataclass(frozen=True, slots=True)
class TwoHosts:
    """``alice`` listens, ``bob`` dialed her; each connection is its own side's."""

    alice: Host
    bob: Host
    to_alice: Connection
    to_bob: Connection


@asynccontextmanager
async def two_hosts(
    alice: Sequence[Service] = (), bob: Sequence[Service] = (), *, limits: Limits | None = None
) -> AsyncIterator[TwoHosts]:
    hub = MemoryHub()
    limits = DEFAULT_LIMITS if limits is None else limits
    listen = [parse_user_addr("/memory/0")]
    async with (
        Host(
            Identity.generate(),
            transports=[Memory(hub)],
            listen=listen,
            services=alice,
            identify=False,
            limits=limits,
        ) as one,
        Host(
            Identity.generate(), transports=[Memory(hub)], services=bob, identify=False, limits=limits
        ) as two,
    ):
        to_alice = await two.dial(one.addrs[0])
        to_bob = await one.wait_connected(two.peer_id)
        yield TwoHosts(one, two, to_alice, to_bob)


def assert_no_stream_left(hosts: TwoHosts) -> None:
    """Neither side has one, and neither session keeps anything of one."""
    for connection in (hosts.to_alice, hosts.to_bob):
        assert not connection.streams
        assert isinstance(connection, MuxedConnection)
        assert not connection.session.live_streams
