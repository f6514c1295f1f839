"""Hypothesis strategies for what goes over the wire; they need ``hypothesis`` (``p2p-trio[testing]``)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from hypothesis import strategies as st

from p2p.abc import ProtocolId
from p2p.identity import Identity, PeerId, PrivateKey
from p2p.wire.addresses import Multiaddr

#: Any Ed25519 private key: those of other types are slow to make.
private_keys: st.SearchStrategy[PrivateKey] = st.binary(min_size=32, max_size=32).map(PrivateKey.from_seed)

identities: st.SearchStrategy[Identity] = private_keys.map(Identity)

#: Both kinds: keys inline, and SHA-256 of a key (any 32 bytes could be one).
peer_ids: st.SearchStrategy[PeerId] = st.one_of(
    private_keys.map(lambda key: PeerId.from_public_key(key.public_key)),
    st.binary(min_size=32, max_size=32).map(lambda digest: PeerId.from_bytes(b"\x12\x20" + digest)),
)

#: Names as libp2p has them: printable, without white space, beginning with a slash.
protocol_ids: st.SearchStrategy[ProtocolId] = st.lists(
    st.text(
        st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/"), min_size=1, max_size=20
    ),
    min_size=1,
    max_size=4,
).map(lambda parts: ProtocolId("/" + "/".join(parts)))

_ports = st.integers(0, 65535)
_hosts = st.one_of(
    st.ip_addresses(v=4).map(lambda ip: f"/ip4/{ip}"),
    st.ip_addresses(v=6).map(lambda ip: f"/ip6/{ip}"),
    st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?\.[a-z]{2,6}", fullmatch=True).map(
        lambda name: f"/dns4/{name}"
    ),
)
_transports = st.one_of(
    _ports.map(lambda port: f"/tcp/{port}"),
    _ports.map(lambda port: f"/tcp/{port}/ws"),
    _ports.map(lambda port: f"/udp/{port}/quic-v1"),
)

#: Addresses of transports, without a peer id.
transport_addrs: st.SearchStrategy[Multiaddr] = st.builds(
    lambda host, transport: Multiaddr(host + transport), _hosts, _transports
)

#: Addresses as peers tell them: with a peer id or without, some of them through a relay.
multiaddrs: st.SearchStrategy[Multiaddr] = st.one_of(
    transport_addrs,
    st.builds(lambda addr, peer: Multiaddr(f"{addr}/p2p/{peer}"), transport_addrs, peer_ids),
    st.builds(
        lambda addr, relay, peer: Multiaddr(f"{addr}/p2p/{relay}/p2p-circuit/p2p/{peer}"),
        transport_addrs,
        peer_ids,
        peer_ids,
    ),
)


def chunkings(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """Every way to cut ``data`` into pieces, empty ones included; joined they are ``data``."""

    def cut(offsets: list[int]) -> list[bytes]:
        edges = [0, *sorted(offsets), len(data)]
        return [data[start:end] for start, end in pairwise(edges)]

    return st.lists(st.integers(0, len(data)), max_size=20).map(cut)


def cuts(most: int = 64 * 1024) -> st.SearchStrategy[Callable[[], int]]:
    """For ``raw_pair(cut=…)``: a function that says again and again how much the next receive may return."""

    def cycle(sizes: list[int]) -> Callable[[], int]:
        calls = 0

        def next_size() -> int:
            nonlocal calls
            calls += 1
            return sizes[(calls - 1) % len(sizes)]

        return next_size

    return st.lists(st.integers(1, most), min_size=1, max_size=10).map(cycle)
