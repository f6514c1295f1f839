"""What a yamux session does with the bytes of a remote that errs or attacks: bytes in hex, and the exact verdict."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2p.abc import Role
from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.limits import KIB, YamuxLimits
from p2p.muxers.session import Touched
from p2p.muxers.yamux import Yamux, YamuxSession, YamuxStream
from p2p.muxers.yamux.frames import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, WINDOW_UPDATE

LIMITS = YamuxLimits()
NOISE_FRAME = 65519
GOAWAY_1 = "000300000000000000000001"
OPEN_1 = "000100010000000100000000"


def frame(kind: int, flags: int, stream_id: int, length: int | bytes = 0) -> bytes:
    """A frame; for ``length`` as bytes, with them as its body."""
    if isinstance(length, bytes):
        return HEADER.pack(kind, flags, stream_id, len(length)) + length
    return HEADER.pack(kind, flags, stream_id, length)


def responder(limits: YamuxLimits = LIMITS) -> YamuxSession:
    return Yamux(limits).session(Role.RESPONDER, now=0.0)


def dialer(limits: YamuxLimits = LIMITS) -> YamuxSession:
    return Yamux(limits).session(Role.DIALER, now=0.0)


def feed(session: YamuxSession, data: bytes | str, now: float = 0.0) -> list[YamuxStream]:
    """Receive bytes, given as such or in hex; the streams touched."""
    if isinstance(data, str):
        data = bytes.fromhex(data)
    return list(session.receive_data(memoryview(data), now))


def written(session: YamuxSession, now: float = 0.0) -> bytes:
    """All the session has to write."""
    out, buffer = b"", memoryview(bytearray(NOISE_FRAME))
    while session.wants_write:
        n = session.write_into(buffer, now)
        assert n
        out += buffer[:n]
    assert not session.write_into(buffer, now)
    return out


def frames(data: bytes) -> list[tuple[int, int, int, int]]:
    """The headers in ``data``, but for pings, which are not the subject."""
    found = []
    while data:
        kind, flags, stream_id, length = HEADER.unpack_from(data)
        if kind != PING:
            found.append((kind, flags, stream_id, length))
        data = data[HEADER.size + (length if kind == DATA else 0) :]
    return found


def settle(session: YamuxSession) -> None:
    """Write all there is, and answer a ping in it."""
    data = written(session)
    while data:
        kind, flags, _, length = HEADER.unpack_from(data)
        if (kind, flags) == (PING, SYN):
            feed(session, HEADER.pack(PING, ACK, 0, length))
        data = data[HEADER.size + (length if kind == DATA else 0) :]


def accepted(session: YamuxSession, stream_id: int = 1, body: bytes = b"") -> YamuxStream:
    """A stream that the remote opened, its ACK written."""
    (stream,) = feed(session, frame(DATA, SYN, stream_id, body))
    assert stream.touched == Touched.OPENED | (Touched.DATA if body else 0)
    stream.touched = 0
    settle(session)
    return stream


def opened(session: YamuxSession) -> YamuxStream:
    """A stream that this side opened and the remote acknowledged."""
    stream = session.open_stream()
    written(session)
    feed(session, frame(WINDOW_UPDATE, ACK, stream.stream_id))
    assert stream.touched == Touched.SLOT
    stream.touched = 0
    settle(session)
    return stream


def verdict(session: YamuxSession, data: bytes | str) -> RemoteProtocolError:
    """The error that ``data`` raises; the session then says GoAway 1 and nothing else."""
    with pytest.raises(RemoteProtocolError) as raised:
        feed(session, data)
    assert raised.value.code == 1
    session.close(raised.value.code)
    assert written(session).hex() == GOAWAY_1
    assert session.next_timer() is None
    with pytest.raises(LocalProtocolError):
        feed(session, b"")
    return raised.value


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


def syns(n: int, first: int = 1) -> bytes:
    return b"".join(frame(WINDOW_UPDATE, SYN, first + 2 * i) for i in range(n))


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


@pytest.mark.parametrize("end", [FIN, RST])
def test_a_stream_the_remote_ended_gets_no_credit(end: int) -> None:
    session = responder()
    stream = accepted(session, body=bytes(256 * KIB))
    session.read(stream, 200 * KIB, 0.0)
    feed(session, frame(WINDOW_UPDATE, end, 1))
    session.read(stream, None, 0.0)
    assert written(session).count(HEADER.pack(WINDOW_UPDATE, 0, 1, 200 * KIB)) == 0


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


def test_reset_without_fin_drops_what_was_received() -> None:
    session = responder()
    stream = accepted(session, body=b"data")
    feed(session, frame(WINDOW_UPDATE, RST, 1, 9))
    assert (stream.eof_received, stream.reset_code, stream.received) == (False, 9, b"")


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
    assert frames(written(session)) == [(DATA, 0, 1, 6), (DATA, FIN, 1, 0), (WINDOW_UPDATE, RST, 1, 0)]
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


def test_our_ids_come_to_an_end() -> None:
    session = dialer()
    session._table._next_id = 2**32 - 1
    assert session.open_stream().stream_id == 2**32 - 1
    assert not session.can_open


def test_the_books_of_100_000_streams_are_returned() -> None:
    near, far = dialer(), responder()
    buffer = memoryview(bytearray(NOISE_FRAME))

    def open_and_end(n: int) -> None:
        for _ in range(n // 200):
            for _ in range(200):
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


# --- anything at all ----------------------------------------------------------------------------------

HOSTILE_IDS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 2**31, 2**32 - 1])
HOSTILE_LENGTHS = st.one_of(st.integers(0, 40), st.sampled_from([256 * KIB, 256 * KIB + 1, 2**32 - 1]))
HOSTILE_FRAMES = st.builds(
    lambda kind, flags, stream_id, length, body: HEADER.pack(kind, flags, stream_id, length) + body,
    st.sampled_from([DATA, DATA, WINDOW_UPDATE, PING, GO_AWAY, 4, 0x0100]),
    st.sampled_from([0, 0, SYN, SYN, ACK, FIN, RST, SYN | FIN, SYN | RST, 0x10]),
    HOSTILE_IDS,
    HOSTILE_LENGTHS,
    st.binary(max_size=40),
)


@given(data=st.one_of(st.binary(max_size=400), st.lists(HOSTILE_FRAMES, max_size=20).map(b"".join)))
@example(data=bytes.fromhex(OPEN_1 + "000000000000000100000003616263"))
def test_any_bytes_are_taken_or_a_violation(data: bytes) -> None:
    for make in (dialer, responder):
        session = make()
        session.abandon(session.open_stream(), 0.0)
        session.open_stream()
        written(session)
        try:
            feed(session, data)
        except RemoteProtocolError as error:
            session.close(error.code)
        live = session._table.live.values()
        assert len(live) <= LIMITS.max_inbound_streams + 2
        assert sum(stream.buffered for stream in live) <= len(data)
        assert len(written(session)) <= 12 * (len(data) // 12 + 4)


@given(
    chunks=st.lists(HOSTILE_FRAMES, max_size=12),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=30),
)
def test_any_slicing_gives_the_same_books(chunks: list[bytes], cuts: list[int]) -> None:
    data = b"".join(chunks)

    def books(pieces: list[bytes]) -> object:
        session = responder()
        session.open_stream()
        written(session)
        streams: dict[int, YamuxStream] = {}
        failure = None
        for piece in pieces:
            try:
                for stream in feed(session, piece):
                    streams[stream.stream_id] = stream
            except RemoteProtocolError as error:
                failure = str(error)
                break
        streams |= session._table.live
        left = ("seen", "_send_buffer")
        said = {
            stream_id: [getattr(stream, name) for name in YamuxStream.__slots__ if name not in left]
            for stream_id, stream in streams.items()
        }
        return failure, said, session.closed_by_remote, written(session)

    pieces, pos = [], 0
    while pos < len(data):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(data[pos : pos + size])
        pos += size
    whole, sliced = books([data]), books(pieces)
    assert whole == sliced
