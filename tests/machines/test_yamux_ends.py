"""Yamux: reading and credit, and the ends of streams."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import pytest

from p2p.errors import LocalProtocolError
from p2p.limits import KIB
from p2p.muxers.session import Touched
from p2p.muxers.yamux.frames import ACK, DATA, FIN, RST, WINDOW_UPDATE
from tests.machines.yamux_wire import (
    LIMITS,
    NOISE_FRAME,
    accepted,
    dialer,
    feed,
    frame,
    frames,
    opened,
    responder,
    written,
)

# --- reading and credit -------------------------------------------------------------------------------


def test_credit_is_granted_by_reading_half_a_window() -> None:
    session = responder()
    stream = accepted(session, body=bytes(256 * KIB))
    assert len(session.read(stream, 128 * KIB - 1, 1.0)) == 128 * KIB - 1
    assert not [f for f in frames(written(session)) if f[0] == WINDOW_UPDATE]
    session.read(stream, 1, 1.0)
    session.read(stream, 100, 1.0)
    assert frames(written(session, 1.0)) == [(WINDOW_UPDATE, 0, 1, 128 * KIB + 100)]
    assert stream.credit == 128 * KIB + 100
    assert session.read(stream, None, 1.0) == bytes(128 * KIB - 100)
    assert session.read(stream, None, 1.0) == b""


def test_negotiation_that_was_read_grants_credit_as_well() -> None:
    session = responder()
    stream = accepted(session, body=b"a" * (128 * KIB) + b"rest")
    session.unread_negotiation(stream, 128 * KIB, 0.0)
    assert stream.received == b"rest"
    assert frames(written(session)) == [(WINDOW_UPDATE, 0, 1, 128 * KIB)]


def test_a_stream_of_ours_is_tuned_from_its_syn_on() -> None:
    session = dialer()
    session._keepalive.round_trip = 0.1
    stream = session.open_stream()
    written(session, 60.0)
    feed(session, frame(DATA, ACK, stream.stream_id, bytes(256 * KIB)), 60.1)
    session.read(stream, None, 60.3)
    assert stream.receive_window == 512 * KIB


@pytest.mark.parametrize("end", [FIN, RST])
def test_a_stream_the_remote_ended_gets_no_credit(end: int) -> None:
    session = responder()
    stream = accepted(session, body=bytes(256 * KIB))
    session.read(stream, 200 * KIB, 0.0)
    feed(session, frame(WINDOW_UPDATE, end, 1))
    session.read(stream, None, 0.0)
    assert frames(written(session)) == []


def test_a_stream_abandoned_gets_no_credit() -> None:
    session = responder()
    stream = accepted(session, body=bytes(256 * KIB))
    session.read(stream, None, 0.0)
    session.abandon(stream, 0.0)
    assert frames(written(session)) == [(DATA, FIN, 1, 0)]


def test_the_receive_buffer_itself_is_handed_over() -> None:
    session = responder()
    stream = accepted(session, body=b"data")
    buffer = stream.received
    assert session.read(stream, None, 0.0) is buffer
    assert stream.received == b""
    assert stream.received is not buffer


# --- ends ---------------------------------------------------------------------------------------------


def test_reset_after_fin_leaves_what_was_received_readable() -> None:
    session = responder()
    stream = accepted(session, body=b"data")
    feed(session, frame(DATA, FIN, 1, b" and end") + frame(WINDOW_UPDATE, RST, 1, 9))
    assert (stream.eof_received, stream.reset_code) == (True, 9)
    assert stream.touched == Touched.DATA | Touched.EOF | Touched.RESET
    assert session.read(stream, None, 0.0) == b"data and end"
    assert session.live_streams == 0


def test_reset_without_fin_keeps_what_was_received_for_the_pump() -> None:
    session = responder()
    stream = accepted(session, body=b"data")
    feed(session, frame(WINDOW_UPDATE, RST, 1, 9))
    assert (stream.eof_received, stream.reset_code, stream.received) == (False, 9, b"data")


def test_fin_counts_when_the_whole_body_is_there() -> None:
    session = responder()
    stream = accepted(session)
    data = frame(DATA, FIN, 1, b"body")
    feed(session, data[:-1])
    assert (stream.received, stream.eof_received) == (b"bod", False)
    feed(session, data[-1:])
    assert (stream.received, stream.eof_received) == (b"body", True)


def test_abandoning_with_unread_bytes_sends_data_then_fin_then_rst() -> None:
    session = responder()
    stream = accepted(session, body=b"unread")
    session.send(stream, memoryview(b"answer"))
    session.abandon(stream, 0.0)
    session.abandon(stream, 0.0)
    assert stream.received == b""
    out = memoryview(bytearray(100))
    n = session.write_into(out, 0.0)  # in one go
    assert frames(bytes(out[:n])) == [(DATA, 0, 1, 6), (DATA, FIN, 1, 0), (WINDOW_UPDATE, RST, 1, 0)]
    assert session.live_streams == 0
    assert feed(session, frame(DATA, 0, 1, b"later")) == []
    assert written(session) == b""


def test_abandoning_waits_for_the_window_with_the_rst() -> None:
    session = responder()
    stream = accepted(session, body=b"unread")
    session.send(stream, memoryview(bytes(256 * KIB)))
    written(session)
    session.send(stream, memoryview(b"the rest"))
    session.abandon(stream, 0.0)
    assert written(session) == b""
    assert feed(session, frame(DATA, 0, 1, bytes(1000))) == []
    feed(session, frame(WINDOW_UPDATE, 0, 1, 100))
    assert frames(written(session)) == [(DATA, 0, 1, 8), (DATA, FIN, 1, 0), (WINDOW_UPDATE, RST, 1, 0)]


def test_abandoning_ends_by_itself_when_the_remote_ends_too() -> None:
    session = responder()
    stream = accepted(session)
    session.abandon(stream, 0.0)
    assert frames(written(session)) == [(DATA, FIN, 1, 0)]
    assert session.live_streams == 1
    feed(session, frame(DATA, FIN, 1))
    assert session.live_streams == 0
    assert written(session) == b""
    assert session.next_timer() == LIMITS.keep_alive


def test_data_for_an_abandoned_stream_is_answered_by_one_rst() -> None:
    session = responder()
    stream = accepted(session)
    session.abandon(stream, 0.0)
    written(session)
    feed(session, frame(DATA, 0, 1, b"late")[:-2])
    assert frames(written(session)) == [(WINDOW_UPDATE, RST, 1, 0)]
    feed(session, b"te" + frame(DATA, 0, 1, b"later") + frame(DATA, FIN, 1))
    assert written(session) == b""
    assert session.live_streams == 0


def test_unread_bytes_of_a_remote_that_ended_cause_no_rst() -> None:
    session = responder()
    stream = accepted(session)
    feed(session, frame(DATA, FIN, 1, b"unread"))
    session.abandon(stream, 0.0)
    assert frames(written(session)) == [(DATA, FIN, 1, 0)]
    assert session.live_streams == 0


def test_an_abandoned_stream_the_remote_never_ends_is_reset() -> None:
    session = responder(replace(LIMITS, closed_linger=5.0))
    first, second = accepted(session, 1), accepted(session, 3)
    session.abandon(first, 1.0)
    session.abandon(second, 2.0)
    written(session)
    assert session.next_timer() == 6.0
    assert session.handle_timer(5.9) == []
    assert session.handle_timer(6.0) == [first]
    assert session.handle_timer(7.0) == [second]
    assert frames(written(session)) == [(WINDOW_UPDATE, RST, 1, 0), (WINDOW_UPDATE, RST, 3, 0)]
    assert session.next_timer() == LIMITS.keep_alive


def test_the_backlog_of_unacknowledged_streams_is_bounded_and_slots_come_back() -> None:
    session = dialer(replace(LIMITS, ack_backlog=2))
    first, second = session.open_stream(), session.open_stream()
    assert not session.can_open
    with pytest.raises(LocalProtocolError):
        session.open_stream()
    written(session)
    feed(session, frame(WINDOW_UPDATE, ACK, 1) * 2)
    assert first.touched == Touched.SLOT
    assert session.can_open
    third = session.open_stream()
    assert not session.can_open
    feed(session, frame(WINDOW_UPDATE, RST, 3))
    assert second.touched == Touched.SLOT | Touched.RESET
    assert session.can_open
    session.reset(third)
    session.open_stream()
    assert session.can_open


def test_streams_closed_here_take_slots_until_the_remote_ends_them() -> None:
    """Else messages of a stream each come faster than a remote is done with them, and the last are refused."""
    session = dialer(replace(LIMITS, ack_backlog=2))
    first, second = session.open_stream(), session.open_stream()
    session.abandon(first, 0.0)
    written(session)
    feed(session, frame(WINDOW_UPDATE, ACK, 1) + frame(WINDOW_UPDATE, ACK, 3))
    third = session.open_stream()
    assert not session.can_open
    session.abandon(second, 0.0)
    written(session)
    feed(session, frame(WINDOW_UPDATE, ACK, 5))
    assert not session.can_open
    feed(session, frame(DATA, FIN, 1))
    assert first.touched & Touched.SLOT
    assert session.can_open
    session.open_stream()
    assert not session.can_open
    feed(session, frame(WINDOW_UPDATE, RST, 3))
    assert session.can_open
    session.reset(third)
    assert session._table._finishing == 0
    assert session._table.unacknowledged == 1


def test_an_end_acknowledges_as_well() -> None:
    session = dialer()
    stream = session.open_stream()
    written(session)
    feed(session, frame(WINDOW_UPDATE, FIN, 1))
    assert stream.touched == Touched.SLOT | Touched.EOF
    assert session._table.unacknowledged == 0


def test_our_ids_come_to_an_end() -> None:
    session = dialer()
    opened(session)
    session._table._next_id = 2**32 - 1
    assert session.open_stream().stream_id == 2**32 - 1
    assert not session.can_open


def test_the_books_of_100_000_streams_are_returned() -> None:
    near, far = dialer(), responder()
    buffer = memoryview(bytearray(NOISE_FRAME))

    def open_and_end(n: int, at_once: int = 200) -> None:
        for _ in range(n // at_once):
            for _ in range(at_once):
                stream = near.open_stream()
                near.send(stream, memoryview(b"request"))
                near.abandon(stream, 0.0)
            for source, target in ((near, far), (far, near)):
                n = source.write_into(buffer, 0.0)
                for stream in feed(target, bytes(buffer[:n])):
                    if stream.touched & Touched.OPENED:
                        target.send(stream, memoryview(b"answer"))
                        if stream.stream_id % 4 == 1:
                            target.abandon(stream, 0.0)
                        else:
                            target.reset(stream)
                    stream.touched = 0
            assert near.live_streams == far.live_streams == 0

    open_and_end(1, at_once=1)
    open_and_end(92_000)
    tracemalloc.start()
    open_and_end(4_000)
    before = tracemalloc.get_traced_memory()[0]
    open_and_end(4_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 16 * KIB
    for session in (near, far):
        assert (session._table.inbound, session._table.unacknowledged) == (0, 0)
        assert not session._table.lingering
        assert session.next_timer() == LIMITS.keep_alive
