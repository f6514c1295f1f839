"""The laws of priorities (:class:`p2p.flow.Priority`), for every muxer: which of the streams that wait goes first.

A part of the suite in ``muxers.py``.
"""

from __future__ import annotations

import trio

from p2p.flow import Priority
from p2p.muxers.session import SessionStream
from p2p.testing.conformance.sessions import MuxerMaker, Pair
from p2p.testing.conformance.verdict import check

_BODY = 50_000
_ROOM = 5_000


def _streams(pair: Pair, *priorities: Priority) -> list[tuple[SessionStream, SessionStream]]:
    """A stream for each of them, which the dialer has a write of ``_BODY`` bytes held for."""
    ends = [pair.stream() for _ in priorities]
    for (here, _), priority in zip(ends, priorities, strict=True):
        pair.dialer.session.prioritize(here, priority)
        accepted = pair.dialer.session.send(here, memoryview(bytes(_BODY)))
        assert accepted == _BODY, f"an idle stream took {accepted} of {_BODY} bytes"
    return ends


def _cross(pair: Pair, ends: list[tuple[SessionStream, SessionStream]]) -> list[int]:
    """One gathering crosses; how much of each stream has arrived by now."""
    pair.responder.take(pair.dialer.give(_ROOM))
    return [len(there.received) for _, there in ends]


@check
async def check_urgent_streams_go_first(make: MuxerMaker) -> None:
    """Whatever the order they were opened in, and a change holds from the next frame on."""
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    ends = _streams(pair, Priority(6), Priority(3), Priority(1))
    got = _cross(pair, ends)
    assert got[:2] == [0, 0], f"streams of urgency 6, 3 and 1 sent {got} bytes"
    pair.dialer.session.prioritize(ends[0][0], Priority(0))
    late = _cross(pair, ends)
    assert late[1:] == got[1:], f"a stream became the most urgent, and the others sent {late[1:]} bytes"
    pair.dialer.session.prioritize(ends[0][0], Priority(7))
    pair.exchange()
    assert [len(there.received) for _, there in ends] == [_BODY] * 3, "a stream that gave way was forgotten"


@check
async def check_what_is_not_incremental_is_sent_whole(make: MuxerMaker) -> None:
    """One after the other, in the order in which they had something to send."""
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    ends = _streams(pair, *[Priority(3, incremental=False)] * 3)
    for _ in range(4 * _BODY // _ROOM):
        got = _cross(pair, ends)
        begun = [n for n in got if n]
        assert begun[:-1] == [_BODY] * (len(begun) - 1), (
            f"of three streams to be sent whole, {got} of {_BODY} bytes were"
        )
    assert got == [_BODY] * 3, "they were not all sent"


CHECKS = (check_urgent_streams_go_first, check_what_is_not_incremental_is_sent_whole)
