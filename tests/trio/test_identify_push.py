"""Identify push, sent: who is told what, and how often exactly; a push that fails harms nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack

import pytest
import trio

from p2p.abc import HostView, ProtocolId, Stream
from p2p.errors import ConnectionLost
from p2p.events import EventsLost, PeerIdentified
from p2p.host import Host
from p2p.identity import Identity
from p2p.limits import IdentifyLimits, Limits
from p2p.muxers.connection import MuxedConnection
from p2p.protocols.echo import echo
from p2p.protocols.identify import IDENTIFY, IDENTIFY_PUSH, Identify
from p2p.protocols.identify.push import read_identification
from p2p.testing.network import VirtualNetwork
from p2p.transports.memory import Memory, MemoryHub
from p2p.wire.addresses import split_peer
from tests.trio.pushes import (
    A_WHILE,
    ADDR,
    LIMITS,
    Pushed,
    acquainted,
    addrs_of_alice,
    protocols_of_alice,
    pushing_to,
)
from tests.trio.two_hosts import two_hosts

Clock = trio.testing.MockClock


# --- what is told -----------------------------------------------------------------------------------------


async def test_a_handler_that_comes_and_goes_is_seen(autojump_clock: Clock) -> None:
    async with acquainted() as hosts, hosts.bob.events() as events:
        before = protocols_of_alice(hosts)
        assert before == (IDENTIFY, IDENTIFY_PUSH)
        with hosts.alice.handle("/new/1", echo):
            await trio.sleep(A_WHILE)
            assert protocols_of_alice(hosts) == (*before, "/new/1")
            assert await events.receive() == PeerIdentified(
                hosts.alice.peer_id,
                hosts.to_alice,
                (IDENTIFY, IDENTIFY_PUSH, ProtocolId("/new/1")),
                "alice/1",
                hosts.to_bob.remote_addr,
            )
        await trio.sleep(A_WHILE)
        assert protocols_of_alice(hosts) == before


async def test_both_directions(autojump_clock: Clock) -> None:
    """Who dialed tells, too."""
    async with acquainted() as hosts:
        with hosts.bob.handle("/new/1", echo):
            await trio.sleep(A_WHILE)
            assert "/new/1" in (hosts.alice.peerstore.protocols(hosts.bob.peer_id) or ())


async def test_a_change_of_addresses_is_seen(autojump_clock: Clock) -> None:
    async with acquainted() as hosts:
        before = addrs_of_alice(hosts)
        old = hosts.bob.peerstore.record(hosts.alice.peer_id)
        hosts.alice._addresses.listened(ADDR)
        await trio.sleep(A_WHILE)
        assert addrs_of_alice(hosts) == before | {ADDR}
        assert hosts.bob.peerstore.record(hosts.alice.peer_id) != old
        hosts.alice._addresses.unlistened()
        hosts.alice._addresses.listened(split_peer(hosts.to_alice.remote_addr)[0])
        await trio.sleep(A_WHILE)
        assert addrs_of_alice(hosts) == before


async def test_over_the_virtual_network(autojump_clock: Clock) -> None:
    """The whole stack, over a link with a delay."""
    async with VirtualNetwork(seed=1) as network:
        network.link("1.1.1.1", "2.2.2.2", latency=0.05)
        alice = Host(
            Identity.generate(), transports=[network.transport("1.1.1.1")], listen=["/ip4/1.1.1.1/tcp/1"]
        )
        bob = Host(Identity.generate(), transports=[network.transport("2.2.2.2")])
        async with alice, bob:
            await bob.dial(alice.addrs[0])
            await trio.sleep(A_WHILE)
            with alice.handle("/new/1", echo):
                await trio.sleep(A_WHILE)
                assert "/new/1" in (bob.peerstore.protocols(alice.peer_id) or ())


# --- how often --------------------------------------------------------------------------------------------


async def test_many_changes_are_one_push(autojump_clock: Clock) -> None:
    pushed = Pushed()
    async with pushing_to(pushed) as hosts:
        with ExitStack() as handlers:
            for number in range(100):
                handlers.enter_context(hosts.alice.handle(f"/new/{number}", echo))
                await trio.sleep(LIMITS.push_delay / 200)
            await trio.sleep(A_WHILE)
            assert [len(told.protocols) for told in pushed.taken] == [102]
        await trio.sleep(A_WHILE)
        assert [len(told.protocols) for told in pushed.taken] == [102, 2]


async def test_a_change_that_is_undone_is_no_push(autojump_clock: Clock) -> None:
    pushed = Pushed()
    async with pushing_to(pushed) as hosts:
        with hosts.alice.handle("/new/1", echo):
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(A_WHILE)
        assert not pushed.begun


async def test_lost_events_are_one_push(autojump_clock: Clock) -> None:
    pushed = Pushed()
    async with pushing_to(pushed) as hosts:
        hosts.alice._serving._exact[ProtocolId("/new/1")] = echo  # and nobody is told
        hosts.alice.emit(EventsLost(7))
        await trio.sleep(A_WHILE)
        assert [told.protocols[-1] for told in pushed.taken] == ["/new/1"]
        hosts.alice.emit(EventsLost(7))
        await trio.sleep(A_WHILE)
        assert pushed.begun == 1


async def test_changes_during_a_push_are_exactly_one_more(autojump_clock: Clock) -> None:
    go_on = trio.Event()
    pushed, alice = Pushed(), Identify()
    tell = alice._push._tell

    async def held(host: HostView, stream: Stream) -> None:
        await tell(host, stream)
        await stream.send_eof()
        await go_on.wait()  # as if the peer gave no credit

    async with pushing_to(pushed, alice) as hosts:
        alice._push._tell = held
        with ExitStack() as handlers:
            for number in range(5):
                handlers.enter_context(hosts.alice.handle(f"/new/{number}", echo))
                await trio.sleep(2 * LIMITS.push_delay)
            assert [len(told.protocols) for told in pushed.taken] == [3]
            go_on.set()
            await trio.sleep(A_WHILE)
            assert [len(told.protocols) for told in pushed.taken] == [3, 7]


async def test_who_asked_meanwhile_is_not_told(autojump_clock: Clock) -> None:
    pushed = Pushed()
    async with pushing_to(pushed) as hosts:
        with hosts.alice.handle("/new/1", echo):
            async with await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY) as stream:
                assert "/new/1" in (await read_identification(stream, LIMITS)).protocols
            await trio.sleep(A_WHILE)
            assert not pushed.begun


async def test_who_does_not_speak_it_is_not_told(autojump_clock: Clock) -> None:
    pushed = Pushed(speaks="/something/1")
    async with pushing_to(pushed) as hosts:
        with hosts.alice.handle("/new/1", echo):
            await trio.sleep(A_WHILE)
            assert not pushed.begun


async def test_several_connections_are_one_push(autojump_clock: Clock) -> None:
    pushed = Pushed()
    async with pushing_to(pushed) as hosts:
        await hosts.bob._dialing.dial(hosts.alice.peer_id, [split_peer(hosts.alice.addrs[0])[0]], direct=True)
        await trio.sleep(A_WHILE)
        assert len(hosts.alice.connections[hosts.bob.peer_id]) == 2 and not pushed.begun
        with hosts.alice.handle("/new/1", echo):
            await trio.sleep(A_WHILE)
            assert pushed.begun == 1
            # And it matters not which of them ends.
            hosts.to_bob.abort()
            await trio.sleep(A_WHILE)
        await trio.sleep(A_WHILE)
        assert pushed.begun == 2


async def test_a_connection_that_is_going_away_is_not_used(autojump_clock: Clock) -> None:
    pushed = Pushed()
    async with pushing_to(pushed) as hosts:
        addr = split_peer(hosts.alice.addrs[0])[0]
        await hosts.bob._dialing.dial(hosts.alice.peer_id, [addr], direct=True)
        await hosts.to_bob.open_stream(IDENTIFY_PUSH)  # it stays as long as this does
        hosts.to_bob.go_away()
        await trio.sleep(A_WHILE)
        assert len(hosts.alice.connections[hosts.bob.peer_id]) == 2
        with hosts.alice.handle("/new/1", echo):
            await trio.sleep(A_WHILE)
            assert len(pushed.taken) == 1
        hosts.to_bob.abort()


async def test_a_change_before_the_peer_is_known_is_told_when_it_is(autojump_clock: Clock) -> None:
    pushed, alice, known = Pushed(), Identify(), trio.Event()
    answer = pushed._answer

    async def late(stream: Stream) -> None:
        await known.wait()
        await answer(stream)

    pushed._answer = late
    async with two_hosts([alice], [pushed]) as hosts:
        async with await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY) as stream:
            await read_identification(stream, LIMITS)
        with hosts.alice.handle("/new/1", echo):
            await trio.sleep(A_WHILE)
            assert not pushed.begun
            known.set()
            await trio.sleep(A_WHILE)
            assert [told.protocols[-1] for told in pushed.taken] == ["/new/1"]


async def test_so_many_peers_at_once(autojump_clock: Clock) -> None:
    """A peer that takes nothing holds one of the places, until its deadline, and nobody waits longer."""
    limits = Limits(identify=IdentifyLimits(pushes=2))
    hub, alice = MemoryHub(), Identify()
    under_way = most = told = 0
    tell = alice._push._tell

    async def held(host: HostView, stream: Stream) -> None:
        nonlocal under_way, most, told
        under_way += 1
        most = max(most, under_way)
        try:
            await tell(host, stream)
            if told < 2:
                told += 1
                await trio.sleep_forever()
            told += 1
        finally:
            under_way -= 1

    async with (
        Host(
            Identity.generate(),
            transports=[Memory(hub)],
            listen=["/memory/7"],
            services=[alice],
            limits=limits,
        ) as host,
        AsyncExitStack() as others,
    ):
        for _ in range(6):
            other = Host(Identity.generate(), transports=[Memory(hub)], services=[Pushed()], identify=False)
            await (await others.enter_async_context(other)).dial(host.addrs[0])
        await trio.sleep(A_WHILE)
        alice._push._tell = held
        with host.handle("/new/1", echo):
            await trio.sleep(LIMITS.push_delay + LIMITS.timeout / 2)
            assert (under_way, most, told) == (2, 2, 2)
            await trio.sleep(LIMITS.timeout)
            assert (under_way, most, told) == (0, 2, 6)


# --- a push that fails ------------------------------------------------------------------------------------


async def refuse(stream: Stream) -> None:
    stream.reset()


async def stall(stream: Stream) -> None:
    await trio.sleep_forever()


async def die(stream: Stream) -> None:
    stream.connection.abort()


@pytest.mark.parametrize("take", [refuse, stall, die])
async def test_a_push_that_fails_harms_nothing(
    take: Callable[[Stream], Awaitable[object]], autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="p2p")
    pushed = Pushed(take)
    async with pushing_to(pushed) as hosts:
        with hosts.alice.handle("/new/1", echo):
            await trio.sleep(2 * LIMITS.timeout)
            assert pushed.begun == 1, "it is not tried again until there is more to tell"
            if take is not die:
                assert list(hosts.alice.connections[hosts.bob.peer_id]) == [hosts.to_bob]
        await trio.sleep(2 * LIMITS.timeout)
        assert pushed.begun == (1 if take is die else 2)
        assert not hosts.to_bob.streams or take is stall
    assert not [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]


async def test_a_push_that_cannot_be_opened_is_not_tried_again(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    open_stream = MuxedConnection.open_stream

    async def fail(self: MuxedConnection, *protocols: ProtocolId, lazy: bool = False) -> Stream:
        nonlocal tried
        if protocols != (IDENTIFY_PUSH,):
            return await open_stream(self, *protocols, lazy=lazy)
        tried += 1
        raise ConnectionLost("for this test")

    monkeypatch.setattr(MuxedConnection, "open_stream", fail)
    async with acquainted() as hosts:
        with hosts.alice.handle("/new/1", echo):
            await trio.sleep(A_WHILE)
            assert tried == 1


async def test_a_peer_that_speaks_it_no_more(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="p2p")
    async with acquainted() as hosts:
        del hosts.bob._serving._exact[IDENTIFY_PUSH]
        with hosts.alice.handle("/new/1", echo):
            await trio.sleep(A_WHILE)
            assert "/new/1" not in protocols_of_alice(hosts)
            assert not hosts.to_bob.streams and not hosts.to_alice.streams
        hosts.bob._serving._exact[IDENTIFY_PUSH] = refuse  # leaving takes it away
    assert not [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
