"""Identify between hosts: what is learned, from whom, within which bounds; and that it never harms a connection."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack

import pytest
import trio

from p2p.abc import Handler, HostView, ProtocolId, Service, Stream
from p2p.errors import P2PError, StreamReset
from p2p.events import EventsLost, PeerIdentified
from p2p.identity import Identity, PeerRecord, open_peer_record
from p2p.limits import IdentifyLimits, Limits
from p2p.protocols.echo import Echo
from p2p.protocols.identify import IDENTIFY, Identify
from p2p.protocols.identify.push import read_identification
from p2p.protocols.identify.service import _Asked
from p2p.protocols.identify.state import Exchange
from p2p.protocols.ping import Ping
from p2p.wire.addresses import Multiaddr, split_peer
from p2p.wire.framing import encode_frame
from p2p.wire.messages import IdentifyMessage, encode_identify
from tests.trio.two_hosts import two_hosts

Clock = trio.testing.MockClock
Answer = Callable[[Stream, HostView], Awaitable[object]]
LIMITS = IdentifyLimits()


class Answering:
    """A service that answers identify its own way, and asks nobody."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._host: HostView | None = None

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {IDENTIFY: self._handle}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        self._host = host
        task_status.started()
        await trio.sleep_forever()

    async def _handle(self, stream: Stream) -> None:
        assert self._host is not None
        await self._answer(stream, self._host)


async def test_both_sides_learn(autojump_clock: Clock) -> None:
    alice, bob = Identify(agent_version="alice/1"), Identify(agent_version="bob/1")
    async with two_hosts([alice, Ping(), Echo()], [bob]) as hosts:
        of_alice = await bob.wait_identified(hosts.to_alice)
        of_bob = await alice.wait_identified(hosts.to_bob)
        addrs = tuple(split_peer(addr)[0] for addr in hosts.alice.addrs)
        assert of_alice.agent_version == "alice/1"
        assert of_alice.protocols == (
            "/ipfs/id/1.0.0",
            "/ipfs/id/push/1.0.0",
            "/ipfs/ping/1.0.0",
            "/echo/1.0.0",
        )
        assert of_alice.addrs == addrs
        assert of_alice.signed_record is not None
        assert open_peer_record(of_alice.signed_record).addresses == addrs
        assert of_alice.observed_addr == hosts.to_bob.remote_addr
        assert of_alice.protocol_version == ""
        assert (of_bob.agent_version, of_bob.addrs) == ("bob/1", ())
        store = hosts.bob.peerstore
        assert store.protocols(hosts.alice.peer_id) == of_alice.protocols
        assert store.agent_version(hosts.alice.peer_id) == "alice/1"
        assert store.record(hosts.alice.peer_id) == of_alice.signed_record
        assert set(store.addrs(hosts.alice.peer_id, now=trio.current_time())) == set(addrs)


async def test_a_peer_known_before_is_asked_again_a_moment_later(autojump_clock: Clock) -> None:
    bob = Identify()
    async with two_hosts([Identify(), Echo()], [bob]) as hosts:
        first = await bob.wait_identified(hosts.to_alice)
        await hosts.to_alice.aclose()
        await hosts.bob.wait_disconnected(hosts.alice.peer_id)
        begin = trio.current_time()
        again = await hosts.bob.dial(hosts.alice.addrs[0])
        async with await hosts.bob.open_stream(hosts.alice.peer_id, "/echo/1.0.0") as stream:
            await stream.send_all(b"first things first")
            assert await stream.receive_some() == b"first things first"
        assert trio.current_time() - begin < LIMITS.again_after
        assert [stream.protocol for stream in again.streams] == []
        assert (await bob.wait_identified(again)).protocols == first.protocols
        assert LIMITS.again_after <= trio.current_time() - begin < 1


async def test_the_event(autojump_clock: Clock) -> None:
    told: list[PeerIdentified] = []
    bob = Identify()
    async with two_hosts([Identify()], [bob]) as hosts, hosts.bob.events() as events:
        answer = await bob.wait_identified(hosts.to_alice)
        with trio.move_on_after(1):
            async for event in events:
                if isinstance(event, PeerIdentified):
                    told.append(event)
    assert told == [
        PeerIdentified(
            hosts.alice.peer_id, hosts.to_alice, answer.protocols, answer.agent_version, answer.observed_addr
        )
    ]


async def test_one_stream_per_connection_and_direction(autojump_clock: Clock) -> None:
    asked = 0

    async def count(stream: Stream, host: HostView) -> None:
        nonlocal asked
        asked += 1
        await stream.send_all(encode_frame(encode_identify(IdentifyMessage(protocols=("/a",)))))

    bob = Identify()
    async with two_hosts([Answering(count)], [bob]) as hosts:
        await bob.wait_identified(hosts.to_alice)
        await bob.wait_identified(hosts.to_alice)
        hosts.bob.emit(EventsLost(1))
        await trio.testing.wait_all_tasks_blocked()
        assert asked == 1


