"""The header on the wire, how a frame reads, ids, windows and pings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.ids import RecentIds, RemoteIds
from p2p.muxers.yamux.frames import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, WINDOW_UPDATE, describe
from p2p.muxers.yamux.keepalive import KeepAlive
from p2p.muxers.yamux.window import due, tuned

LIMITS = YamuxLimits()


@pytest.mark.parametrize(
    ("fields", "wire"),
    [
        ((DATA, SYN, 1, 5), "000000010000000100000005"),
        ((WINDOW_UPDATE, ACK, 2, 0), "000100020000000200000000"),
        ((WINDOW_UPDATE, RST, 7, 0x1002), "000100080000000700001002"),
        ((DATA, FIN, 0x01020304, 0), "000000040102030400000000"),
        ((PING, SYN, 0, 1), "000200010000000000000001"),
        ((GO_AWAY, 0, 0, 2), "000300000000000000000002"),
    ],
)
def test_a_header_on_the_wire(fields: tuple[int, int, int, int], wire: str) -> None:
    assert HEADER.pack(*fields).hex() == wire
    assert HEADER.unpack(bytes.fromhex(wire)) == fields


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((WINDOW_UPDATE, SYN | FIN, 5, 0), "WINDOW_UPDATE SYN|FIN on stream 5, length 0"),
        ((DATA, 0, 5, 7), "DATA on stream 5, length 7"),
        ((4, 0x10 | RST, 0, 0), "type 4 RST|0x0010 on stream 0, length 0"),
        ((0x0100, 0, 5, 7), "a frame of version 1"),
    ],
)
def test_a_frame_in_words(fields: tuple[int, int, int, int], text: str) -> None:
    assert describe(*fields) == text


# --- ids ----------------------------------------------------------------------------------------------


def test_recent_ids_forget_the_oldest() -> None:
    ids = RecentIds(2)
    for stream_id in (1, 3, 1, 5):
        ids.add(stream_id)
    assert [stream_id in ids for stream_id in (1, 3, 5)] == [True, False, True]
    assert ids.discard(1)
    assert not ids.discard(1)
    assert len(ids) == 1


def test_ids_may_overtake_each_other_and_are_used_once() -> None:
    ids = RemoteIds(1, backlog=4, step=2)
    assert [ids.open(stream_id) for stream_id in (5, 1, 5, 1, 3)] == [True, True, False, False, True]
    assert ids.within(5)
    assert not ids.within(7)


def test_what_was_skipped_is_remembered_within_bounds() -> None:
    ids = RemoteIds(2, backlog=4, step=2)
    assert ids.open(2**32 - 2)
    skipped = range(2**32 - 10, 2**32 - 2, 2)
    assert not ids.open(skipped[0] - 2)
    assert all(ids.open(stream_id) for stream_id in skipped)


def test_an_id_reset_before_it_was_opened_is_used_up() -> None:
    ids = RemoteIds(1, backlog=4, step=2)
    ids.open(5)
    ids.drop(3)
    assert not ids.open(3)


@given(first=st.sampled_from([1, 2]), stream_id=st.integers(0, 2**32 - 1))
def test_an_id_belongs_by_its_parity(first: int, stream_id: int) -> None:
    assert RemoteIds(first, 4, step=2).belongs(stream_id) == (stream_id > 0 and stream_id % 2 == first % 2)


# --- windows ------------------------------------------------------------------------------------------


def test_credit_is_due_when_half_the_window_was_read() -> None:
    assert not due(100, credit=51, buffered=0, ceiling=200)
    assert due(100, credit=50, buffered=0, ceiling=200)
    assert not due(100, credit=0, buffered=51, ceiling=200)
    assert due(100, credit=0, buffered=50, ceiling=200)


@pytest.mark.parametrize(
    ("since_last", "round_trip", "ceiling", "window"),
    [
        (0.39, 0.1, 10_000, 200),  # within four round trips
        (0.40, 0.1, 10_000, 100),  # slower than that
        (0.00, None, 10_000, 100),  # no round trip was measured
        (0.00, 0.1, 150, 150),  # as far as it may open
        (0.00, 0.1, 50, 100),  # and it never shrinks
    ],
)
def test_the_tuner(since_last: float, round_trip: float | None, ceiling: int, window: int) -> None:
    assert tuned(100, since_last, round_trip, ceiling) == window


# --- pings --------------------------------------------------------------------------------------------


def asks(pings: KeepAlive) -> bool:
    return pings.waiting


def test_the_round_trip_is_the_least_measured() -> None:
    pings = KeepAlive(LIMITS, 0.0)
    for at, elapsed in ((1.0, 0.3), (100.0, 0.1), (200.0, 2.0)):
        pings.moved(at)
        assert asks(pings)
        value = pings.send(at)
        assert not asks(pings)
        pings.heard(at + elapsed)
        pings.answered(value, at + elapsed)
    assert pings.round_trip == pytest.approx(0.1)


def test_while_streams_move_the_round_trip_is_measured_now_and_then() -> None:
    pings = KeepAlive(LIMITS, 0.0)
    pings.moved(0.0)
    pings.answered(pings.send(0.0), 0.5)
    pings.moved(0.5 + LIMITS.rtt_interval - 0.01)
    assert not asks(pings)
    pings.moved(0.5 + LIMITS.rtt_interval)
    assert asks(pings)


def test_pongs_nobody_asked_for_measure_nothing() -> None:
    pings = KeepAlive(LIMITS, 0.0)
    pings.answered(0, 0.0)
    pings.answered(1, 0.0)
    pings.moved(0.0)
    pings.answered(1, 0.0)  # guessed before it was sent
    assert pings.round_trip is None
    value = pings.send(1.0)
    pings.answered(value + 1, 1.5)
    assert pings.round_trip is None
    pings.answered(value, 2.0)
    pings.answered(value, 2.1)
    assert pings.round_trip == 1.0


def test_an_idle_connection_wakes_for_the_keep_alive_only() -> None:
    pings = KeepAlive(LIMITS, 0.0)
    pings.heard(5.0)
    assert pings.due() == 5.0 + LIMITS.keep_alive
    pings.handle_timer(5.0 + LIMITS.keep_alive - 0.01)
    assert not asks(pings)
    pings.handle_timer(5.0 + LIMITS.keep_alive)
    assert asks(pings)
    pings.answered(pings.send(35.0), 36.0)
    pings.heard(36.0)
    assert pings.due() == 36.0 + LIMITS.keep_alive


def test_silence_after_a_ping_ends_the_connection_and_any_byte_puts_it_off() -> None:
    pings = KeepAlive(LIMITS, 0.0)
    pings.handle_timer(30.0)
    pings.send(31.0)
    assert pings.due() == 41.0
    pings.heard(35.0)
    pings.handle_timer(74.9)
    with pytest.raises(RemoteProtocolError, match="pong"):
        pings.handle_timer(75.0)


def test_a_ping_that_measures_ends_nothing_sooner_than_silence_would() -> None:
    """It may wait behind much data of ours, while the remote has nothing to say."""
    pings = KeepAlive(LIMITS, 0.0)
    pings.heard(5.0)
    pings.moved(5.0)
    pings.send(5.0)
    assert pings.due() == 5.0 + LIMITS.keep_alive + LIMITS.ping_timeout


def test_a_ping_that_cannot_be_written_counts_too() -> None:
    pings = KeepAlive(LIMITS, 0.0)
    pings.handle_timer(30.0)
    with pytest.raises(RemoteProtocolError):
        pings.handle_timer(40.0)
