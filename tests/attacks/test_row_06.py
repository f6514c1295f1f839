"""Row 6: floods of proposals and listings, and lines of every wrong shape, before security and on streams."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from p2p.wire.varint import encode
from tests.attacks import wire
from tests.attacks.harness import Scene

PROPOSALS = 100_000
LISTINGS = 10_000
PROMPT = 5.0

HEADER = wire.token("/multistream/1.0.0")
NOT_AVAILABLE = wire.token("na")
UNKNOWN = b"".join(wire.token(f"/unknown/{number}") for number in range(PROPOSALS))
WRONG = {
    "64 KiB": encode(64 * 1024) + b"x" * (64 * 1024 - 1) + b"\n",
    "no newline": b"\x0a/unknown/1",
    "two newlines": b"\x0b/un\nknown/\n",
    "not UTF-8": b"\x04/\xff\xfe\n",
    "empty": b"\x01\n",
    "zero": b"\x00" * 65_536,
}


@dataclass
class Exchange:
    """What an attacker sent, in bytes of its own, and what it got for that."""

    sent: int = 0
    got: bytes = b""

    @property
    def refusals(self) -> int:
        return self.got.count(NOT_AVAILABLE)


async def before_security(scene: Scene, flood: bytes) -> Exchange:
    raw = await scene.connect()
    exchange = Exchange()

    async def send() -> None:
        for start in range(0, len(flood), 4096):
            part = flood[start : start + 4096]
            if not await wire.send_until_closed(raw, part):
                break
            exchange.sent += len(part)

    with trio.fail_after(PROMPT):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            exchange.got = await wire.closed(raw)
    return exchange


async def on_a_stream(scene: Scene, flood: bytes) -> Exchange:
    """All of it as fast as it goes, within the window; the victim must end the stream by itself."""
    connection = await scene.secure()
    exchange = Exchange()
    opening = wire.header(wire.WINDOW, wire.SYN, 1, 0)
    await connection.send(opening)
    part = flood[: 128 * 1024]
    await connection.send(b"".join(wire.data(1, part[at : at + 4096]) for at in range(0, len(part), 4096)))
    exchange.sent = len(opening) + len(part)
    with trio.fail_after(PROMPT):
        while True:
            frame = await connection.receive_frame()
            assert frame is not None, "the connection ended, and not the stream"
            exchange.got += frame.payload if frame.stream == 1 else b""
            if frame.stream == 1 and frame.flags & wire.RST:
                return exchange


@pytest.mark.lifted(limits={"negotiation": {"max_proposals": 10**9}})
async def test_row_06_proposals(attack):
    async with attack() as scene:
        for place in (before_security, on_a_stream):
            exchange = await place(scene, HEADER + UNKNOWN)
            assert exchange.refusals <= 16
            assert len(exchange.got) <= 3 * exchange.sent


@pytest.mark.lifted(limits={"negotiation": {"max_listings": 10**9}})
async def test_row_06_listings(attack):
    async with attack() as scene:
        for place in (before_security, on_a_stream):
            exchange = await place(scene, HEADER + wire.token("ls") * LISTINGS)
            assert exchange.got.count(b"/noise" if place is before_security else b"/ipfs/ping/1.0.0") <= 1
            assert len(exchange.got) <= 3 * exchange.sent


@pytest.mark.lifted(limits={"negotiation": {"max_message": 1 << 20}})
async def test_row_06_lines_of_the_wrong_shape(attack):
    """Nothing is said to them but the header. A longer line allowed would be answered by a refusal."""
    async with attack() as scene:
        for name, line in WRONG.items():
            for place in (before_security, on_a_stream):
                exchange = await place(scene, HEADER + line)
                assert exchange.got in (HEADER, b""), name


@pytest.mark.lifted(limits={"yamux": {"reset_burst": 10**9}})
async def test_row_06_streams_that_negotiate_nothing(attack):
    """Each stream is a new chance to be refused; they are counted together."""
    async with attack() as scene:
        connection = await scene.secure()

        async def flood() -> None:
            try:
                for stream in range(
                    1, 20_000, 2
                ):  # each in a sealed frame of its own: refused before the next comes
                    await connection.send(wire.data(stream, b"\x00", wire.SYN))
            except trio.BrokenResourceError:
                pass

        with trio.fail_after(PROMPT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood)
                await connection.receive_until_closed()
                nursery.cancel_scope.cancel()
