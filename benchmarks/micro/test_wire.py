"""Negotiation, framing, messages and addresses: what every stream and every connection goes through."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from p2p.abc import ProtocolId
from p2p.identity import Identity, PeerId
from p2p.identity.keys import PrivateKey
from p2p.limits import WIRE_LIMITS
from p2p.negotiation.multistream import Dialer, Responder
from p2p.wire.addresses import parse_peer_addr, parse_user_addr
from p2p.wire.framing import FrameReader, encode_frame
from p2p.wire.messages import IdentifyMessage, decode_identify, encode_identify
from p2p.wire.varint import decode, encode

T = TypeVar("T")

ECHO = ProtocolId("/echo/1.0.0")
ADDR = "/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
IDENTIFY = IdentifyMessage(
    public_key=PrivateKey.from_seed(bytes(32)).public_key.to_protobuf(),
    listen_addrs=(parse_user_addr(ADDR).to_bytes(),) * 4,
    protocols=("/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", ECHO),
    observed_addr=parse_user_addr("/ip4/192.0.2.9/tcp/50000").to_bytes(),
    protocol_version="ipfs/0.1.0",
    agent_version="p2p-trio/0.1",
)


def test_multistream_lazy(benchmark: BenchmarkFixture) -> None:
    """Both sides of one negotiation, the proposal with the first data."""

    def negotiate() -> Dialer:
        dialer, responder = Dialer([ECHO], lazy=True), Responder((ECHO,).__contains__, lambda: [ECHO])
        responder.receive_data(dialer.data_to_send())
        dialer.receive_data(responder.data_to_send())
        return dialer

    benchmark.extra_info["negotiations"] = 1
    assert benchmark(negotiate).done


def test_varint(benchmark: BenchmarkFixture) -> None:
    def there_and_back() -> None:
        for value in (1, 300, 70_000, 2**40):
            decode(encode(value), max_value=2**62)

    benchmark.extra_info["varints"] = 4
    benchmark(there_and_back)


def test_framing(benchmark: BenchmarkFixture) -> None:
    frame = encode_frame(bytes(1024))

    def read() -> bytes | None:
        reader = FrameReader(4096)
        reader.feed(frame)
        return reader.next()

    benchmark.extra_info["frames"] = 1
    assert benchmark(read)


def test_identify_encode(benchmark: BenchmarkFixture) -> None:
    benchmark.extra_info["messages"] = 1
    benchmark(encode_identify, IDENTIFY)


def test_identify_decode(benchmark: BenchmarkFixture) -> None:
    benchmark.extra_info["messages"] = 1
    assert benchmark(decode_identify, encode_identify(IDENTIFY)) == IDENTIFY


def in_turn(inputs: Sequence[T]) -> Callable[[], T]:
    """Each after the other, for ever: with more of them than are kept, none is found again."""
    turn = itertools.cycle(inputs)
    return lambda: next(turn)


ADDRS = [ADDR.replace("4001", str(4001 + i)) for i in range(2 * WIRE_LIMITS.kept_addresses)]
IDS = [
    bytes(PeerId.from_public_key(Identity.generate().public_key))
    for _ in range(2 * WIRE_LIMITS.kept_peer_ids)
]

novelty = pytest.mark.parametrize("how_many", [1, None], ids=["kept", "new"])


@novelty
def test_multiaddr_text(benchmark: BenchmarkFixture, how_many: int | None) -> None:
    addr = in_turn(ADDRS[:how_many])
    benchmark.extra_info["addresses"] = 1
    benchmark(lambda: parse_user_addr(addr()))


@novelty
def test_multiaddr_bytes(benchmark: BenchmarkFixture, how_many: int | None) -> None:
    """As addresses come from peers: bounded, parsed, written again and compared."""
    addr = in_turn([parse_user_addr(text).to_bytes() for text in ADDRS[:how_many]])
    benchmark.extra_info["addresses"] = 1
    benchmark(lambda: parse_peer_addr(addr()))


@novelty
def test_peer_id_text(benchmark: BenchmarkFixture, how_many: int | None) -> None:
    text = in_turn([str(PeerId(each)) for each in IDS[:how_many]])
    benchmark(lambda: PeerId.from_text(text()))


def test_peer_id_of_a_key(benchmark: BenchmarkFixture) -> None:
    key = Identity.generate().public_key
    benchmark(PeerId.from_public_key, key)