async def test_the_record_is_signed_anew_only_when_addresses_change(autojump_clock: Clock) -> None:
    alice, bob = Identify(), Identify()
    async with two_hosts([alice], [bob]) as hosts:
        first = (await bob.wait_identified(hosts.to_alice)).signed_record
        async with await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY) as stream:
            again = await read_identification(stream, LIMITS)
        assert again.signed_record == first
        elsewhere = (Multiaddr("/ip4/1.2.3.4/tcp/5"),)
        assert first is not None
        newer = open_peer_record(alice._signed(hosts.alice, elsewhere))
        assert newer.addresses == elsewhere
        assert newer.seq > open_peer_record(first).seq


# --- answers that are not as they should be ---------------------------------------------------------------


async def failure(answer: Answer | None, caplog: pytest.LogCaptureFixture) -> tuple[str, float]:
    """Why identifying a peer that answers so fails, and after how long. The connection must outlive it."""
    caplog.set_level(logging.DEBUG, logger="p2p")
    bob = Identify()
    services: list[Service] = [Echo()] if answer is None else [Echo(), Answering(answer)]
    async with two_hosts(services, [bob]) as hosts:
        start = trio.current_time()
        with pytest.raises(P2PError) as failed:
            await bob.wait_identified(hosts.to_alice)
        taken = trio.current_time() - start
        assert list(hosts.bob.connections[hosts.alice.peer_id]) == [hosts.to_alice]
        assert hosts.bob.peerstore.protocols(hosts.alice.peer_id) is None
        async with await hosts.bob.open_stream(hosts.alice.peer_id, "/echo/1.0.0") as stream:
            await stream.send_all(b"alive")
            assert await stream.receive_some() == b"alive"
            assert list(hosts.to_alice.streams) == [stream], "the identify stream is left"
    assert not [record.getMessage() for record in caplog.records if record.levelno > logging.DEBUG]
    return str(failed.value), taken


async def send(stream: Stream, *parts: IdentifyMessage) -> None:
    await stream.send_all(b"".join(encode_frame(encode_identify(part)) for part in parts))


