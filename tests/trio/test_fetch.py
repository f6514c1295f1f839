"""Fetch: a key, and the value somebody looks up for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from p2p.abc import Stream
from p2p.errors import NoCommonProtocol, RemoteProtocolError, StreamReset
from p2p.identity import PeerId
from p2p.limits import KIB, MIB, FetchLimits, Limits
from p2p.protocols.fetch import FETCH, Fetch, FetchError, Lookup, fetch
from p2p.streams import read_lp, write_lp
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.testing.deterministic import run
from p2p.wire.fetch_messages import FetchAnswer, FetchStatus, encode_fetch_answer, encode_fetch_request
from p2p.wire.framing import encode_frame
from p2p.wire.varint import encode
from tests.trio.two_hosts import TwoHosts, assert_no_stream_left, two_hosts

Clock = trio.testing.MockClock
LIMITS = FetchLimits()


def always(value: bytes | None) -> Lookup:
    async def lookup(key: bytes, peer: PeerId) -> bytes | None:
        return value

    return lookup


async def ask(hosts: TwoHosts, key: bytes) -> bytes | None:
    return await fetch(hosts.bob, hosts.alice.peer_id, key)


# --- as it should be ------------------------------------------------------------------------------------


async def test_values(autojump_clock: Clock) -> None:
    lookups = {b"/a/": always(b"value"), b"/none/": always(None), b"/empty/": always(b"")}
    async with two_hosts([Fetch(lookups)]) as hosts:
        assert await ask(hosts, b"/a/1") == b"value"
        assert await ask(hosts, b"/none/1") is None
        assert await ask(hosts, b"/empty/1") == b""
        with pytest.raises(FetchError, match="no key that begins like this"):
            await ask(hosts, b"/b/1")


async def test_the_longest_prefix_is_asked_with_the_key_and_who_asks(autojump_clock: Clock) -> None:
    asked: list[tuple[str, bytes, PeerId]] = []

    def noting(name: str) -> Lookup:
        async def lookup(key: bytes, peer: PeerId) -> bytes | None:
            asked.append((name, key, peer))
            return None

        return lookup

    lookups = {b"": noting("all"), b"/a/": noting("a"), b"/a/b": noting("ab")}
    async with two_hosts([Fetch(lookups)]) as hosts:
        for key in (b"/a/bc", b"/a/c", b"/x\xff\0"):
            await ask(hosts, key)
        bob = hosts.bob.peer_id
        assert asked == [("ab", b"/a/bc", bob), ("a", b"/a/c", bob), ("all", b"/x\xff\0", bob)]


async def test_on_the_wire(autojump_clock: Clock) -> None:
    """A message with its length there, and one back; whether the dialer ends its side (go) or not yet (js)."""
    async with two_hosts([Fetch({b"/a": always(b"value")})]) as hosts:
        for ends in (True, False):
            stream = await hosts.bob.open_stream(hosts.alice.peer_id, FETCH)
            await stream.send_all(b"\x04\x0a\x02/a")
            if ends:
                await stream.send_eof()
            received = b"".join([bytes(chunk) async for chunk in stream])
            assert received == b"\x09\x08\x00\x12\x05value"
            await stream.aclose()


async def test_the_largest(autojump_clock: Clock) -> None:
    key = b"k" * LIMITS.max_key
    most = LIMITS.max_answer - len(encode_fetch_answer(FetchAnswer(FetchStatus.OK, bytes(MIB)))) + MIB
    async with two_hosts([Fetch({b"": always(bytes(most))})]) as hosts:
        assert await ask(hosts, key) == bytes(most)
        with pytest.raises(ValueError, match="1025 bytes"):
            await ask(hosts, key + b"k")
    async with two_hosts([Fetch({b"": always(bytes(most + 1))})]) as hosts:
        with pytest.raises(FetchError, match="too large"):
            await ask(hosts, key)


# --- what lookups do --------------------------------------------------------------------------------------


async def test_a_lookup_that_cannot_tell(autojump_clock: Clock) -> None:
    async def lookup(key: bytes, peer: PeerId) -> bytes | None:
        raise FetchError("the disk is\naway")

    async with two_hosts([Fetch({b"": lookup})]) as hosts:
        with pytest.raises(FetchError) as caught:
            await ask(hosts, b"x")
        assert str(caught.value) == rf"{hosts.alice.peer_id} cannot tell: the disk is\naway"


async def test_a_lookup_that_fails_costs_its_stream(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def lookup(key: bytes, peer: PeerId) -> bytes | None:
        raise KeyError("a bug")

    async with two_hosts([Fetch({b"": lookup, b"/a": always(b"value")})]) as hosts:
        with caplog.at_level(logging.ERROR), pytest.raises(StreamReset):
            await ask(hosts, b"x")
        assert "a bug" in caplog.text
        assert await ask(hosts, b"/a") == b"value"


async def test_a_lookup_that_does_not_come_back(autojump_clock: Clock) -> None:
    async def lookup(key: bytes, peer: PeerId) -> bytes | None:
        await trio.sleep_forever()

    async with two_hosts([Fetch({b"": lookup})]) as hosts:
        stream = await hosts.bob.open_stream(hosts.alice.peer_id, FETCH)
        start = trio.current_time()
        await write_lp(stream, encode_fetch_request(b"x"))
        with pytest.raises(StreamReset):
            await stream.receive_some()
        assert trio.current_time() - start == pytest.approx(LIMITS.timeout)


# --- limits of the answerer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x05\x0a",
        b"\xff" * 10,
        encode_frame(encode_fetch_request(b"k" * (LIMITS.max_key + 20))),
        encode_frame(b"\x0a\x05a"),
        encode_frame(b"\x08\x01"),
    ],
    ids=["nothing", "cut short", "a length without end", "too large a key", "no message", "another message"],
)
async def test_a_request_that_is_none_costs_the_stream(sent: bytes, autojump_clock: Clock) -> None:
    async with two_hosts([Fetch({b"": always(b"value")})]) as hosts:
        stream = await hosts.bob.open_stream(hosts.alice.peer_id, FETCH)
        await stream.send_all(sent)
        with pytest.raises(StreamReset):
            await stream.send_eof()
            await stream.receive_some()
        assert await ask(hosts, b"x") == b"value"


async def test_a_peer_that_neither_sends_nor_reads_is_let_go(autojump_clock: Clock) -> None:
    large = Fetch({b"": always(bytes(1000 * KIB))})
    for sent in (b"\x05", b"\x05\x0a", encode_frame(encode_fetch_request(b"x"))):
        async with two_hosts([large]) as hosts:
            stream = await hosts.bob.open_stream(hosts.alice.peer_id, FETCH)
            await stream.send_all(sent)
            await trio.sleep(LIMITS.timeout - 1)
            assert len(hosts.to_bob.streams) == 1
            await trio.sleep(2)
            assert not hosts.to_bob.streams
            assert len(large._streams) == 0


async def test_a_dripping_peer_gains_no_time(autojump_clock: Clock) -> None:
    async with two_hosts([Fetch({b"": always(b"value")})]) as hosts:
        stream = await hosts.bob.open_stream(hosts.alice.peer_id, FETCH)
        start = trio.current_time()
        with pytest.raises(StreamReset):
            await stream.send_all(b"\x64\x0a\x62")
            while True:
                await stream.send_all(b"x")
                await trio.sleep(1)
        assert trio.current_time() - start == pytest.approx(LIMITS.timeout, abs=2)


async def test_one_stream_too_many_is_reset(autojump_clock: Clock) -> None:
    async with two_hosts([Fetch({b"": always(b"value")})]) as hosts:
        held = []
        for _ in range(LIMITS.streams_per_peer):
            held.append(await hosts.bob.open_stream(hosts.alice.peer_id, FETCH))
            await held[-1].send_all(b"\x03")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(StreamReset):
            await ask(hosts, b"x")
        for stream in held:
            await stream.send_all(encode_fetch_request(b"x"))
            assert await read_lp(stream, max=100)
            await stream.aclose()
        assert await ask(hosts, b"x") == b"value"


# --- a remote that lies -----------------------------------------------------------------------------------


def answering(data: bytes) -> Callable[[Stream], Any]:
    async def answer(stream: Stream) -> None:
        await read_lp(stream, max=4096)
        await stream.send_all(data)

    return answer


async def promise_too_much(stream: Stream) -> None:
    await stream.send_all(encode(LIMITS.max_answer + 1))
    await trio.sleep_forever()


async def silence(stream: Stream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (answering(b""), RemoteProtocolError),
        (answering(b"\x05\x12"), RemoteProtocolError),
        (answering(encode_frame(b"\x08\x03")), RemoteProtocolError),
        (answering(encode_frame(b"\x08")), RemoteProtocolError),
        (promise_too_much, RemoteProtocolError),
        (silence, trio.TooSlowError),
    ],
    ids=["nothing", "cut short", "an unknown status", "no message", "too large", "silence"],
)
async def test_an_answer_that_is_none(
    answer: Callable[[Stream], Any], expected: type[Exception], autojump_clock: Clock
) -> None:
    async with two_hosts() as hosts:
        with hosts.alice.handle(FETCH, answer):
            with pytest.raises(expected):
                await ask(hosts, b"x")
            assert not hosts.to_alice.streams


async def test_what_an_error_says_cannot_write_on_a_terminal(autojump_clock: Clock) -> None:
    """Row 39."""
    nasty = encode_fetch_answer(FetchAnswer(FetchStatus.ERROR, b"\x1b[2J\r\n\xff" * 100))
    async with two_hosts() as hosts:
        with hosts.alice.handle(FETCH, answering(encode_frame(nasty))):
            with pytest.raises(FetchError) as caught:
                await ask(hosts, b"x")
    assert str(caught.value).isascii() and str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


async def test_data_of_a_value_that_is_not_found_is_ignored(autojump_clock: Clock) -> None:
    found = encode_fetch_answer(FetchAnswer(FetchStatus.NOT_FOUND, b"not a value"))
    async with two_hosts() as hosts:
        with hosts.alice.handle(FETCH, answering(encode_frame(found) + b"and more")):
            assert await ask(hosts, b"x") is None


async def test_a_peer_that_does_not_speak_it(autojump_clock: Clock) -> None:
    async with two_hosts() as hosts:
        with pytest.raises(NoCommonProtocol):
            await ask(hosts, b"x")


async def test_limits_of_ones_own(autojump_clock: Clock) -> None:
    limits = Limits(fetch=FetchLimits(max_key=2 * KIB, max_answer=3 * MIB))
    async with two_hosts([Fetch({b"": always(bytes(2 * MIB))})], limits=limits) as hosts:
        assert await ask(hosts, b"k" * 2 * KIB) == bytes(2 * MIB)


# --- cancellation -----------------------------------------------------------------------------------------


def test_cancelled_anywhere_it_leaves_no_stream() -> None:
    async def attempt(step: int) -> Outcome[object]:
        service = Fetch({b"": always(bytes(600 * KIB))})
        async with two_hosts([service]) as hosts:
            outcome: Outcome[object] = await cancelled_after(step, lambda: ask(hosts, b"x"))
            await trio.testing.wait_all_tasks_blocked()
            assert_no_stream_left(hosts)
            assert len(service._streams) == 0
            value = await ask(hosts, b"x")
            assert value is not None and len(value) == 600 * KIB
        return outcome

    for step in range(2000):
        if run(attempt, step).finished:
            break
    assert 10 < step < 1999
