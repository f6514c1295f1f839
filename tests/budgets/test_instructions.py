"""The hottest functions execute no more than they did: a regression shows without a clock.

Time stands still where there is a connection: how long a write waits for more is a matter of time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import trio
import trio.testing

from p2p.abc import Role
from p2p.limits import KIB
from p2p.muxers import Yamux
from p2p.muxers.session import MuxerSession, SessionStream
from p2p.security.noise.channel import NoiseChannel
from p2p.testing.pairs import connections_over, stream_pair
from p2p.wire.addresses import Multiaddr
from tests.budgets.counting import Executed, executed
from tests.budgets.table import HOT, RECORDED, Cost

#: Instructions beyond the budget: less than any call takes, and calls may not be one more.
SLACK = 1.05
FEW, MANY = 10, 60


def each(few: Executed, many: Executed) -> Cost:
    """What one more costs: whatever is done once for all is not in it."""
    more = MANY - FEW
    return Cost((many.instructions - few.instructions) / more, (many.calls - few.calls) / more)


def assert_within(name: str, measured: Cost) -> None:
    budget = HOT[name]
    assert measured.calls <= budget.calls, f"{name}: {measured}, {budget} is allowed"
    if sys.version_info[:2] == RECORDED:
        assert measured.instructions <= budget.instructions * SLACK, (
            f"{name}: {measured}, {budget} is allowed"
        )


def twice(measure: Callable[[int], Executed]) -> Cost:
    measure(FEW)  # what is cold the first time: caches, scratch buffers
    return each(measure(FEW), measure(MANY))


def sessions(streams: int) -> tuple[MuxerSession, MuxerSession, list[SessionStream]]:
    """A sender and a receiver that know these streams, with nothing under way."""
    sender = Yamux().session(Role.DIALER, now=0.0)
    receiver = Yamux().session(Role.RESPONDER, now=0.0)
    opened: list[SessionStream] = []
    while len(opened) < streams:
        opened.append(sender.open_stream())
        sender.send(opened[-1], memoryview(b"?"))
        (far,) = receiver.receive_data(written(sender), 0.0)
        # An answer, as a dialer opens only a few streams before it was told anything.
        receiver.send(far, memoryview(b"!"))
        sender.receive_data(written(receiver), 0.0)
    return sender, receiver, opened


def written(session: MuxerSession) -> memoryview:
    out = memoryview(bytearray(1024 * KIB))
    return out[: session.write_into(out, 0.0)]


def test_a_data_frame_received() -> None:
    def measure(frames: int) -> Executed:
        sender, receiver, (stream,) = sessions(1)
        wire = b""
        for _ in range(frames):
            sender.send(stream, memoryview(bytes(KIB)))
            wire += written(sender)
        with executed() as count:
            receiver.receive_data(memoryview(wire), 0.0)
        return count

    assert_within("yamux: a DATA frame received", twice(measure))


def test_a_data_frame_gathered() -> None:
    def measure(frames: int) -> Executed:
        sender, _, streams = sessions(frames)
        for stream in streams:
            sender.send(stream, memoryview(bytes(KIB)))
        out = memoryview(bytearray(1024 * KIB))
        with executed() as count:
            size = sender.write_into(out, 0.0)
        assert size > frames * KIB
        return count

    assert_within("yamux: a DATA frame gathered", twice(measure))


def channels() -> tuple[NoiseChannel, NoiseChannel]:
    return NoiseChannel(bytes(32), bytes(32)), NoiseChannel(bytes(32), bytes(32))


def test_a_frame_sealed() -> None:
    def measure(frames: int) -> Executed:
        sealing, _ = channels()
        out = memoryview(bytearray(2 * KIB))
        with executed() as count:
            for _ in range(frames):
                sealing.seal(out, KIB)
        return count

    assert_within("noise: a frame sealed", twice(measure))


def test_a_frame_opened() -> None:
    def measure(frames: int) -> Executed:
        sealing, opening = channels()
        out = memoryview(bytearray(2 * KIB))
        wire = b"".join(bytes(out[: sealing.seal(out, KIB)]) for _ in range(frames))
        plain = memoryview(bytearray(frames * KIB))
        with executed() as count:
            assert opening.open_into(memoryview(wire), plain) == (len(wire), len(plain))
        return count

    assert_within("noise: a frame opened", twice(measure))


class Taking:
    """A raw stream on which nothing comes, and that takes all it is given."""

    local_addr = remote_addr = Multiaddr("/memory/1")

    async def receive_into(self, buffer: memoryview) -> int:
        await trio.sleep_forever()
        return 0

    def try_send(self, data: memoryview) -> int:
        return len(data)

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("silence", "name"),
    [
        (0.0, "stream: send_all of 1 KiB that joins others"),
        (1.0, "stream: send_all of 1 KiB after a silence"),
    ],
)
async def test_a_write(mock_clock: trio.testing.MockClock, silence: float, name: str) -> None:
    async def measure(writes: int) -> Executed:
        dialer, _ = connections_over((Taking(), Taking()))
        stream = await dialer.open_stream()
        data = bytes(KIB)
        await stream.send_all(data)
        with executed() as count:
            for _ in range(writes):
                mock_clock.jump(silence)
                await stream.send_all(data)
        return count

    await measure(FEW)
    assert_within(name, each(await measure(FEW), await measure(MANY)))


async def test_a_read_of_what_is_there(mock_clock: trio.testing.MockClock) -> None:
    async def measure(reads: int) -> Executed:
        async with stream_pair() as (near, far):
            await near.send_all(bytes((MANY + 1) * KIB))
            await trio.testing.wait_all_tasks_blocked()
            await far.receive_some(KIB)
            with executed() as count:
                for _ in range(reads):
                    assert len(await far.receive_some(KIB)) == KIB
        return count

    await measure(FEW)
    cost = each(await measure(FEW), await measure(MANY))
    assert_within("stream: receive_some of 1 KiB that is there", cost)


@pytest.mark.parametrize("spurious", [False, True])
def test_one_call_more_is_seen(monkeypatch: pytest.MonkeyPatch, spurious: bool) -> None:
    """The counting itself: the same again is the same, and a call is a call."""
    sealing, _ = channels()
    out = memoryview(bytearray(2 * KIB))

    def sealed(more: bool) -> Executed:
        with executed() as count:
            sealing.seal(out, KIB)
            if more:
                sealing.room(out)
        return count

    first, second = sealed(False), sealed(spurious)
    assert (second.calls > first.calls) is spurious
    assert (second.instructions > first.instructions) is spurious
