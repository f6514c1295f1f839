"""*Which connection*: one test for each sentence."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import trio
import trio.testing

from p2p import (
    Connection,
    ConnectionLost,
    Denied,
    DialError,
    Host,
    Identity,
    Limits,
    NegotiationError,
    ProtocolId,
    ResourceLimitExceeded,
    Stream,
)
from p2p.wire.addresses import parse_user_addr
from tests.limiting import limited
from tests.trio.fakes import FakeConnection, FakeNetwork, fake_host, memory

HELLO, OTHER, THIRD = ProtocolId("/hello"), ProtocolId("/other"), ProtocolId("/third")


async def hello(stream: Stream) -> None:
    await stream.send_all(b"hello")
    await trio.sleep_forever()


def connections(host: Host, peer: Host) -> list[FakeConnection]:
    found = host.connections.get(peer.peer_id, ())
    return [connection for connection in found if isinstance(connection, FakeConnection)]


async def second_connection(here: Host, there: Host, number: int = 1) -> FakeConnection:
    """One more from ``there`` to ``here``: an address without a peer id is always dialed."""
    connection = await there.dial(memory(number))
    assert isinstance(connection, FakeConnection)
    return connection


async def test_self_dial_is_refused(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here:
        for target in (here.peer_id, str(here.peer_id), here.addrs[0], str(here.addrs[0])):
            with pytest.raises(Denied, match="self-dial") as caught:
                await here.dial(target)
            assert caught.value.by == "self-dial"
        assert not network.dialed
        with pytest.raises(Denied):
            await here.open_stream(here.peer_id, HELLO)


async def test_self_dial_by_an_address_alone_is_refused_when_it_shows(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here:
        with pytest.raises(DialError, match="self-dial"):
            await here.dial(memory(1))
        await trio.testing.wait_all_tasks_blocked()
        assert not network.open
        assert here.statistics().reserved == 0


async def test_simultaneous_dials_may_leave_two_connections_and_both_stay(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network, listen=[2]) as there:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(here.dial, there.addrs[0])
            nursery.start_soon(there.dial, here.addrs[0])
        await trio.testing.wait_all_tasks_blocked()
        for one, other in ((here, there), (there, here)):
            assert len(one.connections[other.peer_id]) == 2
        with here.handle(HELLO, hello):
            for connection in connections(there, here):
                stream = await connection.open_stream(HELLO)
                assert await stream.receive_some() == b"hello"


async def test_a_dial_returns_the_connection_there_is(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        first = await there.dial(here.addrs[0])
        for target in (here.peer_id, str(here.peer_id), here.addrs[0], str(here.addrs[0])):
            assert await there.dial(target) is first
        assert network.dialed == [memory(1)]


async def test_an_inbound_connection_serves_as_well(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        await there.dial(here.addrs[0])
        inbound = await here.wait_connected(there.peer_id)
        assert await here.dial(there.peer_id) is inbound
        with there.handle(HELLO, hello):
            stream = await here.open_stream(there.peer_id, HELLO)
            assert stream.connection is inbound
            assert await stream.receive_some() == b"hello"


async def test_unlimited_is_preferred_to_limited(autojump_clock: object) -> None:
    network = FakeNetwork()
    network.relayed.add(memory(2))
    async with fake_host(network, listen=[1, 2]) as here, fake_host(network) as there:
        limited = await second_connection(here, there, 2)
        with here.handle(HELLO, hello):
            for _ in range(2):
                assert (
                    await there.open_stream(here.peer_id, HELLO, allow_limited=True)
                ).connection is limited
            unlimited = await second_connection(here, there, 1)
            stream = await there.open_stream(here.peer_id, HELLO, allow_limited=True)
            assert stream.connection is unlimited


async def test_a_limited_connection_is_used_only_when_allowed(autojump_clock: object) -> None:
    network = FakeNetwork()
    network.relayed.add(memory(2))
    async with fake_host(network, listen=[1, 2]) as here, fake_host(network) as there:
        await second_connection(here, there, 2)
        there.peerstore.forget(here.peer_id)
        there.peerstore.add_addrs(here.peer_id, [memory(1)], ttl=60, now=trio.current_time())
        with here.handle(HELLO, hello):
            stream = await there.open_stream(here.peer_id, HELLO)
        assert not stream.connection.limited
        assert stream.connection.remote_addr == memory(1)


async def test_who_needs_a_direct_connection_is_not_content_with_that_of_a_fellow(
    autojump_clock: object,
) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        circuit = parse_user_addr(f"/memory/2/p2p/{Identity.generate().peer_id}/p2p-circuit")
        network.relayed.add(circuit)
        network.listeners[circuit] = network.listeners[memory(1)]
        network.before_dial[memory(1)] = partial(trio.sleep, 1)
        there.peerstore.add_addrs(here.peer_id, [memory(1), circuit], ttl=60, now=trio.current_time())
        made = list[Connection]()

        async def dial() -> None:
            made.append(await there.dial(here.peer_id))

        with here.handle(HELLO, hello):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dial)
                await trio.lowlevel.checkpoint()
                stream = await there.open_stream(here.peer_id, HELLO)
        assert made[0].limited
        assert not stream.connection.limited
        assert sorted(network.dialed, key=str) == [memory(1), memory(1), circuit]


async def test_a_dial_and_a_stream_that_dials_share_a_flight(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        there.peerstore.add_addrs(here.peer_id, [memory(1)], ttl=60, now=trio.current_time())
        with here.handle(HELLO, hello):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(there.dial, here.peer_id)
                nursery.start_soon(there.open_stream, here.peer_id, HELLO)
            assert network.dialed == [memory(1)]


async def test_without_a_direct_address_a_limited_connection_does_not_serve(autojump_clock: object) -> None:
    network = FakeNetwork()
    circuit = parse_user_addr(f"/memory/2/p2p/{Identity.generate().peer_id}/p2p-circuit")
    network.relayed.add(circuit)
    async with fake_host(network) as here, fake_host(network) as there:
        there.peerstore.add_addrs(here.peer_id, [circuit], ttl=60, now=trio.current_time())
        with pytest.raises(DialError):
            await there.open_stream(here.peer_id, HELLO)
        assert not network.dialed


async def test_then_the_most_streams_are_preferred(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        await second_connection(here, there)
        busy = await second_connection(here, there)
        await second_connection(here, there)
        with here.handle(HELLO, hello):
            await busy.open_stream(HELLO)
            assert (await there.open_stream(here.peer_id, HELLO)).connection is busy


async def test_then_the_oldest_is_preferred(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        oldest = await second_connection(here, there)
        for _ in range(3):
            await second_connection(here, there)
        with here.handle(HELLO, hello):
            assert (await there.open_stream(here.peer_id, HELLO)).connection is oldest


@pytest.mark.parametrize("who", ["we", "they"])
async def test_one_that_is_going_away_is_never_used_and_a_new_one_is_dialed(
    who: str, autojump_clock: object
) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with here.handle(HELLO, hello):
            first = await there.open_stream(here.addrs[0], HELLO)  # keeps the connection open
            await first.receive_some()
            [ours], [theirs] = connections(there, here), connections(here, there)
            (ours if who == "we" else theirs).go_away()
            stream = await there.open_stream(here.peer_id, HELLO)
            assert stream.connection is not ours
            assert await stream.receive_some() == b"hello"
            assert network.dialed == [memory(1)] * 2


async def test_one_that_goes_away_while_we_wait_for_a_stream_is_replaced(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        await there.dial(here.addrs[0])
        await here.wait_connected(there.peer_id)
        [ours], [theirs] = connections(there, here), connections(here, there)

        async def goodbye_meanwhile() -> None:
            theirs.go_away()
            await trio.lowlevel.checkpoint()

        ours.before_open = goodbye_meanwhile
        with here.handle(HELLO, hello):
            stream = await there.open_stream(here.peer_id, HELLO)
            assert await stream.receive_some() == b"hello"
        assert stream.connection is not ours


async def test_a_connection_that_is_lost_while_we_wait_is_told(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        await there.dial(here.addrs[0])
        [ours] = connections(there, here)

        async def fail() -> None:
            raise ConnectionLost("for some reason")

        ours.before_open = fail
        with pytest.raises(ConnectionLost, match="for some reason"):
            await there.open_stream(here.peer_id, HELLO)


@pytest.mark.parametrize("scope", ["system", "peer"])
async def test_a_local_limit_raises(scope: str, autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = limited(**{scope: {"connections": 1}})
    async with (
        fake_host(network, listen=[1]) as here,
        fake_host(network, listen=[2]) as other,
        fake_host(network, limits=limits) as there,
    ):
        with here.handle(HELLO, hello):
            await (await there.open_stream(here.addrs[0], HELLO)).receive_some()
            [ours] = connections(there, here)
            ours.go_away()
            target = here.peer_id if scope == "peer" else other.addrs[0]
            for dialing in (there.dial(target), there.open_stream(target, HELLO)):
                with pytest.raises(ResourceLimitExceeded) as caught:
                    await dialing
                refused = caught.value
                assert (refused.scope, refused.limit, refused.in_use) == (f"{scope}.connections", 1, 1)
                assert refused.of == (str(here.peer_id) if scope == "peer" else "")
        assert there.statistics().reserved == 1


async def test_a_local_limit_raises_for_a_peer_that_turns_up_too_often(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = limited(peer={"connections": 1})
    async with fake_host(network, listen=[1]) as here, fake_host(network, limits=limits) as there:
        await there.dial(memory(1))
        with pytest.raises(DialError, match=r"peer\.connections"):
            await there.dial(memory(1))
        await trio.testing.wait_all_tasks_blocked()
        assert there.statistics().reserved == 1
        assert len(network.open) == 2
    assert here.connections == {}


async def test_the_remotes_backlog_makes_it_wait(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        await there.dial(here.addrs[0])
        [ours] = connections(there, here)
        ours.before_open = partial(trio.sleep, there.limits.open_stream - 1)
        with here.handle(HELLO, hello):
            assert await (await there.open_stream(here.peer_id, HELLO)).receive_some() == b"hello"


async def test_the_time_for_dialing_is_apart(autojump_clock: object) -> None:
    network = FakeNetwork()
    limits = dataclasses.replace(Limits(), open_stream=5.0)
    network.before_dial[memory(1)] = partial(trio.sleep, 2 * limits.open_stream)
    async with fake_host(network, listen=[1]) as here, fake_host(network, limits=limits) as there:
        with here.handle(HELLO, hello):
            stream = await there.open_stream(here.addrs[0], HELLO)
            assert await stream.receive_some() == b"hello"


async def test_a_dialed_connection_is_shared(autojump_clock: object) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        found = list[object]()

        async def dial() -> None:
            found.append(await there.dial(here.addrs[0]))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(dial)
        assert len(set(found)) == 1
        assert network.dialed == [memory(1)]


async def test_leaving_handle_refuses_new_streams_and_lets_running_handlers_finish(
    autojump_clock: object,
) -> None:
    network, go_on = FakeNetwork(), trio.Event()

    async def handler(stream: Stream) -> None:
        await go_on.wait()
        await stream.send_all(b"finished")

    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with here.handle(HELLO, handler):
            stream = await there.open_stream(here.addrs[0], HELLO, OTHER)
        with pytest.raises(NegotiationError):
            await there.open_stream(here.peer_id, HELLO, OTHER)
        go_on.set()
        assert await stream.receive_some() == b"finished"
        assert await stream.receive_some() == b""


# --- laziness, as far as the host decides it ----------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "asked", "proposed", "lazy"),
    [
        (None, [HELLO], (HELLO,), True),
        (None, [HELLO, OTHER], (HELLO, OTHER), False),
        ([HELLO, OTHER], [HELLO], (HELLO,), True),
        ([OTHER], [HELLO, OTHER], (OTHER,), True),
        ([OTHER, THIRD], [HELLO, OTHER, THIRD], (OTHER, THIRD, HELLO), False),
        ([OTHER], [HELLO], (HELLO,), False),
        ([], [HELLO, OTHER], (HELLO, OTHER), False),
    ],
)
async def test_lazy_where_one_candidate_remains(
    known: list[ProtocolId] | None,
    asked: list[ProtocolId],
    proposed: tuple[ProtocolId, ...],
    lazy: bool,
    autojump_clock: object,
) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        await there.dial(here.addrs[0])
        [ours] = connections(there, here)
        if known is not None:
            there.peerstore.set_protocols(here.peer_id, known)
        with here.handle(lambda protocol: True, hello):
            await there.open_stream(here.peer_id, *asked)
        assert ours.asked == [(proposed, lazy)]


@pytest.mark.parametrize("protocols", [(), ("",), ("/two\nlines",), ("/" + "x" * 1024,)])
async def test_what_cannot_be_proposed_is_refused_at_once(
    protocols: tuple[str, ...], autojump_clock: object
) -> None:
    network = FakeNetwork()
    async with fake_host(network, listen=[1]) as here, fake_host(network) as there:
        with pytest.raises(ValueError, match="protocol"):
            await there.open_stream(here.addrs[0], *protocols)
        assert not network.dialed
