"""Listening is loud, and accepting is bounded."""

from __future__ import annotations

import dataclasses
import logging
import socket
from typing import Any

import pytest
import trio
import trio.testing

from p2p import DialError, Host, Identity, InvalidAddress, ListenError, Stream
from p2p.errors import HandshakeFailed
from p2p.events import Listening
from p2p.transports.tcp import TCP
from tests.limiting import limited, many_of_one_peer
from tests.trio.fakes import FakeNetwork, fake_host, memory


async def test_a_listen_failure_is_told_and_what_was_bound_is_closed(autojump_clock: object) -> None:
    network = FakeNetwork()
    identity = Identity.generate()
    tcp = "/ip4/127.0.0.1/tcp/0"
    async with fake_host(network, listen=[2]):
        host = Host(
            identity,
            transports=[network.transport(identity)],
            listen=["/memory/1", "/memory/2", tcp, "/memory/3"],
        )
        with pytest.raises(ListenError) as caught:
            async with host:
                raise AssertionError("it was entered")
        (in_use, busy), (unsupported, reason) = caught.value.attempts
        assert in_use == memory(2)
        assert isinstance(busy, OSError)
        assert str(unsupported) == tcp
        assert isinstance(reason, InvalidAddress)
        assert "address in use" in str(caught.value)
        assert "no transport" in str(caught.value)
        assert set(network.listeners) == {memory(2)}
        assert caught.value.__cause__ is None


async def test_what_is_no_address_is_refused_before_anything_runs() -> None:
    for listen in ("127.0.0.1:4001", "/ip4/nowhere/tcp/1", ""):
        with pytest.raises(InvalidAddress):
            Host(Identity.generate(), listen=[listen])
    with pytest.raises(InvalidAddress):
        Host(Identity.generate(), announce=["somewhere"])


async def test_listening_is_told(autojump_clock: object) -> None:
    network = FakeNetwork()
    host = fake_host(network, listen=[1])
    async with host.events() as events, host:
        assert await events.receive() == Listening(memory(1))
        assert [str(addr) for addr in host.addrs] == [f"/memory/1/p2p/{host.peer_id}"]
    assert host.addrs == ()


async def test_an_upgrade_has_an_absolute_deadline(autojump_clock: object) -> None:
    network = FakeNetwork()
    network.before_upgrade = trio.sleep_forever
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        start = trio.current_time()
        await there.dial(memory(1))
        await there.wait_disconnected(here.peer_id)
        assert trio.current_time() - start == pytest.approx(here.limits.upgrade)
        await trio.testing.wait_all_tasks_blocked()
        assert here.statistics().pending_upgrades == here.statistics().reserved == 0
        assert here.statistics().refusals == {"upgrade: TooSlowError": 1}


