"""Identify push between hosts: who is told, how often exactly, and what a peer that pushes can do."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import pytest
import trio

from p2p.abc import Handler, HostView, ProtocolId, Stream
from p2p.errors import ConnectionLost, StreamReset
from p2p.events import EventsLost, PeerIdentified
from p2p.host import Host
from p2p.identity import Identity, PeerRecord
from p2p.limits import IdentifyLimits, Limits
from p2p.muxers.connection import MuxedConnection
from p2p.protocols.echo import echo
from p2p.protocols.identify import IDENTIFY, IDENTIFY_PUSH, Identification, Identify
from p2p.protocols.identify.push import read_identification
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.testing.network import VirtualNetwork
from p2p.transports.memory import Memory, MemoryHub
from p2p.wire.addresses import Multiaddr, split_peer
from p2p.wire.framing import encode_frame
from p2p.wire.messages import IdentifyMessage, encode_identify
from tests.trio.test_cancel_everywhere import everywhere
from tests.trio.two_hosts import TwoHosts, two_hosts

Clock = trio.testing.MockClock
LIMITS = IdentifyLimits()
#: Longer than changes are waited for, and a push takes.
A_WHILE = LIMITS.push_delay + 1
ADDR = Multiaddr("/ip4/1.2.3.4/tcp/5")


class Pushed:
    """A service that takes pushes, in its own way, and says that it does."""

    def __init__(
        self, take: Callable[[Stream], Awaitable[object]] | None = None, *, speaks: str = IDENTIFY_PUSH
    ) -> None:
        self.begun = 0
        self.taken: list[Identification] = []
        self._speaks = speaks
        self._take = self._read if take is None else take

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {IDENTIFY: self._answer, IDENTIFY_PUSH: self._handle}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def _answer(self, stream: Stream) -> None:
        await send(stream, IdentifyMessage(protocols=(self._speaks,)))

    async def _handle(self, stream: Stream) -> None:
        self.begun += 1
        await self._take(stream)

    async def _read(self, stream: Stream) -> None:
        self.taken.append(await read_identification(stream, LIMITS))


async def send(stream: Stream, *parts: IdentifyMessage) -> None:
    await stream.send_all(b"".join(encode_frame(encode_identify(part)) for part in parts))
    await stream.send_eof()


@asynccontextmanager
async def acquainted(*, limits: Limits | None = None) -> AsyncIterator[TwoHosts]:
    """Two hosts that know all of each other, and have no more to say."""
    alice, bob = Identify(agent_version="alice/1"), Identify(agent_version="bob/1")
    async with two_hosts([alice], [bob], limits=limits) as hosts:
        await alice.wait_identified(hosts.to_bob)
        await bob.wait_identified(hosts.to_alice)
        await trio.sleep(A_WHILE)
        yield hosts


@asynccontextmanager
async def pushing_to(pushed: Pushed, alice: Identify | None = None) -> AsyncIterator[TwoHosts]:
    """Alice identifies and pushes; bob is what the test made of him. She has not pushed yet."""
    alice = Identify() if alice is None else alice
    async with two_hosts([alice], [pushed]) as hosts:
        await alice.wait_identified(hosts.to_bob)
        await trio.sleep(A_WHILE)
        assert not pushed.begun
        yield hosts


async def push(hosts: TwoHosts, *parts: IdentifyMessage) -> None:
    """Bob pushes to alice, and she has taken it in."""
    async with await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY_PUSH) as stream:
        await send(stream, *parts)
        assert await stream.receive_some() == b""


def protocols_of_alice(hosts: TwoHosts) -> tuple[str, ...]:
    return hosts.bob.peerstore.protocols(hosts.alice.peer_id) or ()


def addrs_of_alice(hosts: TwoHosts) -> set[Multiaddr]:
    return set(hosts.bob.peerstore.addrs(hosts.alice.peer_id, now=trio.current_time()))


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


# --- being told -------------------------------------------------------------------------------------------


async def test_a_push_replaces_and_what_is_missing_stays(autojump_clock: Clock) -> None:
    """Not accumulated, as some do."""
    first, second = Multiaddr("/ip4/1.2.3.4/tcp/5"), Multiaddr("/ip4/1.2.3.4/tcp/6")
    async with acquainted() as hosts:
        peer, store = hosts.bob.peer_id, hosts.alice.peerstore
        await push(
            hosts,
            IdentifyMessage(protocols=("/a", "/b"), listen_addrs=(first.to_bytes(),), agent_version="bob/2"),
        )
        assert (store.protocols(peer), store.agent_version(peer)) == (("/a", "/b"), "bob/2")
        assert store.addrs(peer, now=trio.current_time()) == (first,)
        await push(hosts, IdentifyMessage(protocols=("/c",)), IdentifyMessage(protocols=("/d",)))
        assert (store.protocols(peer), store.agent_version(peer)) == (("/c", "/d"), "bob/2")
        assert store.addrs(peer, now=trio.current_time()) == (first,)
        await push(hosts, IdentifyMessage(listen_addrs=(second.to_bytes(),)))
        assert store.protocols(peer) == ("/c", "/d")
        assert store.addrs(peer, now=trio.current_time()) == (second,)


async def test_as_many_messages_as_identify_takes(autojump_clock: Clock) -> None:
    """CL-2020-29, go #3501: a push is bounded as an answer is."""
    async with acquainted() as hosts:
        store, peer = hosts.alice.peerstore, hosts.bob.peer_id
        before = store.protocols(peer)
        parts = [
            IdentifyMessage(protocols=tuple(f"{part:02}{number:02}" for number in range(1000)))
            for part in range(LIMITS.max_messages + 1)
        ]
        with pytest.raises(StreamReset):
            await push(hosts, *parts)
        assert store.protocols(peer) == before
        await push(hosts, *parts[: LIMITS.max_messages])
        assert len(store.protocols(peer) or ()) == LIMITS.max_protocols


