"""Whatever a peer writes shows as a few printable characters in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.wire.printable import printable


@given(st.text() | st.binary(), st.integers(3, 200))
def test_only_printable_ascii_in_bounds(text: str | bytes, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert all(" " <= char <= "~" for char in shown)


@given(
    st.text(
        st.characters(codec="ascii", categories=["L", "N", "P", "S"], exclude_characters="\\"), max_size=20
    )
)
def test_plain_text_is_left_alone(text: str) -> None:
    assert printable(text) == text == printable(text.encode())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\rc", "a\\nb\\rc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("back\\slash", "back\\\\slash"),
        (b"\xff", "\\udcff"),
        ("\ud800", "\\ud800"),
        ("\u0430pple", "\\u0430pple"),
    ],
)
def test_what_could_deceive_is_escaped(text: str | bytes, shown: str) -> None:
    assert printable(text) == shown


def test_an_escape_is_never_cut_in_two() -> None:
    assert printable("\n" * 100, 10) == "\\n\\n\\n..."
    assert printable("abcdef", 6) == "abcdef"
    assert printable("abcdefg", 6) == "abc..."
