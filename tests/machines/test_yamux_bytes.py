"""Yamux: any bytes, in any slicing."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.limits import KIB
from p2p.muxers.books import StreamBooks
from p2p.muxers.yamux import YamuxStream
from p2p.muxers.yamux.frames import ACK, DATA, FIN, GO_AWAY, HEADER, PING, RST, SYN, WINDOW_UPDATE
from tests.machines.yamux_wire import (
    LIMITS,
    OPEN_1,
    dialer,
    feed,
    frame,
    responder,
    written,
)

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


SAID = (*StreamBooks.__slots__, *YamuxStream.__slots__)


def books(pieces: Iterable[bytes]) -> tuple[object, ...]:
    """All there is to know of a responder that received ``pieces``."""
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
    if failure is not None:
        streams.clear()  # a read that fails reports no streams: how many were reported before is the slicing's affair
    streams |= session._table.live
    said = {
        stream_id: [getattr(stream, name) for name in SAID if name not in ("seen", "queue")]
        for stream_id, stream in streams.items()
    }
    return failure, said, session.closed_by_remote, written(session)


@given(
    chunks=st.lists(HOSTILE_FRAMES, max_size=12),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=30),
)
@example(chunks=[frame(DATA, RST, 2, 0), frame(DATA, 0, 0, 0)], cuts=[1])  # ended, and then a violation
@example(chunks=[frame(DATA, 0, 2, 1)], cuts=[1])  # a header without a byte of its body touches nothing
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
        frame(WINDOW_UPDATE, ACK, 2, 7),
        frame(DATA, SYN, 1, b"first"),
        frame(DATA, 0, 2, b"answer"),
        frame(WINDOW_UPDATE, SYN, 3),
        frame(DATA, 0, 1, b"more"),
        frame(DATA, RST, 3, b"a body to be dropped"),
        frame(DATA, 0, 3, b"and another"),
        frame(DATA, FIN, 1, b"last"),
        frame(GO_AWAY, 0, 0, 0),
        frame(DATA, SYN | FIN, 5, b"too late"),
        frame(DATA, FIN, 2),
    )
)


def test_a_conversation_may_be_cut_anywhere() -> None:
    whole = books([CONVERSATION])
    assert whole[0] is None
    for cut in range(len(CONVERSATION)):
        assert books([CONVERSATION[:cut], CONVERSATION[cut:]]) == whole
    for size in range(1, 30):
        assert books(CONVERSATION[pos : pos + size] for pos in range(0, len(CONVERSATION), size)) == whole
