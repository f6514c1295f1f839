"""Peer ids: two kinds of multihash, and one of each for a key."""

from __future__ import annotations

import copy
import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import InvalidPeerId, RemoteProtocolError
from p2p.identity import KeyType, PeerId, PrivateKey
from p2p.wire import multibase
from p2p.wire.addresses import parse_peer_addr, split_peer

BYTES = st.one_of(
    st.binary(min_size=1, max_size=42).map(lambda key: bytes((0, len(key))) + key),
    st.binary(min_size=32, max_size=32).map(lambda digest: b"\x12\x20" + digest),
)
BASES = [multibase.BASE16, multibase.BASE32, multibase.BASE36, multibase.BASE58BTC]
KEYS = {kind: PrivateKey.generate(kind) for kind in KeyType}


@given(BYTES)
def test_round_trips(data: bytes) -> None:
    peer_id = PeerId.from_bytes(data)
    assert peer_id.to_bytes() == bytes(peer_id) == data
    assert PeerId.from_text(str(peer_id)) == peer_id
    for base in BASES:
        assert PeerId.from_text(peer_id.to_cid(base)) == peer_id
    assert peer_id.to_cid().startswith("b")
    assert pickle.loads(pickle.dumps(peer_id)) == copy.deepcopy(peer_id) == peer_id


@given(BYTES)
def test_the_id_in_a_peers_address_can_be_read(data: bytes) -> None:
    _, text = split_peer(parse_peer_addr(b"\xa5\x03" + bytes((len(data),)) + data))
    assert text is not None
    assert PeerId.from_text(text).to_bytes() == data


@given(st.binary(max_size=50))
def test_any_bytes(data: bytes) -> None:
    try:
        peer_id = PeerId.from_bytes(data)
    except RemoteProtocolError:
        return
    assert peer_id.to_bytes() == data


@given(
    st.one_of(
        st.text(max_size=20),
        st.from_regex(r"\A(1|Qm|f0172|bafz|k|z5)[0-9A-Za-z]{0,60}\Z"),
        BYTES.map(lambda data: multibase.encode_base58btc(data)[:-1]),
    )
)
def test_any_text(text: str) -> None:
    try:
        peer_id = PeerId.from_text(text)
    except InvalidPeerId:
        return
    assert text == str(peer_id) or text in [peer_id.to_cid(base) for base in [*BASES, multibase.BASE64URL]]


@pytest.mark.parametrize("kind", KeyType)
def test_of_keys(kind: KeyType) -> None:
    key = KEYS[kind].public_key
    peer_id = PeerId.from_public_key(key)
    encoded = key.to_protobuf()
    if kind in (KeyType.ED25519, KeyType.SECP256K1):
        assert peer_id.to_bytes() == bytes((0, len(encoded))) + encoded
        assert peer_id.public_key() == key
    else:
        assert peer_id.to_bytes() == b"\x12\x20" + hashlib.sha256(encoded).digest()
        assert peer_id.public_key() is None
    assert peer_id.matches(key)
    assert not peer_id.matches(PrivateKey.generate(kind).public_key)
    assert {KeyType.ED25519: "12D3KooW", KeyType.SECP256K1: "16Uiu2HA"}.get(kind, "Qm") in str(peer_id)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\x2b" + bytes(43),
        b"\0\x05" + bytes(4),
        b"\0\x05" + bytes(6),
        b"\x12\x20" + bytes(31),
        b"\x12\x20" + bytes(33),
        b"\x12\x1f" + bytes(31),
        b"\x13\x40" + bytes(64),
        b"\x92\0\x20" + bytes(32),  # a code that is not in its shortest form
        b"\x11\x14" + bytes(20),
    ],
)
def test_refused_bytes(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        PeerId.from_bytes(data)
    with pytest.raises(InvalidPeerId):
        PeerId.from_text(multibase.encode(multibase.BASE32, b"\x01\x72" + data))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "Qm",
        "Qm" + "1" * 44,
        "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5S0",
        " QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N\n",
        "bafkreifoybygix7fh3r3g5rqle3wcnhqldgdg4shzf4k3ulyw3gn7mabt4",  # a CID of something else
        "BAFZBEIE5745RPV2M6TJYUUGYWY4D5EWRQGQQHFNF445HE3OMZPJBX5XQXE",
        "nobody",
        "1" * 200,
    ],
)
def test_refused_text(text: str) -> None:
    with pytest.raises(InvalidPeerId):
        PeerId.from_text(text)
    with pytest.raises(ValueError):
        PeerId.from_text(text)


def test_an_id_that_is_nobodys() -> None:
    peer_id = PeerId.from_bytes(b"\0\x05hello")
    with pytest.raises(RemoteProtocolError):
        peer_id.public_key()
    small_order = PeerId.from_bytes(b"\0\x24\x08\x01\x12\x20\x01" + bytes(31))
    with pytest.raises(RemoteProtocolError):
        small_order.public_key()


@given(st.lists(BYTES, min_size=2, max_size=8))
def test_order_is_that_of_the_bytes(many: list[bytes]) -> None:
    ids = [PeerId.from_bytes(data) for data in many]
    assert [peer_id.to_bytes() for peer_id in sorted(ids)] == sorted(many)
    first, second = ids[:2]
    assert (first < second, first <= second, first > second, first >= second) == (
        many[0] < many[1],
        many[0] <= many[1],
        many[0] > many[1],
        many[0] >= many[1],
    )
    assert (first == second) == (many[0] == many[1])
    assert len(set(ids)) == len(set(many))


def test_it_is_a_value() -> None:
    peer_id = PeerId.from_public_key(KEYS[KeyType.ED25519].public_key)
    with pytest.raises(AttributeError):
        peer_id._bytes = b""
    assert peer_id != peer_id.to_bytes()
    assert peer_id != str(peer_id)
    assert len(repr(peer_id)) < 25
    with pytest.raises(TypeError):
        _ = peer_id < b""  # type: ignore[operator]  # what is tested
