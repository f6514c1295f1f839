"""Row 11: pings without end, of yamux and of ``/ipfs/ping``."""

from __future__ import annotations

import pytest
import trio

from p2p.protocols.ping import PAYLOAD_SIZE, PING
from tests.attacks import wire
from tests.attacks.harness import MIB, Verdict
from tests.attacks.wire import ACK, RST, SYN

PINGS = 1_000_000
#: Answers to all of them: one for each time the victim reads.
MOST_PONGS = PINGS // 100
PATIENCE = 20.0

#: Scaled down from a thousand.
RATE = 200
ROUNDS = 5000
SECONDS = 2.0


@pytest.mark.lifted(patches={"p2p.muxers.yamux.receiving:Receiver._take_ping": "lifts.answering_every_ping"})
async def test_row_11_pings(attack):
    """The attacker hears the answers only when all is sent: no more than one can wait."""
    async with attack(verdict=Verdict(rss=8 * MIB)) as scene:
        connection = await scene.secure()
        pings = b"".join(wire.header(wire.PING, SYN, 0, number) for number in range(1, PINGS + 1))
        with trio.fail_after(PATIENCE):
            assert await wire.send_until_closed(connection.raw, connection.seal(pings))
            pongs = 0
            frame = None
            while frame is None or (frame.kind, frame.flags, frame.length) != (wire.PING, ACK, PINGS):
                frame = await connection.receive_frame()
                assert frame is not None
                pongs += (frame.kind, frame.flags) == (wire.PING, ACK)
        assert pongs <= MOST_PONGS


@pytest.mark.lifted(limits={"ping": {"rate": 10.0**9, "burst": 10**9, "streams_per_peer": 1000}})
async def test_row_11_ping_streams(attack):
    """Rounds beyond the rate wait, and so does the remote when its window is used up; a third stream is reset."""
    async with attack(limits={"ping": {"rate": float(RATE), "burst": RATE}}) as scene:
        connection = await scene.secure()
        for stream in (1, 3):
            await connection.send(wire.opening(stream, PING))
        await connection.send(wire.data(1, bytes(ROUNDS * PAYLOAD_SIZE)))
        answered = 0
        began = trio.current_time()
        with trio.move_on_after(SECONDS):
            while (frame := await connection.receive_frame()) is not None:
                answered += len(frame.payload) // PAYLOAD_SIZE if frame.stream == 1 else 0
        faults = []
        if answered > RATE + RATE * (trio.current_time() - began) + 10:
            faults.append(f"{answered} rounds were answered in {SECONDS} s")
        await connection.send(wire.opening(5, PING))
        with trio.move_on_after(SECONDS) as late:
            end = await connection.receive_end_of(5)
            assert end is not None and end.flags & RST
        if late.cancelled_caught:
            faults.append("a third stream was served")
        assert not faults, ", ".join(faults)
        assert answered >= RATE // 2