async def test_another_key(autojump_clock: Clock) -> None:
    async with acquainted() as hosts:
        before = hosts.alice.peerstore.protocols(hosts.bob.peer_id)
        other = Identity.generate().public_key.to_protobuf()
        with pytest.raises(StreamReset):
            await push(hosts, IdentifyMessage(public_key=other, protocols=("/a",)))
        assert hosts.alice.peerstore.protocols(hosts.bob.peer_id) == before


async def test_a_flood_of_records_of_others_stores_nothing(autojump_clock: Clock) -> None:
    """CVE-2023-40583, GHSA-wc36-xgcc-jwpr."""
    async with acquainted() as hosts:
        store, known = hosts.alice.peerstore, len(hosts.alice.peerstore)
        for seq in range(1, 100):
            mallory = Identity.generate()
            record = PeerRecord(mallory.peer_id, seq, (ADDR,)).seal(mallory.private_key)
            await push(
                hosts,
                IdentifyMessage(
                    signed_peer_record=record, listen_addrs=(ADDR.to_bytes(),), protocols=("/a",)
                ),
            )
            assert mallory.peer_id not in store
        assert len(store) == known
        assert store.addrs(hosts.bob.peer_id, now=trio.current_time()) == ()
        assert store.protocols(hosts.bob.peer_id) == ("/a",)


async def test_a_flood_of_pushes_is_read_at_its_rate_and_the_last_one_counts(autojump_clock: Clock) -> None:
    async with acquainted() as hosts, hosts.alice.events() as events:
        peer = hosts.bob.peer_id
        refused = 0

        async def push_one(number: int) -> None:
            nonlocal refused
            try:
                await push(hosts, IdentifyMessage(protocols=(f"/{number}",)))
            except StreamReset:
                refused += 1

        start = trio.current_time()
        for number in range(LIMITS.push_burst):
            await push_one(number)
        assert trio.current_time() == start and not refused
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(push_one, number)
                await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() - start == pytest.approx(1 / LIMITS.push_rate)
        assert refused == 199
        assert hosts.alice.peerstore.protocols(peer) == ("/199",)
        count = 0
        with trio.move_on_after(1):
            async for event in events:
                count += isinstance(event, PeerIdentified)
        assert count == LIMITS.push_burst + 1
        assert hosts.alice.statistics().handlers == 0


async def test_a_push_that_drips_is_given_up(autojump_clock: Clock) -> None:
    async with acquainted() as hosts:
        stream = await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY_PUSH)
        start = trio.current_time()
        with pytest.raises(StreamReset):
            await stream.send_all(b"\x80\x20")
            await stream.receive_some()
        assert trio.current_time() - start == pytest.approx(LIMITS.timeout)


async def test_nothing_is_kept_of_who_is_gone(autojump_clock: Clock) -> None:
    alice = Identify()
    async with two_hosts([alice], [Identify()]) as hosts:
        await trio.sleep(A_WHILE)
        assert list(alice._push._peers) == [hosts.bob.peer_id]
        hosts.to_bob.abort()
        await trio.sleep(A_WHILE)
        assert not alice._push._peers


# --- cancelled everywhere ---------------------------------------------------------------------------------


def test_cancel_everywhere_a_push() -> None:
    """The one who pushes is cancelled: the next push comes through, and no stream is left."""

    async def attempt(step: int) -> Outcome[object]:
        async with acquainted() as hosts:

            async def change() -> None:
                with hosts.bob.handle("/mark/1", echo):
                    pushed = await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY_PUSH)
                    try:
                        await send(pushed, IdentifyMessage(protocols=("/a", "/b")))
                        assert await pushed.receive_some() == b""
                        await pushed.aclose()
                    except BaseException:
                        pushed.reset()
                        raise

            before = hosts.alice.peerstore.protocols(hosts.bob.peer_id)
            outcome = await cancelled_after(step, change)
            await trio.testing.wait_all_tasks_blocked()
            known = hosts.alice.peerstore.protocols(hosts.bob.peer_id)
            assert known in ((before, ("/a", "/b")) if not outcome.finished else (("/a", "/b"),))
            await push(hosts, IdentifyMessage(protocols=("/c",)))
            assert hosts.alice.peerstore.protocols(hosts.bob.peer_id) == ("/c",)
            await trio.sleep(A_WHILE)
            assert not hosts.to_alice.streams and not hosts.to_bob.streams
            return outcome

    assert everywhere(attempt) > 5


def test_cancel_everywhere_a_host_that_pushes() -> None:
    """The host that pushes ends at any step of it: nothing is left, and the one pushed to goes on."""

    async def attempt(step: int) -> Outcome[object]:
        hub, pushed = MemoryHub(), Pushed()
        async with Host(
            Identity.generate(),
            transports=[Memory(hub)],
            listen=["/memory/7"],
            services=[pushed],
            identify=False,
        ) as bob:

            async def live() -> None:
                async with Host(Identity.generate(), transports=[Memory(hub)]) as alice:
                    await alice.dial(bob.addrs[0])
                    await trio.sleep(A_WHILE)
                    with alice.handle("/new/1", echo):
                        await trio.sleep(A_WHILE)

            outcome = await cancelled_after(step, live)
            await trio.sleep(A_WHILE)
            assert not bob.connections and not bob.statistics().handlers
            assert bool(pushed.taken) or not outcome.finished
            return outcome

    assert everywhere(attempt) > 20
