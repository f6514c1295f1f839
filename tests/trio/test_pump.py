"""The pump and the streams in front of it, over everything real but the network."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
import trio
import trio.testing

from p2p.abc import ProtocolId, Stream
from p2p.errors import (
    ConnectionLost,
    NegotiationError,
    NoCommonProtocol,
    RemoteProtocolError,
    StreamReset,
)
from p2p.limits import DEFAULT_LIMITS, NegotiationLimits, YamuxLimits
from p2p.muxers import Yamux
from p2p.testing.pairs import connection_pair, connections_over, stream_pair
from p2p.testing.pipes import raw_pair

ECHO = ProtocolId("/echo/1")
OTHER = ProtocolId("/other/1")


class Collector:
    """A router that keeps what it is given."""

    def __init__(self, *supported: ProtocolId) -> None:
        self.supported = supported
        self.streams: list[Stream] = []

    def supports(self, protocol: ProtocolId) -> bool:
        return protocol in self.supported

    def protocols(self) -> Sequence[ProtocolId]:
        return self.supported

    def serve(self, stream: Stream) -> None:
        self.streams.append(stream)

    def ended(self, stream: Stream) -> None:
        """Nothing is kept of it."""


async def test_bytes_cross_whole_and_in_order(autojump_clock: trio.testing.MockClock) -> None:
    data = bytes(range(256)) * 8192
    async with stream_pair() as (left, right), trio.open_nursery() as nursery:

        async def send() -> None:
            await left.send_all(data)
            await left.send_eof()

        nursery.start_soon(send)
        received = b"".join([chunk async for chunk in right])
        assert received == data


async def test_one_byte_at_a_time_is_the_same(autojump_clock: trio.testing.MockClock) -> None:
    async with stream_pair(raw_pair(cut=lambda: 1)) as (left, right):
        await left.send_all(b"x" * 500)
        await left.send_eof()
        assert b"".join([chunk async for chunk in right]) == b"x" * 500


async def test_an_eager_dialer_gets_the_second_protocol(autojump_clock: trio.testing.MockClock) -> None:
    router = Collector(ECHO)
    async with connection_pair(router=router) as (dialer, _):
        stream = await dialer.open_stream(OTHER, ECHO)
        assert stream.protocol == ECHO
        assert [served.protocol for served in router.streams] == [ECHO]


async def test_no_common_protocol_is_told_at_open_when_not_lazy(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connection_pair(router=Collector(ECHO)) as (dialer, responder):
        with pytest.raises(NoCommonProtocol) as caught:
            await dialer.open_stream(OTHER)
        assert caught.value.offered == (OTHER,)
        await trio.testing.wait_all_tasks_blocked()
        assert not dialer.streams and not responder.streams
        assert not dialer.session.live_streams and not responder.session.live_streams


async def test_a_lazy_stream_costs_one_flight_each_way(autojump_clock: trio.testing.MockClock) -> None:
    router = Collector(ECHO)
    async with connection_pair(router=router) as (dialer, _):
        stream = await dialer.open_stream(ECHO, lazy=True)
        assert not router.streams
        await stream.send_all(b"hello")
        await trio.testing.wait_all_tasks_blocked()
        assert await router.streams[0].receive_some() == b"hello"


async def test_a_lazy_refusal_surfaces_at_the_first_receive(autojump_clock: trio.testing.MockClock) -> None:
    async with connection_pair(router=Collector(ECHO)) as (dialer, _):
        stream = await dialer.open_stream(OTHER, lazy=True)
        await stream.send_all(b"hello")
        with pytest.raises(NoCommonProtocol):
            await stream.receive_some()
        with pytest.raises(NoCommonProtocol):
            await stream.send_all(b"more")


async def test_a_lazy_one_way_message_survives_its_close(autojump_clock: trio.testing.MockClock) -> None:
    router = Collector(ECHO)
    async with connection_pair(router=router) as (dialer, _):
        stream = await dialer.open_stream(ECHO, lazy=True)
        await stream.send_all(b"one way")
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        (served,) = router.streams
        assert b"".join([chunk async for chunk in served]) == b"one way"
        await served.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert not dialer.session.live_streams


async def test_send_eof_on_a_lazy_stream_waits_for_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    # No router: the responder answers nothing by itself.
    async with connection_pair() as (dialer, responder):
        stream = await dialer.open_stream(ECHO, lazy=True)
        with trio.move_on_after(1) as scope:
            await stream.send_eof()
        assert scope.cancelled_caught
        bare = await responder.accept_stream()
        await bare.send_all(b"\x13/multistream/1.0.0\n\x08/echo/1\n")
        await stream.send_eof()
        assert stream.negotiated


async def test_an_inbound_negotiation_has_an_absolute_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = replace(DEFAULT_LIMITS, negotiation=NegotiationLimits(timeout=10))
    async with connection_pair(router=Collector(ECHO), limits=limits) as (dialer, responder):
        stream = await dialer.open_stream()
        started = trio.current_time()
        with pytest.raises(StreamReset):
            for byte in b"\x13/multistream/1.0.0\n":
                await stream.send_all(bytes([byte]))
                with trio.move_on_after(3):
                    await stream.receive_some()
        assert trio.current_time() - started == pytest.approx(10, abs=0.1)
        assert not responder.session.live_streams


class Full(Collector):
    """A router that has room for nothing."""

    def serve(self, stream: Stream) -> None:
        stream.reset()


@pytest.mark.parametrize(
    ("first", "router"),
    [
        (b"\x00", Collector(ECHO)),  # negotiates nothing
        (b"\x13/multistream/1.0.0\n\x08/echo/1\n", Full(ECHO)),
    ],
    ids=["nonsense", "no room"],
)
async def test_streams_opened_for_nothing_are_counted(
    first: bytes, router: Collector, autojump_clock: trio.testing.MockClock
) -> None:
    """One by one, so that the cap on open streams never helps (CVE-2023-44487, CVE-2019-9514)."""
    limits = replace(DEFAULT_LIMITS, yamux=YamuxLimits(reset_burst=10, reset_rate=0.0))
    raws = raw_pair()
    dialer, _ = connections_over(raws)
    _, responder = connections_over(raws, limits=limits)
    opened = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dialer.run)

        async def attack() -> None:
            nonlocal opened
            with suppress(ConnectionLost):
                while True:
                    stream = await dialer.open_stream()
                    opened += 1
                    await stream.send_all(first)
                    with pytest.raises(StreamReset):
                        while True:
                            await stream.receive_some()

        nursery.start_soon(attack)
        with pytest.raises(RemoteProtocolError, match="fewer streams"):
            await responder.run(router)
        nursery.cancel_scope.cancel()
    assert opened == 11


async def test_a_slot_that_frees_goes_to_the_opener_who_waited_longest(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = replace(DEFAULT_LIMITS, yamux=YamuxLimits(ack_backlog=2))
    left, right = connections_over(raw_pair(), limits=limits)
    order: list[int] = []

    async def open_one(number: int) -> None:
        await left.open_stream()
        order.append(number)
        left.flush()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.run)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(6):
            nursery.start_soon(open_one, number)
            await trio.testing.wait_all_tasks_blocked()
        assert order == [0, 1]
        nursery.start_soon(right.run)
        await trio.testing.wait_all_tasks_blocked()
        # Two slots free at once; which of the two openers then runs first is Trio's to choose.
        assert [set(order[i : i + 2]) for i in (0, 2, 4)] == [{0, 1}, {2, 3}, {4, 5}]
        left.abort()
        right.abort()


async def test_a_broken_rule_ends_the_connection_and_its_streams(
    autojump_clock: trio.testing.MockClock,
) -> None:
    raw, other = raw_pair()
    left, _ = connections_over((raw, other))
    _, forger = connections_over((raw, other))
    caught: list[Exception] = []

    async def run() -> None:
        try:
            await left.run()
        except RemoteProtocolError as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        stream = await left.open_stream()
        frame = bytearray(100)
        view = memoryview(frame)
        forger._outbox._channel.room(view)[:12] = bytes.fromhex("010000000000000100000000")  # version 1
        other.try_send(view[: forger._outbox._channel.seal(view, 12)])
        with pytest.raises(ConnectionLost):
            await stream.receive_some()
    assert "version" in str(caught[0])


async def test_a_stream_reset_before_its_answer_was_written_harms_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Opening, proposal, data, FIN and RST at once: it can be read to its end, and no answer is tried."""
    router = Collector(ECHO)
    async with connection_pair(router=router) as (dialer, _):
        stream = await dialer.open_stream()
        await stream.send_all(b"\x13/multistream/1.0.0\n\x08/echo/1\nhello")
        forged = b"".join(
            [
                bytes.fromhex("000000010000000300000020"),
                b"\x13/multistream/1.0.0\n\x08/echo/1\nbye",
                bytes.fromhex("000000040000000300000000"),
                bytes.fromhex("000100080000000300000000"),
            ]
        )
        view = memoryview(bytearray(200))
        dialer._outbox._channel.room(view)[: len(forged)] = forged
        dialer._raw.try_send(view[: dialer._outbox._channel.seal(view, len(forged))])
        await trio.testing.wait_all_tasks_blocked()
        first, second = router.streams
        assert await first.receive_some() == b"hello"
        assert await second.receive_some() == b"bye"
        assert await second.receive_some() == b""
        with pytest.raises(StreamReset):
            await second.send_all(b"x")
        await first.send_all(b"x")


