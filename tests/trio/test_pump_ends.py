"""How connections and streams end when several things come together: full sockets, timers, second closes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
import trio
import trio.testing

from p2p.abc import HandshakeStream, ProtocolId, Role, Secured, Stream
from p2p.errors import ConnectionLost, RemoteProtocolError, StreamReset
from p2p.identity import Identity, PeerId
from p2p.limits import DEFAULT_LIMITS, NegotiationLimits, YamuxLimits
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.yamux import Yamux
from p2p.resources.memory import UNACCOUNTED
from p2p.security.noise import Noise
from p2p.testing.network import VirtualNetwork
from p2p.testing.pairs import connection_pair, connections_over, stream_pair
from p2p.testing.pipes import raw_pair
from p2p.transports.upgraded import Upgraded
from p2p.wire.addresses import Multiaddr

ECHO = ProtocolId("/echo/1")
AGREED = b"\x13/multistream/1.0.0\n\x08/echo/1\n"
VERSION_1 = bytes.fromhex("010000000000000100000000")
PING = bytes.fromhex("000200010000000000000000")
OPEN_2 = bytes.fromhex("000100010000000200000000")


class NoRoom:
    """A router of no protocol: inbound streams negotiate, and nothing comes of it."""

    def supports(self, protocol: ProtocolId) -> bool:
        return False

    def protocols(self) -> Sequence[ProtocolId]:
        return ()

    def serve(self, stream: Stream) -> None:
        stream.reset()

    def ended(self, stream: Stream) -> None:
        """Nothing is kept of it."""


def forge(forger: MuxedConnection, data: bytes) -> None:
    """Send ``data`` in the name of a connection whose pump does not run."""
    frame = memoryview(bytearray(len(data) + 18))
    forger._outbox._channel.room(frame)[:] = data
    size = forger._outbox._channel.seal(frame, len(data))
    assert forger._raw.try_send(frame[:size]) == size


async def run_until_refused(connection: MuxedConnection, failures: list[RemoteProtocolError]) -> None:
    try:
        await connection.run()
    except RemoteProtocolError as error:
        failures.append(error)


async def send_until_lost(stream: Stream, size: int) -> None:
    with suppress(ConnectionLost):
        await stream.send_all(bytes(size))


async def read_all(connection: MuxedConnection) -> bytes:
    """The plaintext of all that comes to a connection whose pump does not run."""
    buffer, sealed, opened = memoryview(bytearray(65536)), b"", b""
    plain = memoryview(bytearray(1 << 20))
    while n := await connection._raw.receive_into(buffer):
        sealed += bytes(buffer[:n])
        consumed, produced = connection._outbox._channel.open_into(memoryview(sealed), plain)
        sealed = sealed[consumed:]
        opened += bytes(plain[:produced])
    return opened


# --- connections --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", [True, False])
async def test_a_remote_that_breaks_the_rules_while_it_takes_no_bytes_is_told_if_it_takes_them_then(
    reads: bool, autojump_clock: trio.testing.MockClock
) -> None:
    left, forger = connections_over(raw_pair())
    failures: list[RemoteProtocolError] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_until_refused, left, failures)
        stream = await left.open_stream()
        nursery.start_soon(send_until_lost, stream, 100_000)
        await trio.testing.wait_all_tasks_blocked()
        assert left.queued
        started = trio.current_time()
        forge(forger, VERSION_1)
        if reads:
            received = await read_all(forger)
            assert received.endswith(bytes.fromhex("000300000000000000000001"))  # GoAway, protocol error
    assert "version 1" in str(failures[0])
    assert trio.current_time() - started <= left.limits.goaway


async def test_bytes_that_come_in_the_instant_a_timer_ends_the_connection_are_dropped(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Which task runs first is Trio's to choose, hence many times."""
    for _ in range(20):
        left, forger = connections_over(raw_pair())
        failures: list[RemoteProtocolError] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_until_refused, left, failures)
            deadline = trio.current_time() + left.limits.yamux.keep_alive + left.limits.yamux.ping_timeout
            await trio.sleep_until(deadline)
            with suppress(trio.BrokenResourceError):
                forge(forger, PING)
            await trio.testing.wait_all_tasks_blocked()
            left.abort()