async def test_a_peer_that_does_not_speak_it(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reason, _ = await failure(None, caplog)
    assert "refused /ipfs/id/1.0.0" in reason


async def test_a_silent_peer(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Row 3: finish the muxer, never identify."""

    async def silent(stream: Stream, host: HostView) -> None:
        await trio.sleep_forever()

    reason, taken = await failure(silent, caplog)
    assert reason.endswith("no answer in 5.0 seconds")
    assert taken == pytest.approx(LIMITS.timeout)


async def test_a_slow_drip(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Rows 2 and CL-2020-28: the deadline is absolute, so a byte a second does not help."""

    async def drip(stream: Stream, host: HostView) -> None:
        await stream.send_all(b"\x80\x20")
        while True:
            await stream.send_all(b"\x00")
            await trio.sleep(LIMITS.timeout / 7)

    _, taken = await failure(drip, caplog)
    assert taken == pytest.approx(LIMITS.timeout)


@pytest.mark.parametrize("prefix", ["ffffffff07", "8140", "ff" * 10, "8000"])
async def test_a_length_that_cannot_be(
    prefix: str, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 5: refused when the length is read."""

    async def huge(stream: Stream, host: HostView) -> None:
        await stream.send_all(bytes.fromhex(prefix))
        await trio.sleep_forever()

    _, taken = await failure(huge, caplog)
    assert taken < 0.1


async def test_an_endless_answer(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    async def endless(stream: Stream, host: HostView) -> None:
        while True:
            await send(stream, IdentifyMessage(protocols=("/a",)))

    reason, taken = await failure(endless, caplog)
    assert "more than 10 messages" in reason
    assert taken < 0.1


async def test_another_key(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    async def other(stream: Stream, host: HostView) -> None:
        await send(stream, IdentifyMessage(public_key=Identity.generate().public_key.to_protobuf()))

    reason, _ = await failure(other, caplog)
    assert "another public key" in reason


async def test_no_answer_at_all(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    async def nothing(stream: Stream, host: HostView) -> None:
        return

    reason, _ = await failure(nothing, caplog)
    assert "without a message" in reason


async def test_a_connection_that_dies_releases_who_waits(autojump_clock: Clock) -> None:
    async def die(stream: Stream, host: HostView) -> None:
        stream.connection.abort()

    bob = Identify()
    async with two_hosts([Answering(die)], [bob]) as hosts:
        with trio.fail_after(LIMITS.timeout / 2), pytest.raises(P2PError):
            await bob.wait_identified(hosts.to_alice)
        await hosts.bob.wait_disconnected(hosts.alice.peer_id)
        await trio.testing.wait_all_tasks_blocked()
        assert not bob._asked
        with pytest.raises(P2PError):
            await bob.wait_identified(hosts.to_alice)


async def test_a_bug_of_ours_set_off_by_a_peer_is_not_the_hosts_end(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trip(self: Exchange, data: bytes) -> None:
        raise RecursionError("a parser of ours")

    monkeypatch.setattr(Exchange, "receive", trip)
    bob = Identify()
    async with two_hosts([Identify()], [bob]) as hosts:
        with pytest.raises(P2PError):
            await bob.wait_identified(hosts.to_alice)
        assert hosts.alice.peer_id in hosts.bob.connections
    assert any("RecursionError" in record.getMessage() for record in caplog.records)


# --- attacks ----------------------------------------------------------------------------------------------


async def test_records_of_others_are_not_stored(autojump_clock: Clock) -> None:
    """CVE-2023-40583, GHSA-wc36-xgcc-jwpr."""
    mallory = Identity.generate()
    poison = (Multiaddr("/ip4/6.6.6.6/tcp/6"),)

    async def plant(stream: Stream, host: HostView) -> None:
        record = PeerRecord(mallory.peer_id, 1, poison).seal(mallory.private_key)
        raw = poison[0].to_bytes()
        await send(stream, IdentifyMessage(protocols=("/a",), listen_addrs=(raw,), signed_peer_record=record))

    bob = Identify()
    async with two_hosts([Answering(plant)], [bob]) as hosts:
        answer = await bob.wait_identified(hosts.to_alice)
        store = hosts.bob.peerstore
        assert str(mallory.peer_id) in answer.refused
        assert mallory.peer_id not in store
        assert store.record(hosts.alice.peer_id) is None
        assert poison[0] not in store.addrs(hosts.alice.peer_id, now=trio.current_time())
        assert store.protocols(hosts.alice.peer_id) == ("/a",)


async def test_ten_full_messages_of_protocols(autojump_clock: Clock) -> None:
    """CL-2020-29, go #3501."""

    async def flood(stream: Stream, host: HostView) -> None:
        await send(
            stream,
            *(IdentifyMessage(protocols=tuple(f"{chunk}{i:03}" for i in range(1000))) for chunk in range(10)),
        )

    bob = Identify()
    async with two_hosts([Answering(flood)], [bob]) as hosts:
        await bob.wait_identified(hosts.to_alice)
        protocols = hosts.bob.peerstore.protocols(hosts.alice.peer_id)
        assert protocols is not None and len(protocols) == LIMITS.max_protocols


async def test_ten_thousand_addresses(autojump_clock: Clock) -> None:
    """Row 35."""

    async def flood(stream: Stream, host: HostView) -> None:
        raws = tuple(Multiaddr(f"/ip4/1.2.{i // 256}.{i % 256}/tcp/1").to_bytes() for i in range(800))
        await send(stream, *[IdentifyMessage(listen_addrs=raws)] * 10)

    bob = Identify()
    async with two_hosts([Answering(flood)], [bob]) as hosts:
        await bob.wait_identified(hosts.to_alice)
        addrs = hosts.bob.peerstore.addrs(hosts.alice.peer_id, now=trio.current_time())
        assert len(addrs) <= LIMITS.max_addrs + 1  # and the one it was dialed at


async def test_answers_at_once_are_bounded(autojump_clock: Clock) -> None:
    """One peer has no more answers under way than its share, and its share comes back."""
    limits = Limits(identify=IdentifyLimits(streams_per_peer=2))
    alice = Identify()
    async with two_hosts([alice], limits=limits) as hosts:
        with ExitStack() as others:  # that do not read what they asked for
            for _ in range(2):
                others.enter_context(alice._answering.one_more(hosts.bob.peer_id, 2))
            stream = await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY)
            with pytest.raises(StreamReset):
                await read_identification(stream, LIMITS)
        async with await hosts.bob.open_stream(hosts.alice.peer_id, IDENTIFY) as stream:
            assert (await read_identification(stream, LIMITS)).peer_id == hosts.alice.peer_id
        await trio.testing.wait_all_tasks_blocked()
        assert len(alice._answering) == 0


async def test_lost_events_are_made_up_for(autojump_clock: Clock) -> None:
    """``host.connections`` is the truth: who missed that a peer came asks it all the same."""
    bob = Identify()
    async with two_hosts([Identify()], [bob]) as hosts:
        await bob.wait_identified(hosts.to_alice)
        gone = _Asked()
        bob._asked = {hosts.to_bob: gone}  # no connection of bob's, and alice was never asked
        hosts.bob.emit(EventsLost(1))
        await trio.testing.wait_all_tasks_blocked()
        await gone.wait()
        assert list(bob._asked) == [hosts.to_alice]
        assert (await bob.wait_identified(hosts.to_alice)).peer_id == hosts.alice.peer_id
