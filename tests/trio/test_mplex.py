"""Mplex under the pump: what happens without windows, without a goodbye, and beside another muxer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from p2p import Host, Identity
from p2p.abc import Muxer, ProtocolId, RawStream, Role, Secured, Stream
from p2p.errors import ConnectionLost, DialError, NoCommonProtocol, StreamReset
from p2p.identity import PeerId
from p2p.limits import MplexLimits
from p2p.muxers import Mplex, Yamux
from p2p.muxers.connection import MuxedConnection
from p2p.negotiation.select import RawHandshake
from p2p.security.noise import Noise
from p2p.testing.pairs import connection_pair, connections_over, stream_pair
from p2p.testing.pipes import raw_pair
from p2p.transports.memory import Memory, MemoryHub
from p2p.wire.addresses import Multiaddr

LIMITS = MplexLimits()
ECHO = ProtocolId("/echo/1")
MIB = 1024 * 1024
Clock = trio.testing.MockClock


# --- a stream that nobody reads -----------------------------------------------------------------------


async def test_an_unread_stream_is_reset_after_a_moment_and_costs_nobody_else(autojump_clock: Clock) -> None:
    async with connection_pair(muxer=Mplex()) as (dialer, responder):
        unread = await dialer.open_stream()
        sibling = await dialer.open_stream()
        await sibling.send_all(b"unharmed")
        with pytest.raises(StreamReset) as at_sender:
            await unread.send_all(bytes(8 * MIB))
        assert trio.current_time() == pytest.approx(LIMITS.stall_unread)
        kept, other = await responder.accept_stream(), await responder.accept_stream()
        with pytest.raises(StreamReset) as at_reader:
            await kept.receive_some()
        assert (at_sender.value.remote, at_reader.value.remote) == (True, False)
        with pytest.raises(StreamReset):
            await kept.send_all(b"x")
        assert await other.receive_some() == b"unharmed"
        assert not kept.books.received and responder.session.live_streams == 1


async def test_a_reader_that_comes_in_time_loses_nothing(autojump_clock: Clock) -> None:
    """The sender is held up: the reader reads as slowly as it may, 256 KiB just within each moment."""
    data = bytes(range(256)) * 16 * 1024
    async with stream_pair(raw_pair(buffer=65_536), muxer=Mplex()) as (left, right):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(left.send_all, data)
            received = bytearray(await right.receive_some(1))
            while len(received) < len(data):
                await trio.sleep(0.9 * LIMITS.stall)
                received += await right.receive_some()
                assert len(right.books.received) <= LIMITS.receive_buffer + LIMITS.max_read
            assert received == data


async def test_a_reader_that_takes_too_little_has_no_more_time_than_one_that_takes_nothing(
    autojump_clock: Clock,
) -> None:
    """A byte now and then would hold up the others for as long as it goes on, and then cost the connection."""
    async with connection_pair(muxer=Mplex()) as (dialer, responder), trio.open_nursery() as nursery:
        sibling, large = await dialer.open_stream(), await dialer.open_stream()
        await sibling.send_all(b"x")

        async def send() -> None:
            with pytest.raises(StreamReset):
                await large.send_all(bytes(4 * MIB))

        async def read() -> None:
            with pytest.raises(StreamReset):
                while True:
                    await slow.receive_some(1)
                    await trio.sleep(0.9 * LIMITS.stall)

        nursery.start_soon(send)
        other, slow = await responder.accept_stream(), await responder.accept_stream()
        assert await other.receive_some() == b"x"
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        assert responder.session.overfull
        await sibling.send_all(b"y")
        assert await other.receive_some() == b"y"
        assert trio.current_time() == pytest.approx(LIMITS.stall)


async def test_reading_lets_the_pump_go_on_at_once(autojump_clock: Clock) -> None:
    async with connection_pair(muxer=Mplex()) as (dialer, responder), trio.open_nursery() as nursery:
        nursery.start_soon((await dialer.open_stream()).send_all, bytes(MIB))
        kept = await responder.accept_stream()
        await trio.sleep(LIMITS.stall_unread / 2)
        assert responder.session.overfull
        held = len(await kept.receive_some())
        await trio.testing.wait_all_tasks_blocked()
        assert len(kept.books.received) > LIMITS.receive_buffer
        assert trio.current_time() == LIMITS.stall_unread / 2
        while held < MIB:
            held += len(await kept.receive_some())


@pytest.mark.parametrize(("muxer", "most"), [(Mplex(), 65_537), (Yamux(), 4 * 65_537)])
async def test_how_much_is_received_at_once(muxer: Muxer, most: int, autojump_clock: Clock) -> None:
    """A frame of Noise: messages of two bytes may be in it."""
    dialer, _ = connections_over(raw_pair(), muxer=muxer)
    assert len(dialer._inbox.room()) == most
    await trio.lowlevel.checkpoint()


async def test_unread_streams_hold_up_their_siblings_for_so_long_and_no_longer(autojump_clock: Clock) -> None:
    """A hundred of them, one after the other: the first has its moment, and the others have none."""
    async with connection_pair(muxer=Mplex()) as (dialer, responder):
        sibling = await dialer.open_stream()
        await sibling.send_all(b"x")
        other = await responder.accept_stream()
        await other.receive_some()
        for _ in range(100):
            unread = await dialer.open_stream()
            with pytest.raises(StreamReset):
                await unread.send_all(bytes(MIB))
            await sibling.send_all(b"x")
            assert await other.receive_some() == b"x"
        assert trio.current_time() == LIMITS.stall_unread


async def test_a_reader_that_is_ready_has_its_turn_when_no_time_is_left(autojump_clock: Clock) -> None:
    data = bytes(range(256)) * 8 * 1024
    muxer = Mplex(replace(LIMITS, stall_unread=0.0, stall_share=0.0))
    async with stream_pair(muxer=muxer) as (left, right), trio.open_nursery() as nursery:
        nursery.start_soon(left.send_all, data)
        received = bytearray()
        while len(received) < len(data):
            received += await right.receive_some()
        assert received == data
        assert trio.current_time() == 0.0


async def test_closing_an_overfull_stream_lets_the_pump_go_on(autojump_clock: Clock) -> None:
    async with connection_pair(muxer=Mplex()) as (dialer, responder), trio.open_nursery() as nursery:
        unread = await dialer.open_stream()

        async def send() -> None:
            with pytest.raises(StreamReset):
                await unread.send_all(bytes(4 * MIB))

        nursery.start_soon(send)
        kept = await responder.accept_stream()
        await trio.sleep(LIMITS.stall_unread / 2)
        assert responder.session.overfull
        await kept.aclose()
        assert not responder.session.overfull
        assert trio.current_time() == pytest.approx(LIMITS.stall_unread / 2)


async def test_a_pump_that_is_yielding_can_be_cancelled(autojump_clock: Clock) -> None:
    async with connection_pair(muxer=Mplex()) as (dialer, responder), trio.open_nursery() as nursery:
        unread = await dialer.open_stream()

        async def send() -> None:
            with pytest.raises(ConnectionLost):
                await unread.send_all(bytes(4 * MIB))

        nursery.start_soon(send)
        await responder.accept_stream()
        await trio.sleep(LIMITS.stall_unread / 2)
        assert responder.session.overfull
        dialer.abort()
        responder.abort()


# --- no goodbye ---------------------------------------------------------------------------------------


async def test_a_connection_that_ends_with_nothing_open_did_not_fail(autojump_clock: Clock) -> None:
    """``connection_pair`` lets a failure of either pump out."""
    async with connection_pair(muxer=Mplex()) as (dialer, responder):
        stream = await dialer.open_stream()
        await stream.send_all(b"last words")
        await stream.send_eof()
        other = await responder.accept_stream()
        await other.send_eof()
        assert await stream.receive_some() == b""
        dialer.go_away()
        await trio.testing.wait_all_tasks_blocked()
        assert (dialer.lost, responder.lost) == ("closed", "closed")
        # What was delivered is there, though the connection is not.
        assert await other.receive_some() == b"last words"
        assert await other.receive_some() == b""


async def test_a_connection_that_ends_under_a_stream_failed(autojump_clock: Clock) -> None:
    dialer, responder = connections_over(raw_pair(), muxer=Mplex())

    async def run() -> None:
        with pytest.raises(ConnectionLost):
            await responder.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)
        nursery.start_soon(run)
        stream = await dialer.open_stream()
        await stream.send_all(b"x")
        other = await responder.accept_stream()
        dialer.abort()
        await trio.testing.wait_all_tasks_blocked()
        assert await other.receive_some() == b"x"
        with pytest.raises(ConnectionLost):
            await other.receive_some()


async def test_going_away_lets_open_streams_finish_and_refuses_others(autojump_clock: Clock) -> None:
    async with connection_pair(muxer=Mplex()) as (dialer, responder):
        stream = await dialer.open_stream()
        await stream.send_all(b"question")
        other = await responder.accept_stream()
        assert await other.receive_some() == b"question"
        responder.go_away()
        late = await dialer.open_stream()  # it cannot know
        with pytest.raises(StreamReset):
            await late.receive_some()
        await other.send_all(b"answer" * 10_000)
        await other.aclose()
        await stream.send_eof()
        assert b"".join([chunk async for chunk in stream]) == b"answer" * 10_000
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (dialer.lost, responder.lost) == ("closed", "closed")


# --- slots --------------------------------------------------------------------------------------------


async def test_opening_waits_for_a_stream_of_ours_to_end(autojump_clock: Clock) -> None:
    muxer = Mplex(replace(LIMITS, max_outbound_streams=1))
    async with connection_pair(muxer=muxer) as (dialer, _):
        first = await dialer.open_stream()
        with trio.move_on_after(5) as scope:
            await dialer.open_stream()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dialer.open_stream)
            await trio.testing.wait_all_tasks_blocked()
            first.reset()


# --- beside yamux -------------------------------------------------------------------------------------


class LateNoise(Noise):
    """Noise as rust speaks it: no muxers in the handshake."""

    async def secure(
        self, raw: RawHandshake, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        return await super().secure(raw, role=role, peer=peer, muxers=())


async def echo(stream: Stream) -> None:
    async for chunk in stream:
        await stream.send_all(chunk)


@asynccontextmanager
async def hosts(
    dialing: Sequence[Muxer], listening: Sequence[Muxer], security: type[Noise]
) -> AsyncIterator[tuple[Host, Host]]:
    hub = MemoryHub()
    identities = Identity.generate(), Identity.generate()
    dialer, responder = (
        Host(
            identity,
            transports=[Memory(hub)],
            security=[security(identity)],
            muxers=muxers,
            listen=listen,
            identify=False,
        )
        for identity, muxers, listen in zip(
            identities, (dialing, listening), ([], ["/memory/7"]), strict=True
        )
    )
    async with responder, dialer:
        with responder.handle(ECHO, echo):
            yield dialer, responder


MUXERS = {"yamux": Yamux, "mplex": Mplex}


@pytest.mark.parametrize("security", [Noise, LateNoise])
@pytest.mark.parametrize(
    ("dialing", "listening", "chosen"),
    [
        (["mplex"], ["mplex"], "mplex"),
        (["yamux", "mplex"], ["yamux", "mplex"], "yamux"),
        (["mplex", "yamux"], ["yamux", "mplex"], "mplex"),
        (["yamux", "mplex"], ["mplex"], "mplex"),
        (["yamux", "mplex"], ["yamux"], "yamux"),
        (["mplex"], ["yamux", "mplex"], "mplex"),
    ],
)
async def test_the_first_muxer_of_the_dialer_that_both_know(
    dialing: list[str], listening: list[str], chosen: str, security: type[Noise], autojump_clock: Clock
) -> None:
    """At the first dial already: none is lost to a refusal."""
    async with hosts(
        [MUXERS[name]() for name in dialing], [MUXERS[name]() for name in listening], security
    ) as (dialer, responder):
        async with await dialer.open_stream(responder.addrs[0], ECHO) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
        (connection,) = dialer.connections[responder.peer_id]
        assert isinstance(connection, MuxedConnection)
        assert type(connection.session) is type(MUXERS[chosen]().session(Role.DIALER, now=0.0))
        assert not dialer.statistics().refusals


async def test_a_remote_that_knows_none_of_several_muxers_is_dialed_once(autojump_clock: Clock) -> None:
    """They were asked for, so that asking again would change nothing."""
    dials = 0

    class Counted(Memory):
        async def dial(self, addr: Multiaddr) -> RawStream:
            nonlocal dials
            dials += 1
            return await super().dial(addr)

    class Another(Yamux):
        @property
        def protocol(self) -> ProtocolId:
            return ProtocolId("/another/1")

    hub = MemoryHub()
    async with (
        Host(
            Identity.generate(), transports=[Memory(hub)], muxers=[Another()], listen=["/memory/7"]
        ) as responder,
        Host(Identity.generate(), transports=[Counted(hub)], muxers=[Yamux(), Mplex()]) as dialer,
    ):
        with pytest.raises(DialError) as raised:
            await dialer.dial(responder.addrs[0])
        [(_, reason)] = raised.value.attempts
        assert isinstance(reason, NoCommonProtocol)
        assert dials == 1


async def test_mplex_must_be_asked_for(autojump_clock: Clock) -> None:
    hub = MemoryHub()
    async with (
        Host(Identity.generate(), transports=[Memory(hub)], listen=["/memory/7"]) as responder,
        Host(Identity.generate(), transports=[Memory(hub)], muxers=[Mplex()]) as dialer,
    ):
        with pytest.raises(ConnectionLost):
            await (await dialer.open_stream(responder.addrs[0], ECHO)).receive_some()
