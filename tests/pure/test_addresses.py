"""Addresses: from peers only canonical bytes, from users whatever can be read, and both without surprises."""

from __future__ import annotations

import ipaddress
import logging
import subprocess
import sys
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2p.errors import InvalidAddress, RemoteProtocolError
from p2p.limits import WIRE_LIMITS
from p2p.wire import varint
from p2p.wire.addresses import (
    Multiaddr,
    Part,
    _parse_kept,
    _parse_user_kept,
    _parts_kept,
    _protocols_kept,
    _split_kept,
    ip_port_addr,
    leading_ip,
    parse_peer_addr,
    parse_user_addr,
    parts,
    protocols,
    split_peer,
    with_peer,
)

ED = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"
QM = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"
QM_CID = "bafzbeie5745rpv2m6tjyuugywy4d5ewrqgqqhfnf445he3omzpjbx5xqxe"
CERTHASH = "uEiAkH5a4DPGKUuOBjYw0CgwjvcJCJMD2K_1aluKR_tpevQ"
TEXTS = [
    "/ip4/127.0.0.1/tcp/4001",
    "/ip6/2001:db8::1/udp/4001/quic-v1",
    "/ip6/::ffff:1.2.3.4/tcp/1",
    "/ip6zone/eth0/ip6/fe80::1/tcp/1",
    "/dns4/example.com/tcp/443/tls/ws",
    "/dns/bücher.example/tcp/443/wss",
    "/dnsaddr/bootstrap.libp2p.io",
    f"/dnsaddr/bootstrap.libp2p.io/p2p/{QM}",
    "/dns6/example.com/tcp/443/tls/sni/example.com/ws",
    f"/ip4/1.2.3.4/udp/1/quic-v1/webtransport/certhash/{CERTHASH}/certhash/{CERTHASH}/p2p/{ED}",
    f"/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/{CERTHASH}",
    f"/ip4/1.2.3.4/tcp/1/p2p/{QM}/p2p-circuit/p2p/{ED}",
    f"/p2p/{ED}/p2p-circuit",
    "/memory/5",
    "/ip4/1.2.3.4/tcp/80/http/http-path/a%2Fb",
    "/unix/tmp/socket",
    "/unix/tmp/p2p/socket",
    f"/unix/tmp/socket/p2p/{ED}",
    f"/p2p/{ED}",
]


@pytest.mark.parametrize("text", TEXTS)
def test_round_trip(text: str) -> None:
    addr = parse_user_addr(text)
    assert str(addr) == text
    again = parse_peer_addr(addr.to_bytes())
    assert again == addr
    assert str(again) == text
    assert parse_user_addr(addr) == addr


BYTES = [parse_user_addr(text).to_bytes() for text in TEXTS]


@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(st.sampled_from(BYTES), max_size=3).map(b"".join),
        st.tuples(st.sampled_from(BYTES), st.integers(0, 60), st.binary(max_size=3)).map(
            lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] + len(cut[2]) :]
        ),
        st.tuples(
            st.sampled_from([0x35, 0x36, 0x1A5, 0x1D2, 0x190, 0x1E1, 0x2A, 0x1BE, 0x1C1]),
            st.binary(max_size=60),
        ).map(lambda part: varint.encode(part[0]) + varint.encode(len(part[1])) + part[1]),
    )
)
@example(b"\x04\x7f")
@example(b"\x90\x03\x01/\x35\x01a")  # a path takes all text behind it, names of hosts too
@example(b"\x90\x03\n" + bytes(10) + b"5\x130--0------------00.")
def test_any_bytes_are_canonical_or_refused(raw: bytes) -> None:
    try:
        addr = parse_peer_addr(raw)
    except RemoteProtocolError:
        return
    assert parse_user_addr(str(addr)).to_bytes() == raw == addr.to_bytes()
    if "unix" not in addr:
        assert Multiaddr(str(addr)).to_bytes() == raw
    assert parts(addr)
    rest, peer = split_peer(addr)
    if peer is None:
        assert rest == addr
    elif split_peer(rest)[1] is None:
        assert with_peer(rest, peer) == addr


