"""The Noise handshake: pairs under any chunking, peers that lie about who they are, keys of low order, fuzz."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from noise.backends.default.keypairs import KeyPair25519
from noise.connection import NoiseConnection

from p2p.abc import ProtocolId, Role
from p2p.errors import HandshakeFailed, LocalProtocolError, PeerIdMismatch
from p2p.identity import Identity
from p2p.limits import NoiseLimits
from p2p.security.noise.handshake import Handshake, StaticKey
from p2p.security.noise.security import Noise
from p2p.wire.messages import NoisePayload, encode_noise_payload

ALICE, BOB, MALLORY = (Identity.generate() for _ in range(3))
YAMUX, MPLEX = ProtocolId("/yamux/1.0.0"), ProtocolId("/mplex/6.7.0")
PREFIX = b"noise-libp2p-static-key:"
BOTH_ROLES = pytest.mark.parametrize("role", [Role.DIALER, Role.RESPONDER])


def static(identity: Identity) -> StaticKey:
    return StaticKey(identity, X25519PrivateKey.generate())


STATICS = {identity: static(identity) for identity in (ALICE, BOB, MALLORY)}


def handshake(
    identity: Identity,
    role: Role,
    *,
    peer: Identity | None = None,
    muxers: tuple[ProtocolId, ...] = (),
    prologue: bytes = b"",
) -> Handshake:
    return Handshake(
        STATICS[identity],
        X25519PrivateKey.generate(),
        role,
        expected_peer=peer.peer_id if peer else None,
        muxers=muxers,
        prologue=prologue,
    )


def run(dialer: Handshake, responder: Handshake) -> None:
    sides = [dialer, responder]
    for number in range(3):
        data = sides[number % 2].data_to_send()
        assert sides[1 - number % 2].receive_data(data) == len(data)


class Stranger:
    """A peer made straight of ``noiseprotocol``, that says whatever it is told to."""

    def __init__(self, role: Role, *, static: X25519PrivateKey | None = None, prologue: bytes = b"") -> None:
        self.static = static or X25519PrivateKey.generate()
        self.public = self.static.public_key().public_bytes_raw()
        self.noise = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
        if role is Role.DIALER:
            self.noise.set_as_initiator()
        else:
            self.noise.set_as_responder()
        self.noise.set_prologue(prologue)
        public_key = self.static.public_key()
        self.noise.noise_protocol.keypairs["s"] = KeyPair25519(self.static, public_key, self.public)
        self.noise.start_handshake()
        self.state = self.noise.noise_protocol.handshake_state
        self.payload: bytes | None = None

    def write(self, payload: bytes = b"") -> bytes:
        message = self.noise.write_message(payload)
        return len(message).to_bytes(2, "big") + bytes(message)

    def read(self, framed: bytes) -> bytes:
        assert int.from_bytes(framed[:2], "big") == len(framed) - 2
        return bytes(self.noise.read_message(framed[2:]))


def speak(ours: Handshake, stranger: Stranger, payload: bytes) -> None:
    """Give ``ours`` the message of ``stranger`` that carries ``payload``."""
    if ours._role is Role.DIALER:
        stranger.read(ours.data_to_send())
        ours.receive_data(stranger.write(payload))
    else:
        ours.receive_data(stranger.write())
        stranger.read(ours.data_to_send())
        ours.receive_data(stranger.write(payload))


def other(role: Role) -> Role:
    return Role.RESPONDER if role is Role.DIALER else Role.DIALER


def honest(identity: Identity, public: bytes, muxers: tuple[str, ...] = ()) -> bytes:
    signature = identity.sign(PREFIX + public)
    return encode_noise_payload(NoisePayload(identity.public_key.to_protobuf(), signature, muxers))


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


# --- lies ---------------------------------------------------------------------------------------------


@BOTH_ROLES
def test_another_peer_than_the_expected_one(role: Role) -> None:
    ours, stranger = handshake(ALICE, role, peer=BOB), Stranger(other(role))
    with pytest.raises(PeerIdMismatch) as caught:
        speak(ours, stranger, honest(MALLORY, stranger.public))
    assert (caught.value.expected, caught.value.got) == (BOB.peer_id, MALLORY.peer_id)
    assert ours.established is None
    assert ours.data_to_send() == b"", "the dialer told the wrong peer who it is"
    with pytest.raises(LocalProtocolError):
        ours.receive_data(b"x")


@BOTH_ROLES
def test_every_byte_of_the_signature_counts(role: Role) -> None:
    for position in range(64):
        ours, stranger = handshake(ALICE, role), Stranger(other(role))
        signature = bytearray(BOB.sign(PREFIX + stranger.public))
        signature[position] ^= 1
        payload = NoisePayload(BOB.public_key.to_protobuf(), bytes(signature))
        with pytest.raises(HandshakeFailed):
            speak(ours, stranger, encode_noise_payload(payload))
        assert ours.established is None and ours.data_to_send() == b""


LIES: dict[str, Callable[[bytes], bytes]] = {
    "all-zero signature": lambda public: payload_of(bytes(64)),
    "short signature": lambda public: payload_of(BOB.sign(PREFIX + public)[:63]),
    "long signature": lambda public: payload_of(BOB.sign(PREFIX + public) + b"\0"),
    "over another static key": lambda public: payload_of(BOB.sign(PREFIX + bytes(32))),
    "with the prefix of TLS": lambda public: payload_of(BOB.sign(b"libp2p-tls-handshake:" + public)),
    "without a prefix": lambda public: payload_of(BOB.sign(public)),
    "by another identity": lambda public: payload_of(MALLORY.sign(PREFIX + public)),
    "no signature": lambda public: b"\x0a\x24" + BOB.public_key.to_protobuf(),
    "no key": lambda public: b"\x12\x40" + BOB.sign(PREFIX + public),
    "nothing": lambda public: b"",
    "no protobuf": lambda public: b"\xff" * 40,
    "something behind it": lambda public: honest(BOB, public) + b"\x00",
    "the key twice": lambda public: honest(BOB, public) + b"\x0a\x24" + MALLORY.public_key.to_protobuf(),
    "the signature twice": lambda public: honest(BOB, public) + b"\x12\x40" + bytes(64),
    "a key of type 99": lambda public: encode_noise_payload(
        NoisePayload(b"\x08\x63\x12\x20" + bytes(32), BOB.sign(PREFIX + public))
    ),
    # OpenSSL lets this signature pass under this key for any message.
    "a key of small order": lambda public: encode_noise_payload(
        NoisePayload(b"\x08\x01\x12\x20\x01" + bytes(31), b"\x01" + bytes(63))
    ),
    "a key of 2 KiB and more": lambda public: encode_noise_payload(
        NoisePayload(b"\x08\x00\x12\x81\x10" + bytes(2049), BOB.sign(PREFIX + public))
    ),
    "a DER length beyond its bytes": lambda public: encode_noise_payload(
        NoisePayload(b"\x08\x00\x12\x08\x30\x84\xff\xff\xff\xff\x00\x00", BOB.sign(PREFIX + public))
    ),
    "a muxer that is no text": lambda public: honest(BOB, public) + b"\x22\x03\x12\x01\xff",
    "a name of 257 bytes": lambda public: honest(BOB, public, ("/" + "m" * 256,)),
}


def payload_of(signature: bytes) -> bytes:
    return encode_noise_payload(NoisePayload(BOB.public_key.to_protobuf(), signature))


@BOTH_ROLES
@pytest.mark.parametrize("lie", LIES)
def test_lies(lie: str, role: Role) -> None:
    ours, stranger = handshake(ALICE, role), Stranger(other(role))
    with pytest.raises(HandshakeFailed):
        speak(ours, stranger, LIES[lie](stranger.public))
    assert ours.established is None and ours.data_to_send() == b""


@BOTH_ROLES
def test_a_field_of_a_later_spec_is_skipped(role: Role) -> None:
    ours, stranger = handshake(ALICE, role), Stranger(other(role))
    speak(ours, stranger, honest(BOB, stranger.public) + b"\xfa\x07\x03abc")
    assert ours.established is not None


def test_a_man_in_the_middle_cannot_pass_on_what_was_signed_for_another_key() -> None:
    """Mallory speaks Noise to both with a key of his own and passes the payloads on."""
    dialer, responder = handshake(ALICE, Role.DIALER, peer=BOB), handshake(BOB, Role.RESPONDER)
    to_dialer, to_responder = Stranger(Role.RESPONDER), Stranger(Role.DIALER)
    to_dialer.read(dialer.data_to_send())
    responder.receive_data(to_responder.write())
    said_by_bob = to_responder.read(responder.data_to_send())
    with pytest.raises(HandshakeFailed):
        dialer.receive_data(to_dialer.write(said_by_bob))
    # What Alice said to Mallory in another handshake does not open Bob's door either.
    talkative, stranger = handshake(ALICE, Role.DIALER), Stranger(Role.RESPONDER)
    speak(talkative, stranger, honest(MALLORY, stranger.public))
    said_by_alice = stranger.read(talkative.data_to_send())
    with pytest.raises(HandshakeFailed):
        responder.receive_data(to_responder.write(said_by_alice))


def test_prologues_must_agree() -> None:
    dialer = handshake(ALICE, Role.DIALER, prologue=b"libp2p-webrtc-noise:1")
    responder = handshake(BOB, Role.RESPONDER, prologue=b"libp2p-webrtc-noise:2")
    responder.receive_data(dialer.data_to_send())
    with pytest.raises(HandshakeFailed):
        dialer.receive_data(responder.data_to_send())
    run(
        handshake(ALICE, Role.DIALER, prologue=b"same"),
        handshake(BOB, Role.RESPONDER, prologue=b"same"),
    )


# --- keys of low order --------------------------------------------------------------------------------

P = 2**255 - 19
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (P - 1).to_bytes(32, "little"),
    P.to_bytes(32, "little"),
    (P + 1).to_bytes(32, "little"),
]
low_order = pytest.mark.parametrize("point", LOW_ORDER, ids=[point.hex()[:8] for point in LOW_ORDER])


def of_low_order(point: bytes) -> KeyPair25519:
    """A pair that shows ``point`` and computes with a key of its own."""
    return KeyPair25519(X25519PrivateKey.generate(), X25519PublicKey.from_public_bytes(point), point)


@low_order
def test_an_ephemeral_key_of_low_order_from_a_dialer(point: bytes) -> None:
    responder = handshake(BOB, Role.RESPONDER)
    with pytest.raises(HandshakeFailed) as caught:
        responder.receive_data(b"\x00\x20" + point)
    assert isinstance(caught.value.__cause__, ValueError)
    assert responder.data_to_send() == b""


@low_order
def test_an_ephemeral_key_of_low_order_from_a_responder(point: bytes) -> None:
    dialer, stranger = handshake(ALICE, Role.DIALER), Stranger(Role.RESPONDER)
    stranger.state.e = of_low_order(point)
    with pytest.raises(HandshakeFailed) as caught:
        speak(dialer, stranger, honest(BOB, stranger.public))
    assert isinstance(caught.value.__cause__, ValueError)


@BOTH_ROLES
@low_order
def test_a_static_key_of_low_order(point: bytes, role: Role) -> None:
    ours, stranger = handshake(ALICE, role), Stranger(other(role))
    stranger.state.s = of_low_order(point)
    with pytest.raises(HandshakeFailed) as caught:
        speak(ours, stranger, honest(BOB, point))
    assert isinstance(caught.value.__cause__, ValueError)
    assert not isinstance(caught.value.__cause__, InvalidTag)


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
                    data = bytearray(sides[number % 2].data_to_send())
                    if number == changed:
                        data[position] ^= 0x40
                    sides[1 - number % 2].receive_data(data)
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
    publics = {noise._static._pair.public_bytes for noise in (one, two)}
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


TwoSides.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestTwoSides = TwoSides.TestCase
