"""Every limit of resources, reached from outside: by what other hosts do to one that keeps to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
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
    Stream,
    StreamReset,
)
from p2p.abc import Handler, HostView
from p2p.resources.subnets import SubnetLimit
from p2p.resources.table import SUBNETS
from p2p.testing import VirtualNetwork
from p2p.testing.network import NetworkStream
from p2p.transports.memory import Memory, MemoryHub
from p2p.wire.addresses import split_peer
from tests.limiting import limited, many_of_one_peer, rows
from tests.trio.fakes import FakeNetwork, fake_host, memory

HERE = "192.0.2.1"
HANG = ProtocolId("/hang")


async def hang(stream: Stream) -> None:
    await stream.send_all(b"served")
    await trio.sleep_forever()


class Hanging:
    """A service whose handler never returns."""

    handlers: Mapping[ProtocolId, Handler] = {HANG: hang}

    async def run(self, host: HostView, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()


def nothing_is_left(*hosts: Host) -> None:
    for host in hosts:
        assert host._resources.empty, str(host.resources)
        assert host.statistics().reserved == 0


# --- connections --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["connections", "outbound_connections"])
@pytest.mark.parametrize("scope", ["system", "transient"])
async def test_dials_beyond_the_limit_are_refused_at_once(
    scope: str, what: str, autojump_clock: object
) -> None:
    network = FakeNetwork()
    network.before_dial[memory(1)] = network.before_dial[memory(2)] = trio.sleep_forever
    async with fake_host(network, limits=limited(**{scope: {what: 1}})) as host:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.dial, memory(1))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ResourceLimitExceeded) as caught:
                await host.dial(memory(2))
            assert caught.value.scope == f"{scope}.{what}"
            assert network.dialed == [memory(1)]
            nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        nothing_is_left(host)


@pytest.mark.parametrize("what", ["connections", "inbound_connections"])
async def test_inbound_connections_of_a_peer(what: str, autojump_clock: object) -> None:
    network = FakeNetwork()
    async with (
        fake_host(network, listen=[1], limits=limited(peer={what: 2})) as here,
        fake_host(network, limits=limited(peer=many_of_one_peer(10))) as there,
    ):
        for _ in range(3):
            await there.dial(memory(1))
            await trio.testing.wait_all_tasks_blocked()
        assert len(here.connections[there.peer_id]) == 2
        snapshot = here.resources.scope("peer", str(there.peer_id))
        assert snapshot is not None
        assert (snapshot.in_use.inbound_connections, snapshot.refused) == (2, 1)
    nothing_is_left(here, there)


async def test_one_connection_is_more_than_none(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with (
        fake_host(network, listen=[1], limits=limited(connection={"connections": 0})) as here,
        fake_host(network) as there,
    ):
        await there.dial(memory(1))
        await there.wait_disconnected(here.peer_id)
        assert here.statistics().refusals == {"connection.connections": 1}


# --- streams ------------------------------------------------------------------------------------------

ROWS = ["system", "peer", "connection", "protocol", "protocol_peer", "service", "service_peer"]


@pytest.mark.parametrize("what", ["streams", "inbound_streams"])
@pytest.mark.parametrize("scope", ROWS)
async def test_inbound_streams_beyond_the_limit_are_reset(
    scope: str, what: str, autojump_clock: object
) -> None:
    network = FakeNetwork()
    limits = limited(**{scope: {what: 2}})
    async with (
        fake_host(network, listen=[1], limits=limits, services=[Hanging()]) as here,
        fake_host(network) as there,
    ):
        streams = [await there.open_stream(memory(1), HANG)]
        streams += [await there.open_stream(here.peer_id, HANG) for _ in range(2)]
        assert [await stream.receive_some() for stream in streams[:2]] == [b"served"] * 2
        with pytest.raises(StreamReset):
            await streams[2].receive_some()
        assert here.statistics().refusals == {f"{scope}.{what}": 1}
        assert here.statistics().handlers == 2
        assert here.resources.scope("service", "Hanging").in_use.inbound_streams == 2
    nothing_is_left(here, there)


@pytest.mark.parametrize("what", ["streams", "outbound_streams"])
@pytest.mark.parametrize("scope", ROWS)
async def test_outbound_streams_beyond_the_limit_are_not_opened(
    scope: str, what: str, autojump_clock: object
) -> None:
    """A protocol that a service of ours handles is that service's in this direction too."""
    network = FakeNetwork()
    limits = limited(**{scope: {what: 2}})
    async with (
        fake_host(network, listen=[1], services=[Hanging()]) as here,
        fake_host(network, limits=limits, services=[Hanging()]) as there,
    ):
        streams = [await there.open_stream(memory(1), HANG) for _ in range(1)]
        streams.append(await there.open_stream(here.peer_id, HANG))
        [connection] = there.connections[here.peer_id]
        asked = len(connection.asked)
        for _ in range(3):
            with pytest.raises(ResourceLimitExceeded) as caught:
                await there.open_stream(here.peer_id, HANG)
            assert (caught.value.scope, caught.value.limit, caught.value.in_use) == (f"{scope}.{what}", 2, 2)
        assert len(connection.asked) == asked
        streams.pop().reset()
        streams.append(await there.open_stream(here.peer_id, HANG))
        await streams.pop().aclose()
        streams.append(await there.open_stream(here.peer_id, HANG))
        with pytest.raises(ResourceLimitExceeded):
            await there.open_stream(here.peer_id, HANG)
    nothing_is_left(here, there)


