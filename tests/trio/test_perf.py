"""Perf: bytes up, bytes back, and what a peer may not make us send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from p2p.abc import Stream
from p2p.errors import NoCommonProtocol, RemoteProtocolError, StreamReset
from p2p.limits import Limits, PerfLimits
from p2p.protocols.perf import HEADER_SIZE, MAX_SIZE, PERF, Perf, measure_download, measure_upload, perf
from p2p.testing.cancellation import Outcome, cancelled_after
from p2p.testing.deterministic import run
from tests.trio.two_hosts import TwoHosts, assert_no_stream_left, two_hosts

Clock = trio.testing.MockClock
KIB = 1024


def want(size: int) -> bytes:
    return size.to_bytes(HEADER_SIZE, "big")


async def ask(hosts: TwoHosts, *sent: bytes, eof: bool = True) -> Stream:
    stream = await hosts.bob.open_stream(hosts.alice.peer_id, PERF)
    for data in sent:
        await stream.send_all(data)
    if eof:
        await stream.send_eof()
    return stream


async def rest_of(stream: Stream) -> int:
    """How many bytes come before the end."""
    async with stream:
        return sum([len(chunk) async for chunk in stream])


async def until_reset(stream: Stream) -> int:
    """How many bytes come before the reset."""
    received = 0
    with pytest.raises(StreamReset):
        async for chunk in stream:
            received += len(chunk)
    return received


# --- as it should be ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upload", "download"), [(0, 0), (1, 0), (0, 1), (300 * KIB, 2_000_003), (2_000_003, 256 * KIB)]
)
async def test_both_ways(upload: int, download: int, autojump_clock: Clock) -> None:
    async with two_hosts([Perf()]) as hosts:
        result = await perf(hosts.bob, hosts.alice.peer_id, upload=upload, download=download)
        assert (result.upload.bytes, result.download.bytes) == (upload, download)
        assert result.upload.seconds >= 0 and result.download.seconds >= 0


async def test_on_the_wire(autojump_clock: Clock) -> None:
    """A number, as many bytes as one likes, FIN; then so many bytes and FIN."""
    async with two_hosts([Perf()]) as hosts:
        header = want(1000)
        stream = await ask(hosts, header[:3], header[3:] + b"x" * 70_000, b"y")
        assert await rest_of(stream) == 1000
        # Not before FIN (specs/perf: not at the same time).
        stream = await ask(hosts, want(5), eof=False)
        with trio.move_on_after(10) as waiting:
            await stream.receive_some()
        assert waiting.cancelled_caught
        await stream.send_eof()
        assert await rest_of(stream) == 5


async def test_what_the_dialer_sends(autojump_clock: Clock) -> None:
    seen: list[tuple[bytes, int]] = []

    async def note(stream: Stream) -> None:
        data = b"".join([bytes(chunk) async for chunk in stream])
        seen.append((data[:HEADER_SIZE], len(data) - HEADER_SIZE))
        await stream.send_all(bytes(int.from_bytes(data[:HEADER_SIZE], "big")))

    async with two_hosts() as hosts:
        with hosts.alice.handle(PERF, note):
            await perf(hosts.bob, hosts.alice.peer_id, upload=123_456, download=7)
    assert seen == [(want(0), 123_456), (want(7), 0)]


async def test_progress_is_told_of_every_byte(autojump_clock: Clock) -> None:
    up: list[int] = []
    down: list[int] = []
    async with two_hosts([Perf()]) as hosts:
        await measure_upload(hosts.bob, hosts.alice.peer_id, 1_000_000, up.append)
        await measure_download(hosts.bob, hosts.alice.peer_id, 1_000_000, down.append)
    assert sum(up) == sum(down) == 1_000_000
    assert len(up) > 1 and len(down) > 1


# --- limits of the answerer -----------------------------------------------------------------------------


async def test_more_than_the_most_is_cut_off(autojump_clock: Clock) -> None:
    """2^64-1 is a valid wish (specs/perf), and ends at the limit, with a reset and not as if it were all."""
    limits = Limits(perf=PerfLimits(max_bytes=100_000))
    async with two_hosts([Perf()], limits=limits) as hosts:
        assert await rest_of(await ask(hosts, want(100_000))) == 100_000
        assert await until_reset(await ask(hosts, want(MAX_SIZE))) <= 100_000
        assert await rest_of(await ask(hosts, want(1), bytes(100_000))) == 1
        assert await until_reset(await ask(hosts, want(1), bytes(100_001))) == 0


async def test_a_peer_that_does_not_read_or_send_is_let_go(autojump_clock: Clock) -> None:
    limits = Limits(perf=PerfLimits(timeout=60.0))
    for sent, eof in ((want(MAX_SIZE), True), (want(1), False), (b"\0\0", False)):
        async with two_hosts([Perf()], limits=limits) as hosts:
            stream = await ask(hosts, sent, eof=eof)
            await trio.sleep(limits.perf.timeout - 1)
            assert len(hosts.to_bob.streams) == 1
            await trio.sleep(2)
            assert not hosts.to_bob.streams
            # Nothing but what the window took was sent for nobody.
            assert hosts.to_bob.statistics().bytes_sent < limits.yamux.initial_window + 10 * KIB
            await until_reset(stream)


async def test_a_dripping_peer_gains_no_time(autojump_clock: Clock) -> None:
    limits = Limits(perf=PerfLimits(timeout=60.0))
    async with two_hosts([Perf()], limits=limits) as hosts:
        start = trio.current_time()
        stream = await ask(hosts, want(1), eof=False)
        with pytest.raises(StreamReset):
            while True:
                await stream.send_all(b"x")
                await trio.sleep(1)
        assert trio.current_time() - start == pytest.approx(limits.perf.timeout, abs=2)


async def test_one_stream_too_many_is_reset(autojump_clock: Clock) -> None:
    most = PerfLimits().streams_per_peer
    async with two_hosts([Perf()]) as hosts:
        held = [await ask(hosts, want(3), eof=False) for _ in range(most)]
        await trio.testing.wait_all_tasks_blocked()
        assert await until_reset(await ask(hosts, want(3), eof=False)) == 0
        for stream in held:
            await stream.send_eof()
            assert await rest_of(stream) == 3
        assert await rest_of(await ask(hosts, want(3))) == 3


@pytest.mark.parametrize("sent", [b"", b"\0", bytes(HEADER_SIZE - 1)], ids=len)
async def test_a_number_cut_short_costs_the_stream(sent: bytes, autojump_clock: Clock) -> None:
    async with two_hosts([Perf()]) as hosts:
        assert await until_reset(await ask(hosts, sent)) == 0
        assert (await perf(hosts.bob, hosts.alice.peer_id, upload=1, download=1)).upload.bytes == 1


async def test_nothing_is_kept_of_a_peer(autojump_clock: Clock) -> None:
    service = Perf()
    async with two_hosts([service]) as hosts:
        await ask(hosts, want(MAX_SIZE))
        await trio.testing.wait_all_tasks_blocked()
        assert len(service._streams) == 1
        hosts.to_alice.abort()
        await hosts.alice.wait_disconnected(hosts.bob.peer_id)
        assert len(service._streams) == 0


# --- a remote that lies -----------------------------------------------------------------------------------


async def too_much(stream: Stream) -> None:
    async for _ in stream:
        pass
    await stream.send_all(bytes(101))


async def too_little(stream: Stream) -> None:
    async for _ in stream:
        pass
    await stream.send_all(bytes(99))


async def nothing(stream: Stream) -> None:
    stream.reset(7)


async def silence(stream: Stream) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (too_much, RemoteProtocolError),
        (too_little, RemoteProtocolError),
        (nothing, StreamReset),
        (silence, trio.TooSlowError),
    ],
)
async def test_an_answer_of_another_size(
    answer: Callable[[Stream], Any], expected: type[Exception], autojump_clock: Clock
) -> None:
    async with two_hosts() as hosts:
        with hosts.alice.handle(PERF, answer):
            with pytest.raises(expected):
                await measure_download(hosts.bob, hosts.alice.peer_id, 100)
            with pytest.raises(expected):
                await measure_upload(hosts.bob, hosts.alice.peer_id, 2_000_000)
            assert not hosts.to_alice.streams


async def test_a_peer_that_does_not_speak_it(autojump_clock: Clock) -> None:
    async with two_hosts() as hosts:
        with pytest.raises(NoCommonProtocol):
            await perf(hosts.bob, hosts.alice.peer_id, upload=1, download=1)


@pytest.mark.parametrize("size", [-1, MAX_SIZE + 1])
async def test_sizes_that_cannot_be_said(size: int, autojump_clock: Clock) -> None:
    async with two_hosts([Perf()]) as hosts:
        with pytest.raises(ValueError, match="perf"):
            await measure_download(hosts.bob, hosts.alice.peer_id, size)
        with pytest.raises(ValueError, match="perf"):
            await measure_upload(hosts.bob, hosts.alice.peer_id, size)


# --- cancellation -----------------------------------------------------------------------------------------


def test_cancelled_anywhere_it_leaves_no_stream() -> None:
    async def attempt(step: int) -> Outcome[object]:
        service = Perf()
        async with two_hosts([service]) as hosts:
            to = hosts.alice.peer_id
            outcome: Outcome[object] = await cancelled_after(
                step, lambda: perf(hosts.bob, to, upload=600 * KIB, download=600 * KIB)
            )
            await trio.testing.wait_all_tasks_blocked()
            assert_no_stream_left(hosts)
            assert len(service._streams) == 0
            assert (await perf(hosts.bob, to, upload=10, download=10)).download.bytes == 10
        return outcome

    for step in range(2000):
        if run(attempt, step).finished:
            break
    assert 20 < step < 1999
