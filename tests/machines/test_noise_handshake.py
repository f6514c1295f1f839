"""The Noise handshake: pairs under any chunking, early muxers, lengths, fuzz, secrets."""

from __future__ import annotations

import contextlib
import copy
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from p2p.abc import ProtocolId, Role
from p2p.errors import HandshakeFailed, LocalProtocolError
from p2p.identity import Identity
from p2p.limits import NoiseLimits
from p2p.security.noise.handshake import Handshake
from p2p.security.noise.security import Noise
from tests.machines.noise_peers import (
    ALICE,
    BOB,
    BOTH_ROLES,
    MPLEX,
    STATICS,
    YAMUX,
    Stranger,
    handshake,
    honest,
    other,
    run,
    speak,
    static,
)

# --- the good case ------------------------------------------------------------------------------------


def test_both_sides_learn_who_is_there_and_share_a_channel() -> None:
    dialer, responder = handshake(ALICE, Role.DIALER, peer=BOB), handshake(BOB, Role.RESPONDER)
    run(dialer, responder)
    ours, theirs = dialer.established, responder.established
    assert ours is not None and theirs is not None
    assert (ours.remote_peer, ours.remote_key) == (BOB.peer_id, BOB.public_key)
    assert (theirs.remote_peer, theirs.remote_key) == (ALICE.peer_id, ALICE.public_key)
    assert ours.early_muxer is theirs.early_muxer is None
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        out, plain = memoryview(bytearray(100)), memoryview(bytearray(100))
        sender.channel.room(out)[:5] = b"hello"
        size = sender.channel.seal(out, 5)
        assert receiver.channel.open_into(out[:size], plain) == (size, 5)
        assert bytes(plain[:5]) == b"hello"
    assert dialer.wanted == responder.wanted == 0
    assert dialer.receive_data(b"sealed") == responder.receive_data(b"sealed") == 0
    assert dialer.data_to_send() == responder.data_to_send() == b""


def test_messages_are_as_long_as_the_spec_makes_them() -> None:
    dialer, responder = handshake(ALICE, Role.DIALER), handshake(BOB, Role.RESPONDER)
    payload = 2 + 36 + 2 + 64
    first = dialer.data_to_send()
    assert len(first) == 2 + 32
    responder.receive_data(first)
    second = responder.data_to_send()
    assert len(second) == 2 + 32 + 48 + payload + 16
    dialer.receive_data(second)
    assert len(dialer.data_to_send()) == 2 + 48 + payload + 16


@BOTH_ROLES
def test_a_peer_made_of_other_code_is_understood(role: Role) -> None:
    ours, stranger = handshake(ALICE, role, peer=BOB), Stranger(other(role))
    speak(ours, stranger, honest(BOB, stranger.public))
    assert ours.established is not None and ours.established.remote_peer == BOB.peer_id
    if role is Role.DIALER:
        stranger.read(ours.data_to_send())
    out = memoryview(bytearray(100))
    ours.established.channel.room(out)[:2] = b"hi"
    size = ours.established.channel.seal(out, 2)
    assert stranger.noise.decrypt(bytes(out[2:size])) == b"hi"


@pytest.mark.parametrize("kind", ["ed25519", "secp256k1", "ecdsa", "rsa"])
def test_every_kind_of_identity(kind: str) -> None:
    identity = Identity.generate(kind)
    dialer = Handshake(static(identity), X25519PrivateKey.generate(), Role.DIALER, expected_peer=BOB.peer_id)
    responder = handshake(BOB, Role.RESPONDER)
    run(dialer, responder)
    assert responder.established is not None
    assert responder.established.remote_peer == identity.peer_id


# --- early muxers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialer_has", "responder_has", "agreed"),
    [
        ((YAMUX, MPLEX), (MPLEX, YAMUX), YAMUX),  # the dialer's order decides
        ((MPLEX, YAMUX), (YAMUX, MPLEX), MPLEX),
        ((YAMUX,), (MPLEX, YAMUX), YAMUX),
        ((YAMUX,), (MPLEX,), None),
        ((), (YAMUX,), None),
        ((YAMUX,), (), None),
    ],
)
def test_early_muxers(
    dialer_has: tuple[ProtocolId, ...], responder_has: tuple[ProtocolId, ...], agreed: ProtocolId | None
) -> None:
    dialer = handshake(ALICE, Role.DIALER, muxers=dialer_has)
    responder = handshake(BOB, Role.RESPONDER, muxers=responder_has)
    run(dialer, responder)
    assert dialer.established is not None and responder.established is not None
    assert dialer.established.early_muxer == responder.established.early_muxer == agreed