async def test_a_stream_is_charged_to_the_protocol_it_came_to_speak(autojump_clock: object) -> None:
    network = FakeNetwork()
    few = replace(limited().resources.protocol, outbound_streams=1)
    limits = replace(Limits(), resources=replace(Limits().resources, protocols={HANG: few}))
    async with fake_host(network, listen=[1]) as here, fake_host(network, limits=limits) as there:
        with here.handle(HANG, hang):
            await there.open_stream(memory(1), "/unknown", HANG)
            assert there.resources.scope("protocol", HANG).in_use.outbound_streams == 1
            assert there.resources.scope("protocol", "/unknown") is None
            with pytest.raises(ResourceLimitExceeded, match=r"protocol\.outbound_streams of /hang"):
                await there.open_stream(here.peer_id, "/unknown", HANG)
            await trio.testing.wait_all_tasks_blocked()
            assert there.statistics().streams == 1
    nothing_is_left(here, there)


async def test_a_stream_row_of_nothing_lets_no_stream_be(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = limited(stream={"streams": 0})
    async with fake_host(network, listen=[1]) as here, fake_host(network, limits=limits) as there:
        with here.handle(HANG, hang), pytest.raises(ResourceLimitExceeded, match=r"stream\.streams"):
            await there.open_stream(memory(1), HANG)


async def test_what_a_peer_had_is_forgotten_with_it(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here:
        with here.handle(lambda protocol: True, hang):
            async with fake_host(network) as there:
                await there.dial(memory(1))
                for number in range(50):
                    await (await there.open_stream(here.peer_id, f"/made-up/{number}")).receive_some()
                kinds = [scope.kind for scope in here.resources.scopes]
                assert kinds.count("protocol") == kinds.count("protocol_peer") == 50
                assert kinds.count("peer") == 1
            await here.wait_disconnected(there.peer_id)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(2 * here.limits.shutdown_grace):  # handlers may take their time
                await trio.sleep_forever()
            assert [scope.kind for scope in here.resources.scopes] == ["system", "transient"]
            nothing_is_left(here)


# --- memory of handlers -------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [*ROWS, "stream"])
async def test_memory_of_handlers(scope: str, autojump_clock: object) -> None:
    network = FakeNetwork()
    told = list[str]()
    in_use = list[int]()

    async def hold(stream: Stream) -> None:
        with here.reserve_memory(stream, 600):
            in_use.append(here.resources.scope("system").in_use.memory)
            try:
                with here.reserve_memory(stream, 600):
                    raise AssertionError("it was let have more")
            except ResourceLimitExceeded as error:
                told.append(error.scope)
        in_use.append(here.resources.scope("system").in_use.memory)

    service = Hanging()
    service.handlers = {HANG: hold}
    limits = limited(**{scope: {"memory": 1000}})
    async with (
        fake_host(network, listen=[1], limits=limits, services=[service]) as here,
        fake_host(network) as there,
    ):
        stream = await there.open_stream(memory(1), HANG)
        assert await stream.receive_some() == b""
    assert told == [f"{scope}.memory"]
    assert in_use == [600, 0]
    nothing_is_left(here, there)


async def test_memory_is_given_back_when_its_stream_is_over(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with here.handle(HANG, hang):
            stream = await there.open_stream(memory(1), HANG)
            with there.reserve_memory(stream, 1000):
                stream.reset()
                assert there.resources.scope("system").in_use.memory == 0
            with pytest.raises(trio.ClosedResourceError), there.reserve_memory(stream, 1):
                raise AssertionError("it was let have some")


# --- addresses: descriptors, subnets, the allow-list --------------------------------------------------


class Street:
    """One host that listens, and others that come to it from where they like."""

    def __init__(self, network: VirtualNetwork, hosts: AsyncExitStack, here: Host) -> None:
        self._network = network
        self._hosts = hosts
        self.here = here

    async def knock(self, ip: str) -> NetworkStream:
        """Connect, and say nothing."""
        addr, _ = split_peer(self.here.addrs[0])
        return await self._network.transport(ip).dial(addr)

    async def visitor(self, ip: str, identity: Identity | None = None) -> Host:
        return await self._hosts.enter_async_context(
            Host(
                identity or Identity.generate(),
                transports=[self._network.transport(ip)],
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
async def test_descriptors_of_dials(scope: str, autojump_clock: object) -> None:
    """Each address that is tried takes one; with none left it is as an address that failed."""
    async with VirtualNetwork() as network:
        network.block("192.0.2.2", HERE)
        async with Host(
            Identity.generate(),
            transports=[network.transport("192.0.2.2")],
            limits=limited(**{scope: {"descriptors": 1}}),
        ) as host:
            peer = Identity.generate().peer_id
            addrs = [Multiaddr(f"/ip4/{HERE}/tcp/{port}") for port in (1, 2, 3)]
            host.peerstore.add_addrs(peer, addrs, ttl=100, now=0)
            with pytest.raises(DialError) as caught:
                await host.dial(peer)
            failures = [type(failure) for _, failure in caught.value.attempts]
            assert failures.count(ResourceLimitExceeded) == 2
            assert host.resources.scope("system").in_use.descriptors == 0
        nothing_is_left(host)


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


# --- looking ------------------------------------------------------------------------------------------


async def test_what_is_in_use_can_be_printed_and_asked(autojump_clock: object) -> None:
    hub = MemoryHub()
    async with (
        Host(Identity.generate(), transports=[Memory(hub)], listen=["/memory/1"]) as here,
        Host(Identity.generate(), transports=[Memory(hub)]) as there,
    ):
        with here.handle(HANG, hang):
            stream = await there.open_stream(here.addrs[0], HANG)
            assert await stream.receive_some() == b"served"
            text = str(here.resources)
            assert f"peer {there.peer_id}" in text
            assert "protocol /hang" in text
            assert here.resources.scope("peer", str(there.peer_id)).in_use.connections == 1
    nothing_is_left(here, there)
