"""Limits of descriptors and subnets, and the allow-list: reached by hosts that come from addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest
import trio
import trio.testing

from p2p import (
    DialError,
    Host,
    Identity,
    Limits,
    Multiaddr,
    ProtocolId,
    ResourceLimitExceeded,
)
from p2p.resources.subnets import SubnetLimit
from p2p.resources.table import SUBNETS
from p2p.testing import VirtualNetwork
from p2p.testing.network import NetworkStream
from p2p.wire.addresses import split_peer
from tests.limiting import limited, many_of_one_peer, rows
from tests.trio.fakes import FakeNetwork, fake_host, memory
from tests.trio.test_resources import hang, nothing_is_left

HERE = "192.0.2.1"
HANG = ProtocolId("/hang")


class Street:
    """One host that listens, and others that come to it from where they like."""

    def __init__(self, network: VirtualNetwork, hosts: AsyncExitStack, here: Host) -> None:
        self.network = network
        self._hosts = hosts
        self.here = here

    async def knock(self, ip: str) -> NetworkStream:
        """Connect, and say nothing."""
        addr, _ = split_peer(self.here.addrs[0])
        return await self.network.transport(ip).dial(addr)

    async def visitor(self, ip: str, identity: Identity | None = None) -> Host:
        return await self._hosts.enter_async_context(
            Host(
                identity or Identity.generate(),
                transports=[self.network.transport(ip)],
                identify=False,
                limits=limited(peer=many_of_one_peer(1000)),
            )
        )

    async def comes(self, ip: str, identity: Identity | None = None) -> bool:
        """Whether a new host there is let in."""
        visitor = await self.visitor(ip, identity)
        try:
            await visitor.dial(self.here.addrs[0])
            await trio.testing.wait_all_tasks_blocked()
        except DialError:
            return False
        return visitor.peer_id in self.here.connections


@asynccontextmanager
async def street(resources: Any, ip: str = HERE, **options: Any) -> AsyncIterator[Street]:
    version = "ip6" if ":" in ip else "ip4"
    async with VirtualNetwork() as network:
        here = Host(
            Identity.generate(),
            transports=[network.transport(ip)],
            listen=[f"/{version}/{ip}/tcp/4001"],
            identify=False,
            limits=replace(Limits(), resources=resources),
            **options,
        )
        async with here:
            async with AsyncExitStack() as hosts:
                yield Street(network, hosts, here)
            await trio.testing.wait_all_tasks_blocked()
        nothing_is_left(here)


async def wire_is_closed(raw: NetworkStream) -> bool:
    """Reads it to its end, of either kind."""
    buffer = memoryview(bytearray(100))
    try:
        while await raw.receive_into(buffer):
            pass
    except trio.BrokenResourceError:
        pass
    return True


def without_subnets(**changes: Any) -> Any:
    return replace(rows(**changes), subnets=())


@pytest.mark.parametrize("scope", ["system", "peer", "connection"])
async def test_descriptors_of_connections(scope: str, autojump_clock: object) -> None:
    most = 0 if scope == "connection" else 1
    async with street(without_subnets(**{scope: {"descriptors": most}})) as there:
        identity = Identity.generate()
        assert await there.comes("192.0.2.2", identity) == (most == 1)
        if scope != "peer":
            identity = Identity.generate()
            assert not await there.comes("192.0.2.3", identity)
        else:
            visitor = await there.visitor("192.0.2.3", identity)
            await visitor.dial(there.here.addrs[0])
            await visitor.wait_disconnected(there.here.peer_id)
        assert there.here.resources.scope("system").in_use.descriptors == most


async def test_descriptors_of_those_that_shake_hands_make_room(autojump_clock: object) -> None:
    async with street(without_subnets(transient={"descriptors": 2})) as there:
        raws = [await there.knock("192.0.2.2") for _ in range(4)]
        await trio.testing.wait_all_tasks_blocked()
        assert there.here.resources.scope("transient").in_use.descriptors == 2
        assert there.here.statistics().refusals["evicted"] == 2
        for raw in raws[:2]:
            assert await wire_is_closed(raw)
        assert await there.comes("192.0.2.3")
        for raw in raws:
            await raw.aclose()


@pytest.mark.parametrize("scope", ["system", "transient"])
@pytest.mark.parametrize("descriptors", [0, 1])
async def test_descriptors_of_dials(scope: str, descriptors: int, autojump_clock: object) -> None:
    """Each address that is tried takes one, in turn if there are few; with none at all each is one that failed."""
    async with VirtualNetwork() as network:
        network.block("192.0.2.2", HERE)
        async with Host(
            Identity.generate(),
            transports=[network.transport("192.0.2.2")],
            limits=limited(**{scope: {"descriptors": descriptors}}),
        ) as host:
            peer = Identity.generate().peer_id
            addrs = [Multiaddr(f"/ip4/{HERE}/tcp/{port}") for port in (1, 2, 3)]
            host.peerstore.add_addrs(peer, addrs, ttl=100, now=0)
            start = trio.current_time()
            with pytest.raises(DialError) as caught:
                await host.dial(peer)
            failures = [type(failure) for _, failure in caught.value.attempts]
            assert failures == 3 * [trio.TooSlowError if descriptors else ResourceLimitExceeded]
            # One after the other, if at all.
            assert trio.current_time() - start == pytest.approx(3 * descriptors * host.limits.connect)
            assert host.resources.scope("system").in_use.descriptors == 0
        nothing_is_left(host)


async def test_dead_addresses_of_many_peers_keep_no_dial_from_the_living(autojump_clock: object) -> None:
    """Twenty peers with seven dead addresses each, and four sockets for all of them."""
    async with VirtualNetwork() as network, AsyncExitStack() as hosts:
        network.block("192.0.2.2", "192.0.2.99")
        few = limited(transient={"descriptors": 4})
        limits = replace(few, dial=3600.0)
        dialer = await hosts.enter_async_context(
            Host(Identity.generate(), transports=[network.transport("192.0.2.2")], limits=limits)
        )
        peers = []
        for number in range(20):
            ip = f"192.0.2.{100 + number}"
            transports = [network.transport(ip)]
            host = await hosts.enter_async_context(
                Host(Identity.generate(), transports=transports, listen=[f"/ip4/{ip}/tcp/4001"])
            )
            dead = [Multiaddr(f"/ip4/192.0.2.99/tcp/{port}") for port in range(1, 8)]
            dialer.peerstore.add_addrs(host.peer_id, [*dead, *host.addrs], ttl=7200, now=trio.current_time())
            peers.append(host.peer_id)
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(dialer.dial, peer)
        assert set(dialer.connections) == set(peers)
        assert dialer.resources.scope("transient").in_use.descriptors == 0


async def test_a_dial_that_waits_for_a_socket_can_be_cancelled(autojump_clock: object) -> None:
    async with VirtualNetwork() as network:
        network.block("192.0.2.2", HERE)
        async with Host(
            Identity.generate(),
            transports=[network.transport("192.0.2.2")],
            limits=limited(transient={"descriptors": 1}),
        ) as host:
            first, second = (Multiaddr(f"/ip4/{HERE}/tcp/{port}") for port in (1, 2))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_dial_in_vain, host, first)
                await trio.testing.wait_all_tasks_blocked()
                with trio.move_on_after(1):
                    await host.dial(second)
                assert host.resources.scope("transient").in_use.descriptors == 1
            assert host.resources.scope("transient").in_use.descriptors == 0
        nothing_is_left(host)


async def _dial_in_vain(host: Host, addr: Multiaddr) -> None:
    with pytest.raises(DialError):
        await host.dial(addr)


async def test_an_address_has_eight_connections_and_its_neighbour_has_its_own(autojump_clock: object) -> None:
    async with street(rows()) as there:
        for _ in range(8):
            assert await there.comes("192.0.2.2")
        assert not await there.comes("192.0.2.2")
        assert there.here.statistics().refusals == {"subnets.connections": 1}
        assert await there.comes("192.0.2.3")
        assert there.here.resources.subnets == 2


async def test_a_connection_that_ends_makes_room_in_its_subnet(autojump_clock: object) -> None:
    limits = replace(rows(), subnets=(SubnetLimit(4, 32, connections=1, burst=100, rate=1.0),))
    async with street(limits) as there:
        first = await there.visitor("192.0.2.2")
        await first.dial(there.here.addrs[0])
        connection = await there.here.wait_connected(first.peer_id)
        assert not await there.comes("192.0.2.2")
        connection.abort()
        await there.here.wait_disconnected(first.peer_id)
        await trio.testing.wait_all_tasks_blocked()
        assert await there.comes("192.0.2.2")


@pytest.mark.parametrize(
    ("prefix", "same", "other"),
    [(56, "2001:db8:1:ff::2", "2001:db8:1:100::2"), (48, "2001:db8:1:ff00::2", "2001:db8:2::2")],
)
async def test_ipv6_is_counted_by_subnet(prefix: int, same: str, other: str, autojump_clock: object) -> None:
    [default] = [limit for limit in SUBNETS if limit.prefix == prefix]
    few = replace(default, connections=2)
    async with street(replace(rows(), subnets=(few,)), ip="2001:db8:ffff::1") as there:
        assert await there.comes("2001:db8:1::2")
        assert await there.comes("2001:db8:1::3")
        assert not await there.comes(same)
        assert await there.comes(other)


async def test_connections_come_at_a_rate(autojump_clock: object) -> None:
    """A burst of sixteen, then one in five seconds; what is gone counts, too."""
    async with street(rows()) as there:
        for _ in range(16):
            visitor = await there.visitor("192.0.2.2")
            await visitor.dial(there.here.addrs[0])
            connection = await there.here.wait_connected(visitor.peer_id)
            connection.abort()
            await there.here.wait_disconnected(visitor.peer_id)
            await trio.testing.wait_all_tasks_blocked()
        assert not await there.comes("192.0.2.2")
        assert there.here.statistics().refusals["subnets.rate"] == 1
        assert await there.comes("192.0.2.3")
        await trio.sleep(5.1)
        assert await there.comes("192.0.2.2")
        assert not await there.comes("192.0.2.2")


async def test_loopback_has_no_limits_of_subnets(autojump_clock: object) -> None:
    async with street(rows(), ip="127.0.0.1") as there:
        for _ in range(20):
            assert await there.comes("127.0.0.1")
        assert there.here.statistics().refusals == {}


# --- an eclipse ---------------------------------------------------------------------------------------


def room_for_three(**others: Any) -> Any:
    three = {"inbound_connections": 3, "connections": 3}
    one = {"inbound_connections": 1, "connections": 1}
    table = without_subnets(system=three, transient=one, allowed_system=three, allowed_transient=one)
    return replace(table, **others)


async def fill_with_strangers(there: Street) -> None:
    for number in range(3):
        assert await there.comes(f"192.0.2.{number + 10}")
    assert not await there.comes("192.0.2.99")


async def test_without_a_list_an_eclipse_is_an_eclipse(autojump_clock: object) -> None:
    async with street(room_for_three()) as there:
        await fill_with_strangers(there)


async def test_friends_get_in_where_strangers_have_filled_everything(autojump_clock: object) -> None:
    friend = Identity.generate()
    async with street(room_for_three(allow=(friend.peer_id, ip_network("10.9.0.0/16")))) as there:
        await fill_with_strangers(there)
        # Silent strangers, too, in the room where those wait who may be friends.
        raws = [await there.knock("192.0.2.98") for _ in range(10)]
        await trio.testing.wait_all_tasks_blocked()
        assert await there.comes("192.0.2.98", friend)
        assert await there.comes("10.9.1.2")
        assert not await there.comes("192.0.2.97")
        assert there.here.resources.scope("allowed_system").in_use.inbound_connections == 2
        with there.here.handle(HANG, hang):
            visitor = await there.visitor("192.0.2.98", friend)
            stream = await visitor.open_stream(there.here.addrs[0], HANG)
            assert await stream.receive_some() == b"served"
        for raw in raws:
            await raw.aclose()


async def test_friends_are_dialed_where_strangers_have_filled_everything(autojump_clock: object) -> None:
    network = FakeNetwork()
    friend = Identity.generate()
    limits = limited(system={"connections": 1, "outbound_connections": 1})
    limits = replace(limits, resources=replace(limits.resources, allow=(friend.peer_id,)))
    async with (
        fake_host(network, listen=[1]),
        fake_host(network, friend, listen=[2]) as friendly,
        fake_host(network, listen=[3]) as stranger,
        fake_host(network, limits=limits) as host,
    ):
        await host.dial(memory(1))
        with pytest.raises(ResourceLimitExceeded):
            await host.dial(stranger.addrs[0])
        await host.dial(friendly.addrs[0])
    nothing_is_left(host)


# --- a flood ------------------------------------------------------------------------------------------


async def keep_knocking(there: Street, ip: str) -> None:
    """Connect again and again as often as it is let, and never say anything."""
    async with trio.open_nursery() as nursery:
        while True:
            raw = await there.knock(ip)
            nursery.start_soon(wire_is_closed, raw)
            await trio.sleep(0.1)


@pytest.mark.parametrize("flooders", [1, 30])
async def test_a_distant_peer_gets_in_while_few_addresses_flood(
    flooders: int, autojump_clock: object
) -> None:
    """What evicts who waits longest has to come; from one address that is a burst and then one in five seconds."""
    few = {"connections": 32, "inbound_connections": 32}
    async with street(rows(transient=few)) as there:
        there.network.link("198.51.100.1", HERE, latency=0.1)
        visitor = await there.visitor("198.51.100.1")
        async with trio.open_nursery() as nursery:
            for number in range(flooders):
                nursery.start_soon(keep_knocking, there, f"192.0.2.{number + 10}")
            await trio.sleep(15)  # their bursts are spent
            with trio.fail_after(1.0):  # virtual time
                await visitor.dial(there.here.addrs[0])
                await there.here.wait_connected(visitor.peer_id)
            refusals = there.here.statistics().refusals
            assert refusals["subnets.connections" if flooders == 1 else "subnets.rate"] > 0
            assert there.here.statistics().pending_upgrades > 0
            nursery.cancel_scope.cancel()
