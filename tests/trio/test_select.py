"""Negotiation on raw streams: eager and lazy, in any pieces, with remotes that end, refuse or flood."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from p2p.abc import ProtocolId
from p2p.errors import (
    HandshakeFailed,
    LocalProtocolError,
    NegotiationError,
    NoCommonProtocol,
    RemoteProtocolError,
)
from p2p.negotiation.select import RawHandshake, propose, respond
from p2p.testing.pipes import raw_pair
from p2p.transports.pipe import PipeStream

HEADER = b"\x13/multistream/1.0.0\n"
NOISE = ProtocolId("/noise")
TLS = ProtocolId("/tls/1.0.0")
CUTS = {"whole": None, "bytes": lambda: 1, "threes": lambda: 3}


def handshakes(
    *, buffer: int = 65536, cut: str = "whole"
) -> tuple[RawHandshake, RawHandshake, PipeStream, PipeStream]:
    left, right = raw_pair(buffer=buffer, cut=CUTS[cut])
    return RawHandshake(left), RawHandshake(right), left, right


async def answer(raw: RawHandshake, *supported: str) -> ProtocolId:
    return await respond(raw, supported.__contains__, lambda: [ProtocolId(name) for name in supported])


async def received(stream: PipeStream, size: int = 1000) -> bytes:
    buffer = memoryview(bytearray(size))
    return bytes(buffer[: await stream.receive_into(buffer)])


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("buffer", [40, 41, 65536])
@pytest.mark.parametrize("offered", [[NOISE], [TLS, NOISE]])
async def test_both_sides_agree_and_go_on(
    cut: str, buffer: int, offered: list[ProtocolId], autojump_clock: trio.abc.Clock
) -> None:
    dialer, responder, _, _ = handshakes(buffer=buffer, cut=cut)
    agreed: list[ProtocolId] = []

    async def dial() -> None:
        agreed.append(await propose(dialer, offered, lazy=False))
        await dialer.write(b"question")
        assert await dialer.read_exactly(6) == b"answer"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        agreed.append(await answer(responder, NOISE))
        assert await responder.read_exactly(8) == b"question"
        await responder.write(b"answer")
    assert agreed == [NOISE, NOISE]
    for side in (dialer, responder):
        assert side.take_leftover() == side.take_unsent() == b""


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("buffer", [40, 65536])
async def test_a_lazy_proposal_leaves_with_the_first_message(
    cut: str, buffer: int, autojump_clock: trio.abc.Clock
) -> None:
    dialer, responder, raw, _ = handshakes(buffer=buffer, cut=cut)

    async def dial() -> None:
        assert await propose(dialer, [NOISE], lazy=True) == NOISE
        assert raw.bytes_sent == 0
        await dialer.write(b"question")
        assert await dialer.read_exactly(6) == b"answer"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        assert await answer(responder, NOISE) == NOISE
        assert await responder.read_exactly(8) == b"question"
        await responder.write(b"answer")


async def test_a_lazy_proposal_and_the_first_message_are_one_piece(autojump_clock: trio.abc.Clock) -> None:
    dialer, _, _, far = handshakes()
    await propose(dialer, [NOISE], lazy=True)
    await dialer.write(b"question")
    assert await received(far) == HEADER + b"\x07/noise\n" + b"question"


async def test_what_is_held_leaves_before_this_side_waits(autojump_clock: trio.abc.Clock) -> None:
    """A protocol in which the remote speaks first still gets its proposal: no deadlock."""
    dialer, responder, _, _ = handshakes()

    async def dial() -> None:
        await propose(dialer, [NOISE], lazy=True)
        assert await dialer.read_exactly(8) == b"greeting"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        await answer(responder, NOISE)
        await responder.write(b"greeting")


@pytest.mark.parametrize("cut", CUTS)
async def test_a_lazy_refusal_surfaces_at_the_first_read(cut: str, autojump_clock: trio.abc.Clock) -> None:
    dialer, _, _, far = handshakes(cut=cut)
    await propose(dialer, [NOISE], lazy=True)
    await dialer.write(b"\x00\x20" + bytes(32))
    far.try_send(memoryview(HEADER + b"\x03na\n"))
    with pytest.raises(NoCommonProtocol):
        await dialer.read_exactly(2)


async def test_leftover_waits_for_the_lazy_answer(autojump_clock: trio.abc.Clock) -> None:
    dialer, _, _, far = handshakes()
    await propose(dialer, [NOISE], lazy=True)
    with pytest.raises(LocalProtocolError):
        dialer.take_leftover()
    far.try_send(memoryview(HEADER + b"\x07/noise\n" + b"abcdef"))
    assert await dialer.read_some() == b"abcdef"
    assert dialer.take_leftover() == b""


async def test_what_was_read_too_much_is_left_over(autojump_clock: trio.abc.Clock) -> None:
    dialer, _, _, far = handshakes()
    far.try_send(memoryview(b"0123456789"))
    assert await dialer.read_exactly(4) == b"0123"
    assert await dialer.read_exactly(2) == b"45"
    assert dialer.take_leftover() == b"6789"


async def test_what_is_held_and_not_written_is_given_back(autojump_clock: trio.abc.Clock) -> None:
    dialer, _, raw, far = handshakes()
    dialer.hold(b"one")
    await dialer.write(b"two")
    assert await received(far) == b"onetwo"
    dialer.hold(b"three")
    dialer.hold(b"four")
    assert dialer.take_unsent() == b"threefour"
    assert dialer.take_unsent() == b""
    assert raw.bytes_sent == 6


SCRIPT = HEADER + b"\x03na\n" + b"\x07/noise\n"


@pytest.mark.parametrize("end", range(len(SCRIPT)))
async def test_the_remote_ends_within_a_negotiation(end: int, autojump_clock: trio.abc.Clock) -> None:
    dialer, _, _, far = handshakes()
    far.try_send(memoryview(SCRIPT[:end]))
    await far.aclose()
    # Sending fails, or reading does: which comes first is the transport's business.
    with pytest.raises((NegotiationError, trio.BrokenResourceError)):
        await propose(dialer, [TLS, NOISE], lazy=False)


@pytest.mark.parametrize("end", range(len(HEADER + b"\x0b/tls/1.0.0\n\x07/noise\n")))
async def test_the_dialer_ends_within_a_negotiation(end: int, autojump_clock: trio.abc.Clock) -> None:
    _, responder, near, _ = handshakes()
    near.try_send(memoryview((HEADER + b"\x0b/tls/1.0.0\n\x07/noise\n")[:end]))
    await near.aclose()
    with pytest.raises((NegotiationError, trio.BrokenResourceError)):
        await answer(responder, NOISE)


@pytest.mark.parametrize("end", range(len(HEADER + b"\x07/noise\n")))
async def test_the_remote_ends_before_the_lazy_answer(end: int, autojump_clock: trio.abc.Clock) -> None:
    dialer, _, _, far = handshakes()
    await propose(dialer, [NOISE], lazy=True)
    await dialer.write(b"question")
    far.try_send(memoryview((HEADER + b"\x07/noise\n")[:end]))
    await far.aclose()
    with pytest.raises(HandshakeFailed):
        await dialer.read_exactly(1)


async def test_the_remote_vanishes(autojump_clock: trio.abc.Clock) -> None:
    _, responder, near, _ = handshakes()
    near.reset()
    with pytest.raises(trio.BrokenResourceError):
        await answer(responder, NOISE)


async def test_broken_lines_come_out_as_they_are(autojump_clock: trio.abc.Clock) -> None:
    _, responder, near, far = handshakes()
    near.try_send(memoryview(bytes(1000)))
    with pytest.raises(RemoteProtocolError):
        await answer(responder, NOISE)
    assert far.bytes_sent == 0


async def test_a_flood_is_read_no_further_than_needed(autojump_clock: trio.abc.Clock) -> None:
    _, responder, near, far = handshakes(buffer=1 << 20)
    near.try_send(memoryview(HEADER + b"\x07/noise\n" + bytes(900_000)))
    await answer(responder, NOISE)
    await responder.read_exactly(65535)
    assert far.bytes_received <= 2 * 65536
    assert len(responder.take_leftover()) <= 65536


async def test_handshakes_side_by_side_share_a_buffer_and_mix_nothing(autojump_clock: trio.abc.Clock) -> None:
    async def dial(raw: RawHandshake, byte: bytes) -> None:
        await propose(raw, [TLS, NOISE], lazy=False)
        await raw.write(byte * 1000)
        assert await raw.read_exactly(1000) == byte * 1000

    async def serve(raw: RawHandshake, byte: bytes) -> None:
        await answer(raw, NOISE)
        assert await raw.read_exactly(1000) == byte * 1000
        await raw.write(byte * 1000)

    async with trio.open_nursery() as nursery:
        for i in range(20):
            dialer, responder, _, _ = handshakes(buffer=40 + i, cut="threes")
            nursery.start_soon(dial, dialer, bytes((i,)))
            nursery.start_soon(serve, responder, bytes((i,)))


async def test_only_what_waits_is_a_checkpoint(autojump_clock: trio.abc.Clock) -> None:
    dialer, _, _, far = handshakes(buffer=64)
    far.try_send(memoryview(b"x" * 10))
    with trio.testing.assert_checkpoints():
        await dialer.read_exactly(1)
    with trio.testing.assert_no_checkpoints():
        await dialer.read_exactly(1)
        await dialer.read_some()
        await dialer.write(b"x" * 64)
        await propose(dialer, [NOISE], lazy=True)
    with trio.move_on_after(1) as scope, trio.testing.assert_checkpoints():
        await dialer.write(b"x")
    assert scope.cancelled_caught


async def test_the_last_answer_leaves_with_what_is_written_next(autojump_clock: trio.abc.Clock) -> None:
    _, responder, far, _ = handshakes()
    far.try_send(memoryview(HEADER + b"\x07/noise\nquestion"))
    await answer(responder, NOISE)
    assert await responder.read_exactly(8) == b"question"
    await responder.write(b"answer")
    assert await received(far) == HEADER + b"\x07/noise\nanswer"


async def test_a_remote_that_waits_for_the_last_answer_gets_it(autojump_clock: trio.abc.Clock) -> None:
    _, responder, far, _ = handshakes()
    far.try_send(memoryview(HEADER + b"\x07/noise\n"))
    await answer(responder, NOISE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(responder.read_exactly, 8)
        assert await received(far) == HEADER + b"\x07/noise\n"
        far.try_send(memoryview(b"question"))


@pytest.mark.parametrize("lazy", [False, True])
async def test_a_cancelled_wait_leaves_no_task(lazy: bool, autojump_clock: trio.abc.Clock) -> None:
    dialer, _, _, _ = handshakes()
    with trio.move_on_after(1) as scope:
        await propose(dialer, [NOISE], lazy=lazy)
        await dialer.read_exactly(1)
    assert scope.cancelled_caught
