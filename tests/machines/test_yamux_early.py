"""Streams that a yamux session opens before the remote has said anything: js takes ten, and ends at the eleventh."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p.abc import Role
from p2p.errors import LocalProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.yamux import Yamux, YamuxSession
from p2p.muxers.yamux.frames import ACK, DATA, HEADER, PING, RST, SYN, WINDOW_UPDATE

LIMITS = YamuxLimits()


def open_all(session: YamuxSession) -> int:
    """Open as many streams as it lets us; how many those were."""
    count = 0
    while session.can_open:
        session.open_stream()
        count += 1
    return count


def feed(session: YamuxSession, *header: int) -> None:
    session.receive_data(memoryview(HEADER.pack(*header)), 0.0)


@pytest.mark.parametrize("role", list(Role))
def test_ten_streams_and_no_more_until_the_remote_speaks(role: Role) -> None:
    session = Yamux().session(role, now=0.0)
    assert open_all(session) == 10
    with pytest.raises(LocalProtocolError):
        session.open_stream()


def test_streams_that_were_reset_here_do_not_count() -> None:
    """Of those the remote may never say anything, and others would wait for it for ever."""
    session = Yamux().session(Role.DIALER, now=0.0)
    for _ in range(20):
        session.reset(session.open_stream(), 0)
    assert open_all(session) == 10


@pytest.mark.parametrize(
    "word",
    [
        pytest.param((WINDOW_UPDATE, ACK, 1, 0), id="it acknowledges one"),
        pytest.param((WINDOW_UPDATE, 0, 1, 100), id="it gives credit"),
        pytest.param((WINDOW_UPDATE, RST, 1, 0), id="it resets one"),
        pytest.param((DATA, SYN, 2, 0), id="it opens one itself"),
    ],
)
def test_once_it_has_spoken_the_backlog_alone_counts(word: tuple[int, int, int, int]) -> None:
    session = Yamux(replace(LIMITS, ack_backlog=50)).session(Role.DIALER, now=0.0)
    open_all(session)
    session.write_into(memoryview(bytearray(1000)), 0.0)
    feed(session, *word)
    acknowledged = 1 if word[1] & (ACK | RST) else 0
    assert open_all(session) == 40 + acknowledged


def test_a_ping_says_nothing_of_streams() -> None:
    session = Yamux().session(Role.DIALER, now=0.0)
    open_all(session)
    feed(session, PING, SYN, 0, 7)
    assert not session.can_open


def test_a_smaller_backlog_counts_before_too() -> None:
    session = Yamux(replace(LIMITS, ack_backlog=3)).session(Role.DIALER, now=0.0)
    assert open_all(session) == 3
