"""Row 7: streams opened without end, and nothing done with them."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire
from tests.attacks.harness import MIB, Verdict
from tests.attacks.mplex import MPLEX, Mplex, opening
from tests.machines.mplex_wire import MSG_I, NEW, RESET_R, message

STREAMS = 100_000
#: The memory of a connection in windows, less what every connection may hold.
MOST = 126
#: Scaled down, so that it comes before memory.
FEW = 64
PROMPT = 5.0
KIB = 1024
WINDOW = 256 * KIB
ANY = {"memory": 1 << 50, "streams": 10**9, "inbound_streams": 10**9}
ROWS = ["system", "peer", "connection", "protocol", "protocol_peer"]


def openings(first: int, count: int) -> bytes:
    return b"".join(wire.header(wire.WINDOW, wire.SYN, id, 0) for id in range(first, first + 2 * count, 2))


@pytest.mark.lifted(limits={"yamux": {"max_inbound_streams": 10**9, "reset_burst": 10**9}})
async def test_row_07_stream_flood(attack):
    """All at once: those beyond the cap are refused, and soon that is too often."""
    async with attack(verdict=Verdict(rss=8 * MIB)) as scene:
        connection = await scene.secure()
        refused = 0
        async with scene.watching() as most:
            with trio.fail_after(PROMPT):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(
                        wire.send_until_closed, connection.raw, connection.seal(openings(1, STREAMS))
                    )
                    while (frame := await connection.receive_frame()) is not None:
                        refused += bool(frame.flags & wire.RST)
                    nursery.cancel_scope.cancel()
        assert refused <= 1000
        assert most["streams"] <= MOST + 10  # the canary's, and what the victim asks of the attacker


@pytest.mark.lifted(limits={"yamux": {"max_inbound_streams": 10**9}})
async def test_row_07_as_many_as_there_may_be(attack):
    """Below what ends the connection: 64 are open, 500 more are refused, and the connection goes on."""
    limits = {"yamux": {"max_inbound_streams": FEW}}
    async with attack(limits=limits, verdict=Verdict(rss=8 * MIB)) as scene:
        connection = await scene.secure()
        await connection.send(openings(1, FEW + 500) + wire.header(wire.PING, wire.SYN, 0, 7))
        refused = 0
        with trio.fail_after(PROMPT):
            frame = await connection.receive_frame()
            while frame is not None and (frame.kind, frame.flags) != (wire.PING, wire.ACK):
                refused += bool(frame.flags & wire.RST)
                frame = await connection.receive_frame()
            while frame is not None and refused < 500:  # refusals may leave after the pong
                frame = await connection.receive_frame()
                refused += frame is not None and bool(frame.flags & wire.RST)
        assert frame is not None and refused == 500
        assert FEW <= (await scene.counters())["streams"] <= FEW + 10


@pytest.mark.lifted(limits={"mplex": {"max_inbound_streams": 10**9, "reset_burst": 10**9}})
@pytest.mark.parametrize("negotiated", [False, True], ids=["bare", "negotiated"])
async def test_row_07_mplex_stream_flood(attack, negotiated):
    """CL-2021-03, CL-2021-04: streams in 8 to 10 MB, the second time each with a handler and a message begun."""
    async with attack() as scene:
        mplex = Mplex(await scene.secure(muxer=MPLEX))
        if negotiated:
            begun = message(MSG_I, 0, length=1 * MIB)[1:]
            flood = b"".join(opening(i, "/attacks/hang") for i in range(STREAMS // 10)) + begun
        else:
            flood = b"".join(message(NEW, i, b"x" * 80) for i in range(STREAMS))
        refused = 0
        async with scene.watching() as most:
            with trio.fail_after(2 * PROMPT):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wire.send_until_closed, mplex.raw, mplex.seal(flood))
                    while (said := await mplex.receive()) is not None:
                        refused += said[0] == RESET_R
                    nursery.cancel_scope.cancel()
        assert refused <= 1000
        assert most["streams"] <= MOST + 10


@pytest.mark.lifted(limits={"mplex": {"max_inbound_streams": 10**9}})
async def test_row_07_as_many_mplex_streams_as_there_may_be(attack):
    """64 are open, 500 more are refused, and the connection goes on."""
    async with attack(limits={"mplex": {"max_inbound_streams": FEW}}) as scene:
        mplex = Mplex(await scene.secure(muxer=MPLEX))
        await mplex.send(b"".join(message(NEW, i) for i in range(FEW + 500)))
        refused = 0
        with trio.fail_after(PROMPT):
            while refused < 500 and (said := await mplex.receive()) is not None:
                refused += said[0] == RESET_R
        assert refused == 500
        assert FEW <= (await scene.counters())["streams"] <= FEW + 10


@pytest.mark.lifted(limits={"resources": dict.fromkeys(ROWS, ANY)})
async def test_row_07_windows_that_nobody_reads(attack):
    """A window full of bytes on each stream: those that there is no memory for are refused before they hold any."""
    async with attack(verdict=Verdict(rss=40 * MIB)) as scene:
        connection = await scene.secure()
        negotiated = len(wire.token("/multistream/1.0.0") + wire.token("/attacks/hang"))

        async def fill() -> None:
            for stream in range(1, 2 * 256, 2):
                frames = wire.opening(stream, "/attacks/hang")
                frames += wire.data(stream, bytes(WINDOW - negotiated))
                assert await wire.send_until_closed(connection.raw, connection.seal(frames))
            await connection.send(wire.header(wire.PING, wire.SYN, 0, 7))

        with trio.fail_after(4 * PROMPT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fill)
                while (frame := await connection.receive_frame()) is not None:
                    if (frame.kind, frame.flags, frame.length) == (wire.PING, wire.ACK, 7):
                        break
        assert frame is not None
        assert MOST - 5 <= (await scene.counters())["handlers"] <= MOST + 10
