"""Keys, peer ids and peer records that other implementations made; sources stand in ``identity.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from p2p.identity import KeyType, PeerId, PeerRecord, PrivateKey, PublicKey, SignedEnvelope, open_peer_record
from p2p.identity.peer_record import DOMAIN, PAYLOAD_TYPE
from p2p.wire import multibase

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("identity.json").read_text())
PAIRS = [(name, pair) for group in ("pairs", "signed") for name, pair in VECTORS[group]["vectors"].items()]


def test_all_four_kinds_are_covered() -> None:
    assert {name for name, _ in PAIRS} == {kind.name for kind in KeyType}
    assert len(VECTORS["pairs"]["vectors"]) == 4


@pytest.mark.parametrize(("name", "pair"), PAIRS)
def test_public_key_comes_out_of_the_private_one(name: str, pair: dict[str, str]) -> None:
    private = PrivateKey.from_protobuf(bytes.fromhex(pair["private"]))
    public = PublicKey.from_protobuf(bytes.fromhex(pair["public"]))
    assert private.type is public.type is KeyType[name]
    assert private.public_key == public
    assert private.to_protobuf().hex() == pair["private"]
    assert public.to_protobuf().hex() == pair["public"]
    assert public.verify(b"message", private.sign(b"message"))
    assert not public.verify(b"massage", private.sign(b"message"))


@pytest.mark.parametrize(("name", "pair"), VECTORS["signed"]["vectors"].items())
def test_signatures_made_by_go(name: str, pair: dict[str, str]) -> None:
    message = VECTORS["signed"]["message"].encode()
    public = PublicKey.from_protobuf(bytes.fromhex(pair["public"]))
    signature = bytes.fromhex(pair["signature"])
    assert public.verify(message, signature)
    assert not public.verify(message + b"!", signature)


@pytest.mark.parametrize("texts", VECTORS["texts"]["vectors"])
def test_peer_id_texts(texts: dict[str, str]) -> None:
    peer_id = PeerId.from_text(texts["base58"])
    assert str(peer_id) == texts["base58"]
    for name, base in (("base32", multibase.BASE32), ("base36", multibase.BASE36)):
        if name in texts:
            assert peer_id.to_cid(base) == texts[name]
            assert PeerId.from_text(texts[name]) == peer_id


def test_an_old_ed25519_private_key_of_96_bytes() -> None:
    pair = VECTORS["pairs"]["vectors"]["ED25519"]
    key = PrivateKey.from_protobuf(bytes.fromhex(pair["private"]))
    data = bytes.fromhex(pair["private"])[4:]
    old = PrivateKey(KeyType.ED25519, data + data[32:])
    assert old == key
    assert old.to_protobuf().hex() == pair["private"]


def test_peer_record_made_by_go() -> None:
    envelope = bytes.fromhex(VECTORS["peer_record"]["envelope"])
    key = PrivateKey.from_protobuf(bytes.fromhex(VECTORS["peer_record"]["private"]))
    record = open_peer_record(envelope)
    assert record.peer_id == PeerId.from_public_key(key.public_key)
    assert [str(addr) for addr in record.addresses] == [f"/ip4/1.2.3.4/tcp/{port}" for port in range(10)]
    # Ed25519 is deterministic, and so is the encoding: ours is the same to the byte.
    assert record.seal(key) == envelope
    assert isinstance(record, PeerRecord)
    opened = SignedEnvelope.open(envelope, domain=DOMAIN, payload_type=PAYLOAD_TYPE)
    assert opened.to_bytes() == envelope