def part(code: int, value: bytes) -> bytes:
    return varint.encode(code) + varint.encode(len(value)) + value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        bytes.fromhex("047f"),  # truncated: the library reads 0.0.0.127
        bytes.fromhex("047f000001060f"),
        bytes.fromhex("04"),
        bytes.fromhex("8400") + bytes(4),  # a code that is not in its shortest form
        bytes.fromhex("ffff7f"),  # an unknown protocol
        b"\xff" * 30,
        part(0x36, b""),
        part(0x36, b"a/tcp"),
        part(0x36, b"\xff"),
        varint.encode(0x36) + b"\x05abc",
        part(0x1A5, b""),
        part(0x1A5, b"\0\0"),
        part(0x1A5, b"\0\x2b" + bytes(43)),  # more than 42 bytes inline
        part(0x1A5, b"\x12\x20" + bytes(31)),
        part(0x1A5, b"\x12\x05" + bytes(5)),
        part(0x1A5, b"\x01\x72\x12\x20" + bytes(32)),  # a CID
        part(0x1A5, b"\x12\x20" + bytes(32))[:-1],
        varint.encode(0x1A5) + b"\xa2\0\x12\x20" + bytes(32),  # a length of two bytes
        varint.encode(0x1A5) + b"\x28\x12\x20" + bytes(32),  # a length beyond the end
        part(0x1D2, b"\x13\x40" + bytes(64)),
        part(0x1D2, b"\x12\x20" + bytes(31)),
        part(0x190, b"tmp/x") + part(0x1A5, b"\0\x05hello") * 2,
        part(0x190, b"tmp/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"),
        part(0x190, b"tmp/x") + varint.encode(0x1DD),
        part(0x190, b"/tmp/x"),  # go's /unix, which this library cannot write
        varint.encode(0x1DD) * 17,
        bytes(1025),
        part(0x36, b"a" * 1100),
    ],
)
def test_refused_from_peers(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_peer_addr(raw)


def test_sixteen_parts_are_the_most() -> None:
    assert len(parts(parse_peer_addr(varint.encode(0x1DD) * 16))) == 16


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "//",
        "ip4/1.2.3.4",
        "example.com:80",
        "/ip4",
        "/ip4/1.2.3",
        "/ip4/1.2.3.4/tcp/65536",
        "/tcp/ws",
        "/nope/1",
        "/p2p/QmShort",
        "/p2p/",
        "/dns4/a b/tcp/1",
        "/ws" * 17,
        "/ws/" + "x" * 5000,
        "/ip6/fe80::1%eth0/tcp/1",
    ],
)
def test_refused_from_users(text: str) -> None:
    with pytest.raises(InvalidAddress):
        parse_user_addr(text)
    with pytest.raises(ValueError):
        parse_user_addr(text)


def test_a_bad_object_is_refused_too() -> None:
    with pytest.raises(InvalidAddress):
        parse_user_addr(Multiaddr(b"\x04\x7f\xff"))
    with pytest.raises(InvalidAddress):
        parse_user_addr(Multiaddr(b"\xff\xff\x7f"))
    with pytest.raises(InvalidAddress):
        parse_user_addr(Multiaddr(b""))


@given(st.text(max_size=30).map(lambda text: "/" + text))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        addr = parse_user_addr(text)
    except InvalidAddress:
        return
    assert parse_user_addr(str(addr)) == addr


def test_a_cid_becomes_a_multihash() -> None:
    assert str(parse_user_addr(f"/ip4/1.2.3.4/p2p/{QM_CID}")) == f"/ip4/1.2.3.4/p2p/{QM}"


def test_a_unix_path_and_who_listens_there() -> None:
    addr = parse_user_addr(f"/unix/tmp/socket/p2p/{ED}")
    assert split_peer(addr) == (parse_user_addr("/unix/tmp/socket"), ED)
    assert with_peer(parse_user_addr("/unix/tmp/socket"), ED) == addr


