"""Mplex: any bytes, in any slicing."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.limits import KIB
from p2p.muxers.books import StreamBooks
from p2p.muxers.mplex import MplexStream
from p2p.wire import varint
from tests.machines.mplex_wire import (
    CLOSE_I,
    LIMITS,
    MSG_I,
    MSG_R,
    NEW,
    RESET_I,
    RESET_R,
    feed,
    message,
    session,
    written,
)

HOSTILE_LENGTHS = st.one_of(
    st.integers(0, 40), st.sampled_from([KIB, KIB + 1, 1024 * KIB, 1024 * KIB + 1, 2**62])
)
HOSTILE_MESSAGES = st.builds(
    lambda flag, stream_id, length, body: (
        varint.encode(stream_id << 3 | flag) + varint.encode(length) + body[:length]
    ),
    st.sampled_from([NEW, NEW, MSG_I, MSG_I, MSG_R, CLOSE_I, 3, RESET_I, RESET_R, 7]),
    st.sampled_from([0, 0, 1, 2, 3, 15, 16, 2**60 - 1]),
    HOSTILE_LENGTHS,
    st.binary(max_size=40),
)
HONEST_MESSAGES = st.builds(
    message,
    st.sampled_from([NEW, NEW, MSG_I, MSG_R, CLOSE_I, RESET_I]),
    st.sampled_from([0, 0, 1, 2, 16]),
    st.binary(max_size=40),
)


@given(
    data=st.one_of(st.binary(max_size=400), st.lists(HOSTILE_MESSAGES, max_size=20).map(b"".join)),
)
@example(data=b"\xff" * 20)
@example(data=message(NEW, 0) + message(MSG_I, 0, b"abc"))
def test_any_bytes_are_taken_or_a_violation(data: bytes) -> None:
    mplex = session()
    mplex.abandon(mplex.open_stream(), 0.0)
    mplex.open_stream()
    written(mplex)
    try:
        feed(mplex, data)
    except RemoteProtocolError as error:
        mplex.close(error.code)
    live = mplex._table.live.values()
    assert len(live) <= LIMITS.max_inbound_streams + 2
    assert sum(stream.buffered for stream in live) + len(mplex._receiver._head) <= len(data)
    assert len(written(mplex)) <= 10 * (len(data) // 2)


SAID = (*StreamBooks.__slots__, *MplexStream.__slots__)


def books(pieces: Iterable[bytes]) -> tuple[object, ...]:
    """All there is to know of a session that received ``pieces``."""
    mplex = session()
    mplex.open_stream()
    written(mplex)
    streams: dict[int, MplexStream] = {}
    failure = None
    for piece in pieces:
        try:
            for stream in feed(mplex, piece):
                streams[stream.key] = stream
        except RemoteProtocolError as error:
            failure = str(error)
            break
    if failure is not None:
        streams.clear()  # a read that fails reports no streams: how many were reported before is the slicing's affair
    streams |= mplex._table.live
    said = {
        key: [getattr(stream, name) for name in SAID if name not in ("seen", "queue")]
        for key, stream in streams.items()
    }
    return failure, said, set(mplex._table.overfull), written(mplex)


@given(
    chunks=st.lists(st.one_of(HONEST_MESSAGES, HOSTILE_MESSAGES), max_size=12),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=30),
)
@example(
    chunks=[message(NEW, 0) + message(RESET_I, 0), message(7, 0)], cuts=[1]
)  # ended, and then a violation
@example(
    chunks=[message(MSG_R, 0, length=1)], cuts=[1]
)  # a header without a byte of its body touches nothing
def test_any_slicing_gives_the_same_books(chunks: list[bytes], cuts: list[int]) -> None:
    data = b"".join(chunks)
    pieces, pos = [], 0
    while pos < len(data):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(data[pos : pos + size])
        pos += size
    whole, sliced = books([data]), books(pieces)
    assert whole == sliced


CONVERSATION = b"".join(
    (
        message(NEW, 0, b"a name"),
        message(MSG_I, 0, b"first"),
        message(MSG_R, 0, b"answer"),
        message(NEW, 300),
        message(MSG_I, 300, b"x" * 200),
        message(RESET_I, 300, b"a body to be dropped"),
        message(MSG_I, 300, b"and another"),
        message(MSG_I, 0, b"last"),
        message(CLOSE_I, 0),
        message(NEW, 2**50),
    )
)


def test_a_conversation_may_be_cut_anywhere() -> None:
    whole = books([CONVERSATION])
    assert whole[0] is None
    for cut in range(len(CONVERSATION)):
        assert books([CONVERSATION[:cut], CONVERSATION[cut:]]) == whole
    for size in range(1, 30):
        assert books(CONVERSATION[pos : pos + size] for pos in range(0, len(CONVERSATION), size)) == whole
