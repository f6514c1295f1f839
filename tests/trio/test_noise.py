"""Noise over raw streams: round trips, an end at every byte, refusals, cancellation; and plaintext, when asked for."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2p.abc import ProtocolId, Role, Secured, Security
from p2p.errors import HandshakeFailed, NoCommonProtocol, PeerIdMismatch
from p2p.identity import Identity, PeerId
from p2p.limits import NoiseLimits
from p2p.negotiation.select import RawHandshake, propose, respond
from p2p.security.noise import Noise
from p2p.security.noise.handshake import Handshake, StaticKey
from p2p.security.plaintext import InsecureWarning, PlaintextChannel, insecure_plaintext_for_tests
from p2p.testing.pipes import raw_pair
from p2p.transports.pipe import PipeStream
from p2p.wire.framing import encode_frame
from p2p.wire.plaintext_messages import PlaintextExchange, encode_plaintext_exchange

ALICE, BOB, MALLORY = (Identity.generate() for _ in range(3))
YAMUX, MPLEX = ProtocolId("/yamux/1.0.0"), ProtocolId("/mplex/6.7.0")
NOISE = ProtocolId("/noise")
HEADER = b"\x13/multistream/1.0.0\n"


def plaintext(identity: Identity) -> Security:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureWarning)
        return insecure_plaintext_for_tests(identity)


async def shake(
    dialer: Security,
    responder: Security,
    *,
    peer: PeerId | None = None,
    lazy: bool = True,
    cut: Callable[[], int] | None = None,
    buffer: int = 65536,
    muxers: tuple[ProtocolId, ...] = (YAMUX,),
) -> tuple[Secured, Secured, PipeStream, PipeStream]:
    """Both sides from the first byte to the secure channel."""
    near, far = raw_pair(cut=cut, buffer=buffer)
    done: dict[Role, Secured] = {}

    async def dial() -> None:
        raw = RawHandshake(near)
        await propose(raw, [dialer.protocol], lazy=lazy)
        secured = await dialer.secure(raw, role=Role.DIALER, peer=peer, muxers=muxers)
        # The pump sends this with its first frame.
        unsent = memoryview(secured.unsent)
        while unsent:
            unsent = unsent[near.try_send(unsent) :]
            await near.wait_writable()
        done[Role.DIALER] = secured

    async def answer() -> None:
        raw = RawHandshake(far)
        await respond(raw, lambda name: name == responder.protocol, lambda: [responder.protocol])
        done[Role.RESPONDER] = await responder.secure(raw, role=Role.RESPONDER, peer=None, muxers=muxers)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        nursery.start_soon(answer)
    return done[Role.DIALER], done[Role.RESPONDER], near, far


def pass_through(sender: Secured, receiver: Secured, data: bytes) -> bytes:
    out = memoryview(bytearray(sender.channel.frame_cipher))
    sender.channel.room(out)[: len(data)] = data
    size = sender.channel.seal(out, len(data))
    plain = memoryview(bytearray(receiver.channel.frame_plain))
    consumed, produced = receiver.channel.open_into(out[:size], plain)
    assert consumed == size
    return bytes(plain[:produced])


@pytest.mark.parametrize("make", [Noise, plaintext])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("cut", [None, lambda: 1, lambda: 7])
async def test_a_secure_channel_of_two_raw_streams(
    make: Callable[[Identity], Security],
    lazy: bool,
    cut: Callable[[], int] | None,
    autojump_clock: trio.abc.Clock,
) -> None:
    dialed, accepted, _, _ = await shake(make(ALICE), make(BOB), peer=BOB.peer_id, lazy=lazy, cut=cut)
    assert (dialed.remote_peer, dialed.remote_key) == (BOB.peer_id, BOB.public_key)
    assert (accepted.remote_peer, accepted.remote_key) == (ALICE.peer_id, ALICE.public_key)
    assert dialed.early_muxer == accepted.early_muxer == (YAMUX if make is Noise else None)
    assert dialed.leftover == accepted.leftover == accepted.unsent == b""
    for data in (b"", b"x", bytes(65519)):
        assert pass_through(dialed, accepted, data) == data
        assert pass_through(accepted, dialed, data) == data


@pytest.mark.parametrize("make", [Noise, plaintext])
async def test_another_peer_answers(
    make: Callable[[Identity], Security], autojump_clock: trio.abc.Clock
) -> None:
    near, far = raw_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(secure_quietly, make(MALLORY), RawHandshake(far))
        with pytest.raises(PeerIdMismatch) as caught:
            await make(ALICE).secure(RawHandshake(near), role=Role.DIALER, peer=BOB.peer_id, muxers=())
        nursery.cancel_scope.cancel()
    assert (caught.value.expected, caught.value.got) == (BOB.peer_id, MALLORY.peer_id)


async def test_a_connection_costs_one_round_trip_before_its_data(autojump_clock: trio.abc.Clock) -> None:
    """Dialer: header, proposal, message 1; then message 3 with the first frame. Nothing waits in between."""
    near, far = raw_pair()
    sent: list[int] = []
    secured: list[Secured] = []

    async def dial() -> None:
        raw = RawHandshake(near)
        await propose(raw, [NOISE], lazy=True)
        secured.append(await Noise(ALICE).secure(raw, role=Role.DIALER, peer=BOB.peer_id, muxers=(YAMUX,)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        await trio.testing.wait_all_tasks_blocked()
        sent.append(near.bytes_sent)
        raw = RawHandshake(far)
        await respond(raw, lambda name: name == NOISE, lambda: [NOISE])
        nursery.start_soon(secure_quietly, Noise(BOB), raw)
        await trio.testing.wait_all_tasks_blocked()
        sent.append(near.bytes_sent)
        assert secured and secured[0].unsent and secured[0].early_muxer == YAMUX
        nursery.cancel_scope.cancel()
    assert sent == [len(HEADER) + 8 + 34] * 2


async def secure_quietly(security: Security, raw: RawHandshake) -> None:
    await security.secure(raw, role=Role.RESPONDER, peer=None, muxers=(YAMUX,))


async def test_bytes_behind_the_handshake_are_left_over(autojump_clock: trio.abc.Clock) -> None:
    near, far = raw_pair()
    dialer = Handshake(
        StaticKey(ALICE, X25519PrivateKey.generate()), X25519PrivateKey.generate(), Role.DIALER
    )
    accepted: list[Secured] = []

    async def answer() -> None:
        raw = RawHandshake(far)
        accepted.append(await Noise(BOB).secure(raw, role=Role.RESPONDER, peer=None, muxers=()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        near.try_send(memoryview(dialer.data_to_send()))
        while not dialer.established:
            dialer.receive_data(await received(near, 50))
        out = memoryview(bytearray(100))
        dialer.established.channel.room(out)[:4] = b"data"
        size = dialer.established.channel.seal(out, 4)
        near.try_send(memoryview(dialer.data_to_send() + bytes(out[:size])))
    plain = memoryview(bytearray(100))
    assert accepted[0].channel.open_into(memoryview(bytearray(accepted[0].leftover)), plain) == (size, 4)
    assert bytes(plain[:4]) == b"data"


async def received(stream: PipeStream, size: int) -> bytes:
    buffer = memoryview(bytearray(size))
    return bytes(buffer[: await stream.receive_into(buffer)])


# --- ends at every byte -------------------------------------------------------------------------------

STATIC = StaticKey(MALLORY, X25519PrivateKey.generate())


def remote(role: Role) -> Handshake:
    return Handshake(STATIC, X25519PrivateKey.generate(), role, muxers=(YAMUX,))


FIRST = len(remote(Role.DIALER).data_to_send())
THIRD = 2 + 48 + 120 + 16


async def expect_failure(secure: Awaitable[Secured]) -> None:
    with pytest.raises(HandshakeFailed):
        await secure


async def test_the_dialer_ends_at_every_byte(autojump_clock: trio.abc.Clock) -> None:
    for end in range(FIRST + THIRD):
        near, far = raw_pair()
        dialer = remote(Role.DIALER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                expect_failure,
                Noise(BOB).secure(RawHandshake(far), role=Role.RESPONDER, peer=None, muxers=(YAMUX,)),
            )
            near.try_send(memoryview(dialer.data_to_send()[:end]))
            if end >= FIRST:
                while not dialer.established:
                    dialer.receive_data(await received(near, 1000))
                last = dialer.data_to_send()
                assert len(last) == THIRD
                near.try_send(memoryview(last[: end - FIRST]))
            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()


SECOND = 2 + 32 + 48 + 120 + 16


async def test_the_responder_ends_at_every_byte(autojump_clock: trio.abc.Clock) -> None:
    for end in range(SECOND):
        near, far = raw_pair()
        responder = remote(Role.RESPONDER)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                expect_failure,
                Noise(ALICE).secure(RawHandshake(near), role=Role.DIALER, peer=None, muxers=(YAMUX,)),
            )
            responder.receive_data(await received(far, 1000))
            answer = responder.data_to_send()
            assert len(answer) == SECOND
            far.try_send(memoryview(answer[:end]))
            await far.aclose()


@pytest.mark.parametrize("role", Role)
async def test_the_remote_vanishes(role: Role, autojump_clock: trio.abc.Clock) -> None:
    near, far = raw_pair()
    async with trio.open_nursery() as nursery:

        async def secure() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await Noise(BOB).secure(RawHandshake(near), role=role, peer=None, muxers=())

        nursery.start_soon(secure)
        await trio.testing.wait_all_tasks_blocked()
        far.reset()


@pytest.mark.parametrize("role", Role)
async def test_a_remote_that_drips_is_the_deadline_of_the_caller(
    role: Role, autojump_clock: trio.abc.Clock
) -> None:
    near, far = raw_pair()

    async def drip() -> None:
        while True:
            far.try_send(memoryview(b"\0\x60"[:1]))
            await trio.sleep(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drip)
        began = trio.current_time()
        with pytest.raises((trio.TooSlowError, HandshakeFailed)):
            with trio.fail_after(10):
                await Noise(BOB).secure(RawHandshake(near), role=role, peer=None, muxers=())
        assert trio.current_time() - began <= 10
        nursery.cancel_scope.cancel()


async def test_a_lazy_noise_is_refused(autojump_clock: trio.abc.Clock) -> None:
    near, far = raw_pair()

    async def dial() -> None:
        raw = RawHandshake(near)
        await propose(raw, [NOISE], lazy=True)
        with pytest.raises(NoCommonProtocol):
            await Noise(ALICE).secure(raw, role=Role.DIALER, peer=None, muxers=())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        await received(far, 1000)
        far.try_send(memoryview(HEADER + b"\x03na\n"))


async def test_the_limits_of_a_noise_are_its_own(autojump_clock: trio.abc.Clock) -> None:
    near, far = raw_pair()
    limits = dataclasses.replace(NoiseLimits(), max_handshake_message=150)
    far.try_send(memoryview((151).to_bytes(2, "big")))
    with pytest.raises(HandshakeFailed):
        await Noise(ALICE, limits).secure(RawHandshake(near), role=Role.DIALER, peer=None, muxers=())


# --- plaintext ----------------------------------------------------------------------------------------


def test_plaintext_warns() -> None:
    with pytest.warns(InsecureWarning):
        security = insecure_plaintext_for_tests(ALICE)
    assert security.protocol == "/plaintext/2.0.0"
    assert "insecure" in repr(security)


def exchange(peer: bytes, key: bytes) -> bytes:
    return encode_frame(encode_plaintext_exchange(PlaintextExchange(peer, key)))


@pytest.mark.parametrize(
    "said",
    [
        exchange(BOB.peer_id.to_bytes(), MALLORY.public_key.to_protobuf()),
        exchange(b"\x12\x20" + bytes(32), BOB.public_key.to_protobuf()),
        exchange(b"\x00", BOB.public_key.to_protobuf()),
        exchange(BOB.peer_id.to_bytes(), b"\x08\x01\x12\x20" + bytes(32)),
        exchange(BOB.peer_id.to_bytes(), b"\x08\x63\x12\x00"),
        encode_frame(b"\x0a\x26" + BOB.peer_id.to_bytes()),
        encode_frame(b"\x12\x24" + BOB.public_key.to_protobuf()),
        encode_frame(b""),
        encode_frame(b"\xff" * 30),
        b"\xff\xff\xff\xff",
        b"\x80\x80\x80\x80\x10",
        b"\x81\x20",
    ],
)
async def test_plaintext_claims_that_do_not_hold_together(
    said: bytes, autojump_clock: trio.abc.Clock
) -> None:
    near, far = raw_pair()
    far.try_send(memoryview(said))
    with pytest.raises(HandshakeFailed):
        await plaintext(ALICE).secure(RawHandshake(near), role=Role.DIALER, peer=BOB.peer_id, muxers=())
    assert far.bytes_sent == len(said)


async def test_the_remote_ends_within_its_claim(autojump_clock: trio.abc.Clock) -> None:
    for end in range(0, 79, 6):
        near, far = raw_pair()
        far.try_send(memoryview(exchange(BOB.peer_id.to_bytes(), BOB.public_key.to_protobuf())[:end]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                expect_failure,
                plaintext(ALICE).secure(RawHandshake(near), role=Role.DIALER, peer=None, muxers=()),
            )
            await trio.testing.wait_all_tasks_blocked()
            await far.aclose()


def test_the_plaintext_channel_copies() -> None:
    channel = PlaintextChannel()
    out = memoryview(bytearray(10))
    channel.room(out)[:3] = b"abc"
    assert channel.seal(out, 3) == 3
    plain = memoryview(bytearray(2))
    assert channel.open_into(out[:3], plain) == (2, 2)
    assert bytes(plain) == b"ab"
    assert len(channel.room(memoryview(bytearray(100_000)))) == channel.frame_plain