def test_parts() -> None:
    assert parts(parse_user_addr("/ip4/1.2.3.4/tcp/80/ws")) == (
        Part("ip4", "1.2.3.4"),
        Part("tcp", "80"),
        Part("ws", None),
    )


@pytest.mark.parametrize(
    ("text", "rest", "peer"),
    [
        (f"/ip4/1.2.3.4/tcp/80/p2p/{ED}", "/ip4/1.2.3.4/tcp/80", ED),
        ("/ip4/1.2.3.4/tcp/80", "/ip4/1.2.3.4/tcp/80", None),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{QM}/p2p-circuit", f"/ip4/1.2.3.4/tcp/1/p2p/{QM}/p2p-circuit", None),
        (f"/ip4/1.2.3.4/tcp/1/p2p/{QM}/p2p-circuit/p2p/{ED}", f"/ip4/1.2.3.4/tcp/1/p2p/{QM}/p2p-circuit", ED),
        (f"/p2p/{ED}", "", ED),
    ],
)
def test_split_peer(text: str, rest: str, peer: str | None) -> None:
    addr = parse_user_addr(text)
    assert split_peer(addr) == (Multiaddr(rest), peer)
    if peer is not None:
        assert with_peer(Multiaddr(rest), peer) == addr
        assert with_peer(addr, peer) is addr
        with pytest.raises(InvalidAddress):
            with_peer(addr, QM)


def test_with_peer_refuses_what_is_no_peer() -> None:
    with pytest.raises(InvalidAddress):
        with_peer(parse_user_addr("/ip4/1.2.3.4"), "nobody")


def test_hostile_addresses_are_cheap() -> None:
    worst = [
        varint.encode(0x1DD) * 512,
        part(0x1D2, b"\x12\x20" + bytes(32)) * 16,
        part(0x1A5, b"\0\x2a" + bytes(42)) * 16,
        part(0x36, "\u0661".encode() * 500),
        part(0x36, ("a" * 60 + ".").encode() * 16),
        part(0x1E1, b"%" * 1000),
        bytes((4, 1, 2, 3, 4)) * 16,
    ]
    for raw in worst:
        start = time.thread_time()
        for _ in range(8):  # as many as identify's 8 KiB hold
            try:
                parse_peer_addr(raw)
            except RemoteProtocolError:
                pass
        assert time.thread_time() - start < 0.050


@given(st.from_regex(r"[A-Za-z0-9.-]{1,20}", fullmatch=True))
@example("a" * 63 + ".b")
@example("a" * 64)
@example("ab--c")
@example("a--b")
@example("xn--bcher-kva")
@example("-a")
@example("a-.b")
@example("a..b")
@example("a.")
@example(".".join(["a" * 49] * 5) + ".abc")
@example(".".join(["a" * 49] * 5) + ".abcd")
def test_plain_names_are_judged_as_the_library_judges_them(name: str) -> None:
    raw = part(0x36, name.encode())
    try:
        readable = str(Multiaddr(raw)) == f"/dns4/{name}"
    except Exception:
        readable = False
    if readable:
        assert str(parse_peer_addr(raw)) == f"/dns4/{name}"
    else:
        with pytest.raises(RemoteProtocolError):
            parse_peer_addr(raw)


def test_names_that_must_be_translated_are_bounded_in_all_their_parts_together() -> None:
    name = "ü" * 16
    whole = parse_peer_addr(part(0x36, name.encode()) + part(0x1C1, name.encode()))
    assert str(whole) == f"/dns4/{name}/sni/{name}"
    with pytest.raises(RemoteProtocolError):
        parse_peer_addr(part(0x36, name.encode()) + part(0x1C1, (name + "ü").encode()))
    # Who writes an address by himself may use the names he likes.
    assert parse_user_addr(f"/dns4/{name}.{name}.{name}/tcp/1")


