"""Bytes that nearly are what a parser wants, and any way of cutting them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

#: Where numbers change their length or their sign.
_EDGES = (0x00, 0x01, 0x0A, 0x7F, 0x80, 0xFF)
#: Single bytes more often: what changes a length is mostly refused for that, and nothing behind it is looked at.
_KINDS = ("flip", "flip", "set", "set", "set", "truncate", "insert", "duplicate", "delete", "splice")


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """One of ``seeds`` after one to four changes."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for kind in draw(st.lists(st.sampled_from(_KINDS), min_size=1, max_size=4)):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        match kind:
            case "flip" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if data:
                data[at] = draw(st.sampled_from(_EDGES) | st.integers(0, 255))
            case "truncate":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=12))
            case "duplicate":
                data[at:at] = data[at : at + draw(st.integers(1, 64))] * draw(st.integers(1, 4))
            case "delete":
                del data[at : at + draw(st.integers(1, 64))]
            case "splice":
                other = draw(st.sampled_from(seeds))
                data[at:] = other[draw(st.integers(0, max(len(other) - 1, 0))) :]
    return bytes(data)


def hostile(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Random bytes, now and then; mostly what a parser has to look at more closely."""
    return st.one_of(st.binary(max_size=100), mutated(seeds), mutated(seeds), mutated(seeds))


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """``data`` cut at ``places``, which are taken round its length."""
    ends = sorted({place % (len(data) + 1) for place in places} - {0})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 2**12), max_size=12)
