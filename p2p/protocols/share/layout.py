"""Where a chunk lies in the files: all of them, one after the other, are one row of bytes cut into chunks. PURE."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple


class Slice(NamedTuple):
    """``length`` bytes of the file number ``file``, from ``offset`` on."""

    file: int
    offset: int
    length: int


class Layout:
    """Chunks of ``chunk_size`` bytes, the last one shorter, over files of ``sizes``."""

    def __init__(self, sizes: Sequence[int], chunk_size: int) -> None:
        self._ends = list(accumulate(sizes))
        self._chunk_size = chunk_size
        self.size = self._ends[-1] if self._ends else 0
        #: How many chunks there are.
        self.count = -(-self.size // chunk_size)

    def length(self, chunk: int) -> int:
        """The bytes of ``chunk``. Raises ``IndexError`` when there is none of that number."""
        if not 0 <= chunk < self.count:
            raise IndexError(f"chunk {chunk} of {self.count}")
        return min(self._chunk_size, self.size - chunk * self._chunk_size)

    def slices(self, chunk: int) -> Iterator[Slice]:
        """What ``chunk`` is made of, in order; files without bytes are in none. ``IndexError`` as :meth:`length`."""
        left = self.length(chunk)
        position = chunk * self._chunk_size
        file = bisect_right(self._ends, position)
        while left:
            begin = self._ends[file - 1] if file else 0
            length = min(left, self._ends[file] - position)
            if length:
                yield Slice(file, position - begin, length)
            position += length
            left -= length
            file += 1