def test_sixty_four_names_are_cheap() -> None:
    """As many as are read of one answer to identify: the names that take the library longest."""
    for name in (b".".join([b"a"] * 120), b".".join([b"a" * 60] * 4), "ü.".encode() * 21):
        count = 1 if len(name) < 64 else 4
        start = time.thread_time()
        for _ in range(64):
            parse_peer_addr(part(0x36, name) * count)
        assert time.thread_time() - start < 0.050


def test_protocols_and_the_leading_ip() -> None:
    for text in TEXTS:
        addr = parse_user_addr(text)
        assert protocols(addr) == tuple(part.protocol for part in parts(addr))
        name, value = parts(addr)[0]
        expected = ipaddress.ip_address(value or "") if name in ("ip4", "ip6") else None
        assert leading_ip(addr) == expected
    assert leading_ip(Multiaddr(b"")) is None


def test_the_library_does_not_log_what_peers_write(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        addr = parse_peer_addr(part(0x190, b"tmp/a\nERROR forged\x1b[31m"))
        assert str(addr) == "/unix/tmp/a%0AERROR%20forged%1B%5B31m"
    assert not caplog.records


def test_no_package_is_imported_at_the_first_address() -> None:
    program = (
        "import sys; from p2p.wire.addresses import *; before = set(sys.modules);"
        f"[parse_peer_addr(parse_user_addr(text).to_bytes()) for text in {TEXTS[:13]!r}];"
        "late = {name.partition('.')[0] for name in set(sys.modules) - before} - {'multiaddr', 'idna', 'encodings'};"
        "sys.exit(repr(late) if late else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 65535))
@example(ipaddress.IPv6Address("::ffff:1.2.3.4"), 0)
def test_an_ip_address_and_a_tcp_port_are_read_as_the_library_reads_them(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    addr = ip_port_addr(ip.packed, "tcp", port)
    raw = addr.to_bytes()
    text = f"/ip{ip.version}/{ip}/tcp/{port}"
    assert Multiaddr(str(Multiaddr(text))).to_bytes() == raw
    assert parse_peer_addr(raw) == addr == parse_user_addr(text)
    assert parts(addr) == tuple(Part(protocol.name, value) for protocol, value in addr.items())
    assert protocols(addr) == (f"ip{ip.version}", "tcp")
    assert leading_ip(addr) == ip
    assert split_peer(addr) == (addr, None)
    assert ip_port_addr(ip.packed, "udp", port) == Multiaddr(f"/ip{ip.version}/{ip}/udp/{port}")


def test_what_is_kept_of_addresses_is_bounded_and_short() -> None:
    kept = (_parse_kept, _parse_user_kept, _parts_kept, _protocols_kept, _split_kept)
    longest = WIRE_LIMITS.kept_address_size - len("/dns4/")
    for number in range(WIRE_LIMITS.kept_addresses + 10):
        addr = parse_user_addr(
            "/dns4/" + f"{number}.example".rjust(longest, "a").replace("a" * 63, "a" * 62 + ".")
        )
        for look in (parts, protocols, split_peer):
            look(addr)
        assert parse_peer_addr(addr.to_bytes()) == addr
    assert {cache.cache_info().currsize for cache in kept} == {WIRE_LIMITS.kept_addresses}
    longer = parse_user_addr("/dns4/example.com" + f"/p2p-circuit/p2p/{QM}" * 6)
    assert len(longer.to_bytes()) > WIRE_LIMITS.kept_address_size
    before = [cache.cache_info() for cache in kept]
    for _ in range(2):
        assert parse_peer_addr(longer.to_bytes()) == longer == parse_user_addr(str(longer))
        assert split_peer(longer)[1] == QM
        assert protocols(longer)[:2] == ("dns4", "p2p-circuit")
    assert [cache.cache_info() for cache in kept] == before


def test_a_refusal_is_not_kept() -> None:
    before = _parse_kept.cache_info().currsize
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            parse_peer_addr(b"\x04\x7f")
        with pytest.raises(InvalidAddress):
            parse_user_addr("/ip4/1.2.3")
    assert _parse_kept.cache_info().currsize == before
