"""Which paths a share may hold: such as stay inside it, and stay apart, on every file system. PURE.

Two kinds of names are refused. Those that a file system reads as something else than a name: ``..``, what holds a
separator, control characters, or characters that turn the writing direction and so look like other names. And
those that another file system takes for one: it would write the second file over the first. What a file system
merely cannot hold (``a:b`` on Windows) is no danger: creating it fails there, with a clear error.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from p2p.limits import ShareLimits

_SEPARATORS = frozenset("/\\")
#: Control characters, lone surrogates (bytes that are not UTF-8), line and paragraph separators.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: Embeddings, overrides and isolates of writing direction.
_TURNS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


class UnfitName(ValueError):
    """A path that a share may not hold; the text says why."""


def check_name(name: str, limits: ShareLimits) -> None:
    """Raises ``UnfitName`` unless ``name`` may be that of a file or folder."""
    if name in ("", ".", ".."):
        raise UnfitName("a name that is empty or made of dots")
    if name.isascii() and name.isprintable() and "\\" not in name and "/" not in name:
        if len(name) > limits.max_name:
            raise UnfitName(f"a name of more than {limits.max_name} bytes")
        return
    for char in name:
        if char in _SEPARATORS:
            raise UnfitName(f"a name with {char!r} in it, which separates names on some systems")
        if unicodedata.category(char) in _REFUSED_CATEGORIES:
            raise UnfitName("a name with control characters, or one that is not UTF-8")
        if char in _TURNS:
            raise UnfitName("a name with characters that turn the writing direction")
    if len(name.encode("utf-8")) > limits.max_name:
        raise UnfitName(f"a name of more than {limits.max_name} bytes")


def split_path(path: str, limits: ShareLimits) -> tuple[str, ...]:
    """The names in ``path``, all of them fit. Raises ``UnfitName``."""
    if len(path.encode("utf-8", "surrogatepass")) > limits.max_path:
        raise UnfitName(f"a path of more than {limits.max_path} bytes")
    names = tuple(path.split("/"))
    if len(names) > limits.max_depth:
        raise UnfitName(f"a path of more than {limits.max_depth} names")
    for name in names:
        check_name(name, limits)
    return names


def folded(name: str) -> str:
    """Equal for names that some file system does not tell apart, by case or by how accents are written.

    Source: Unicode 3.13, canonical caseless matching.
    """
    if name.isascii():
        return name.lower()
    once = unicodedata.normalize("NFD", name).casefold()
    return unicodedata.normalize("NFD", once)


@dataclass(slots=True)
class _Folder:
    name: str
    children: dict[str, str] = field(default_factory=dict)


class Tree:
    """Takes the paths of a share one after the other, in order, and refuses those that do not fit the others.

    In order means sorted by their names (``a/z`` before ``a.b``), so that a folder is complete when it is left, and
    what is kept is the folders on the way to the last path. The first names of all are the same: the share's own.
    """

    def __init__(self, limits: ShareLimits) -> None:
        self._limits = limits
        self._last: tuple[str, ...] = ()
        self._top = _Folder("")
        self._open: list[_Folder] = [self._top]
        self._folders = 0

    def add(self, path: str) -> None:
        """A file, or a folder with nothing in it. Raises ``UnfitName``; then the tree is spent."""
        names = split_path(path, self._limits)
        if self._last and names[0] != self._last[0]:
            raise UnfitName("more than one thing at the top")
        if names <= self._last:
            raise UnfitName("paths out of order, or twice")
        shared = 0
        while shared < min(len(names), len(self._open)) - 1 and self._open[shared + 1].name == names[shared]:
            shared += 1
        del self._open[shared + 1 :]
        for depth in range(shared, len(names)):
            name, parent = names[depth], self._open[-1]
            fold = folded(name)
            if fold in parent.children:
                raise UnfitName(_clash("/".join(names[: depth + 1]), parent.children[fold], name))
            parent.children[fold] = name
            if depth < len(names) - 1:
                self._folders += 1
                if self._folders > self._limits.max_folders:
                    raise UnfitName(f"paths of more than {self._limits.max_folders} folders in all")
                self._open.append(_Folder(name))
        self._last = names


def _clash(path: str, present: str, name: str) -> str:
    if present == name:
        return f"{path} is there twice, or is a file and a folder"
    return f"{path} differs from its neighbour {present} only by case or by how its accents are written"
