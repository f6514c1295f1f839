"""Peers to shake hands with: honest ones, and strangers that say whatever they are told to."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.backends.default.keypairs import KeyPair25519
from noise.connection import NoiseConnection

from p2p.abc import ProtocolId, Role
from p2p.identity import Identity
from p2p.security.noise.handshake import Handshake, StaticKey
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
