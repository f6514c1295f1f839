"""What a yamux session does with the bytes of a remote that errs or attacks: bytes in hex, and the exact verdict."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.limits import KIB, YamuxLimits
from p2p.muxers.session import Touched
from p2p.muxers.yamux import YamuxSession
from p2p.muxers.yamux.frames import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, WINDOW_UPDATE
from tests.machines.yamux_wire import (
    GOAWAY_1,
    LIMITS,
    OPEN_1,
    accepted,
    dialer,
    feed,
    frame,
    frames,
    responder,
    syns,
    verdict,
    written,
)

# --- row 9: frames that break the rules ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param("010000000000000100000000", "version 1", id="version 1"),
        pytest.param("000400000000000100000000", "type 4", id="type 4"),
        pytest.param("000000100000000100000000", "0x0010", id="unknown flag"),
        pytest.param("000000010000000000000000", "parity", id="SYN on stream 0"),
        pytest.param("000000000000000000000001", "above 0", id="DATA on stream 0"),
        pytest.param("000100000000000000000001", "above 0", id="credit for stream 0"),
        pytest.param("000100010000000200000000", "parity", id="SYN of our parity"),
        pytest.param("000000000000000100000000", "was opened", id="DATA on a stream never opened"),
        pytest.param("000100000000000300000001", "was opened", id="credit for a stream never opened"),
        pytest.param("000100040000000100000000", "was opened", id="FIN on a stream never opened"),
        pytest.param("000100080000000200000000", "was opened", id="RST of a stream we never opened"),
        pytest.param("0000000d0000000100000000", "without RST", id="SYN FIN RST"),
        pytest.param(OPEN_1 * 2, "new stream", id="SYN twice"),
        pytest.param(OPEN_1 + "000100080000000100000000" + OPEN_1, "new stream", id="reused id"),
        pytest.param(
            "000000050000000100000000" + "000000000000000100000001", "after FIN", id="DATA after FIN"
        ),
        pytest.param(OPEN_1 + "000000000000000100040001", "of the window", id="DATA beyond the window"),
        pytest.param("000000000000000100000000" * 101, "was opened", id="empty frames on nothing"),
        pytest.param("000200000000000000000000", "SYN or ACK", id="PING without flags"),
        pytest.param("000200030000000000000000", "SYN or ACK", id="PING with both"),
        pytest.param("ffffffffffffffffffffffff", "version 255", id="ones"),
    ],
)
def test_row_9_a_violation_ends_the_connection_with_goaway_1(data: str, expected: str) -> None:
    error = verdict(responder(), data)
    assert expected in str(error)


def test_row_9_the_first_overrun_by_one_byte_over_several_frames() -> None:
    session = responder()
    stream = accepted(session)
    body = frame(DATA, 0, 1, bytes(64 * KIB))
    feed(session, body * 4)
    assert (stream.credit, len(stream.received)) == (0, 256 * KIB)
    verdict(session, frame(DATA, 0, 1, b"x"))


def test_row_9_what_came_before_the_broken_frame_was_taken_in() -> None:
    session = responder()
    stream = accepted(session)
    verdict(session, frame(DATA, 0, 1, b"before") + bytes.fromhex("0004") + bytes(10))
    assert stream.received == b"before"
    assert session.read(stream, None, 0.0) == b"before"


def test_row_9_a_stream_whose_syn_we_have_not_written_is_unknown_to_the_remote() -> None:
    session = dialer()
    session.open_stream()
    verdict(session, frame(WINDOW_UPDATE, 0, 1, 1))


def test_row_9_a_data_frame_for_a_stream_over_is_bounded_by_the_largest_window() -> None:
    session = responder()
    feed(session, frame(WINDOW_UPDATE, SYN, 1) + frame(WINDOW_UPDATE, RST, 1))
    verdict(session, frame(DATA, 0, 1, LIMITS.max_window + 1))


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(frame(WINDOW_UPDATE, 0, 1, 99), id="credit"),
        pytest.param(frame(WINDOW_UPDATE, FIN, 1), id="FIN"),
        pytest.param(frame(DATA, FIN, 1), id="FIN on DATA"),
        pytest.param(frame(WINDOW_UPDATE, RST, 1, 5), id="RST"),
        pytest.param(frame(DATA, RST, 1), id="RST on DATA"),
        pytest.param(frame(WINDOW_UPDATE, ACK, 1), id="ACK"),
        pytest.param(frame(DATA, 0, 1), id="empty DATA"),
    ],
)
def test_row_9_frames_of_a_stream_that_is_over_are_dropped(tail: bytes) -> None:
    session = responder()
    feed(session, frame(WINDOW_UPDATE, SYN, 1) + frame(WINDOW_UPDATE, RST, 1))
    assert feed(session, tail * 10) == []
    assert session.live_streams == 0
    assert frames(written(session)) == []


def test_row_9_data_of_a_stream_that_is_over_is_answered_by_one_rst() -> None:
    session = responder()
    feed(session, frame(WINDOW_UPDATE, SYN, 1) + frame(WINDOW_UPDATE, RST, 1))
    for _ in range(10):
        feed(session, frame(DATA, 0, 1, bytes(1000)))
    assert frames(written(session)) == [(WINDOW_UPDATE, RST, 1, 0)]


def test_row_9_data_on_its_way_when_we_reset_is_dropped_without_another_rst() -> None:
    session = responder()
    stream = accepted(session, body=b"x")
    session.reset(stream, 7)
    feed(session, frame(DATA, 0, 1, bytes(1000)) + frame(DATA, FIN, 1, b"end"))
    assert frames(written(session)) == [(WINDOW_UPDATE, RST, 1, 7)]
    assert stream.received == b""


def test_row_9_discarding_takes_no_memory() -> None:
    session = responder()
    feed(session, frame(WINDOW_UPDATE, SYN, 1) + frame(WINDOW_UPDATE, RST, 1))
    body = memoryview(bytes(64 * KIB))
    tracemalloc.start()
    for _ in range(16):
        session.receive_data(memoryview(frame(DATA, 0, 1, 16 * 64 * KIB)), 0.0)
        for _ in range(16):
            session.receive_data(body, 0.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * KIB


def test_the_first_frames_of_streams_may_overtake_each_other() -> None:
    session = responder()
    touched = feed(session, b"".join(frame(WINDOW_UPDATE, SYN, stream_id) for stream_id in (5, 1, 3)))
    assert [stream.stream_id for stream in touched] == [5, 1, 3]


def test_a_stream_dropped_by_the_remote_before_its_syn_is_harmless() -> None:
    session = responder()
    feed(session, frame(DATA, RST, 1) + frame(WINDOW_UPDATE, SYN, 3) + frame(DATA, RST, 1))
    assert session.live_streams == 1


# --- muxer advisories ---------------------------------------------------------------------------------


def test_cve_2026_31814_credit_past_32_bits() -> None:
    verdict(responder(), OPEN_1 + "0001000000000001ffff0000")
    verdict(responder(), "0001000100000001fffc0000")  # with the SYN itself
    verdict(responder(), "0001000100000001fffbffff" + "000100000000000100000001")  # one by one


def test_cve_2026_31814_all_the_credit_of_32_bits_is_fine() -> None:
    session = responder()
    (stream,) = feed(session, "0001000100000001fffbffff")
    assert stream.send_window == 2**32 - 1


def test_cve_2026_32314_data_with_syn_beyond_the_window_makes_no_stream() -> None:
    session = responder()
    verdict(session, "000000010000000100040001")
    assert session.live_streams == 0
    session = responder()
    (stream,) = feed(session, "000000010000000100040000")  # exactly the window
    assert stream.touched == Touched.OPENED


def test_cve_2026_73568_a_body_that_never_comes() -> None:
    verdict(responder(), "0000000000000001ffffffff")
    verdict(responder(), OPEN_1 + "0000000000000001ffffffff")


def test_cve_2026_73568_a_legal_body_that_never_comes_ends_with_the_keep_alive() -> None:
    session = responder()
    feed(session, "000000010000000100000400", now=1.0)
    written(session, 1.0)
    deadlines = []
    with pytest.raises(RemoteProtocolError):
        while True:
            due = session.next_timer()
            assert due is not None
            deadlines.append(due)
            written(session, due)
            session.handle_timer(due)
    assert deadlines[-1] <= 1.0 + 40.0


def test_cve_2024_32984_pings_are_answered_by_one_pong() -> None:
    session = responder()
    feed(session, "000200010000000000000001" * 10_000 + "000200010000000000000002")
    assert not session.congested
    assert written(session).hex() == "000200020000000000000002"


def test_cve_2024_32984_too_many_control_frames_stop_the_reading() -> None:
    session = responder()
    for stream_id in range(1, 2 * LIMITS.max_inbound_streams, 2):
        session.reset(accepted(session, stream_id))
        written(session)
    assert not session.congested
    flood = b"".join(frame(DATA, SYN, 1001 + 2 * n) for n in range(LIMITS.max_inbound_streams + 1))
    feed(session, flood)
    session.close(0)
    feed(session, b"".join(frame(DATA, SYN, 2001 + 2 * n) for n in range(LIMITS.max_control_frames)))
    assert session.congested
    written(session)
    assert not session.congested


@pytest.mark.parametrize("kind", [DATA, WINDOW_UPDATE])
def test_row_10_rustsec_2026_0258_empty_frames_are_counted(kind: int) -> None:
    session = responder()
    stream = accepted(session)
    empty = frame(kind, 0, 1)
    for _ in range(3):
        feed(session, empty * LIMITS.max_empty_frames)
        feed(session, frame(DATA, 0, 1, b"x"))
    assert stream.received == b"xxx"
    assert written(session) == b""
    verdict(session, empty * (LIMITS.max_empty_frames + 1))


# --- rows 7, 8: streams without end -------------------------------------------------------------------


def test_row_7_streams_beyond_the_cap_are_reset_and_have_no_books() -> None:
    session = responder()
    touched = feed(session, syns(LIMITS.max_inbound_streams + 1))
    refused = 2 * LIMITS.max_inbound_streams + 1
    assert len(touched) == session.live_streams == LIMITS.max_inbound_streams
    assert frames(written(session))[0] == (WINDOW_UPDATE, RST, refused, 0)
    assert feed(session, frame(DATA, 0, refused, b"on its way")) == []
    assert written(session) == b""


def test_row_7_a_refused_stream_may_carry_data() -> None:
    session = responder(replace(LIMITS, max_inbound_streams=0))
    assert feed(session, frame(DATA, SYN, 1, b"x" * 1000) + frame(DATA, FIN, 1, b"y")) == []
    assert frames(written(session)) == [(WINDOW_UPDATE, RST, 1, 0)]


def test_row_7_a_flood_of_streams_ends_the_connection() -> None:
    def flood(limits: YamuxLimits) -> YamuxSession:
        session = responder(limits)
        for first in range(1, 20_000, 2000):
            feed(session, syns(1000, first))
            assert session.live_streams <= LIMITS.max_inbound_streams
            written(session)
        return session

    with pytest.raises(RemoteProtocolError, match="fewer streams"):
        flood(LIMITS)
    flood(replace(LIMITS, reset_burst=10**6))  # it is this bound that ends it


def test_row_8_cve_2023_44487_rapid_reset() -> None:
    def churn(limits: YamuxLimits) -> None:
        session = responder(limits)
        for stream_id in range(1, 2 * LIMITS.reset_burst + 3, 2):
            feed(session, frame(DATA, SYN, stream_id, b"work") + frame(WINDOW_UPDATE, RST, stream_id))
            assert session.live_streams == 0

    with pytest.raises(RemoteProtocolError, match="fewer streams"):
        churn(LIMITS)
    churn(replace(LIMITS, reset_burst=LIMITS.reset_burst + 1))


def test_row_8_resets_within_the_rate_are_forgiven() -> None:
    session = responder()
    now = 0.0
    for stream_id in range(1, 8 * LIMITS.reset_burst, 2):
        feed(session, frame(DATA, SYN, stream_id) + frame(WINDOW_UPDATE, RST, stream_id), now)
        now += 1.01 / LIMITS.reset_rate


def test_row_8_cve_2025_8671_frames_that_make_us_reset() -> None:
    session = responder(replace(LIMITS, remembered_resets=1))
    feed(session, syns(2) + frame(WINDOW_UPDATE, RST, 1) + frame(WINDOW_UPDATE, RST, 3))
    attack = frame(DATA, 0, 1, b"x") + frame(DATA, 0, 3, b"x")
    with pytest.raises(RemoteProtocolError, match="fewer streams"):
        for _ in range(LIMITS.reset_burst):
            feed(session, attack)
            written(session)


def test_row_8_streams_that_end_as_they_should_cost_the_remote_nothing() -> None:
    session = responder()
    for stream_id in range(1, 4 * LIMITS.reset_burst, 2):
        (stream,) = feed(session, frame(DATA, SYN | FIN, stream_id, b"request"))
        assert session.read(stream, None, 0.0) == b"request"
        session.send_eof(stream)
        written(session)
        assert session.live_streams == 0


# --- row 12: goodbyes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 2, 3, 2**32 - 1])
def test_row_12_the_remotes_goodbye_is_told_and_may_be_repeated(code: int) -> None:
    session = responder()
    stream = accepted(session)
    assert session.closed_by_remote is None
    feed(session, frame(GO_AWAY, 0, 0, code) * 1000)
    assert session.closed_by_remote == code
    assert not session.can_open
    with pytest.raises(LocalProtocolError):
        session.open_stream()
    feed(session, frame(DATA, 0, 1, b"existing streams finish"))
    assert stream.received == b"existing streams finish"
    assert written(session) == b""


def test_row_12_streams_after_the_remotes_goodbye_are_refused() -> None:
    session = responder()
    assert feed(session, frame(GO_AWAY, 0, 0, 0) + syns(2)) == []
    assert session.live_streams == 0
    assert frames(written(session)) == [(WINDOW_UPDATE, RST, 1, 0), (WINDOW_UPDATE, RST, 3, 0)]


def test_row_12_after_our_goodbye_streams_are_refused_and_open_ones_go_on() -> None:
    session = responder()
    stream = accepted(session)
    session.close(0)
    session.close(0)
    assert session.closed_by_us
    assert not session.can_open
    assert written(session).hex() == "000300000000000000000000"
    assert feed(session, syns(1, 3) + frame(DATA, 0, 1, b"goes on")) == [stream]
    session.send(stream, memoryview(b"so do we"))
    assert frames(written(session)) == [(WINDOW_UPDATE, RST, 3, 0), (DATA, 0, 1, 8)]


def test_row_12_a_goodbye_may_turn_into_an_error_once() -> None:
    session = responder()
    session.close(0)
    written(session)
    for code in (1, 0, 2):
        session.close(code)
    assert written(session).hex() == GOAWAY_1


# --- row 11 and the keep-alive ------------------------------------------------------------------------


def test_row_11_pings_answer_in_order_of_their_coming_the_latest_only() -> None:
    session = responder()
    feed(session, frame(PING, SYN, 0, 1))
    assert written(session) == frame(PING, ACK, 0, 1)
    feed(session, frame(PING, SYN, 0, 2) + frame(PING, SYN, 0, 3))
    assert written(session) == frame(PING, ACK, 0, 3)


def test_an_idle_session_writes_nothing_until_the_keep_alive() -> None:
    session = dialer()
    assert not session.wants_write
    assert session.next_timer() == LIMITS.keep_alive
    assert session.handle_timer(LIMITS.keep_alive - 1) == []
    assert not session.wants_write
    session.handle_timer(LIMITS.keep_alive)
    assert written(session, 30.0) == frame(PING, SYN, 0, 1)
    feed(session, frame(PING, ACK, 0, 1), 30.25)
    assert session.round_trip == 0.25
    assert session.next_timer() == 30.25 + LIMITS.keep_alive
    # The remote's own keep-alive does for both, and is answered without a question of ours.
    feed(session, frame(PING, SYN, 0, 9), 50.0)
    assert written(session, 50.0) == frame(PING, ACK, 0, 9)
    assert session.next_timer() == 50.0 + LIMITS.keep_alive


@pytest.mark.parametrize("make", [dialer, responder])
def test_both_ends_measure_as_soon_as_streams_move(make: Callable[[], YamuxSession]) -> None:
    session = make()
    if make is dialer:
        session.open_stream()
        assert PING not in {HEADER.unpack_from(written(session))[0]}
        feed(session, frame(WINDOW_UPDATE, ACK, 1), 1.0)
    else:
        feed(session, frame(WINDOW_UPDATE, SYN, 1), 1.0)
    data = written(session, 1.0)
    assert frame(PING, SYN, 0, 1) in data
