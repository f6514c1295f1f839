"""What a yamux session sends: which flags ride where, in which order, and what is taken from the application."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p.abc import Role
from p2p.errors import LocalProtocolError
from p2p.limits import KIB, MIB
from p2p.muxers.session import Touched
from p2p.muxers.yamux import Yamux
from p2p.muxers.yamux.frames import ACK, DATA, FIN, GO_AWAY, RST, SYN, WINDOW_UPDATE
from tests.machines.budget import Budget
from tests.machines.yamux_wire import (
    LIMITS,
    NOISE_FRAME,
    OPEN_1,
    accepted,
    dialer,
    feed,
    frame,
    frames,
    opened,
    responder,
    syns,
    written,
)

# --- what we send -------------------------------------------------------------------------------------


def test_syn_rides_on_the_first_data_and_fin_comes_after_the_last() -> None:
    session = dialer()
    first = session.open_stream()
    session.send(first, memoryview(b"hello"))
    second = session.open_stream()
    third = session.open_stream()
    session.send_eof(third)
    fourth = session.open_stream()
    session.send(fourth, memoryview(b"all of it"))
    session.send_eof(fourth)
    assert [stream.unsent for stream in (first, second, third, fourth)] == [5, 0, 1, 10]
    assert frames(written(session)) == [
        (DATA, SYN, 1, 5),
        (WINDOW_UPDATE, SYN, 3, 0),
        (DATA, SYN | FIN, 5, 0),
        (DATA, SYN, 7, 9),
        (DATA, FIN, 7, 0),
    ]
    assert [stream.unsent for stream in (first, second, third, fourth)] == [0, 0, 0, 0]


def test_ack_rides_on_the_first_frame_and_is_something_to_write() -> None:
    session = responder()
    first, second = feed(session, syns(2))
    session.send(second, memoryview(b"answer"))
    assert session.wants_write
    assert frames(written(session)) == [(WINDOW_UPDATE, ACK, 1, 0), (DATA, ACK, 3, 6)]
    session.send(first, memoryview(b"later"))
    assert frames(written(session)) == [(DATA, 0, 1, 5)]


def test_ack_rides_on_a_window_update_too() -> None:
    session = responder()
    (stream,) = feed(session, frame(DATA, SYN, 1, bytes(200 * KIB)))
    session.read(stream, None, 0.0)
    assert frames(written(session)) == [(WINDOW_UPDATE, ACK, 1, 200 * KIB)]


def test_a_stream_reset_before_its_syn_leaves_no_trace() -> None:
    session = dialer()
    stream = session.open_stream()
    session.send(stream, memoryview(b"x"))
    session.reset(stream)
    assert not session.wants_write
    assert session.live_streams == 0
    assert frames(written(session)) == []
    assert opened(session).stream_id == 3


def test_the_code_of_a_reset_crosses_as_go_sends_it() -> None:
    session = responder()
    stream = accepted(session)
    session.reset(stream, 0x1002)
    assert written(session).hex() == "000100080000000100001002"
    stream = accepted(session, 3)
    feed(session, "000100080000000300001007")
    assert (stream.reset_code, stream.touched) == (0x1007, Touched.RESET)
    stream = accepted(session, 5)
    feed(session, frame(DATA, RST, 5, b"what a body says is no code"))
    assert stream.reset_code == 0
    with pytest.raises(LocalProtocolError):
        session.reset(stream, 2**32)


def test_control_frames_leave_before_data() -> None:
    session = responder()
    first, second, third = feed(session, frame(DATA, SYN, 1, bytes(200 * KIB)) + syns(2, 3))
    written(session)
    session.send(first, memoryview(b"data"))
    session.reset(second, 3)
    session.read(first, None, 0.0)
    session.close(0)
    assert third.opening == 0
    assert frames(written(session)) == [
        (GO_AWAY, 0, 0, 0),
        (WINDOW_UPDATE, RST, 3, 3),
        (WINDOW_UPDATE, 0, 1, 200 * KIB),
        (DATA, 0, 1, 4),
    ]


def test_streams_take_turns_and_one_alone_fills_the_buffer() -> None:
    limits = replace(LIMITS, max_frame=1012)
    session = responder(limits)
    first, second = feed(session, syns(2))
    written(session)
    session.send(first, memoryview(bytes(2500)))
    session.send(second, memoryview(bytes(1500)))
    out = memoryview(bytearray(NOISE_FRAME))
    n = session.write_into(out, 0.0)
    assert frames(bytes(out[:n])) == [
        (DATA, 0, 1, 1000),
        (DATA, 0, 3, 1000),
        (DATA, 0, 1, 1000),
        (DATA, 0, 3, 500),
        (DATA, 0, 1, 500),
    ]
    assert not session.wants_write


@pytest.mark.parametrize("size", [64, 76, 77, 100, 1000, NOISE_FRAME])
def test_a_data_frame_is_cut_to_fit(size: int) -> None:
    session = responder()
    stream = accepted(session)
    session.send(stream, memoryview(bytes(100 * KIB)))
    out = memoryview(bytearray(size))
    assert session.write_into(out, 0.0) == size
    assert frames(bytes(out)) == [(DATA, 0, 1, size - 12)]
    assert stream.unsent == 100 * KIB - (size - 12)


def test_a_buffer_too_small_is_not_written_to() -> None:
    session = responder()
    feed(session, OPEN_1)
    assert session.write_into(memoryview(bytearray(63)), 0.0) == 0
    assert session.wants_write


def test_sending_stops_at_the_window_and_goes_on_with_credit() -> None:
    session = responder()
    stream = accepted(session)
    session.send(stream, memoryview(bytes(300 * KIB)))
    session.send_eof(stream)
    assert sum(length for _, _, _, length in frames(written(session))) == 256 * KIB
    assert stream.send_window == 0
    assert not session.wants_write
    assert stream.unsent == 44 * KIB + 1
    (touched,) = feed(session, frame(WINDOW_UPDATE, 0, 1, 40 * KIB))
    assert touched.touched == Touched.WRITABLE
    assert frames(written(session)) == [(DATA, 0, 1, 40 * KIB)]
    feed(session, frame(WINDOW_UPDATE, 0, 1, 5 * KIB))
    assert frames(written(session)) == [(DATA, 0, 1, 4 * KIB), (DATA, FIN, 1, 0)]


@pytest.mark.parametrize("room", [64, 76, 80, 88, 1000])
def test_fin_never_rides_on_data(room: int) -> None:
    session = responder()
    stream = accepted(session)
    session.send(stream, memoryview(b"x" * 64))
    session.send_eof(stream)
    out = memoryview(bytearray(room))
    sent = b""
    while session.wants_write:
        sent += out[: session.write_into(out, 0.0)]
    *data, last = frames(sent)
    assert all((kind, flags) == (DATA, 0) for kind, flags, _, _ in data)
    assert sum(length for _, _, _, length in data) == 64
    assert last == (DATA, FIN, 1, 0)
    assert stream.fin_written


def test_an_end_needs_no_window() -> None:
    session = responder()
    stream = accepted(session)
    session.send(stream, memoryview(bytes(256 * KIB)))
    written(session)
    session.send_eof(stream)
    session.send_eof(stream)
    assert frames(written(session)) == [(DATA, FIN, 1, 0)]


# --- accepting writes ---------------------------------------------------------------------------------


def test_small_writes_are_copied_and_larger_ones_held() -> None:
    session = responder()
    stream = accepted(session)
    data = bytearray(b"a" * 1000)
    assert session.send(stream, memoryview(data)) == 1000
    data[:] = b"b" * 1000
    assert (stream.holding, stream.send_room) == (False, LIMITS.send_buffer - 1000)
    large = bytes(LIMITS.send_buffer)
    assert session.send(stream, memoryview(large)) == len(large)
    assert (stream.holding, stream.send_room, stream.unsent) == (True, 0, 1000 + len(large))
    assert session.send(stream, memoryview(b"x")) == 0
    assert session.send_copy(stream, memoryview(b"x")) == 0
    out = written(session)
    assert out[12:1012] == b"a" * 1000
    assert not stream.holding
    assert stream.unsent == 0


def test_row_13_what_is_copied_is_bounded_over_all_streams() -> None:
    """Beyond that a small write is held too, until frames, resets on either side and ends have made room."""
    limits = replace(LIMITS, send_buffer=1000, send_buffers=2500)
    session = responder(limits)
    streams = [accepted(session, stream_id) for stream_id in (1, 3, 5, 7)]
    held = []
    for stream in streams:
        assert session.send(stream, memoryview(bytes(1000))) == 1000
        held.append(stream.holding)
    assert held == [False, False, True, True]
    session.reset(streams[0])
    feed(session, frame(WINDOW_UPDATE, RST, 3, 0))
    last = accepted(session, 9)
    for _ in range(2):
        assert session.send(last, memoryview(bytes(500))) == 500
        assert not last.holding
    session.send_eof(last)
    assert written(session)
    assert not any(stream.unsent for stream in streams)
    for _ in range(10):
        assert session.send(streams[2], memoryview(bytes(1000))) == 1000
        assert not streams[2].holding
        assert written(session)


@pytest.mark.parametrize("by_remote", [True, False])
def test_memory_of_what_was_copied_is_given_back_with_its_stream(by_remote: bool) -> None:
    """Though nothing is written after."""
    budget = Budget(MIB)
    session = Yamux(LIMITS).session(Role.RESPONDER, now=0.0, memory=budget)
    streams = [accepted(session, stream_id) for stream_id in (1, 3)]
    for stream in streams:
        session.send(stream, memoryview(bytes(LIMITS.initial_window)))
        assert written(session)
        assert session.send_copy(stream, memoryview(bytes(LIMITS.send_buffer))) == LIMITS.send_buffer
    assert budget.in_use == 2 * LIMITS.initial_window + LIMITS.send_buffer
    for stream in streams:
        if by_remote:
            feed(session, frame(WINDOW_UPDATE, RST, stream.stream_id, 0))
        else:
            session.reset(stream)
    assert budget.in_use == 0


def test_what_is_held_is_let_go_of() -> None:
    session = responder()
    for stream_id, end in enumerate((session.withdraw, session.reset, session.abandon)):
        stream = accepted(session, 2 * stream_id + 1)
        large = bytearray(2 * LIMITS.send_buffer)
        session.send(stream, memoryview(large))
        if end == session.abandon:
            session.abandon(stream, 0.0)
            written(session)
        else:
            end(stream)
        large.clear()  # raises BufferError while a view of it is left


def test_withdrawing_gives_back_what_is_in_no_frame() -> None:
    session = responder()
    stream = accepted(session)
    session.send(stream, memoryview(bytes(100)))
    session.send(stream, memoryview(bytes(100 * KIB)))
    out = memoryview(bytearray(1000))
    assert session.write_into(out, 0.0) == 1000
    assert session.withdraw(stream) == 100 * KIB - (988 - 100)
    assert session.withdraw(stream) == 0
    assert stream.unsent == 0
    assert not session.wants_write


def test_send_copy_takes_what_fits() -> None:
    session = responder()
    stream = accepted(session)
    assert session.send_copy(stream, memoryview(bytes(100 * KIB))) == LIMITS.send_buffer
    assert session.send_copy(stream, memoryview(b"x")) == 0
    assert not stream.holding


@pytest.mark.parametrize("how", ["ended", "reset here", "reset there"])
def test_after_its_end_nothing_can_be_sent(how: str) -> None:
    session = responder()
    stream = accepted(session)
    if how == "ended":
        session.send_eof(stream)
    elif how == "reset here":
        session.reset(stream)
    else:
        feed(session, frame(WINDOW_UPDATE, RST, 1))
    for data in (b"x", bytes(100 * KIB)):
        with pytest.raises(LocalProtocolError):
            session.send(stream, memoryview(data))
    with pytest.raises(LocalProtocolError):
        session.send_copy(stream, memoryview(b"x"))
