"""Row 18: Noise messages and frames of every wrong size, out of order, twice, or changed."""

from __future__ import annotations

import pytest
import trio

from tests.attacks import wire, xx
from tests.attacks.harness import MIB, Scene

PROMPT = 1.0
MAX_FRAME = 65_535
MAX_PLAIN = MAX_FRAME - 16
KIB = 1024
EMPTY = 100_000

PING = wire.header(wire.PING, wire.SYN, 0, 7)
PONG = (wire.PING, wire.ACK, 7)


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


# --- handshake ----------------------------------------------------------------------------------------

CHANGES = {
    "a byte less": lambda message: framed(message[2:-1]),
    "a byte more": lambda message: framed(message[2:] + b"\0"),
    "a length of one less": lambda message: (len(message) - 3).to_bytes(2, "big") + message[2:],
    "a changed bit": lambda message: message[:-1] + bytes([message[-1] ^ 1]),
    "nothing": lambda message: b"\0\0",
    "the most a length can say": lambda message: b"\xff\xff" + message[2:] + bytes(1000),
    "more than a payload needs": lambda message: framed(message[2:] + bytes(8 * KIB)),
}
# A length of one more than there is makes the victim wait, and is row 2's.


def hand(number: int, change) -> xx.Hand:
    return xx.Hand(message=lambda at, message: change(message) if at == number else message)


#: The first message is nothing but a key: another one is as good.
def cases(name: str) -> tuple[int, ...]:
    return (2, 3) if name == "a changed bit" else (1, 2, 3)


PAYLOADS = {
    "something behind it": lambda static: xx.honest_payload(static) + b"\0",
    "a byte missing": lambda static: xx.honest_payload(static)[:-1],
    "nothing": lambda static: b"",
}


@pytest.mark.lifted(
    patches={"p2p.security.noise.handshake:Handshake.receive_data": "lifts.patient(original)"}
)
async def test_row_18_handshake_messages(attack):
    """Each of the three messages; the second is sent by a responder, whom the victim dials."""
    hands = {
        f"{name} in message {number}": (number, hand(number, change))
        for name, change in CHANGES.items()
        for number in cases(name)
    }
    hands |= {
        f"payload of message {number}: {name}": (number, xx.Hand(payload=payload))
        for name, payload in PAYLOADS.items()
        for number in (2, 3)
    }
    dials = {name: hand for name, (number, hand) in hands.items() if number != 2}
    answers = {name: hand for name, (number, hand) in hands.items() if number == 2}
    async with attack() as scene:
        wrong = xx.others(await xx.outcomes(scene, dials, answers), xx.REFUSED)
        assert not wrong, "\n".join(wrong)


# --- frames -------------------------------------------------------------------------------------------


async def out_of_order(connection: wire.Wire) -> bytes:
    first, second = connection.seal(PING), connection.seal(PING)
    return second + first


async def twice(connection: wire.Wire) -> bytes:
    return connection.seal(PING) * 2


async def one_left_out(connection: wire.Wire) -> bytes:
    connection.seal(PING)
    return connection.seal(PING)


async def a_changed_bit(connection: wire.Wire) -> bytes:
    sealed = connection.seal(PING)
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


async def a_length_of_one_less(connection: wire.Wire) -> bytes:
    sealed = connection.seal(PING)
    return framed(sealed[2:-1]) + sealed[-1:]


async def a_length_of_one_more(connection: wire.Wire) -> bytes:
    sealed = connection.seal(PING)
    return (len(sealed) - 1).to_bytes(2, "big") + sealed[2:] + connection.seal(PING)


async def the_most_of_nothing(connection: wire.Wire) -> bytes:
    return framed(bytes(MAX_FRAME))


async def its_own(connection: wire.Wire) -> bytes:
    """What the victim sealed itself comes back to it."""
    return await connection.raw.receive_some()


def shorter_than_a_tag(size: int):
    async def short(connection: wire.Wire) -> bytes:
        return framed(bytes(size))

    return short


VIOLATIONS = {
    out_of_order.__name__: out_of_order,
    twice.__name__: twice,
    one_left_out.__name__: one_left_out,
    a_changed_bit.__name__: a_changed_bit,
    a_length_of_one_less.__name__: a_length_of_one_less,
    a_length_of_one_more.__name__: a_length_of_one_more,
    the_most_of_nothing.__name__: the_most_of_nothing,
    its_own.__name__: its_own,
} | {f"a frame of {size} bytes": shorter_than_a_tag(size) for size in range(16)}


async def answers(connection: wire.Wire) -> bool:
    """Whether the victim answers a ping."""
    with trio.move_on_after(5 * PROMPT):
        while (frame := await connection.receive_frame()) is not None:
            if (frame.kind, frame.flags, frame.length) == PONG:
                return True
    return False


def empty_frames(connection: wire.Wire, count: int) -> bytes:
    """Nothing, sealed so many times."""
    channel, room = connection.secured.channel, memoryview(bytearray(64))
    return b"".join(bytes(room[: channel.seal(room, 0)]) for _ in range(count))


async def joined(scene: Scene) -> wire.Wire:
    connection = await scene.secure()
    await connection.send(b"")
    return connection


@pytest.mark.lifted(patches={"p2p.security.noise.channel:NoiseChannel.open_into": "lifts.skipping(original)"})
async def test_row_18_noise_frames(attack):
    """One bad frame ends the connection; frames of no bytes and of the most there may be are good ones."""
    async with attack() as scene:
        survived = []

        async def judge(name: str, frames) -> None:
            connection = await joined(scene)
            await connection.raw.send_all(await frames(connection))
            with trio.move_on_after(PROMPT) as late:
                await wire.closed(connection.raw)
            if late.cancelled_caught:
                survived.append(name)

        async with trio.open_nursery() as nursery:
            for name, frames in VIOLATIONS.items():
                nursery.start_soon(judge, name, frames)
        assert not survived, ", ".join(survived)

        await judge_good_frames(scene)


async def judge_good_frames(scene: Scene) -> None:
    """Those of no bytes say nothing and stall nobody; those of the most bytes there may be go both ways.

    The size of the buffer that all connections share bounds how many are opened at once. A frame of the victim's
    that carried a byte too many would have a length that does not fit its two bytes, and not open here.
    """
    connection = await joined(scene)
    await connection.raw.send_all(empty_frames(connection, EMPTY))
    await connection.send(PING)
    assert await answers(connection)

    await connection.send(wire.opening(1, "/attacks/count"))
    sealed = connection.seal(wire.data(1, bytes(MAX_PLAIN - wire.HEADER.size)))
    assert len(sealed) == 2 + MAX_FRAME
    await connection.raw.send_all(sealed)
    await connection.send(PING)
    assert await answers(connection)

    connection = await joined(scene)
    await connection.send(wire.opening(1, "/attacks/pour") + wire.header(wire.WINDOW, 0, 1, 8 * MIB))
    received = 0
    with trio.fail_after(5 * PROMPT):
        while received < 8 * MIB:
            plain = await connection.receive()
            assert plain, "the victim closed"
            received += len(plain)
