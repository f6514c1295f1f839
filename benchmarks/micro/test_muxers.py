"""Muxer sessions alone: frames a second, received and gathered, with nothing beneath them."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from p2p.abc import Muxer, Role
from p2p.muxers import Mplex, Yamux

KIB = 1024
SIZES = (64, KIB, 64 * KIB)
FRAMES = 3  # in one go: with 64 KiB each they are less than what a window has room for at first
MUXERS: dict[str, Muxer] = {"yamux": Yamux(), "mplex": Mplex()}

muxers = pytest.mark.parametrize("muxer", MUXERS)
sizes = pytest.mark.parametrize("size", SIZES)


class Joined:
    """A stream of one session, open to another, and what its frames look like on the wire."""

    def __init__(self, muxer: Muxer) -> None:
        self.sender = muxer.session(Role.DIALER, now=0.0)
        self.receiver = muxer.session(Role.RESPONDER, now=0.0)
        self.out = memoryview(bytearray(1024 * KIB))
        self.near = self.sender.open_stream()
        self.sender.send(self.near, memoryview(b"first"))
        (self.far,) = self.receiver.receive_data(self.gather(), 0.0)
        self.drain()

    def gather(self) -> memoryview:
        return self.out[: self.sender.write_into(self.out, 0.0)]

    def drain(self) -> None:
        """Read what arrived, and give the sender its credit."""
        self.receiver.read(self.far, None, 0.0)
        self.far.touched = 0
        while n := self.receiver.write_into(self.out, 0.0):
            self.sender.receive_data(self.out[:n], 0.0)
        self.near.touched = 0

    def frames(self, size: int) -> memoryview:
        """Frames of ``size`` bytes each, as they are on the wire."""
        wire = b""
        for _ in range(FRAMES):
            self.sender.send(self.near, memoryview(bytes(size)))
            while part := bytes(self.gather()):
                wire += part
        self.receiver.receive_data(memoryview(wire), 0.0)
        self.drain()
        return memoryview(wire)


@muxers
@sizes
def test_receive(benchmark: BenchmarkFixture, muxer: str, size: int) -> None:
    joined = Joined(MUXERS[muxer])
    wire = joined.frames(size)
    scratch = memoryview(bytearray(KIB))

    def receive() -> int:
        joined.receiver.receive_data(wire, 0.0)
        got = joined.receiver.read(joined.far, None, 0.0)
        joined.far.touched = 0
        joined.receiver.write_into(scratch, 0.0)
        return len(got)

    benchmark.extra_info["frames"] = FRAMES
    assert benchmark(receive) == FRAMES * size


@muxers
@sizes
def test_from_one_to_the_other(benchmark: BenchmarkFixture, muxer: str, size: int) -> None:
    joined = Joined(MUXERS[muxer])
    data = memoryview(bytes(size))

    def turn() -> None:
        for _ in range(FRAMES):
            joined.sender.send(joined.near, data)
            while wire := joined.gather():
                joined.receiver.receive_data(wire, 0.0)
        joined.drain()

    benchmark.extra_info["frames"] = FRAMES
    benchmark(turn)


@muxers
def test_open_and_close(benchmark: BenchmarkFixture, muxer: str) -> None:
    joined = Joined(MUXERS[muxer])

    def exchange() -> None:
        near = joined.sender.open_stream()
        joined.sender.send(near, memoryview(b"?"))
        joined.sender.send_eof(near)
        (far,) = joined.receiver.receive_data(joined.gather(), 0.0)
        joined.receiver.read(far, None, 0.0)
        joined.receiver.send_eof(far)
        while n := joined.receiver.write_into(joined.out, 0.0):
            joined.sender.receive_data(joined.out[:n], 0.0)

    benchmark.extra_info["streams"] = 1
    benchmark(exchange)
    assert joined.receiver.live_streams == joined.sender.live_streams == 1
