"""Opening files and folders beneath a folder, and never outside: each name by itself, no symbolic link followed.

Whatever stands in the folder, whoever changes it meanwhile, and whatever the names are: what is opened is what they
lead to, step by step downwards from an open descriptor. Blocking.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def plain(name: str) -> str:
    """``name``, which is that of something in a folder. Raises ``NotPlain`` for one that leads elsewhere."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise NotPlain(name)
    return name


@contextmanager
def open_folder(top: int, names: Sequence[str], *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder that ``names`` lead to from the descriptor ``top``; with no names, ``top``.

    ``make``: folders that are missing are made. Raises ``OSError``: ``ENOTDIR`` or ``ELOOP`` where a name is
    something else than a folder.
    """
    at = top
    try:
        for name in map(plain, names):
            if make:
                try:
                    os.mkdir(name, dir_fd=at)
                except FileExistsError:
                    pass
            inner = os.open(name, _FOLDER, dir_fd=at)
            if at != top:
                os.close(at)
            at = inner
        yield at
    finally:
        if at != top:
            os.close(at)


@contextmanager
def open_file(
    top: int, names: Sequence[str], flags: int, mode: int = 0o666, *, make: bool = False
) -> Iterator[int]:
    """A descriptor of the regular file that ``names`` lead to from ``top``.

    ``make``: folders that are missing are made. Raises ``NotRegular`` for what is no regular file, without waiting
    for the writer of a FIFO and without touching a device twice; ``OSError`` as opening does.
    """
    *folders, name = names
    with open_folder(top, folders, make=make) as folder:
        fd = os.open(
            name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, mode, dir_fd=folder
        )
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotRegular("/".join(names))
        yield fd
    finally:
        os.close(fd)


class NotRegular(OSError):
    """What should be a regular file is something else."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is not a regular file")


class NotPlain(OSError):
    """A name that is none of something in a folder."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name!r} is not the name of something in a folder")