async def test_a_negotiation_is_late_whether_or_not_the_remote_takes_bytes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A remote that takes a byte now and then keeps the writer busy, and the connection."""
    limits = replace(DEFAULT_LIMITS, negotiation=NegotiationLimits(timeout=7))
    left, forger = connections_over(raw_pair(buffer=4096), limits=limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.run, NoRoom())
        stream = await left.open_stream()
        nursery.start_soon(send_until_lost, stream, 100_000)
        await trio.testing.wait_all_tasks_blocked()
        forge(forger, OPEN_2)
        started = trio.current_time()
        byte = memoryview(bytearray(1))
        while trio.current_time() < started + 6:
            await trio.sleep(3)
            await forger._raw.receive_into(byte)
        assert len(left.streams) == 2
        await trio.sleep_until(started + 7.1)
        assert left.queued
        assert left.streams == [stream]
        left.abort()


async def test_a_long_upload_on_a_slow_line_is_no_silence(autojump_clock: trio.testing.MockClock) -> None:
    """The ping that measures the round trip waits behind all that the line has still to carry."""
    here, there, rate = "10.0.0.1", "10.0.0.2", 20_000
    async with VirtualNetwork(seed=1) as network:
        network.link(here, there, latency=0.05, bandwidth=rate, window=256 * 1024)
        addr = Multiaddr(f"/ip4/{there}/tcp/4001")
        async with network.transport(there).listen(addr) as listener:
            dialed = await network.transport(here).dial(addr)
            async with connection_pair((dialed, await listener.accept())) as (left, right):
                sending = await left.open_stream()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(sending.send_all, bytes(2_000_000))
                    receiving = await right.accept_stream()
                    received = 0
                    while received < 2_000_000:
                        received += len(await receiving.receive_some())
    assert trio.current_time() == pytest.approx(2_000_000 / rate, rel=0.1)


class SaysNothingOfMuxers(Noise):
    """So the muxer is negotiated with questions and answers."""

    async def secure(
        self, raw: HandshakeStream, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        return await super().secure(raw, role=role, peer=peer, muxers=())


class Over:
    """A stream transport that dials one raw stream."""

    def __init__(self, raw) -> None:
        self.raw = raw

    async def dial(self, addr: Multiaddr):
        await trio.lowlevel.checkpoint()
        return self.raw


@pytest.mark.parametrize("buffer", [50, 64, 100, 1000])
async def test_a_muxer_is_negotiated_over_a_raw_stream_that_takes_few_bytes_at_once(
    buffer: int, autojump_clock: trio.testing.MockClock
) -> None:
    raws = raw_pair(buffer=buffer)
    dialer, responder = (
        Upgraded(
            Over(raw),
            local_peer=identity.peer_id,
            security=[SaysNothingOfMuxers(identity)],
            muxers=[Yamux()],
            limits=DEFAULT_LIMITS,
        )
        for raw, identity in zip(raws, (Identity.generate(), Identity.generate()), strict=True)
    )
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            await (await responder.accept(raws[1])).run()

        nursery.start_soon(accept)
        connection = await dialer._dial(Multiaddr("/memory/1"), None, UNACCOUNTED, lazy=False)
        nursery.start_soon(connection.run)
        await trio.testing.wait_all_tasks_blocked()
        assert not connection.closing
        connection.abort()
    assert trio.current_time() == 0


async def test_a_stream_opened_before_the_goodbye_goes_on_though_its_opening_is_unsent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connection_pair() as (left, right):
        stream = await left.open_stream(ECHO, lazy=True)
        left.go_away()
        await stream.send_all(b"hello")
        there = await right.accept_stream()
        await there.send_all(AGREED + b"heard")
        assert await stream.receive_some() == b"heard"
        assert left.closing and right.closing


async def test_a_connection_out_of_stream_ids_goes_away(autojump_clock: trio.testing.MockClock) -> None:
    """Else whoever wants one more stream would wait for it on this connection for ever."""
    async with connection_pair() as (left, right):
        left.session._table._next_id = 2**32 - 1
        last = await left.open_stream()
        with pytest.raises(ConnectionLost), trio.fail_after(1):
            await left.open_stream()
        await last.send_all(b"last")
        there = await right.accept_stream()
        assert left.closing and right.closing
        assert await there.receive_some() == b"last"


# --- streams ------------------------------------------------------------------------------------------


async def test_closing_a_lazy_stream_twice_still_says_fin_after_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connection_pair() as (dialer, responder):
        async with await dialer.open_stream(ECHO, lazy=True) as stream:
            await stream.send_all(b"one way")
            await stream.aclose()
        there = await responder.accept_stream()
        await there.send_all(AGREED)
        with trio.fail_after(1):
            assert b"".join([chunk async for chunk in there]).endswith(b"one way")
        await there.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert not dialer.session.live_streams


async def test_a_lazy_stream_closed_twice_ends_when_no_answer_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connection_pair() as (dialer, responder):
        stream = await dialer.open_stream(ECHO, lazy=True)
        await stream.aclose()
        await stream.aclose()
        there = await responder.accept_stream()
        with pytest.raises(StreamReset), trio.fail_after(1000):
            while True:
                await there.receive_some()
        assert trio.current_time() == pytest.approx(dialer.limits.negotiation.timeout)
        assert not dialer.session.live_streams


async def test_a_reset_ends_a_close_that_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with stream_pair() as (left, _), trio.open_nursery() as nursery:
        while left.send_nowait(bytes(65536)):  # more than the remote's window and the buffer hold
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(left.aclose)
        await trio.testing.wait_all_tasks_blocked()
        left.reset()
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
        assert trio.current_time() == 0


async def test_a_closed_stream_lingers_no_longer_than_it_may_on_an_idle_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = replace(DEFAULT_LIMITS, yamux=YamuxLimits(keep_alive=10_000.0, closed_linger=100.0))
    async with stream_pair(limits=limits) as (left, _):
        await left.send_eof()
        await trio.sleep(50)  # till no other timer is left
        closed = trio.current_time()
        await left.aclose()
        assert left.connection.session.live_streams == 1
        await trio.sleep_until(closed + 100.1)
        assert left.connection.session.live_streams == 0


async def test_a_loss_is_told_once(autojump_clock: trio.testing.MockClock) -> None:
    left, right = connections_over(raw_pair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose, left)
        stream = await left.open_stream()
        await right._raw.aclose()
        with pytest.raises(ConnectionLost) as caught:
            await stream.receive_some()
    assert str(caught.value).count("connection lost") == 1


async def lose(connection: MuxedConnection) -> None:
    with pytest.raises(ConnectionLost):
        await connection.run()
