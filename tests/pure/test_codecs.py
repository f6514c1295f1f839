"""Our codecs for values of addresses read and write what those of the library do."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

# The library ships no types.
from multiaddr.codecs import CODEC_CACHE, certhash, cid, ip4, ip6, uint16be  # type: ignore[import-untyped]
from multiaddr.protocols import protocol_with_name  # type: ignore[import-untyped]

from p2p.wire import addresses, codecs, multibase

ED = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
QM = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
PAIRS = {
    "ip4": (codecs.IP4(), ip4.Codec()),
    "ip6": (codecs.IP6(), ip6.Codec()),
    "tcp": (codecs.Port(), uint16be.Codec()),
    "p2p": (codecs.Peer(), cid.Codec()),
    "certhash": (codecs.CertHash(), certhash.Codec()),
}
PEERS = st.one_of(
    st.binary(min_size=32, max_size=32).map(lambda digest: b"\x12\x20" + digest),
    st.binary(min_size=1, max_size=42).map(lambda key: bytes((0, len(key))) + key),
)
HEXTETS = st.lists(st.sampled_from(["0", "0", "1", "ffff", "a0b", "00"]), min_size=8, max_size=8)


def test_they_are_in_place() -> None:
    assert addresses.Multiaddr
    for name, kind in [
        ("ip4", codecs.IP4),
        ("ip6", codecs.IP6),
        ("cid", codecs.Peer),
        ("certhash", codecs.CertHash),
    ]:
        assert type(CODEC_CACHE[name]) is kind


@pytest.mark.parametrize("name", PAIRS)
def test_they_say_the_same_of_their_values(name: str) -> None:
    ours, theirs = PAIRS[name]
    assert (ours.SIZE, ours.IS_PATH) == (theirs.SIZE, theirs.IS_PATH)


@given(
    st.one_of(
        st.binary(min_size=4, max_size=4).map(lambda raw: ("ip4", raw)),
        st.binary(min_size=16, max_size=16).map(lambda raw: ("ip6", raw)),
        HEXTETS.map(lambda words: ("ip6", b"".join(int(word, 16).to_bytes(2, "big") for word in words))),
        st.binary(min_size=2, max_size=2).map(lambda raw: ("tcp", raw)),
        PEERS.map(lambda raw: ("p2p", raw)),
        PEERS.map(lambda raw: ("p2p", b"\x01\x72" + raw)),
        st.binary(min_size=32, max_size=32).map(lambda raw: ("certhash", b"\x12\x20" + raw)),
        st.binary(min_size=64, max_size=64).map(lambda raw: ("certhash", b"\x13\x40" + raw)),
    )
)
@example(("ip6", bytes(16)))
@example(("ip6", bytes(15) + b"\x01"))
@example(("ip6", bytes(12) + b"\x01\x02\x03\x04"))
@example(("ip6", bytes(10) + b"\xff\xff" + bytes(4)))
@example(("ip6", bytes(13) + b"\x01\0\0"))
def test_values_are_written_as_the_library_writes_them(case: tuple[str, bytes]) -> None:
    name, raw = case
    ours, theirs = PAIRS[name]
    protocol = protocol_with_name(name)
    text = ours.to_string(protocol, raw)
    assert text == theirs.to_string(protocol, raw)
    again = ours.to_bytes(protocol, text)
    assert again == theirs.to_bytes(protocol, text)
    assert again == (raw if raw[:2] != b"\x01\x72" or name != "p2p" else raw[2:])


@given(
    st.one_of(
        st.tuples(st.just("ip4"), st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){1,4}", fullmatch=True)),
        st.tuples(st.just("ip6"), st.from_regex(r"[0-9a-fA-F:.]{2,12}", fullmatch=True)),
        st.tuples(st.just("ip6"), HEXTETS.map(":".join)),
        st.tuples(st.sampled_from(["ip4", "ip6", "tcp", "p2p", "certhash"]), st.text(max_size=20)),
        st.tuples(
            st.just("p2p"),
            st.tuples(st.sampled_from([multibase.BASE16, multibase.BASE32, multibase.BASE58BTC]), PEERS).map(
                lambda pair: multibase.encode(pair[0], b"\x01\x72" + pair[1])
            ),
        ),
        st.tuples(st.just("certhash"), st.binary(max_size=40).map(lambda raw: multibase.encode("u", raw))),
    )
)
@example(("tcp", "65536"))
@example(("tcp", "-1"))
@example(("tcp", " 1_0"))
@example(("tcp", "٣"))
@example(("ip4", "127.1"))
@example(("ip4", "01.2.3.4"))
@example(("ip6", "fe80::1%eth0"))
@example(("ip6", "::1.2.3.4"))
@example(("ip6", "::FFFF:0:1"))
@example(("p2p", ED))
@example(("p2p", QM))
@example(("p2p", QM[:-1]))
@example(("p2p", ""))
@example(("p2p", multibase.encode("f", b"\x01\x72\x11\x02ab")))
@example(("certhash", "u"))
@example(("certhash", multibase.encode("u", b"\0\0")))
def test_what_they_read_the_library_reads_alike(case: tuple[str, str]) -> None:
    name, text = case
    ours, theirs = PAIRS[name]
    protocol = protocol_with_name(name)
    try:
        value = ours.to_bytes(protocol, text)
    except ValueError:
        return
    assert ours.to_bytes(protocol, ours.to_string(protocol, value)) in (value, value[2:])
    try:
        assert value == theirs.to_bytes(protocol, text)
    except ValueError:
        assert name == "certhash"  # of a code, or with a digest, that the library has no name for


@given(
    st.one_of(
        st.tuples(st.just("ip4"), st.ip_addresses(v=4).map(str)),
        st.tuples(st.just("ip6"), st.ip_addresses(v=6).map(str)),
        st.tuples(st.just("p2p"), PEERS.map(multibase.encode_base58btc)),
    )
)
def test_what_is_written_by_others_is_read(case: tuple[str, str]) -> None:
    name, text = case
    ours, theirs = PAIRS[name]
    protocol = protocol_with_name(name)
    assert ours.to_bytes(protocol, text) == theirs.to_bytes(protocol, text)


@given(st.sampled_from(sorted(PAIRS)), st.binary(max_size=50))
def test_any_bytes_are_written_or_refused(name: str, raw: bytes) -> None:
    ours, _ = PAIRS[name]
    try:
        text = ours.to_string(protocol_with_name(name), raw)
    except ValueError:
        return
    assert ours.to_bytes(protocol_with_name(name), text) in (raw, raw[2:])


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("ip4", bytes(3)),
        ("ip6", bytes(15)),
        ("tcp", bytes(1)),
        ("p2p", b""),
        ("p2p", b"\x01\x70\x12\x20" + bytes(32)),  # a CID of something else
        ("certhash", b""),
        ("certhash", b"\x12\x20" + bytes(31)),
    ],
)
def test_refused(name: str, raw: bytes) -> None:
    with pytest.raises(ValueError):
        PAIRS[name][0].to_string(protocol_with_name(name), raw)
