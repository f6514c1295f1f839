"""The rest of the host: events, waiting, statistics, and what users combine it with."""

from __future__ import annotations

import dataclasses
import runpy
import time
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

from p2p import (
    ConnectionLost,
    Denied,
    Host,
    Identity,
    Limits,
    ProtocolId,
    RemoteProtocolError,
    Stream,
    StreamReset,
)
from p2p.events import (
    AddressesChanged,
    Connected,
    Disconnected,
    Event,
    EventsLost,
    PeerIdentified,
)
from p2p.transports.tcp import TCP
from p2p.wire.addresses import parse_user_addr
from tests.trio.fakes import FakeConnection, FakeNetwork, fake_host, memory

HELLO = ProtocolId("/hello")
LATER = 5.0
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


async def hello(stream: Stream) -> None:
    await stream.send_all(b"hello")


async def hang(stream: Stream) -> None:
    await trio.sleep_forever()


# --- events -------------------------------------------------------------------------------------------


async def test_events_tell_of_connections_in_order(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, here.events() as events:
        async with fake_host(network) as there:
            for _ in range(2):
                await there.dial(memory(1))
            await trio.testing.wait_all_tasks_blocked()
            connections = here.connections[there.peer_id]
        await here.wait_disconnected(there.peer_id)
        await trio.testing.wait_all_tasks_blocked()
        told = [await events.receive() for _ in range(4)]
        assert told[:2] == [Connected(there.peer_id, connection) for connection in connections]
        ends = [event for event in told[2:] if isinstance(event, Disconnected)]
        assert {event.connection for event in ends} == set(connections)
        assert ends[-1].last


async def test_the_reason_of_an_end_is_told(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there, here.events() as events:
        await there.dial(memory(1))
        connection = await here.wait_connected(there.peer_id)
        assert isinstance(connection, FakeConnection)
        connection.fail(RemoteProtocolError("it sent nonsense"))
        assert isinstance(await events.receive(), Connected)
        assert await events.receive() == Disconnected(there.peer_id, connection, True, "it sent nonsense")


async def test_who_falls_behind_loses_the_oldest_and_is_told_once(autojump_clock: object) -> None:
    host = fake_host(FakeNetwork(), limits=dataclasses.replace(Limits(), event_backlog=3))

    @dataclasses.dataclass(frozen=True)
    class Numbered(Event):
        number: int

    async with host, host.events() as slow, host.events() as other:
        for number in range(5):
            host.emit(Numbered(number))
        assert [await slow.receive() for _ in range(4)] == [
            EventsLost(2),
            Numbered(2),
            Numbered(3),
            Numbered(4),
        ]
        host.emit(Numbered(5))
        assert await slow.receive() == Numbered(5)
        assert await other.receive() == EventsLost(3)


async def test_events_count_from_entering_the_context(autojump_clock: object) -> None:
    async with fake_host(FakeNetwork()) as host:
        early = host.events()
        host.emit(Event())
        async with early as events:
            with trio.move_on_after(LATER) as scope:
                await events.receive()
            assert scope.cancelled_caught


async def test_a_closing_host_ends_its_events(autojump_clock: object) -> None:
    host, told = fake_host(FakeNetwork()), list[Event]()

    async def read() -> None:
        async with host.events() as events:
            async for event in events:
                told.append(event)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        async with host:
            await trio.testing.wait_all_tasks_blocked()
            host.emit(Event())
    assert told[-1] == Event()
    async with host.events() as events:
        with pytest.raises(trio.EndOfChannel):
            await events.receive()


async def test_a_subscription_is_a_channel(autojump_clock: object) -> None:
    async with fake_host(FakeNetwork()) as host, host.events() as events:
        host.emit(Event())
        with trio.testing.assert_checkpoints():
            await events.receive()
        with trio.CancelScope() as scope:
            scope.cancel()
            host.emit(Event())
            await events.receive()
        assert await events.receive() == Event()
        async with trio.open_nursery() as nursery:

            async def expect_closed() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await events.receive()

            nursery.start_soon(expect_closed)
            await trio.testing.wait_all_tasks_blocked()
            await events.aclose()


# --- waiting ------------------------------------------------------------------------------------------


async def test_waiting_for_a_peer(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with (
        fake_host(network, listen=[1]) as here,
        fake_host(network) as there,
        trio.open_nursery() as nursery,
    ):
        await here.wait_disconnected(there.peer_id)

        async def dial_later() -> None:
            await trio.sleep(LATER)
            await there.dial(memory(1))

        nursery.start_soon(dial_later)
        start = trio.current_time()
        connection = await here.wait_connected(there.peer_id)
        assert trio.current_time() - start == LATER
        assert here.connections == {there.peer_id: (connection,)}
        assert await here.wait_connected(there.peer_id) is connection


async def test_waiting_ends_with_the_host(autojump_clock: object) -> None:
    host = fake_host(FakeNetwork())
    peer = Identity.generate().peer_id

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await host.wait_connected(peer)

    async with trio.open_nursery() as nursery:
        async with host:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()


async def test_a_host_that_does_not_run_does_not_dial(autojump_clock: object) -> None:
    network = FakeNetwork()
    host = fake_host(network)
    with pytest.raises(Denied, match="shutdown"):
        await host.dial(memory(1))
    async with host:
        pass
    with pytest.raises(Denied, match="shutdown"):
        await host.dial(memory(1))


async def test_statistics_return_to_nothing(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with here.handle(HELLO, lambda stream: stream.receive_some()):
            streams = [await there.open_stream(here.addrs[0], HELLO) for _ in range(5)]
            await trio.testing.wait_all_tasks_blocked()
            statistics = here.statistics()
            assert (statistics.connections, statistics.streams, statistics.handlers) == (1, 5, 5)
            for stream in streams:
                await stream.aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert here.statistics() == dataclasses.replace(statistics, streams=0, handlers=0)
        [connection] = there.connections[here.peer_id]
        connection.abort()
        await here.wait_disconnected(there.peer_id)
        await trio.testing.wait_all_tasks_blocked()
        for host in (here, there):
            statistics = host.statistics()
            assert (statistics.connections, statistics.reserved) == (0, 0)
            assert (statistics.streams, statistics.handlers) == (0, 0)
            assert host._resources.empty
            assert not host._connections._routers


# --- the whole stack ----------------------------------------------------------------------------------


async def test_fault_1_of_py_libp2p_a_handlers_exception_does_not_end_the_program(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(stream: Stream) -> None:
        raise ZeroDivisionError

    async with (
        Host(Identity.generate(), transports=[TCP()], listen=["/ip4/127.0.0.1/tcp/0"]) as here,
        Host(Identity.generate(), transports=[TCP()]) as there,
    ):
        with here.handle("/broken", broken), here.handle(HELLO, hello), trio.fail_after(20):
            stream = await there.open_stream(here.addrs[0], "/broken")
            with pytest.raises(StreamReset):
                await stream.receive_some()
            async with await there.open_stream(here.peer_id, HELLO) as stream:
                assert await stream.receive_some() == b"hello"
    assert "ZeroDivisionError" in caplog.text


async def test_fault_6_of_py_libp2p_no_dial_waits_a_quarter_of_a_second() -> None:
    """There every ``connect()`` took 250 ms at least, whatever the network."""
    async with (
        Host(Identity.generate(), transports=[TCP()], listen=["/ip4/127.0.0.1/tcp/0"]) as here,
    ):
        quickest = 1.0
        for _ in range(5):
            async with Host(Identity.generate(), transports=[TCP()]) as there:
                start = time.perf_counter()
                await there.dial(here.addrs[0])
                quickest = min(quickest, time.perf_counter() - start)
    assert quickest < 0.2


async def test_in_virtual_time_a_dial_takes_none(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1, 2, 3]) as here, fake_host(network) as there:
        there.peerstore.add_addrs(here.peer_id, [memory(9), memory(1), memory(2)], ttl=60, now=0)
        await there.dial(here.peer_id)
        assert trio.current_time() == 0


def test_a_host_runs_under_anyio() -> None:
    async def main() -> bytes:
        async with (
            Host(Identity.generate(), transports=[TCP()], listen=["/ip4/127.0.0.1/tcp/0"]) as here,
            Host(Identity.generate(), transports=[TCP()]) as there,
        ):
            with here.handle(HELLO, hello), anyio.fail_after(20):
                async with await there.open_stream(here.addrs[0], HELLO) as stream:
                    return bytes(await stream.receive_some())

    assert anyio.run(main, backend="trio") == b"hello"


def test_the_example_of_a_portal_runs() -> None:
    """Synchronous callers and asyncio callers, on real sockets."""
    example = runpy.run_path(str(EXAMPLES / "portal.py"))
    assert example["synchronous"]() == b"hello from a thread"
    assert example["from_asyncio"]() == b"hello from asyncio"


async def test_a_lost_connection_tells_its_streams() -> None:
    limits = dataclasses.replace(Limits(), shutdown_grace=0.0)
    async with (
        Host(Identity.generate(), transports=[TCP()], listen=["/ip4/127.0.0.1/tcp/0"], limits=limits) as here,
        Host(Identity.generate(), transports=[TCP()]) as there,
    ):
        with here.handle(HELLO, hang), trio.fail_after(20):
            stream = await there.open_stream(here.addrs[0], HELLO)
            await stream.send_all(b"x")
            [connection] = there.connections[here.peer_id]
            connection.abort()
            with pytest.raises(ConnectionLost):
                await stream.receive_some()
            await here.wait_disconnected(there.peer_id)


async def test_where_peers_see_this_host_comes_with_identify_and_ends_with_the_connection(
    autojump_clock: object,
) -> None:
    network, identity, listen = FakeNetwork(), Identity.generate(), parse_user_addr("/ip4/10.0.0.5/tcp/4001")
    here = Host(
        identity,
        transports=[network.transport(identity)],
        listen=[listen],
        limits=dataclasses.replace(Limits(), observers=1),
    )
    async with here, fake_host(network) as there, here.events() as events:
        await there.dial(listen)
        connection = await here.wait_connected(there.peer_id)
        seen = parse_user_addr("/ip4/1.2.3.4/tcp/1")
        identified = PeerIdentified(there.peer_id, connection, (), "", seen)
        here.emit(identified)
        assert await events.receive() == Connected(there.peer_id, connection)
        assert await events.receive() == AddressesChanged(here.addrs)
        assert await events.receive() == identified
        assert [str(addr).rpartition("/p2p/")[0] for addr in here.addrs] == [str(listen), str(seen)]
        connection.abort()
        await here.wait_disconnected(there.peer_id)
        assert len(here.addrs) == 1
        here.emit(identified)  # too late
        assert len(here.addrs) == 1
