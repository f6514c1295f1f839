"""Text that a peer wrote, made fit for a terminal or a log. PURE."""

from __future__ import annotations


def printable(text: str | bytes, limit: int = 128) -> str:
    """``text`` in at most ``limit`` (3 or more) printable ASCII characters; three dots say that it was cut.

    Everything else is escaped as in a Python literal, the backslash too, so that nothing breaks a line, moves a
    cursor, turns the writing direction or passes for another text. A byte that is not UTF-8 shows as ``\\udcNN``.
    The work depends on ``limit`` and not on the length of ``text``.
    """
    if isinstance(text, bytes):
        text = text[: 4 * (limit + 1)].decode("utf-8", "surrogateescape")
    if len(text) <= limit and text.isascii() and text.isprintable() and "\\" not in text:
        return text  # as nearly all are; what follows would say the same
    pieces = [_escaped(char) for char in text[: limit + 1]]
    whole = "".join(pieces)
    if len(whole) <= limit:
        return whole
    kept: list[str] = []
    room = limit - 3
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "..."


def _escaped(char: str) -> str:
    if " " <= char <= "~" and char != "\\":
        return char
    return char.encode("unicode_escape").decode("ascii")
