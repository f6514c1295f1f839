"""Row 5: lengths that lie, in front of every message that has one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Awaitable, Callable

import pytest
import trio

from p2p.errors import RemoteProtocolError
from p2p.limits import KIB, MIB, Limits
from p2p.protocols.fetch import FETCH
from p2p.protocols.identify.service import IDENTIFY
from p2p.wire.framing import FrameReader
from p2p.wire.varint import encode
from tests.attacks import wire
from tests.attacks.harness import Scene

PROMPT = 1.0
HEADER = wire.token("/multistream/1.0.0")


def lengths(limit: int) -> dict[str, bytes]:
    """In place of a length of at most ``limit``."""
    return {
        "no end": b"\xff" * 10,
        "2^63": bytes.fromhex("80808080808080808001"),
        "4 GiB": bytes.fromhex("8080808010"),
        "not minimal": bytes.fromhex("8000"),
        "one too many": encode(limit + 1),
    }


LINE = lengths(Limits().negotiation.max_message)
IDENTIFICATION = lengths(Limits().identify.max_message)
FETCHED = lengths(Limits().fetch.max_key + 16)
#: Two bytes, big-endian: more than any message, one more than a handshake's may have, none at all.
NOISE = {"64 KiB": b"\xff\xff", "one too many": (8 * KIB + 1).to_bytes(2, "big"), "zero": b"\x00\x00"}


async def first(scene: Scene, length: bytes) -> None:
    raw = await scene.connect()
    await raw.send_all(length)
    await wire.closed(raw)


async def second(scene: Scene, length: bytes) -> None:
    raw = await scene.connect()
    await raw.send_all(HEADER + length)
    assert await wire.closed(raw) in (HEADER, b"")


async def in_noise(scene: Scene, length: bytes) -> None:
    raw = await scene.connect()
    await raw.send_all(HEADER + wire.token("/noise") + length)
    await wire.closed(raw)


async def in_the_muxers_negotiation(scene: Scene, length: bytes) -> None:
    connection = await wire.secure(await scene.connect(), muxers=())
    await connection.send(HEADER + length)
    await connection.receive_until_closed()


async def on_a_stream(scene: Scene, length: bytes) -> None:
    connection = await scene.secure()
    await connection.send(wire.data(1, HEADER + length, wire.SYN))
    await connection.receive_end_of(1)


async def in_a_request_to_fetch(scene: Scene, length: bytes) -> None:
    connection = await scene.secure()
    await connection.send(wire.data(1, HEADER + wire.token(FETCH) + length, wire.SYN))
    end = await connection.receive_end_of(1)
    assert end is not None and end.flags & wire.RST


async def in_an_answer_to_a_proposal(scene: Scene, length: bytes) -> None:
    await answer_identify(scene, HEADER + length)


async def in_an_answer_to_identify(scene: Scene, length: bytes) -> None:
    await answer_identify(scene, HEADER + wire.token(IDENTIFY) + length)


async def answer_identify(scene: Scene, answer: bytes) -> None:
    connection = await scene.secure()
    await connection.send(b"")
    frame = await connection.receive_frame()
    while frame is not None and IDENTIFY.encode() not in frame.payload:
        frame = await connection.receive_frame()
    assert frame is not None
    await connection.send(wire.data(frame.stream, answer, wire.ACK))
    end = await connection.receive_end_of(frame.stream)
    assert end is None or end.flags & wire.RST


PLACES: dict[Callable[[Scene, bytes], Awaitable[None]], dict[str, bytes]] = {
    first: LINE,
    second: LINE,
    in_noise: NOISE,
    in_the_muxers_negotiation: LINE,
    on_a_stream: LINE,
    in_a_request_to_fetch: FETCHED,
    in_an_answer_to_a_proposal: LINE,
    in_an_answer_to_identify: IDENTIFICATION,
}


@pytest.mark.lifted(
    limits={
        "negotiation": {"max_message": 1 << 40},
        "identify": {"max_message": 1 << 40},
        "fetch": {"max_key": 1 << 40},
    }
)
async def test_row_05_lengths(attack):
    """Refused when the length is read: what it promises is never sent here, and would be awaited else."""
    async with attack() as scene:
        waited = []

        async def judge(place: Callable[[Scene, bytes], Awaitable[None]], name: str, length: bytes) -> None:
            with trio.move_on_after(PROMPT) as late:
                await place(scene, length)
            if late.cancelled_caught:
                waited.append(f"{name} {place.__name__}")

        async with trio.open_nursery() as nursery:
            for place, table in PLACES.items():
                for name, length in table.items():
                    nursery.start_soon(judge, place, name, length)
        assert not waited, ", ".join(waited)


@pytest.mark.parametrize("limit", [KIB, 8 * KIB, MIB])
def test_row_05_nothing_is_allocated_for_a_length(limit: int) -> None:
    """The one reader of lengths, given a bad one and many bytes, and a good one whose message never comes."""
    junk = bytes(64 * KIB)
    tracemalloc.start()
    try:
        for length in lengths(limit).values():
            with pytest.raises(RemoteProtocolError):
                FrameReader(limit).feed(length + junk)
        FrameReader(limit).feed(encode(limit))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 2 * len(junk), "the lengths were believed"