async def test_row_1_silent_sockets_do_not_keep_others_out(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = limited(transient={"inbound_connections": 8})
    silent = True

    async def upgrade() -> None:
        if silent:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    network.before_upgrade = upgrade
    crowd = limited(peer=many_of_one_peer(100))
    async with (
        fake_host(network, listen=[1], limits=limits) as here,
        fake_host(network, limits=crowd) as there,
    ):
        for number in range(50):
            await there.dial(memory(1))
            await trio.testing.wait_all_tasks_blocked()
            assert here.statistics().pending_upgrades == min(number + 1, 8)
        assert here.statistics().refusals["evicted"] == 50 - 8
        # The oldest went.
        assert len(there.connections[here.peer_id]) == 8
        silent = False
        async with fake_host(network) as honest:
            start = trio.current_time()
            await honest.dial(memory(1))
            await here.wait_connected(honest.peer_id)
            assert trio.current_time() == start


@pytest.mark.parametrize("what", ["connections", "inbound_connections"])
async def test_inbound_connections_beyond_the_limit_are_closed_at_once(
    what: str, autojump_clock: object
) -> None:
    network = FakeNetwork()
    limits = limited(system={what: 2})
    async with fake_host(network, listen=[1], limits=limits) as here:
        async with fake_host(network) as one, fake_host(network) as two, fake_host(network) as three:
            for host in (one, two):
                await host.dial(memory(1))
                await here.wait_connected(host.peer_id)
            await three.dial(memory(1))
            await three.wait_disconnected(here.peer_id)
            assert three.peer_id not in here.connections
            assert here.statistics().refusals == {f"system.{what}": 1}
            assert here.statistics().reserved == 2
        await here.wait_disconnected(one.peer_id)
        await here.wait_disconnected(two.peer_id)
        await trio.testing.wait_all_tasks_blocked()
        assert here.statistics().reserved == 0
        async with fake_host(network) as later:
            await later.dial(memory(1))
            await here.wait_connected(later.peer_id)


async def test_one_peer_has_so_many_connections_and_no_more(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = limited(peer={"connections": 2})
    async with fake_host(network, listen=[1], limits=limits) as here, fake_host(network) as there:
        for _ in range(4):
            await there.dial(memory(1))
            await trio.testing.wait_all_tasks_blocked()
        assert len(here.connections[there.peer_id]) == 2
        assert len(there.connections[here.peer_id]) == 2
        assert here.statistics().refusals == {"peer.connections": 2}
        assert here.statistics().reserved == 2


async def test_an_outbound_connection_does_not_use_inbound_room(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = limited(system={"inbound_connections": 0})
    async with fake_host(network, listen=[1]) as here, fake_host(network, listen=[2], limits=limits) as there:
        await there.dial(here.addrs[0])
        with pytest.raises(DialError):
            async with fake_host(network) as other:
                await other.dial(there.addrs[0])
                await other.wait_disconnected(there.peer_id)
                raise DialError("nobody", [])


async def test_failures_of_remotes_are_counted_and_logged_at_a_bounded_rate(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "p2p.host")
    network = FakeNetwork()

    async def refuse() -> None:
        raise HandshakeFailed("line\nbreak \x1b[31m" + "x" * 1000)

    network.before_upgrade = refuse
    crowd = dataclasses.replace(limited(peer=many_of_one_peer(100)), log_rate=0.001)
    async with fake_host(network, listen=[1]) as here, fake_host(network, limits=crowd) as there:
        for _ in range(50):
            await there.dial(memory(1))
        await trio.testing.wait_all_tasks_blocked()
        lines = [record.getMessage() for record in caplog.records if "upgrade" in record.getMessage()]
        assert len(lines) == here.limits.log_rate == 10
        assert all(line.isprintable() and len(line) < 300 for line in lines)
        assert here.statistics().refusals == {"upgrade: HandshakeFailed": 50}


async def test_leaving_ends_the_upgrades_under_way_before_connections_drain(autojump_clock: object) -> None:
    network, ended = FakeNetwork(), list[float]()

    async def finishing(stream: Stream) -> None:
        await trio.sleep(1)
        ended.append(trio.current_time())

    async with fake_host(network) as there, fake_host(network) as silent, trio.open_nursery() as nursery:
        async with fake_host(network, listen=[1]) as here:
            with here.handle("/finishing", finishing):
                await (await there.open_stream(memory(1), "/finishing")).send_all(b"x")
                await trio.testing.wait_all_tasks_blocked()
            network.before_upgrade = trio.sleep_forever
            await silent.dial(memory(1))
            await trio.testing.wait_all_tasks_blocked()
            assert here.statistics().pending_upgrades == 1

            async def watch() -> None:
                await silent.wait_disconnected(here.peer_id)
                ended.append(trio.current_time())

            nursery.start_soon(watch)
        assert ended == [0, 1]
    assert not network.open


# --- on real sockets ----------------------------------------------------------------------------------


async def test_fault_9_of_py_libp2p_a_port_in_use_is_loud() -> None:
    """There it was silent, and so was an address that no transport supports."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"/ip4/127.0.0.1/tcp/{other.getsockname()[1]}"
        with pytest.raises(ListenError, match="in use"):
            async with Host(Identity.generate(), transports=[TCP()], listen=["/ip4/127.0.0.1/tcp/0", taken]):
                raise AssertionError("it was entered")
    with pytest.raises(ListenError, match="no transport"):
        async with Host(Identity.generate(), transports=[TCP()], listen=["/ip4/127.0.0.1/udp/0/quic-v1"]):
            raise AssertionError("it was entered")


@pytest.mark.parametrize("how", ["normally", "with an error", "cancelled"])
async def test_fault_5_of_py_libp2p_after_leaving_the_port_does_not_accept(how: str) -> None:
    """There the port went on accepting."""
    address: Any = None
    with trio.CancelScope() as scope:
        try:
            async with Host(Identity.generate(), transports=[TCP()], listen=["/ip4/127.0.0.1/tcp/0"]) as host:
                address = ("127.0.0.1", int(str(host.addrs[0]).split("/")[4]))
                with socket.create_connection(address):
                    pass
                if how == "with an error":
                    raise ZeroDivisionError
                if how == "cancelled":
                    scope.cancel()
        except ZeroDivisionError:
            pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    # And it can be had again at once.
    async with Host(Identity.generate(), transports=[TCP()], listen=[f"/ip4/127.0.0.1/tcp/{address[1]}"]):
        pass


async def test_a_wildcard_is_told_as_the_addresses_of_the_interfaces() -> None:
    async with Host(Identity.generate(), transports=[TCP()], listen=["/ip4/0.0.0.0/tcp/0"]) as host:
        texts = [str(addr) for addr in host.addrs]
        assert not any("0.0.0.0" in text for text in texts)
        assert any(text.startswith("/ip4/127.0.0.1/tcp/") for text in texts)
        assert all(text.endswith(f"/p2p/{host.peer_id}") for text in texts)
        async with Host(Identity.generate(), transports=[TCP()]) as other:
            await other.dial(next(addr for addr in host.addrs if "127.0.0.1" in str(addr)))
