"""Identify push, received: what it changes, and what a peer that pushes cannot do; cancelled everywhere."""

from __future__ import annotations

import pytest
import trio

from p2p.errors import StreamReset
from p2p.events import PeerIdentified
from p2p.host import Host
from p2p.identity import Identity, PeerRecord
from p2p.protocols.echo import echo
from p2p.protocols.identify import IDENTIFY_PUSH, Identify
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.transports.memory import Memory, MemoryHub
from p2p.wire.addresses import Multiaddr
from p2p.wire.messages import IdentifyMessage
from tests.trio.pushes import (
    A_WHILE,
    ADDR,
    LIMITS,
    Pushed,
    acquainted,
    push,
    send,
)
from tests.trio.test_cancel_everywhere import everywhere
from tests.trio.two_hosts import two_hosts

Clock = trio.testing.MockClock


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