async def test_goodbye_lets_open_streams_finish(autojump_clock: trio.testing.MockClock) -> None:
    left, right = connections_over(raw_pair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.run)
        nursery.start_soon(right.run)
        here = await left.open_stream()
        await here.send_all(b"last words")
        there = await right.accept_stream()
        right.go_away()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost):
            await left.open_stream()
        assert await there.receive_some() == b"last words"
        await there.send_all(b"heard")
        assert await here.receive_some() == b"heard"
        await here.aclose()
        await there.aclose()
    assert left.lost == right.lost == "closed"


async def test_a_remote_that_takes_no_bytes_is_lost_after_the_write_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    left, _ = connections_over(raw_pair())
    failed: list[Exception] = []

    async def run() -> None:
        try:
            await left.run()
        except ConnectionLost as error:
            failed.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        stream = await left.open_stream()
        with pytest.raises(ConnectionLost):
            await stream.send_all(b"x" * 1_000_000)
    assert trio.current_time() == pytest.approx(left.limits.write, abs=1)
    assert "took no bytes" in str(failed[0])


async def test_cancelled_receive_consumes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with stream_pair() as (left, right):
        with trio.move_on_after(1):
            await right.receive_some()
        await left.send_all(b"kept")
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await right.receive_some()
        assert await right.receive_some(2) == b"ke"
        assert await right.receive_some() == b"pt"


