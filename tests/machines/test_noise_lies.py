"""The Noise handshake against peers that lie about who they are, and against keys of low order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from noise.backends.default.keypairs import KeyPair25519

from p2p.abc import Role
from p2p.errors import HandshakeFailed, LocalProtocolError, PeerIdMismatch
from p2p.wire.messages import NoisePayload, encode_noise_payload
from tests.machines.noise_peers import (
    ALICE,
    BOB,
    BOTH_ROLES,
    MALLORY,
    PREFIX,
    Stranger,
    handshake,
    honest,
    other,
    run,
    speak,
)

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