@BOTH_ROLES
@pytest.mark.parametrize(("count", "fine"), [(100, True), (101, False)])
def test_the_muxers_of_a_peer_are_bounded(role: Role, count: int, fine: bool) -> None:
    ours, stranger = handshake(ALICE, role, muxers=(YAMUX,)), Stranger(other(role))
    muxers = (*(f"/m/{i}" for i in range(count - 1)), YAMUX)
    if fine:
        speak(ours, stranger, honest(BOB, stranger.public, muxers))
        assert ours.established is not None and ours.established.early_muxer == YAMUX
    else:
        with pytest.raises(HandshakeFailed):
            speak(ours, stranger, honest(BOB, stranger.public, muxers))


def test_our_own_muxers_are_bounded() -> None:
    for muxers in ([ProtocolId("/m")] * 101, [ProtocolId("/" + "m" * 256)]):
        with pytest.raises(LocalProtocolError):
            handshake(ALICE, Role.DIALER, muxers=tuple(muxers))


# --- lengths and noise of another kind ----------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 16, 31, 33, 48, 1000, 65535])
def test_the_first_message_is_a_key_and_nothing_else(size: int) -> None:
    responder = handshake(BOB, Role.RESPONDER)
    with pytest.raises(HandshakeFailed):
        responder.receive_data(size.to_bytes(2, "big"))


@pytest.mark.parametrize("size", [0, 32, 95, 8193, 65535])
def test_bounds_of_the_second_message(size: int) -> None:
    dialer = handshake(ALICE, Role.DIALER)
    with pytest.raises(HandshakeFailed):
        dialer.receive_data(size.to_bytes(2, "big"))


@pytest.mark.parametrize("size", [0, 63, 8193, 65535])
def test_bounds_of_the_third_message(size: int) -> None:
    dialer, responder = handshake(ALICE, Role.DIALER), handshake(BOB, Role.RESPONDER)
    responder.receive_data(dialer.data_to_send())
    with pytest.raises(HandshakeFailed):
        responder.receive_data(size.to_bytes(2, "big"))


@pytest.mark.parametrize("size", [96, 97, 1000, 8192])
def test_lengths_within_the_bounds_wait_for_their_bytes(size: int) -> None:
    dialer = handshake(ALICE, Role.DIALER)
    dialer.receive_data(size.to_bytes(2, "big"))
    assert dialer.wanted == size
    assert dialer.receive_data(bytes(size - 1)) == size - 1
    assert dialer.wanted == 1
    with pytest.raises(HandshakeFailed):
        dialer.receive_data(b"\0")


def test_the_bound_is_the_limit() -> None:
    dialer = Handshake(
        STATICS[ALICE],
        X25519PrivateKey.generate(),
        Role.DIALER,
        limits=NoiseLimits(max_handshake_message=200),
    )
    with pytest.raises(HandshakeFailed):
        dialer.receive_data((201).to_bytes(2, "big"))


def test_the_longest_payload_a_peer_may_send() -> None:
    """An RSA key of the greatest size, and as many muxers as fit."""
    dialer, stranger = handshake(ALICE, Role.DIALER), Stranger(Role.RESPONDER)
    muxers = tuple(f"/{i:0>54}" for i in range(100))
    message_size = len(honest(BOB, stranger.public, muxers)) + 96
    assert 5_000 < message_size <= NoiseLimits().max_handshake_message
    speak(dialer, stranger, honest(BOB, stranger.public, muxers))
    assert dialer.established is not None


def test_every_byte_of_every_message_counts() -> None:
    probe = [handshake(ALICE, Role.DIALER), handshake(BOB, Role.RESPONDER)]
    lengths = []
    for number in range(3):
        data = probe[number % 2].data_to_send()
        lengths.append(len(data))
        probe[1 - number % 2].receive_data(data)
    for changed, length in enumerate(lengths):
        for position in range(length):
            sides = [handshake(ALICE, Role.DIALER), handshake(BOB, Role.RESPONDER)]
            # Refused, or waiting for bytes that never come: the remote ends, or time does.
            with contextlib.suppress(HandshakeFailed):
                for number in range(3):
                    message = bytearray(sides[number % 2].data_to_send())
                    if number == changed:
                        message[position] ^= 0x40
                    sides[1 - number % 2].receive_data(message)
            assert sides[1].established is None
            assert changed == 2 or sides[0].established is None


