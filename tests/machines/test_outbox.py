"""What a session gives reaches the socket sealed, whole and in order, however little the socket takes at a time."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2p.abc import Role
from p2p.limits import YamuxLimits
from p2p.muxers.outbox import MAX_GATHERS, SMALL_BATCH, Outbox
from p2p.muxers.yamux import Yamux
from p2p.security.noise.channel import NoiseChannel
from p2p.wire.addresses import Multiaddr

KEYS = (bytes(32), bytes([1]) * 32)
GREED = 10**9


class Socket:
    """Takes as many bytes as it has ``room`` for."""

    local_addr = remote_addr = Multiaddr("/memory/1")

    def __init__(self) -> None:
        self.room = 0
        self.taken = bytearray()

    def try_send(self, data: memoryview) -> int:
        n = min(self.room, len(data))
        self.taken += data[:n]
        self.room -= n
        return n


class Sending(RuleBasedStateMachine):
    @initialize(prefix=st.binary(max_size=80), preface=st.binary(max_size=80))
    def begin(self, prefix: bytes, preface: bytes) -> None:
        self.prefix, self.preface = prefix, preface
        self.socket = Socket()
        self.flushed = False
        self.session = Yamux().session(Role.DIALER, now=0.0)
        self.outbox = Outbox(
            self.socket,  # type: ignore[arg-type]  # it needs no more of a raw stream
            NoiseChannel(*KEYS),
            self.session,
            prefix=prefix,
            preface=preface,
        )
        self.streams = [self.session.open_stream() for _ in range(3)]
        self.given = {stream.stream_id: bytearray() for stream in self.streams}

    @rule(number=st.integers(0, 2), data=st.binary(max_size=300), times=st.sampled_from([1, 1, 200]))
    def give(self, number: int, data: bytes, times: int) -> None:
        stream = self.streams[number]
        data *= times
        taken = self.session.send_copy(stream, memoryview(data))
        self.given[stream.stream_id] += data[:taken]

    @rule(room=st.sampled_from([0, 1, 17, 1000, 70_000, GREED]))
    def flush(self, room: int) -> None:
        self.socket.room = room
        self.flushed = True
        everything = self.outbox.flush(0.0)
        assert everything != self.outbox.wants_flush
        assert self.outbox.blocked == bool(self.outbox.queued)

    @rule(number=st.integers(0, 2), room=st.sampled_from([0, 1, 17, 1000, 70_000, GREED]))
    def collect(self, number: int, room: int) -> None:
        """Only full frames, and whatever else is there goes on waiting."""
        if not self.outbox.blocked and self.flushed:
            self.socket.room = room
            self.outbox.collect(0.0, self.streams[number])

    @rule(room=st.sampled_from([0, 1, 17, 1000, GREED]))
    def write(self, room: int) -> None:
        """The writer's turn."""
        self.socket.room = room
        if self.outbox.blocked:
            before, queued = len(self.socket.taken), self.outbox.queued
            self.outbox.send_refused(0.0)
            assert queued - self.outbox.queued == len(self.socket.taken) - before

    @invariant()
    def nobody_else_sends_while_something_was_refused(self) -> None:
        if self.outbox.blocked:
            before = bytes(self.socket.taken)
            self.socket.room = GREED
            assert not self.outbox.flush(0.0)
            assert self.socket.taken == before
        assert self.outbox.bytes_sent == len(self.socket.taken)

    def teardown(self) -> None:
        if not hasattr(self, "outbox"):
            return
        for _ in range(100):
            self.socket.room = GREED
            if self.outbox.blocked:
                self.outbox.send_refused(0.0)
            self.outbox.flush(0.0)
        assert not self.outbox.wants_flush
        taken = bytes(self.socket.taken)
        assert taken.startswith(self.prefix)
        plain = opened(taken[len(self.prefix) :])
        assert plain.startswith(self.preface)
        remote = Yamux().session(Role.RESPONDER, now=0.0)
        heard = {
            stream.stream_id: bytes(stream.received)
            for stream in remote.receive_data(memoryview(plain[len(self.preface) :]), 0.0)
        }
        assert {number: heard.get(number, b"") for number in self.given} == self.given


def opened(sealed: bytes) -> bytes:
    channel = NoiseChannel(*reversed(KEYS))
    plain = memoryview(bytearray(len(sealed) + 1))
    consumed, produced = channel.open_into(memoryview(sealed), plain)
    assert consumed == len(sealed), "a torn frame"
    return bytes(plain[:produced])


TestSending = Sending.TestCase


def sizes_offered(waits: float, sends: int = 40) -> list[int]:
    """What a socket is offered at once that takes 100 KB, then nothing for ``waits`` seconds, and so on."""
    socket = Socket()
    session = Yamux(replace(YamuxLimits(), initial_window=10**8, max_window=10**8)).session(
        Role.DIALER, now=0.0
    )
    outbox = Outbox(socket, NoiseChannel(*KEYS), session, prefix=b"", preface=b"")  # type: ignore[arg-type]
    session.send(session.open_stream(), memoryview(bytes(10**8)))
    offered, now = [], 0.0
    while len(offered) < sends:
        socket.room = 100_000
        if outbox.blocked:
            outbox.send_refused(now)
        while not outbox.blocked:
            outbox.flush(now)
            offered.append(outbox.queued)
        now += waits
    return offered


def test_no_more_is_sealed_than_a_slow_socket_takes_in_a_moment() -> None:
    """It is known by its waiting: the first batch is as large as any."""
    slow = sizes_offered(0.08)
    assert slow[0] > 150_000
    assert max(slow[3:]) <= SMALL_BATCH
    assert max(sizes_offered(0.001)[3:]) > 150_000


def test_a_socket_that_is_slow_no_more_is_found_out() -> None:
    socket = Socket()
    session = Yamux(replace(YamuxLimits(), initial_window=10**8, max_window=10**8)).session(
        Role.DIALER, now=0.0
    )
    outbox = Outbox(socket, NoiseChannel(*KEYS), session, prefix=b"", preface=b"")  # type: ignore[arg-type]
    session.send(session.open_stream(), memoryview(bytes(10**8)))
    socket.room = 0
    assert not outbox.flush(0.0)
    socket.room = GREED
    outbox.send_refused(1.0)
    taken = []
    for _ in range(3):
        before = len(socket.taken)
        assert not outbox.flush(1.0)
        taken.append(len(socket.taken) - before)
    assert taken[:2] == [MAX_GATHERS * SMALL_BATCH] * 2
    assert taken[2] > 1_000_000
