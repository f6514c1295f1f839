"""The proxy that counts round trips, against conversations whose number is known."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from tests.interop.flights import DELAY, MAX_HELD, CausalDepths, Flights, Flow, Side, open_flights

DIALER, RESPONDER = Side.DIALER, Side.RESPONDER


def test_question_and_answer_are_one_round_trip() -> None:
    depths = CausalDepths()
    for number in range(1, 4):
        question = depths.sent(DIALER)
        depths.delivered(RESPONDER, question)
        answer = depths.sent(RESPONDER)
        assert (question, answer) == (2 * number - 1, 2 * number)
        depths.delivered(DIALER, answer)
        assert depths.round_trips == number


def test_chunks_sent_without_hearing_anything_are_one_flight() -> None:
    depths = CausalDepths()
    assert [depths.sent(DIALER) for _ in range(5)] == [1] * 5


def test_both_speaking_first_is_one_flight_each_way() -> None:
    depths = CausalDepths()
    greeting, question = depths.sent(RESPONDER), depths.sent(DIALER)
    depths.delivered(DIALER, greeting)
    depths.delivered(RESPONDER, question)
    assert (greeting, question) == (1, 1)
    # Half a round trip has passed, and the dialer waited for it.
    assert depths.round_trips == 1


def test_what_is_delivered_later_than_deeper_things_lifts_nothing() -> None:
    depths = CausalDepths()
    depths.delivered(DIALER, 4)
    depths.delivered(DIALER, 2)
    assert depths.sent(DIALER) == 5


sizes = st.lists(st.integers(1, 200_000), min_size=1, max_size=4)


@given(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=3))
@example([([MAX_HELD * 3], [1])])
def test_the_count_does_not_depend_on_how_flights_are_cut(talk: list[tuple[list[int], list[int]]]) -> None:
    """Questions and answers are each a list of writes, which real sockets cut and join as it comes."""

    async def responder(stream: trio.SocketStream) -> None:
        async with stream:
            for question, answer in talk:
                await hear(stream, question)
                await say(stream, answer)

    async def main() -> None:
        async with proxied(responder, delay=0.002) as (flights, stream):
            for number, (question, answer) in enumerate(talk, start=1):
                await say(stream, question)
                await hear(stream, answer)
                assert flights.flows[0].round_trips == 1 + number

    trio.run(main)


async def say(stream: trio.SocketStream, writes: list[int]) -> None:
    for size in writes:
        await stream.send_all(bytes(size))


async def hear(stream: trio.SocketStream, writes: list[int]) -> None:
    missing = sum(writes)
    while missing:
        got = await stream.receive_some(missing)
        assert got
        missing -= len(got)


@contextlib.asynccontextmanager
async def proxied(
    handler: object, *, delay: float = DELAY
) -> AsyncGenerator[tuple[Flights, trio.SocketStream], None]:
    """A dialer's stream through the proxy to a listener served by ``handler``."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery, open_flights("127.0.0.1", port, delay=delay) as flights:
        await nursery.start(trio.serve_listeners, handler, [listener])
        async with await trio.open_tcp_stream("127.0.0.1", flights.port) as stream:
            yield flights, stream
        nursery.cancel_scope.cancel()


async def test_a_question_and_its_answer_over_tcp_are_two_round_trips() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(await stream.receive_some(1))

    async with proxied(answer) as (flights, stream):
        await stream.send_all(b"?")
        assert await stream.receive_some(1) == b"?"
        (flow,) = flights.flows
        assert flow.round_trips == 2, flow.log


async def test_what_a_side_says_in_bits_without_waiting_is_one_flight() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"greeting")
            await hear(stream, [3])
            for _ in range(3):
                await stream.send_all(b"!")
            await stream.receive_some(1)

    delay = 0.5
    async with proxied(answer, delay=delay) as (flights, stream):
        for _ in range(3):
            await stream.send_all(b"?")
            await trio.sleep(delay / 50)  # thinks, and has not heard the greeting yet
        await hear(stream, [8, 3])
        (flow,) = flights.flows
        assert flow.round_trips == 2, flow.log


async def test_what_was_written_before_a_delivery_does_not_depend_on_it() -> None:
    with contextlib.ExitStack() as stack:
        dialer, at_dialer, responder, at_responder = (
            stack.enter_context(end) for end in (*socket.socketpair(), *socket.socketpair())
        )
        at_dialer.setblocking(False)
        at_responder.setblocking(False)
        flow = Flow(at_dialer, at_responder, delay=0)
        responder.send(b"greeting")
        flow._take_up(RESPONDER)
        dialer.send(b"?")  # which the proxy has not read when the greeting is due
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flow._deliver_from, RESPONDER)
            await trio.lowlevel.wait_readable(dialer)
            flow._take_up(DIALER)
            nursery.cancel_scope.cancel()
        assert list(flow.log) == ["responder sent 8 bytes at depth 1", "dialer sent 1 bytes at depth 1"]


async def test_both_half_closes_and_a_reset_pass_through() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        got = b"".join([chunk async for chunk in stream])
        await stream.send_all(got[::-1])
        await stream.send_eof()
        await stream.aclose()

    async with proxied(answer) as (_, stream):
        await stream.send_all(b"abc")
        await stream.send_eof()
        assert b"".join([chunk async for chunk in stream]) == b"cba"

    async def reset(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        await stream.aclose()  # with a byte unread: an RST

    async with proxied(reset) as (_, stream):
        await stream.send_all(b"ab")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some(1)


async def test_nobody_at_the_target() -> None:
    with trio.socket.socket() as unused:
        await unused.bind(("127.0.0.1", 0))
        async with open_flights("127.0.0.1", unused.getsockname()[1]) as flights:
            async with await trio.open_tcp_stream("127.0.0.1", flights.port) as stream:
                assert await stream.receive_some(1) == b""
            assert flights.flows == []


async def test_addresses_lead_through_the_proxy() -> None:
    async with open_flights("127.0.0.1", 1) as flights:
        through = f"/ip4/127.0.0.1/tcp/{flights.port}"
        assert flights.addr_for("/ip4/127.0.0.1/tcp/4001") == through
        assert flights.addr_for("/ip4/127.0.0.1/tcp/4001/p2p/Qm") == f"{through}/p2p/Qm"
        with pytest.raises(ValueError, match="not /ip4"):
            flights.addr_for("/ip6/::1/tcp/4001")
