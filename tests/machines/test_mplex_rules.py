"""Mplex: what is taken, what is tolerated, and what ends the connection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p.abc import Role
from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.muxers import Yamux
from p2p.muxers.mplex import MplexSession
from p2p.muxers.session import Touched
from p2p.wire import varint
from tests.machines.mplex_wire import (
    CLOSE_I,
    CLOSE_R,
    LIMITS,
    MSG_I,
    MSG_R,
    NEW,
    RESET_I,
    RESET_R,
    accepted,
    feed,
    message,
    messages,
    opened,
    session,
    verdict,
    written,
)

KIB = 1024
MAX_ID = 2**60 - 1


# --- the wire, by hand --------------------------------------------------------------------------------


def test_the_bytes_of_a_conversation() -> None:
    """Source: mplex/README.md, "Message format"; worked out by hand."""
    mplex = session()
    feed(
        mplex, bytes.fromhex("00 01 61" + "02 03 010203" + "0400")
    )  # NewStream "a", three bytes, CloseInitiator
    stream = mplex.open_stream()
    mplex.send(stream, memoryview(b"hey"))
    mplex.send_eof(stream)
    assert written(mplex) == bytes.fromhex("0000" + "0203 686579" + "0400")
    feed(mplex, bytes.fromhex("0101 79" + "0300"))  # the receiver of ours answers, and closes
    assert stream.received == b"y" and stream.eof_received and stream.over


def test_ids_count_from_0_on_both_sides_and_do_not_meet() -> None:
    mplex = session()
    theirs, ours = accepted(mplex, 0, b"theirs"), opened(mplex)
    assert (theirs.stream_id, ours.stream_id) == (0, 0)
    feed(mplex, message(MSG_R, 0, b"to ours"))
    assert theirs.received == b"theirs" and ours.received == b"to ours"
    for stream in (theirs, ours):
        mplex.send(stream, memoryview(b"x"))
    assert messages(written(mplex)) == [(MSG_R, 0, b"x"), (MSG_I, 0, b"x")]


def test_the_largest_id_there_is() -> None:
    mplex = session()
    stream = accepted(mplex, MAX_ID, b"x")
    mplex.reset(stream)
    assert written(mplex) == bytes.fromhex("fdffffffffffffff7f" + "00")


def test_our_ids_come_to_an_end() -> None:
    mplex = session()
    mplex._table._next_id = MAX_ID
    assert opened(mplex).stream_id == MAX_ID
    assert not mplex.can_open


def test_no_code_of_a_reset_crosses() -> None:
    mplex = session()
    mplex.reset(opened(mplex), 7)
    assert messages(written(mplex)) == [(RESET_I, 0, b"")]
    stream = opened(mplex)
    feed(mplex, message(RESET_R, 1))
    assert stream.reset_code == 0 and not stream.overflowed


# --- violations ---------------------------------------------------------------------------------------

OPEN = message(NEW, 0, b"0")
VIOLATIONS = {
    "an unknown flag": message(7, 0),
    "an id above 2^60": b"\x82" + b"\x80" * 8 + b"\x01\x00",
    "an id not in its shortest form": b"\x80\x00\x00",
    "a message above 1 MiB": OPEN + message(MSG_I, 0, length=1024 * KIB + 1),
    "a message above all": OPEN + message(MSG_I, 0) [:1] + b"\xff" * 4,
    "a name above its bound": message(NEW, 0, length=LIMITS.max_name + 1),
    "a close with a long body": OPEN + message(CLOSE_I, 0, length=LIMITS.max_name + 1),
    "a reset with a long body": OPEN + message(RESET_I, 0, length=LIMITS.max_name + 1),
    "data of a stream never opened": message(MSG_I, 3, b"x"),
    "data of a stream of ours never opened": message(MSG_R, 3, b"x"),
    "no data of a stream never opened": message(MSG_I, 3),
    "a close of a stream of ours never opened": message(CLOSE_R, 3),
    "a reset of a stream of ours never opened": message(RESET_R, 3),
    "a stream opened twice": OPEN + OPEN,
    "a stream opened again after its end": OPEN + message(RESET_I, 0) + OPEN,
    "data after a close": OPEN + message(CLOSE_I, 0) + message(MSG_I, 0, b"x"),
    "empty messages": OPEN + message(MSG_I, 0) * 101,
    "a close over and over": OPEN + message(CLOSE_I, 0) * 102,
}  # fmt: skip


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation(name: str) -> None:
    assert verdict(session(), VIOLATIONS[name]).code == 1
    sliced = session()
    with pytest.raises(RemoteProtocolError):
        for byte in VIOLATIONS[name]:
            feed(sliced, bytes([byte]))


def test_a_message_of_a_stream_that_the_remote_cannot_know() -> None:
    mplex = session()
    mplex.open_stream()
    assert "a stream it knows of" in str(verdict(mplex, message(MSG_R, 0, b"x")))


def test_a_length_is_judged_before_a_byte_of_the_body() -> None:
    """As soon as the prefix can only mean more than a mebibyte."""
    mplex = session()
    accepted(mplex)
    feed(mplex, varint.encode(MSG_I) + b"\x81\x80")
    verdict(mplex, b"\x41")


# --- what is tolerated --------------------------------------------------------------------------------

TOLERATED = {
    "a name": message(NEW, 0, b"n" * LIMITS.max_name),
    "a name that is no text": message(NEW, 0, bytes(range(128, 256))),
    "a close with a body": OPEN + message(CLOSE_I, 0, b"why"),
    "a reset with a body": OPEN + message(RESET_I, 0, b"why"),
    "a reset of a stream never opened": message(RESET_I, 9),
    "a close of a stream never opened": message(CLOSE_I, 9),
    "a close repeated": OPEN + message(CLOSE_I, 0) * 3,
    "data after a reset": OPEN + message(RESET_I, 0) + message(MSG_I, 0, b"x"),
    "an end after a reset": OPEN + message(RESET_I, 0) + message(CLOSE_I, 0) + message(RESET_I, 0),
    "streams out of order": b"".join(message(NEW, i) for i in (3, 0, 2, 1)),
    "some empty messages": OPEN + message(MSG_I, 0) * 100 + message(MSG_I, 0, b"x") + message(MSG_I, 0) * 100,
}


@pytest.mark.parametrize("name", TOLERATED)
def test_what_is_tolerated(name: str) -> None:
    mplex = session()
    feed(mplex, TOLERATED[name])
    accepted(mplex, 20, b"the next")
    assert not written(mplex)


def test_a_message_of_a_mebibyte_is_never_held_whole() -> None:
    """Each part is delivered as it comes."""
    mplex = session()
    stream = accepted(mplex)
    feed(mplex, message(MSG_I, 0, length=1024 * KIB))
    for _ in range(16):
        assert feed(mplex, bytes(64 * KIB)) == [stream]
        assert len(mplex.read(stream, None, 0.0)) == 64 * KIB
    feed(mplex, message(MSG_I, 0, b"next"))
    assert stream.received == b"next"


# --- bounds -------------------------------------------------------------------------------------------


def test_streams_beyond_the_cap_are_reset_and_too_many_end_it() -> None:
    """CL-2021-03, CL-2021-04."""
    mplex = session()
    cap, burst = LIMITS.max_inbound_streams, LIMITS.reset_burst
    feed(mplex, b"".join(message(NEW, i) for i in range(cap + burst)))
    assert mplex.live_streams == cap
    assert messages(written(mplex)) == [(RESET_R, i, b"") for i in range(cap, cap + burst)]
    verdict(mplex, message(NEW, cap + burst))


def test_a_slot_is_free_again_when_a_stream_ends() -> None:
    mplex = session(replace(LIMITS, max_inbound_streams=1))
    mplex.reset(accepted(mplex))
    assert accepted(mplex, 1)


@pytest.mark.parametrize("end", [RESET_I, CLOSE_I], ids=["reset", "close"])
def test_ends_of_nothing_are_counted(end: int) -> None:
    mplex = session()
    verdict(mplex, message(end, 0) * (LIMITS.reset_burst + 1))


def test_streams_opened_and_reset_are_counted() -> None:
    """CVE-2023-44487."""
    mplex = session()
    churn = b"".join(message(NEW, i) + message(RESET_I, i) for i in range(LIMITS.reset_burst))
    feed(mplex, churn)
    verdict(mplex, message(NEW, 10**4) + message(RESET_I, 10**4))


def test_data_after_an_end_that_was_the_remotes_is_counted() -> None:
    mplex = session()
    feed(mplex, OPEN + message(RESET_I, 0))
    verdict(mplex, message(MSG_I, 0, b"x") * LIMITS.reset_burst)


def test_data_on_its_way_when_we_reset_costs_nothing_and_its_end_neither() -> None:
    mplex = session(replace(LIMITS, reset_burst=0, reset_rate=0))
    stream = accepted(mplex, 0, b"unread")
    mplex.reset(stream)
    assert messages(written(mplex)) == [(RESET_R, 0, b"")]
    feed(mplex, message(MSG_I, 0, bytes(KIB)) * 5000 + message(CLOSE_I, 0))
    assert not written(mplex) and not stream.received
    verdict(mplex, message(RESET_I, 0))


def test_empty_messages_on_their_way_when_we_reset_are_counted() -> None:
    mplex = session()
    mplex.reset(accepted(mplex))
    verdict(mplex, message(MSG_I, 0) * (LIMITS.reset_burst + 1))


def test_resets_that_wait_stop_the_reading() -> None:
    mplex = session()
    extra = LIMITS.max_control_frames
    cap = LIMITS.max_inbound_streams
    feed(mplex, b"".join(message(NEW, i) for i in range(cap + extra)))
    assert not mplex.congested
    feed(mplex, message(NEW, cap + extra))
    assert mplex.congested
    written(mplex)
    assert not mplex.congested


def test_our_own_streams_are_bounded() -> None:
    mplex = session()
    streams = [opened(mplex) for _ in range(LIMITS.max_outbound_streams)]
    assert not mplex.can_open
    with pytest.raises(LocalProtocolError):
        mplex.open_stream()
    mplex.reset(streams[0])
    assert mplex.can_open


# --- closing ------------------------------------------------------------------------------------------


def test_close_with_unread_data_ends_and_resets() -> None:
    mplex = session()
    stream = accepted(mplex, 0, b"unread")
    mplex.send(stream, memoryview(b"last"))
    mplex.abandon(stream, 0.0)
    assert messages(written(mplex)) == [(MSG_R, 0, b"last"), (CLOSE_R, 0, b""), (RESET_R, 0, b"")]
    assert stream.over


def test_data_after_our_close_is_answered_once() -> None:
    mplex = session()
    stream = accepted(mplex)
    mplex.abandon(stream, 0.0)
    assert messages(written(mplex)) == [(CLOSE_R, 0, b"")]
    feed(mplex, message(MSG_I, 0, b"x") * 3)
    assert messages(written(mplex)) == [(RESET_R, 0, b"")]
    assert not stream.received


def test_a_stream_closed_before_it_left_takes_no_data() -> None:
    mplex = session()
    stream = mplex.open_stream()
    mplex.abandon(stream, 0.0)
    assert messages(written(mplex)) == [(NEW, 0, b""), (CLOSE_I, 0, b"")]
    feed(mplex, message(MSG_R, 0, b"x"))
    assert not stream.received
    assert messages(written(mplex)) == [(RESET_I, 0, b"")]


def test_a_stream_that_the_remote_never_ends_is_reset() -> None:
    mplex = session()
    stream = accepted(mplex)
    mplex.abandon(stream, 5.0)
    written(mplex)
    due = mplex.next_timer()
    assert due == 5.0 + LIMITS.closed_linger
    assert not mplex.handle_timer(due - 1)
    assert mplex.handle_timer(due) == [stream]
    assert messages(written(mplex)) == [(RESET_R, 0, b"")]
    assert mplex.next_timer() is None


def test_nobody_hears_of_a_stream_reset_before_it_left() -> None:
    mplex = session()
    mplex.reset(mplex.open_stream())
    assert not written(mplex)
    assert opened(mplex).stream_id == 1


def test_goodbye_is_kept_to_ourselves() -> None:
    mplex = session()
    stream = accepted(mplex)
    mplex.close(0)
    assert mplex.closed_by_us and not mplex.can_open and not mplex.wants_write
    feed(mplex, message(NEW, 1) + message(MSG_I, 1, b"x") + message(MSG_I, 0, b"goes on"))
    assert stream.received == b"goes on"
    assert messages(written(mplex)) == [(RESET_R, 1, b"")]


def test_the_end_of_the_transport_is_a_goodbye() -> None:
    mplex = session()
    assert mplex.closed_by_remote is None
    mplex.receive_eof()
    assert mplex.closed_by_remote == 0 and not mplex.can_open


# --- overflowing --------------------------------------------------------------------------------------


def filled(*, extra: int = 1, now: float = 0.0, **limits: float):
    """A session and a stream that holds ``extra`` bytes more than it may."""
    mplex = session(replace(LIMITS, **limits))
    stream = accepted(mplex)
    feed(mplex, message(MSG_I, 0, bytes(LIMITS.receive_buffer + extra)), now)
    return mplex, stream


def test_a_full_stream_is_not_overfull() -> None:
    mplex, stream = filled(extra=0)
    assert not mplex.overfull
    feed(mplex, message(MSG_I, 0, b"x"))
    assert mplex.overfull
    mplex.read(stream, 1, 0.0)
    assert not mplex.overfull


@pytest.mark.parametrize("way", ["read", "abandon", "reset", "remote reset", "remote close"])
def test_what_ends_an_overflow(way: str) -> None:
    mplex, stream = filled()
    if way == "read":
        mplex.read(stream, None, 0.0)
    elif way == "abandon":
        mplex.abandon(stream, 0.0)
    elif way == "reset":
        mplex.reset(stream)
    else:
        feed(mplex, message(RESET_I if way == "remote reset" else CLOSE_I, 0))
    assert not mplex.overfull
    assert not mplex.shed(1.0)


def test_a_stream_is_given_a_moment_and_then_reset() -> None:
    mplex, stream = filled(now=10.0)
    sibling = accepted(mplex, 1, b"unharmed")
    assert mplex.stall(10.0) == 10.0 + LIMITS.stall_unread
    assert not mplex.shed(10.0)
    assert mplex.shed(10.0 + LIMITS.stall_unread) == [stream]
    assert stream.touched & Touched.RESET and stream.overflowed and stream.reset_code == 0
    assert not stream.received and not mplex.overfull
    assert messages(written(mplex)) == [(RESET_R, 0, b"")]
    assert sibling.received == b"unharmed" and not sibling.over


def test_a_stream_that_has_a_reader_is_given_more() -> None:
    mplex, stream = filled(now=10.0)
    mplex.read(stream, 1, 10.0)
    feed(mplex, message(MSG_I, 0, b"x"), 10.01)
    assert mplex.stall(10.01) == 10.0 + LIMITS.stall
    assert not mplex.shed(10.04)
    assert mplex.shed(10.0 + LIMITS.stall) == [stream]


def test_what_the_pump_reads_makes_no_reader() -> None:
    mplex, stream = filled()
    mplex.unread_negotiation(stream, 10, 0.0)
    assert not stream.was_read


def test_a_stream_that_was_long_full_holds_up_nobody() -> None:
    """Its reader had its time while others were served."""
    mplex, stream = filled(extra=0, now=0.0)
    feed(mplex, message(MSG_I, 0, b"x"), 1.0)
    assert mplex.stall(1.0) == LIMITS.stall_unread
    assert mplex.shed(1.0) == [stream]


def overflowing(mplex: MplexSession, stream_id: int, now: float) -> None:
    accepted(mplex, stream_id)
    feed(mplex, message(MSG_I, stream_id, bytes(LIMITS.receive_buffer + 1)), now)


def test_waiting_in_vain_is_rationed() -> None:
    """256 streams that nobody ever reads, one right after the other: the first costs a moment, and the others
    nothing. Later there is time for another.
    """
    mplex = session()
    now = 0.0
    for stream_id in range(256):
        overflowing(mplex, stream_id, now)
        now = max(now, mplex.stall(now))
        assert len(mplex.shed(now)) == 1
    assert now == LIMITS.stall_unread
    overflowing(mplex, 256, now + 1.0)
    assert mplex.stall(now + 1.0) == pytest.approx(now + 1.0 + LIMITS.stall_unread)


def test_many_streams_that_overflow_at_once_share_one_wait() -> None:
    mplex = session()
    for stream_id in range(100):
        overflowing(mplex, stream_id, 0.0)
    assert mplex.stall(0.0) == LIMITS.stall_unread
    assert len(mplex.shed(LIMITS.stall_unread)) == 100
    assert mplex._table._patience.available(0.0) == pytest.approx(0.0, abs=0.001)


def test_streams_are_shed_when_their_time_is_up_and_no_later() -> None:
    mplex, read = filled(now=0.0)
    mplex.read(read, 1, 0.0)
    feed(mplex, message(MSG_I, 0, b"x"), 0.0)
    overflowing(mplex, 1, 0.0)
    assert mplex.stall(0.0) == LIMITS.stall_unread
    (unread,) = mplex.shed(LIMITS.stall_unread)
    assert unread is not read
    assert mplex.stall(LIMITS.stall_unread) == LIMITS.stall
    assert mplex.shed(LIMITS.stall) == [read]


def test_a_reader_that_comes_costs_nothing() -> None:
    mplex, stream = filled()
    for turn in range(100):
        now = 0.01 * turn
        assert mplex.stall(now) == pytest.approx(now + (LIMITS.stall if turn else LIMITS.stall_unread))
        mplex.read(stream, None, now + 0.009)
        assert not mplex.shed(now + 0.009)
        feed(mplex, message(MSG_I, 0, bytes(LIMITS.receive_buffer + 1)), now + 0.01)
    assert mplex._table._patience.available(0.0) == LIMITS.stall_unread


def test_too_many_overflows_end_the_connection() -> None:
    mplex, _ = filled(reset_burst=0, reset_rate=0)
    with pytest.raises(RemoteProtocolError):
        mplex.shed(0.1)
    assert not mplex.wants_write and not mplex.can_open


# --- sending ------------------------------------------------------------------------------------------


def test_streams_take_turns_and_messages_are_cut() -> None:
    mplex = session()
    one, two = opened(mplex), opened(mplex)
    for stream in (one, two):
        mplex.send(stream, memoryview(bytes(100 * KIB)))
    cut = [(stream_id, len(body)) for _, stream_id, body in messages(written(mplex))]
    assert [stream_id for stream_id, _ in cut[:4]] == [0, 1, 0, 1]
    assert max(size for _, size in cut) == LIMITS.max_own_message
    assert sum(size for _, size in cut) == 200 * KIB


def test_data_waits_for_its_opening_and_the_end_for_data() -> None:
    mplex = session()
    stream = mplex.open_stream()
    mplex.send(stream, memoryview(b"x"))
    mplex.send_eof(stream)
    assert messages(written(mplex)) == [(NEW, 0, b""), (MSG_I, 0, b"x"), (CLOSE_I, 0, b"")]


def test_any_room_is_used_and_never_exceeded() -> None:
    for room in range(130):
        mplex = session()
        stream = mplex.open_stream()
        mplex.send(stream, memoryview(b"x" * 500))
        out = memoryview(bytearray(room))
        got = b""
        for _ in range(100):
            n = mplex.write_into(out, 0.0)
            assert n <= room
            got += out[:n]
        assert bool(got) == (room >= 64)
        if got:
            assert b"".join(body for _, _, body in messages(got)) == b"x" * 500


def test_all_send_buffers_together_are_bounded() -> None:
    mplex = session()
    streams = [opened(mplex) for _ in range(30)]
    taken = sum(mplex.send_copy(stream, memoryview(bytes(64 * KIB))) for stream in streams)
    assert taken == LIMITS.send_buffers
    late = mplex.open_stream()
    assert mplex.send(late, memoryview(b"held")) == 4 and late.holding


def test_a_stream_of_another_protocol_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        session().send(Yamux().session(Role.DIALER, now=0.0).open_stream(), memoryview(b"x"))
