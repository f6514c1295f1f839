"""Multibase: one text for each value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.wire import multibase

BASES = [multibase.BASE16, multibase.BASE32, multibase.BASE36, multibase.BASE58BTC, multibase.BASE64URL]


@given(st.sampled_from(BASES), st.binary(max_size=60))
def test_round_trip(base: str, data: bytes) -> None:
    text = multibase.encode(base, data)
    assert text.startswith(base)
    assert multibase.decode(text) == data


@given(st.binary(max_size=60))
def test_base58_round_trip(data: bytes) -> None:
    assert multibase.decode_base58btc(multibase.encode_base58btc(data)) == data


@given(st.one_of(st.text(max_size=30), st.from_regex(r"\A[fbkzu][0-9A-Za-z=_+/-]{0,30}\Z")))
def test_any_text_is_canonical_or_refused(text: str) -> None:
    try:
        data = multibase.decode(text)
    except ValueError:
        return
    assert multibase.encode(text[0], data) == text


@pytest.mark.parametrize(
    ("text", "data"),
    [  # multiformats/multibase, tests/basic.csv
        ("f796573206d616e692021", b"yes mani !"),
        ("bpfsxgidnmfxgsibb", b"yes mani !"),
        ("k2lcpzo5yikidynfl", b"yes mani !"),
        ("z7paNL19xttacUY", b"yes mani !"),
        ("ueWVzIG1hbmkgIQ", b"yes mani !"),
    ],
)
def test_known(text: str, data: bytes) -> None:
    assert multibase.encode(text[0], data) == text
    assert multibase.decode(text) == data


@pytest.mark.parametrize(
    "text", ["", "Q", "f7", "fAB", "bpf1", "bmz", "bMY", "z0", "zI", "k_1", "k٣", "u+A", "uQQ=="]
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError):
        multibase.decode(text)


def test_another_base_is_refused() -> None:
    with pytest.raises(ValueError):
        multibase.encode("m", b"")
