"""Ping: rounds on one stream, two streams per peer, and floods that wait."""

from __future__ import annotations

import pytest
import trio

from p2p.abc import Stream
from p2p.errors import RemoteProtocolError, StreamReset
from p2p.events import EventsLost
from p2p.identity import Identity
from p2p.limits import Limits, PingLimits
from p2p.protocols.ping import PAYLOAD_SIZE, PING, Ping, Rounds, ping
from tests.trio.two_hosts import two_hosts


async def test_rounds_on_one_stream(autojump_clock: trio.testing.MockClock) -> None:
    async with two_hosts([Ping()]) as hosts:
        async with await hosts.bob.open_stream(hosts.alice.peer_id, PING) as stream:
            assert await ping(stream) >= 0
            count = 0
            async for seconds in Rounds(stream):
                assert 0 <= seconds < 1
                count += 1
                if count == 5:
                    break
            # "The dialing peer SHOULD close the write operation": then the answerer ends too.
            await stream.send_eof()
            assert await stream.receive_some() == b""


async def test_payloads_are_new_each_time(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[bytes] = []

    async def note(stream: Stream) -> None:
        async for chunk in stream:
            seen.append(bytes(chunk))
            await stream.send_all(chunk)

    async with two_hosts() as hosts:
        with hosts.alice.handle(PING, note):
            async with await hosts.bob.open_stream(hosts.alice.peer_id, PING) as stream:
                for _ in range(3):
                    await ping(stream)
    assert len(set(seen)) == 3
    assert {len(payload) for payload in seen} == {PAYLOAD_SIZE}


@pytest.mark.parametrize("wrong", [b"\0" * PAYLOAD_SIZE, b"short"], ids=["other bytes", "an early end"])
async def test_a_wrong_answer_is_the_remotes_fault(
    wrong: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async def lie(stream: Stream) -> None:
        await stream.receive_some(PAYLOAD_SIZE)
        await stream.send_all(wrong)

    async with two_hosts() as hosts:
        with hosts.alice.handle(PING, lie):
            async with await hosts.bob.open_stream(hosts.alice.peer_id, PING) as stream:
                with pytest.raises(RemoteProtocolError):
                    await ping(stream)


async def test_no_answer_is_too_slow(autojump_clock: trio.testing.MockClock) -> None:
    async def silent(stream: Stream) -> None:
        await trio.sleep_forever()

    async with two_hosts() as hosts:
        with hosts.alice.handle(PING, silent):
            async with await hosts.bob.open_stream(hosts.alice.peer_id, PING) as stream:
                start = trio.current_time()
                with pytest.raises(trio.TooSlowError):
                    await anext(Rounds(stream))
                assert trio.current_time() - start == pytest.approx(PingLimits().timeout)


async def test_a_third_stream_is_reset(autojump_clock: trio.testing.MockClock) -> None:
    """Row 11; specs/ping: at most two streams per peer."""
    async with two_hosts([Ping()]) as hosts:
        first = await hosts.bob.open_stream(hosts.alice.peer_id, PING)
        second = await hosts.bob.open_stream(hosts.alice.peer_id, PING)
        await ping(first)
        await ping(second)
        third = await hosts.bob.open_stream(hosts.alice.peer_id, PING)
        with pytest.raises(StreamReset):
            await ping(third)
        await ping(first)
        await first.aclose()
        await trio.testing.wait_all_tasks_blocked()
        fourth = await hosts.bob.open_stream(hosts.alice.peer_id, PING)
        await ping(fourth)


async def test_a_flood_waits(autojump_clock: trio.testing.MockClock) -> None:
    """Row 11: beyond the burst, rounds take the time the rate gives them, over all streams of the peer."""
    limits = Limits(ping=PingLimits(rate=10, burst=20))
    async with two_hosts([Ping()], limits=limits) as hosts:
        start = trio.current_time()
        for _ in range(3):  # a new stream brings no new burst
            async with await hosts.bob.open_stream(hosts.alice.peer_id, PING) as stream:
                for _ in range(20):
                    await ping(stream)
        assert 3.9 <= trio.current_time() - start <= 4.6


async def test_a_silent_or_dripping_stream_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    async with two_hosts([Ping()]) as hosts:
        async with await hosts.bob.open_stream(hosts.alice.peer_id, PING) as stream:
            await ping(stream)
            start = trio.current_time()
            with pytest.raises(trio.BrokenResourceError):
                for _ in range(PAYLOAD_SIZE):
                    await stream.send_all(b"x")
                    with trio.move_on_after(5):
                        if await stream.receive_some() == b"":
                            raise trio.BrokenResourceError("ended")
            assert trio.current_time() - start <= PingLimits().idle + 5


async def test_nothing_is_kept_of_a_peer_that_left(autojump_clock: trio.testing.MockClock) -> None:
    service = Ping()
    async with two_hosts([service]) as hosts:
        async with await hosts.bob.open_stream(hosts.alice.peer_id, PING) as stream:
            await ping(stream)
        assert len(service._peers) == 1
        hosts.to_alice.abort()
        await hosts.alice.wait_disconnected(hosts.bob.peer_id)
        await trio.testing.wait_all_tasks_blocked()
        assert not service._peers


async def test_nothing_is_kept_when_events_were_lost(autojump_clock: trio.testing.MockClock) -> None:
    service = Ping()
    async with two_hosts([service]) as hosts:
        async with await hosts.bob.open_stream(hosts.alice.peer_id, PING) as stream:
            await ping(stream)
        (here,) = service._peers
        service._peers[Identity.generate().peer_id] = service._peers[here]  # one whose end was not told
        hosts.alice.emit(EventsLost(1))
        await trio.testing.wait_all_tasks_blocked()
        assert list(service._peers) == [here]
