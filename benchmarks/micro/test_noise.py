"""The Noise channel and its handshake, without a socket."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from p2p.abc import Role
from p2p.identity import Identity
from p2p.security.noise.channel import NoiseChannel
from tests.machines.noise_peers import ALICE, BOB, handshake, run

sizes = pytest.mark.parametrize("size", [64, 1024, 65_519])


@sizes
def test_seal(benchmark: BenchmarkFixture, size: int) -> None:
    channel = NoiseChannel(bytes(32), bytes(32))
    out = memoryview(bytearray(channel.frame_cipher))
    benchmark.extra_info["frames"] = 1
    benchmark(channel.seal, out, size)


@sizes
def test_seal_and_open(benchmark: BenchmarkFixture, size: int) -> None:
    sealing, opening = (NoiseChannel(bytes(32), bytes(32)) for _ in range(2))
    out, plain = memoryview(bytearray(sealing.frame_cipher)), memoryview(bytearray(sealing.frame_plain))

    def there() -> None:
        opening.open_into(out[: sealing.seal(out, size)], plain)

    benchmark.extra_info["frames"] = 1
    benchmark(there)


def test_handshake(benchmark: BenchmarkFixture) -> None:
    """Both sides of one between peers that know each other, each with fresh ephemeral keys."""

    def shake_hands() -> None:
        run(handshake(ALICE, Role.DIALER, peer=BOB), handshake(BOB, Role.RESPONDER))

    benchmark.extra_info["handshakes"] = 1
    benchmark(shake_hands)


def test_sign(benchmark: BenchmarkFixture) -> None:
    identity = Identity.generate()
    benchmark(identity.sign, bytes(64))


def test_verify(benchmark: BenchmarkFixture) -> None:
    identity = Identity.generate()
    signature = identity.sign(bytes(64))
    benchmark(identity.public_key.verify, bytes(64), signature)
