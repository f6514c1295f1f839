"""Which paths a share may hold, and that what it holds can be laid out anywhere."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from p2p.limits import ShareLimits
from p2p.protocols.share.names import Tree, UnfitName, check_name, folded, split_path

LIMITS = ShareLimits()

UNFIT = {
    "": "empty",
    ".": "dots",
    "..": "dots",
    "a\\b": "separates",
    "a\0b": "control",
    "a\nb": "control",
    "a\x1b[2J": "control",
    "a\x7f": "control",
    "a\x85b": "control",
    "a\u2028b": "control",
    "\udcff": "UTF-8",
    "a\u202egpj.exe": "direction",
    "a\u2066b": "direction",
    "x" * 256: "255 bytes",
    "é" * 128: "255 bytes",
}
FIT = ["a", "...", "..a", " ", "a:b", "CON", "a.", "é" * 127, "👩\u200d💻", "-rf", "~", "$HOME", "*"]


@pytest.mark.parametrize("name", UNFIT, ids=ascii)
def test_an_unfit_name(name: str) -> None:
    with pytest.raises(UnfitName, match=UNFIT[name]):
        check_name(name, LIMITS)


@pytest.mark.parametrize("name", FIT, ids=ascii)
def test_a_fit_name(name: str) -> None:
    check_name(name, LIMITS)


@pytest.mark.parametrize(
    "path",
    ["/a", "a/", "a//b", "a/../b", "./a", "a/.", "", "/", "/".join("a" * 65), "/".join(["x" * 250] * 9)],
)
def test_an_unfit_path(path: str) -> None:
    with pytest.raises(UnfitName):
        split_path(path, LIMITS)


@settings(deadline=None)
@given(st.text())
@example("a/..\udcff")
def test_what_is_fit_leads_nowhere_else(path: str) -> None:
    try:
        names = split_path(path, LIMITS)
    except UnfitName:
        return
    assert "/".join(names) == path
    path.encode("utf-8")
    for name in names:
        assert name not in ("", ".", "..") and not set(name) & set("/\\\0\n\r\x1b")


@settings(deadline=None)
@given(st.text())
def test_folding_is_blind_to_case_and_to_how_accents_are_written(name: str) -> None:
    for form in ("NFC", "NFD"):
        assert folded(unicodedata.normalize(form, name)) == folded(name)
    assert folded(folded(name)) == folded(name)
    if name.isascii():
        assert folded(name.upper()) == folded(name)


def taken(*paths: str) -> None:
    tree = Tree(LIMITS)
    for path in paths:
        tree.add(path)


CLASHES = {
    "by case": ("t/File", "t/file"),
    "by case, of folders": ("t/A/x", "t/a/y"),
    "by case, of a folder and a file": ("t/A", "t/a/y"),
    "by accents": ("t/e\u0301", "t/é"),
    "a sharp s": ("t/STRASSE", "t/straße"),
    "twice": ("t/a", "t/a"),
    "twice, one letter": ("a", "a"),
    "a file and a folder": ("t/a", "t/a/b"),
    "a folder and a file": ("t/a/b", "t/a"),
    "out of order": ("t/b", "t/a"),
    "out of order, by names": ("t/a.b", "t/a/z"),
    "back into a folder": ("t/a/x", "t/b", "t/a/y"),
    "two at the top": ("a", "b"),
    "two folders at the top": ("a/x", "b/x"),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_paths_that_clash(clash: str) -> None:
    with pytest.raises(UnfitName):
        taken(*CLASHES[clash])


def test_a_clash_names_both() -> None:
    with pytest.raises(UnfitName, match="t/a/File differs from its neighbour FILE only by case"):
        taken("t/a/FILE", "t/a/File")


def test_paths_that_do_not() -> None:
    taken("t/a/b/c", "t/a/b/d", "t/a/c", "t/a.b", "t/b/a/b/c", "t/b/b", "t/ß", "t/…")


NAMES = st.sampled_from(["a", "b", "A", "é", "e\u0301", "c.d", "..", "x"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(lambda names: "/".join(["t", *names]))


@settings(deadline=None)
@given(st.lists(PATHS, max_size=12))
def test_a_tree_agrees_with_a_plain_reading_of_its_rules(paths: list[str]) -> None:
    """Sorted, distinct, no file also a folder, and no two folds equal that are not the same name in the same place."""
    fit = True
    split = [path.split("/") for path in paths]
    fit &= all(one < other for one, other in pairwise(split))
    fit &= all(".." not in names for names in split)
    places = {tuple(names[:depth]) for names in split for depth in range(1, len(names) + 1)}
    fit &= len({tuple(map(folded, place)) for place in places}) == len(places)
    folders = {tuple(names[:depth]) for names in split for depth in range(1, len(names))}
    fit &= not folders & {tuple(names) for names in split}
    try:
        taken(*paths)
    except UnfitName:
        assert not fit
    else:
        assert fit