@settings(deadline=None)
@given(role=st.sampled_from(Role), data=st.binary(max_size=400), greeted=st.booleans())
def test_any_bytes_are_refused_or_awaited(role: Role, data: bytes, greeted: bool) -> None:
    ours = handshake(ALICE, role)
    if greeted and role is Role.RESPONDER:
        ours.receive_data(handshake(BOB, Role.DIALER).data_to_send())
    with contextlib.suppress(HandshakeFailed):
        ours.receive_data(data)
    assert ours.established is None


@settings(deadline=None)
@given(role=st.sampled_from(Role), payload=st.binary(max_size=300), behind=st.booleans())
def test_any_payload_is_refused_or_skipped(role: Role, payload: bytes, behind: bool) -> None:
    ours, stranger = handshake(ALICE, role), Stranger(other(role))
    said = honest(BOB, stranger.public) + payload if behind else payload
    try:
        speak(ours, stranger, said)
    except HandshakeFailed:
        assert ours.established is None


# --- secrets ------------------------------------------------------------------------------------------


def test_static_keys_are_fresh_unseen_and_not_copied() -> None:
    one, two = Noise(ALICE), Noise(ALICE)
    publics = {noise._static._pair.public for noise in (one, two)}
    assert len(publics) == 2
    secret = one._static._pair.private.private_bytes_raw()
    for shown in (repr(one), repr(one._static), str(vars(one))):
        assert secret.hex() not in shown and repr(secret) not in shown
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(one._static)


def test_ephemeral_keys_are_fresh() -> None:
    assert handshake(ALICE, Role.DIALER).data_to_send() != handshake(ALICE, Role.DIALER).data_to_send()


# --- any order of delivery ----------------------------------------------------------------------------


class TwoSides(RuleBasedStateMachine):
    """A handshake and the channel after it, cut anywhere: a side's first frames may come with its last message."""

    @initialize(early=st.booleans())
    def begin(self, early: bool) -> None:
        muxers = (YAMUX,) if early else ()
        self.sides = [
            handshake(ALICE, Role.DIALER, peer=BOB, muxers=muxers),
            handshake(BOB, Role.RESPONDER, muxers=muxers),
        ]
        self.wires = [bytearray(), bytearray()]  # what side 0 and side 1 sent
        self.sealed = [bytearray(), bytearray()]  # received by side 0 and 1 behind the handshake
        self.said = [bytearray(), bytearray()]
        self.heard = [bytearray(), bytearray()]

    @rule(side=st.integers(0, 1))
    def send(self, side: int) -> None:
        self.wires[side] += self.sides[side].data_to_send()

    @rule(side=st.integers(0, 1), size=st.integers(1, 300))
    def deliver(self, side: int, size: int) -> None:
        receiver = 1 - side
        data = bytes(self.wires[side][:size])
        taken = self.sides[receiver].receive_data(data)
        assert taken == len(data) or self.sides[receiver].established
        self.sealed[receiver] += data[taken:]
        del self.wires[side][:size]

    @precondition(lambda self: any(side.established for side in self.sides))
    @rule(side=st.integers(0, 1), data=st.binary(max_size=50))
    def say(self, side: int, data: bytes) -> None:
        established = self.sides[side].established
        if established is None:
            return
        self.send(side)
        out = memoryview(bytearray(100))
        established.channel.room(out)[: len(data)] = data
        size = established.channel.seal(out, len(data))
        self.wires[side] += out[:size]
        self.said[side] += data

    @rule(side=st.integers(0, 1))
    def hear(self, side: int) -> None:
        established = self.sides[side].established
        if established is None:
            assert not self.sealed[side]
            return
        plain = memoryview(bytearray(10_000))
        cipher = bytes(self.sealed[side])
        consumed, produced = established.channel.open_into(memoryview(cipher), plain)
        del self.sealed[side][:consumed]
        self.heard[side] += plain[:produced]

    @invariant()
    def nothing_is_lost_or_made_up(self) -> None:
        for side in (0, 1):
            assert self.said[1 - side].startswith(self.heard[side])

    def teardown(self) -> None:
        for _ in range(3):
            for side in (0, 1):
                self.send(side)
                self.deliver(side, 10_000)
        for side in (0, 1):
            self.hear(side)
            assert self.heard[side] == self.said[1 - side]
        early = {side.established.early_muxer if side.established else "none" for side in self.sides}
        assert len(early) == 1 and "none" not in early


TestTwoSides = TwoSides.TestCase
