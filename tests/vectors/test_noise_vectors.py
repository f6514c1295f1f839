"""Noise_XX_25519_ChaChaPoly_SHA256 as cacophony and snow have it: the transcript, then sealed frames.

Handshakes run on ``noiseprotocol``, set up as ours are, since the vectors' payloads are not libp2p's; what comes
after goes through :class:`NoiseChannel`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from noise.backends.default import noise_backend
from noise.noise_protocol import NoiseProtocol

from p2p.security.noise.channel import NoiseChannel
from p2p.security.noise.handshake import _NAME, _pair

DATA = json.loads((Path(__file__).parent / "noise_xx.json").read_text())
VECTORS = DATA["vectors"]


def side(vector: dict[str, Any], who: str) -> NoiseProtocol:
    protocol = NoiseProtocol(_NAME, noise_backend)
    protocol.initiator = who == "init"
    protocol.prologue = bytes.fromhex(vector[f"{who}_prologue"])
    for name, key in (("s", "static"), ("e", "ephemeral")):
        secret = bytes.fromhex(vector[f"{who}_{key}"])
        protocol.keypairs[name] = _pair(X25519PrivateKey.from_private_bytes(secret))
    protocol.initialise_handshake_state()
    return protocol


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["source"].split(",")[0] for vector in VECTORS])
def test_transcript_and_frames(vector: dict[str, Any]) -> None:
    assert vector["protocol_name"].encode() == _NAME
    initiator, responder = side(vector, "init"), side(vector, "resp")
    states = initiator.handshake_state, responder.handshake_state
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]]
    for number, (payload, ciphertext) in enumerate(messages[:3]):
        sent, received = bytearray(), bytearray()
        states[number % 2].write_message(payload, sent)
        states[1 - number % 2].read_message(bytes(sent), received)
        assert sent == ciphertext
        assert received == payload
    if "handshake_hash" in vector:
        assert initiator.handshake_hash.hex() == responder.handshake_hash.hex() == vector["handshake_hash"]

    channels = [
        NoiseChannel(protocol.cipher_state_encrypt.k, protocol.cipher_state_decrypt.k)
        for protocol in (initiator, responder)
    ]
    assert len(messages) > 4
    for number, (payload, ciphertext) in enumerate(messages[3:], 3):
        out = memoryview(bytearray(1000))
        channels[number % 2].room(out)[: len(payload)] = payload
        size = channels[number % 2].seal(out, len(payload))
        assert out[:size] == len(ciphertext).to_bytes(2, "big") + ciphertext
        plain = memoryview(bytearray(1000))
        assert channels[1 - number % 2].open_into(out[:size], plain) == (size, len(payload))
        assert plain[: len(payload)] == payload
