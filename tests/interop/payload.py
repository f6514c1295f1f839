"""The pseudo-random bytes that peers send: the same from a seed in every language."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

BLOCK_SIZE = 64 * 1024


def blocks(size: int, seed: int) -> Iterator[bytes]:
    """Yield ``size`` bytes in blocks of 64 KiB: block *i* is SHAKE128(le64(seed) ‖ le64(i))."""
    for i, begin in enumerate(range(0, size, BLOCK_SIZE)):
        name = seed.to_bytes(8, "little") + i.to_bytes(8, "little")
        yield hashlib.shake_128(name).digest(min(BLOCK_SIZE, size - begin))


def sha256_of(size: int, seed: int) -> str:
    """The hash that ``echo`` reports of what it sent."""
    digest = hashlib.sha256()
    for block in blocks(size, seed):
        digest.update(block)
    return digest.hexdigest()
