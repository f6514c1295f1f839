"""What a peer sends is accepted or refused as the docstring says, and nothing else; and it costs what is allowed."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.limits import KIB
from tests.fuzz.machines import Pieces
from tests.fuzz.mutations import PLACES, cut, hostile
from tests.fuzz.registry import REGISTRY, Entry

Test = TypeVar("Test", bound=Callable[..., None])


def every(entries: Iterable[Entry]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("entry", list(entries), ids=str)


#: Making a failure small takes its time.
pytestmark = pytest.mark.timeout(300)

EVERY = every(REGISTRY)
CODECS = every(entry for entry in REGISTRY if not entry.chunks)
MACHINES = every(entry for entry in REGISTRY if entry.chunks)

#: What costs most, or has: lengths that lie, and the smallest things that can be repeated.
EXPENSIVE = (
    b"\xff",
    b"\0",
    b"\x01",
    b"\x0a\0",  # protobuf: every field that repeats, empty
    b"\x12\0",
    b"\x1a\0",
    b"\x1a\2\x0a\0",
    b"\x22\4\x12\0\x12\0",
    b"\x78\0",  # a field nobody knows
    b"\x0b",  # a group within a group
    b"\x0a\x80\x80\x80\x80\x10",  # 4 GiB
    b"\x03na\n",
    b"\0\0\0\0\0\0\0\2" + bytes(4),  # yamux: an empty frame
    b"\0\2\0\1\0\0\0\0" + bytes(4),  # a ping
    b"\x00\x10" + bytes(16),  # Noise: an empty frame
)


def expensive(entry: Entry) -> Iterator[bytes]:
    """Around the bounds of most messages, and far above."""
    for size in (entry.largest,) if entry.seldom else (1000, 2000, 8 * KIB, entry.largest):
        for unit in EXPENSIVE:
            yield (unit * (size // len(unit) + 1))[: size - size % len(unit)]


def outcome(entry: Entry, pieces: Pieces) -> object:
    """What the parser gave, or as what it refused; whatever else it raises escapes."""
    try:
        return entry.parse(pieces)
    except entry.refuses as refusal:
        return type(refusal)


def fewer(test: Test) -> Test:
    """Half of the profile's examples: these run everything twice."""
    return settings(max_examples=settings().max_examples // 2)(test)


@EVERY
def test_the_seeds_are_accepted(entry: Entry) -> None:
    for seed in entry.seeds:
        assert entry.fresh or not isinstance(outcome(entry, [seed]), type)


@EVERY
def test_what_once_went_wrong(entry: Entry) -> None:
    for data in (b"", *entry.kept):
        outcome(entry, [data])


@CODECS
@given(data=st.data())
def test_accepted_or_refused(entry: Entry, data: st.DataObject) -> None:
    outcome(entry, [data.draw(hostile(entry.seeds))])


@MACHINES
@fewer
@given(data=st.data())
def test_accepted_or_refused_in_any_chunks_alike(entry: Entry, data: st.DataObject) -> None:
    whole = data.draw(hostile(entry.seeds))
    pieces = cut(whole, data.draw(PLACES))
    assert outcome(entry, pieces) == outcome(entry, [whole])


@MACHINES
def test_byte_by_byte_alike(entry: Entry) -> None:
    for seed in entry.seeds:
        pieces = [seed[i : i + 1] for i in range(len(seed))]
        assert outcome(entry, pieces) == outcome(entry, [seed])


# --- what it costs ------------------------------------------------------------------------------------


def traced(run: Callable[[], object]) -> int:
    """The most bytes allocated at any moment of ``run``."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def processor_time(run: Callable[[], object]) -> float:
    start = time.thread_time()
    run()
    return time.thread_time() - start


@EVERY
def test_row_5_memory_and_time_are_bounded(entry: Entry) -> None:
    for data in (*entry.seeds, *expensive(entry)):
        outcome(entry, [data])  # what is made once, and kept
        peak = traced(lambda data=data: outcome(entry, [data]))
        assert peak <= entry.memory, f"{peak} bytes for {data[:8].hex()}…"
        spent = min(processor_time(lambda data=data: outcome(entry, [data])) for _ in range(2))
        assert spent <= entry.seconds, f"{spent * 1000:.0f} ms for {data[:8].hex()}…"


@CODECS
@fewer
@given(data=st.data())
def test_memory_is_bounded_for_any_bytes(entry: Entry, data: st.DataObject) -> None:
    raw = data.draw(hostile(entry.seeds))
    outcome(entry, [raw])
    assert traced(lambda: outcome(entry, [raw])) <= entry.memory
