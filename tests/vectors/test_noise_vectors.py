"""Noise_XX_25519_ChaChaPoly_SHA256 as cacophony and snow have it: the transcript, then sealed frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2p.abc import Role
from p2p.security.noise.channel import NoiseChannel
from p2p.security.noise.xx import NAME, XX, KeyPair

DATA = json.loads((Path(__file__).parent / "noise_xx.json").read_text())
VECTORS = DATA["vectors"]


def side(vector: dict[str, Any], who: str) -> XX:
    static, ephemeral = (
        KeyPair.of(X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[f"{who}_{key}"])))
        for key in ("static", "ephemeral")
    )
    role = Role.DIALER if who == "init" else Role.RESPONDER
    return XX(role, static, ephemeral, bytes.fromhex(vector[f"{who}_prologue"]))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["source"].split(",")[0] for vector in VECTORS])
def test_transcript_and_frames(vector: dict[str, Any]) -> None:
    assert vector["protocol_name"].encode() == NAME
    sides = initiator, responder = side(vector, "init"), side(vector, "resp")
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in vector["messages"]]
    for number, (payload, ciphertext) in enumerate(messages[:3]):
        sent = sides[number % 2].write_message(payload)
        assert sent == ciphertext
        assert sides[1 - number % 2].read_message(sent) == payload
    if "handshake_hash" in vector:
        assert initiator.hash.hex() == responder.hash.hex() == vector["handshake_hash"]

    channels = [NoiseChannel(*xx.split()) for xx in sides]
    assert len(messages) > 4
    for number, (payload, ciphertext) in enumerate(messages[3:], 3):
        out = memoryview(bytearray(1000))
        channels[number % 2].room(out)[: len(payload)] = payload
        size = channels[number % 2].seal(out, len(payload))
        assert out[:size] == len(ciphertext).to_bytes(2, "big") + ciphertext
        plain = memoryview(bytearray(1000))
        assert channels[1 - number % 2].open_into(out[:size], plain) == (size, len(payload))
        assert plain[: len(payload)] == payload