async def test_an_answer_to_a_proposal_leaves_before_the_reset_that_follows(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def reset(stream: Stream) -> None:
        stream.reset(7)

    class Resetting(Collector):
        def serve(self, stream: Stream) -> None:
            nursery.start_soon(reset, stream)

    left, right = connections_over(raw_pair())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.run)
        nursery.start_soon(right.run, Resetting(ECHO))
        opened = await left.open_stream(ECHO, lazy=True)
        with pytest.raises(StreamReset) as failure:
            await opened.receive_some()
        assert failure.value.code == 7
        assert opened.negotiated
        await left.aclose()


@pytest.mark.parametrize("lazy", [True, False], ids=["lazy", "asked"])
async def test_the_remotes_backlog_makes_it_wait_no_longer_than_the_limit(
    lazy: bool, autojump_clock: trio.testing.MockClock
) -> None:
    left, right = connections_over(raw_pair(), muxer=Yamux(YamuxLimits(ack_backlog=1)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(left.run)  # and nobody reads on the right
        first = await left.open_stream(ECHO, lazy=True)
        start = trio.current_time()
        with pytest.raises(NegotiationError, match="15 seconds"):
            await left.open_stream(ECHO, lazy=lazy)
        assert trio.current_time() - start == pytest.approx(left.limits.open_stream)
        assert not left.closing and list(left.streams) == [first]
        left.abort()
    await right.aclose()


async def test_the_answer_to_a_proposal_is_waited_for_no_longer_than_the_limit(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connection_pair() as (left, right):  # nobody answers on the right
        start = trio.current_time()
        with pytest.raises(NegotiationError, match="15 seconds"):
            await left.open_stream(ECHO)
        assert trio.current_time() - start == pytest.approx(left.limits.open_stream)
        assert not left.streams
        right.streams[0].reset()


async def test_send_nowait_joins_the_next_gathering(autojump_clock: trio.testing.MockClock) -> None:
    async with stream_pair() as (left, right):
        before = left.connection.statistics().bytes_sent
        for _ in range(100):
            assert left.send_nowait(b"x" * 10) == 10
        await trio.testing.wait_all_tasks_blocked()
        sent = left.connection.statistics().bytes_sent - before
        assert 1000 < sent < 1100  # one frame
        assert await right.receive_some() == b"x" * 1000


async def test_what_others_copied_leaves_no_room(autojump_clock: trio.testing.MockClock) -> None:
    limits = YamuxLimits(send_buffer=1000, send_buffers=2500)
    async with connection_pair(muxer=Yamux(limits)) as (left, _):
        streams = [await left.open_stream() for _ in range(4)]
        await trio.testing.wait_all_tasks_blocked()
        *full, last = streams
        for stream in full:
            await stream.send_all(bytes(limits.initial_window))
            await trio.testing.wait_all_tasks_blocked()  # the end of it may have waited for more
            stream.send_nowait(bytes(1000))
        assert last.send_nowait(b"x") == 0
        with trio.move_on_after(1) as scope:
            await last.wait_send_all_might_not_block()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(last.wait_send_all_might_not_block)
            await trio.testing.wait_all_tasks_blocked()
            full[0].reset()
        assert last.send_nowait(b"x") == 1


async def test_a_refusal_arrives_whatever_was_sent_behind_the_proposal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Bytes of the refused protocol are no proposal: they end the negotiation, and must not take ``na`` with them."""
    async with connection_pair(router=Collector(ECHO)) as (dialer, responder):
        for data in (b"\xff\xff\xff\xff", b"\x00", bytes(100_000)):
            stream = await dialer.open_stream(OTHER, lazy=True)
            await stream.send_all(data)
            with pytest.raises(NoCommonProtocol):
                await stream.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        assert not dialer.session.live_streams and not responder.session.live_streams


async def test_a_refusal_that_comes_with_a_reset_is_a_refusal(autojump_clock: trio.testing.MockClock) -> None:
    async with connection_pair() as (dialer, responder):
        stream = await dialer.open_stream(OTHER, lazy=True)
        await stream.send_all(b"hello")
        await responder.accept_stream()
        answer = b"\x13/multistream/1.0.0\n\x03na\n"
        forged = bytes.fromhex("0000000000000001") + len(answer).to_bytes(4, "big") + answer
        forged += bytes.fromhex(
            "000100080000000100000000"
        )  # WINDOW_UPDATE with RST, in the same frame of Noise
        frame = memoryview(bytearray(len(forged) + 18))
        responder._outbox._channel.room(frame)[:] = forged
        responder._raw.try_send(frame[: responder._outbox._channel.seal(frame, len(forged))])
        with pytest.raises(NoCommonProtocol):
            await stream.receive_some()
        assert not stream.books.received


@pytest.mark.parametrize("end", ["0001000800000001", "0000000400000001"], ids=["reset", "fin"])
async def test_a_negotiation_broken_off_in_one_read_costs_its_stream_only(
    autojump_clock: trio.testing.MockClock, end: str
) -> None:
    """Proposals we refuse, bytes that are none, and the end of the stream, all in one frame of Noise."""
    forger, responder = connections_over(raw_pair())
    proposal = b"\x13/multistream/1.0.0\n\x09/other/1\n"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(responder.run, Collector(ECHO))
        for number, body in enumerate((proposal, proposal + b"\x00")):
            stream_id = (2 * number + 1).to_bytes(4, "big")
            forged = b"\x00\x00\x00\x01" + stream_id + len(body).to_bytes(4, "big") + body
            forged += bytes.fromhex(end)[:4] + stream_id + bytes(4)
            frame = memoryview(bytearray(len(forged) + 18))
            forger._outbox._channel.room(frame)[:] = forged
            forger._raw.try_send(frame[: forger._outbox._channel.seal(frame, len(forged))])
            await trio.testing.wait_all_tasks_blocked()
            assert responder.lost is None
            assert not responder.streams
        responder.abort()
