"""Row 9: every frame a muxer must refuse, and those that only look as if."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.attacks import wire
from tests.attacks.harness import Scene
from tests.attacks.mplex import MPLEX, Mplex
from tests.attacks.wire import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW, data, header
from tests.machines import test_mplex_rules

PROMPT = 1.0
KIB = 1024
#: What a stream may be sent unasked.
INITIAL = 256 * KIB

#: A stream whose handler neither reads nor ends.
OPEN = wire.opening(1, "/attacks/hang")
OVER = OPEN + header(WINDOW, RST, 1, 0)

VIOLATIONS = {
    "credit past 2^32": OPEN + header(WINDOW, 0, 1, 0xFFFF0000),
    "credit past 2^32 in two parts": OPEN
    + header(WINDOW, 0, 1, 0xFFF00000)
    + header(WINDOW, 0, 1, 0x00100000),
    "credit past 2^32 with SYN": header(WINDOW, SYN, 1, 0xFFFFFFFF),
    "credit of a stream never opened": header(WINDOW, 0, 5, 100),
    "credit of a stream of ours never opened": header(WINDOW, 0, 400, 100),
    "data of a stream never opened": data(5, b"x"),
    "an end of a stream never opened": header(DATA, FIN, 5, 0),
    "data beyond the window": OPEN + header(DATA, 0, 1, INITIAL + 1),
    "data beyond the window in two parts": OPEN + data(1, bytes(INITIAL - 100)) + header(DATA, 0, 1, 101),
    "data beyond the window with SYN": header(DATA, SYN, 1, INITIAL + 1),
    "data beyond any window": header(DATA, SYN, 1, 0xFFFFFFFF),
    "data after FIN": OPEN + header(DATA, FIN, 1, 0) + data(1, b"x"),
    "data of stream 0": data(0, b"x"),
    "credit of stream 0": header(WINDOW, 0, 0, 1),
    "stream 0 opened": header(WINDOW, SYN, 0, 0),
    "an id of the victim's": header(WINDOW, SYN, 400, 0),
    "an id that is in use": OPEN + header(WINDOW, SYN, 1, 0),
    "an id that was used": OVER + header(WINDOW, SYN, 1, 0),
    "SYN, FIN and RST": header(WINDOW, SYN | FIN | RST, 1, 0),
    "an unknown flag": OPEN + header(WINDOW, 0x10, 1, 0),
    "an unknown type": header(4, 0, 0, 0),
    "another version": header(DATA, 0, 0, 0, version=1),
    "a ping that neither asks nor answers": header(PING, 0, 0, 7),
}

TOLERATED = {
    "credit of a stream that is over": OVER + header(WINDOW, 0, 1, 100) * 1000,
    "an end of a stream that is over": OVER + header(DATA, FIN, 1, 0) * 1000,
    "a reset of a stream that is over": OVER + header(WINDOW, RST, 1, 0) * 1000,
    "a reset of a stream never opened": header(WINDOW, RST, 7, 0),
    "FIN twice": OPEN + header(DATA, FIN, 1, 0) * 2,
    "ACK of a stream of its own": OPEN + header(WINDOW, ACK, 1, 100),
    "all the credit there is": OPEN + header(WINDOW, 0, 1, 0xFFFFFFFF - INITIAL),
    "pongs nobody asked for": header(PING, ACK, 0, 99) * 1000,
}


async def ends_with_an_error(scene: Scene, frames: bytes) -> bool:
    """Whether the victim says GoAway with a protocol error, and closes."""
    connection = await scene.secure()
    await connection.send(frames)
    code = None
    with trio.move_on_after(PROMPT):
        while (frame := await connection.receive_frame()) is not None:
            if frame.kind == GO_AWAY:
                code = frame.length
        return code == 1
    return False


async def goes_on(scene: Scene, frames: bytes) -> bool:
    """Whether the victim answers a ping that follows."""
    connection = await scene.secure()
    await connection.send(frames + header(PING, SYN, 0, 7))
    with trio.move_on_after(PROMPT):
        while (frame := await connection.receive_frame()) is not None:
            if (frame.kind, frame.flags, frame.length) == (PING, ACK, 7):
                return True
    return False


@pytest.mark.lifted(
    patches={"p2p.muxers.yamux.session:YamuxSession.receive_data": "lifts.forgiving(original)"}
)
async def test_row_09_frame_rules(attack):
    """The rules are no limits, so they are lifted by a session that forgives; tests/machines has each by itself."""
    async with attack() as scene:
        failed = []

        async def judge(name: str, frames: bytes, verdict: Callable[[Scene, bytes], Awaitable[bool]]) -> None:
            if not await verdict(scene, frames):
                failed.append(name)

        async with trio.open_nursery() as nursery:
            for name, frames in VIOLATIONS.items():
                nursery.start_soon(judge, name, frames, ends_with_an_error)
            for name, frames in TOLERATED.items():
                nursery.start_soon(judge, name, frames, goes_on)
        assert not failed, ", ".join(failed)


@pytest.mark.lifted(patches={"p2p.muxers.ids:RecentIds.__contains__": "lambda ids, id: False"})
async def test_row_09_data_of_a_stream_that_is_over(attack):
    """One RST for a hundred frames, and not one byte of memory for what they carry."""
    async with attack() as scene:
        connection = await scene.secure()
        late = data(1, bytes(16 * KIB)) * 100
        await connection.send(OPEN + header(DATA, FIN, 1, 0) + header(WINDOW, RST, 1, 0) + late)
        await connection.send(header(PING, SYN, 0, 7))
        resets = 0
        with trio.fail_after(5 * PROMPT):
            frame = await connection.receive_frame()
            while frame is not None and (frame.kind, frame.flags) != (PING, ACK):
                resets += frame.stream == 1 and bool(frame.flags & RST)
                frame = await connection.receive_frame()
            assert frame is not None
        assert resets <= 1


async def mplex_ends(scene: Scene, messages: bytes) -> bool:
    """Whether the victim closes. There is nothing to tell the reason by."""
    mplex = Mplex(await scene.secure(muxer=MPLEX))
    await mplex.send(messages)
    with trio.move_on_after(PROMPT):
        await mplex.receive_until_closed()
        return True
    return False


async def mplex_goes_on(scene: Scene, messages: bytes) -> bool:
    """Whether the victim serves a stream that follows."""
    mplex = Mplex(await scene.secure(muxer=MPLEX))
    await mplex.send(messages)
    with trio.move_on_after(PROMPT):
        return await mplex.goes_on(100)
    return False


@pytest.mark.lifted(
    patches={"p2p.muxers.mplex.session:MplexSession.receive_data": "lifts.forgiving(original)"}
)
async def test_row_09_mplex_rules(attack):
    """The same messages that tests/machines gives to a bare session."""
    async with attack() as scene:
        failed = []

        async def judge(
            name: str, messages: bytes, verdict: Callable[[Scene, bytes], Awaitable[bool]]
        ) -> None:
            if not await verdict(scene, messages):
                failed.append(name)

        async with trio.open_nursery() as nursery:
            for name, messages in test_mplex_rules.VIOLATIONS.items():
                nursery.start_soon(judge, name, messages, mplex_ends)
            for name, messages in test_mplex_rules.TOLERATED.items():
                nursery.start_soon(judge, name, messages, mplex_goes_on)
        assert not failed, ", ".join(failed)
