"""The laws of muxer sessions (:class:`p2p.muxers.session.MuxerSession`): bytes and books, no network, no
clock.

The maker returns a :class:`p2p.abc.Muxer`; sessions of it are set against each other. A protocol without
flow control, and without codes of resets, is held to ``CHECKS_WITHOUT_FLOW_CONTROL``.
"""

from __future__ import annotations

import random
from functools import partial

import trio

from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.muxers.session import Touched
from p2p.testing.conformance import priorities
from p2p.testing.conformance.sessions import MOST_WINDOW, MuxerMaker, Pair, send
from p2p.testing.conformance.verdict import check, must_raise, run_checks

_CODE = 7
#: Above every initial window in use, and below every largest one.
_LARGE = 1024 * 1024


@check
async def check_bytes_cross_however_sliced(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    for most in (1, 11, 13, 5000):
        rng = random.Random(most)
        pair = Pair(make())
        here, there = pair.stream()
        back, forth = pair.stream(pair.responder)
        sent = rng.randbytes(20_000)
        send(pair.dialer, here, sent)
        send(pair.responder, back, sent[::-1])
        pair.exchange(partial(rng.randint, 1, most))
        assert pair.responder.read(there) == sent, f"in slices of up to {most} bytes other bytes arrived"
        assert pair.dialer.read(forth) == sent[::-1], f"in slices of up to {most} bytes other bytes arrived"


@check
async def check_both_sides_open_streams(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    ends = [pair.stream(side) for side in (pair.dialer, pair.responder) * 5]
    for number, (here, _) in enumerate(ends):
        send(pair.responder if number % 2 else pair.dialer, here, b"%d" % number)
    pair.exchange()
    for number, (_, there) in enumerate(ends):
        side = pair.dialer if number % 2 else pair.responder
        assert side.read(there) == b"%d" % number, "a stream carries another's bytes"


@check
async def check_eof_ends_one_direction(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    send(pair.dialer, here, b"last")
    pair.dialer.session.send_eof(here)
    pair.dialer.session.send_eof(here)
    pair.exchange()
    assert there.eof_received and pair.responder.saw(there, Touched.EOF), "FIN did not arrive"
    assert pair.responder.read(there) == b"last", "bytes before FIN were lost"
    send(pair.responder, there, b"answer")
    pair.exchange()
    assert pair.dialer.read(here) == b"answer", "FIN ended the other direction too"
    assert not here.eof_received


@check
async def check_reset_arrives(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    pair.dialer.session.reset(here)
    pair.dialer.session.reset(here)
    pair.exchange()
    assert there.reset_code is not None and pair.responder.saw(there, Touched.RESET), "RST did not arrive"
    assert pair.responder.session.live_streams == pair.dialer.session.live_streams == 0


@check
async def check_reset_carries_its_code(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    pair.dialer.session.reset(here, _CODE)
    pair.exchange()
    assert there.reset_code == _CODE, f"reset with code {_CODE}, seen with code {there.reset_code}"


@check
async def check_data_after_a_reset_is_discarded(make: MuxerMaker) -> None:
    """What was on its way when this side reset is no fault of the remote's."""
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    send(pair.dialer, here, b"on its way")
    flying = pair.dialer.give_all()
    pair.responder.session.reset(there)
    pair.responder.take(flying)
    assert pair.responder.session.closed_by_remote is None
    other, other_there = pair.stream()
    send(pair.dialer, other, b"unharmed")
    pair.exchange()
    assert pair.responder.read(other_there) == b"unharmed"


@check
async def check_abandon_says_fin(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    send(pair.dialer, here, b"all of it")
    pair.dialer.session.abandon(here, 0.0)
    pair.exchange()
    assert pair.responder.read(there) == b"all of it", "bytes sent before closing were lost"
    assert there.eof_received, "closing did not say FIN"
    assert there.reset_code is None, "closing with nothing unread reset the stream"


@check
async def check_abandon_with_unread_data_resets(make: MuxerMaker) -> None:
    """A FIN alone would leave the remote waiting for credit for ever."""
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    send(pair.dialer, here, b"unread")
    pair.exchange()
    pair.responder.session.abandon(there, 0.0)
    pair.exchange()
    assert here.reset_code is not None, "closing with unread data did not reset the remote's sending"


@check
async def check_a_withdrawn_write_leaves_whole_frames(make: MuxerMaker) -> None:
    """Withdrawn after every possible number of gatherings: a prefix crosses, then what is sent next."""
    await trio.lowlevel.checkpoint()
    data = random.Random(1).randbytes(200_000)
    for gatherings in range(6):
        pair = Pair(make())
        here, there = pair.stream()
        sibling, sibling_there = pair.stream()
        accepted = pair.dialer.session.send(here, memoryview(data))
        assert accepted, "an idle stream accepts nothing"
        for _ in range(gatherings):
            pair.responder.take(pair.dialer.give(10_000))
        left = pair.dialer.session.withdraw(here)
        assert 0 <= left <= accepted
        pair.exchange()
        assert here.unsent == 0, "bytes wait that were withdrawn"
        send(pair.dialer, here, b"next")
        send(pair.dialer, sibling, b"unharmed")
        pair.exchange()
        assert pair.responder.read(sibling_there) == b"unharmed", "another stream was harmed"
        assert pair.responder.read(there) == data[: accepted - left] + b"next", (
            "what arrives is not what withdraw said was sent, followed by what was sent next"
        )


@check
async def check_streams_take_turns(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    ends = [pair.stream() for _ in range(3)]
    for here, _ in ends:
        pair.dialer.session.send(here, memoryview(bytes(_LARGE)))
    for _ in range(12):
        pair.responder.take(pair.dialer.give(8192))
    got = [len(there.received) for _, there in ends]
    assert min(got) * 3 >= max(got), f"of three equal streams one got ahead: {got} bytes"


@check
async def check_goodbye(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    pair.responder.session.close(0)
    pair.responder.session.close(0)
    pair.exchange()
    if not pair.responder.session.closed_by_us:
        raise AssertionError("closed_by_us is false after close")
    if pair.dialer.session.closed_by_remote is None:
        return  # the protocol knows no goodbye
    assert not pair.dialer.session.can_open, "streams may be opened after the remote's goodbye"
    with must_raise(LocalProtocolError, what="open_stream after the remote's goodbye"):
        pair.dialer.session.open_stream()
    send(pair.dialer, here, b"goes on")
    pair.exchange()
    assert pair.responder.read(there) == b"goes on", "a goodbye ended an open stream"


@check
async def check_misuse_is_ours(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, _ = pair.stream()
    pair.dialer.session.send_eof(here)
    with must_raise(LocalProtocolError, what="send after send_eof"):
        pair.dialer.session.send(here, memoryview(b"x"))
    other, _ = pair.stream()
    pair.dialer.session.reset(other)
    with must_raise(LocalProtocolError, what="send after reset"):
        pair.dialer.session.send(other, memoryview(b"x"))


@check
async def check_garbage_is_refused_and_nothing_else_happens(make: MuxerMaker) -> None:
    """Random and mutated bytes are accepted or raise ``RemoteProtocolError``; then GoAway can still be
    written.
    """
    await trio.lowlevel.checkpoint()
    rng = random.Random(1)
    for _ in range(400):
        pair = Pair(make())
        here, _ = pair.stream()
        send(pair.dialer, here, b"x" * 50)
        data = bytearray(pair.dialer.give_all() if rng.random() < 0.7 else rng.randbytes(60))
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(min(24, len(data)))] ^= 1 << rng.randrange(8)
        try:
            pair.responder.take(data)
        except RemoteProtocolError as error:
            pair.responder.session.close(error.code)
        pair.responder.give_all()


@check
async def check_inbound_streams_are_bounded(make: MuxerMaker) -> None:
    """A remote that opens, and opens, is refused at some number: by a reset or by the end of everything."""
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    refused = False
    for _ in range(3000):
        if not pair.dialer.session.can_open:
            refused = True
            break
        send(pair.dialer, pair.dialer.session.open_stream(), b"x")
        try:
            pair.responder.take(pair.dialer.give_all())
        except RemoteProtocolError:
            refused = True
            break
        pair.dialer.take(pair.responder.give_all())
    live = pair.responder.session.live_streams
    assert refused or live < 3000, f"{live} streams are open, nobody reads them, and more are taken"


@check
async def check_everything_ends_at_nothing(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    for how in range(12):
        here, there = pair.stream(pair.dialer if how % 2 else pair.responder)
        one, other = (pair.dialer, pair.responder) if how % 2 else (pair.responder, pair.dialer)
        send(one, here, b"x")
        pair.exchange()
        if how % 3:
            other.read(there)
            one.session.send_eof(here)
            other.session.send_eof(there)
        elif how % 4:
            one.session.reset(here)
        else:
            other.session.abandon(there, 0.0)
            one.session.abandon(here, 0.0)
        pair.exchange()
        assert one.session.live_streams == other.session.live_streams == 0, (
            f"streams live on that ended: {one.session.live_streams} and {other.session.live_streams}"
        )


# --- flow control


@check
async def check_sender_stops_at_the_window(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, _ = pair.stream()
    pair.dialer.session.send(here, memoryview(bytes(MOST_WINDOW)))
    given = len(pair.dialer.give_all())
    assert given < _LARGE, f"{given} bytes were written, and the remote had said nothing"


@check
async def check_a_remote_beyond_the_window_is_refused(make: MuxerMaker) -> None:
    """The frames of a full window arrive twice: the second time there is no credit for them."""
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, _ = pair.stream()
    pair.dialer.session.send(here, memoryview(bytes(MOST_WINDOW)))
    window = pair.dialer.give_all()
    with must_raise(RemoteProtocolError, what="data beyond the window"):
        pair.responder.take(window * 2)


@check
async def check_credit_is_granted_for_what_is_read(make: MuxerMaker) -> None:
    """With a reader a stream carries any amount; without one a bounded amount, however long one waits."""
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    data = random.Random(1).randbytes(2 * _LARGE)
    taken = pair.dialer.session.send(here, memoryview(data))
    got = b""
    while True:
        before = len(got)
        pair.exchange()
        got += pair.responder.read(there)
        if len(got) == before:
            break
    assert got == data[:taken], f"{len(got)} of {taken} bytes arrived at a reader"


@check
async def check_no_credit_for_what_is_not_read(make: MuxerMaker) -> None:
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    pair.dialer.session.send(here, memoryview(bytes(2 * MOST_WINDOW)))
    for second in range(100):
        pair.dialer.now = pair.responder.now = float(second) / 100
        pair.exchange()
    unread = len(there.received)
    assert unread < _LARGE, f"{unread} bytes arrived, and nobody had read any"


# --- no flow control


@check
async def check_overflow_ends_that_stream_alone(make: MuxerMaker) -> None:
    """What nobody reads is not kept without end, and costs no other stream anything."""
    await trio.lowlevel.checkpoint()
    pair = Pair(make())
    here, there = pair.stream()
    sibling, sibling_there = pair.stream()
    send(pair.dialer, sibling, b"unharmed")
    pair.dialer.session.send(here, memoryview(bytes(MOST_WINDOW)))
    while data := pair.dialer.give():
        pair.responder.take(data)
        kept = len(there.received)
        assert kept < _LARGE, f"{kept} bytes are kept of a stream that nobody reads"
        if pair.responder.session.overfull:
            pair.responder.now = max(pair.responder.now, pair.responder.session.stall(pair.responder.now))
            pair.responder.session.shed(pair.responder.now)
            assert not pair.responder.session.overfull, "the time of a stream is up, and it is not shed"
    pair.exchange()
    assert there.reset_code is not None and there.overflowed, "the stream overflows, and goes on"
    assert here.reset_code is not None, "the remote was not told that its stream is over"
    assert pair.responder.read(sibling_there) == b"unharmed", "another stream was harmed"


_COMMON = (
    check_bytes_cross_however_sliced,
    check_both_sides_open_streams,
    check_eof_ends_one_direction,
    check_reset_arrives,
    check_data_after_a_reset_is_discarded,
    check_abandon_says_fin,
    check_abandon_with_unread_data_resets,
    check_a_withdrawn_write_leaves_whole_frames,
    check_streams_take_turns,
    *priorities.CHECKS,
    check_goodbye,
    check_misuse_is_ours,
    check_garbage_is_refused_and_nothing_else_happens,
    check_inbound_streams_are_bounded,
    check_everything_ends_at_nothing,
)

CHECKS_WITHOUT_FLOW_CONTROL = (*_COMMON, check_overflow_ends_that_stream_alone)

CHECKS = (
    *_COMMON,
    check_reset_carries_its_code,
    check_sender_stops_at_the_window,
    check_a_remote_beyond_the_window_is_refused,
    check_credit_is_granted_for_what_is_read,
    check_no_credit_for_what_is_not_read,
)


async def run_all(make: MuxerMaker) -> None:
    """Run every check of ``CHECKS``; raises an ``ExceptionGroup`` of :class:`CheckFailed`."""
    await run_checks(CHECKS, make)
