"""Yamux frames: the header, its numbers, and how one reads in a message. PURE.

Source: libp2p/specs, yamux/README.md, "Framing". A header is version (8 bits), type (8), flags (16), stream id
(32) and length (32), big-endian. Only a DATA frame has a body.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

#: Version and type are read as one number: the only version is 0, so this *is* the type, and anything above
#: ``GO_AWAY`` is a wrong version or a wrong type.
HEADER: Final = Struct(">HHII")
HEADER_SIZE: Final = HEADER.size

DATA: Final = 0
WINDOW_UPDATE: Final = 1
PING: Final = 2
GO_AWAY: Final = 3

SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8
ALL_FLAGS: Final = SYN | ACK | FIN | RST

#: The largest id, window, reset code or ping value.
MAX_U32: Final = 0xFFFF_FFFF

_TYPES = ("DATA", "WINDOW_UPDATE", "PING", "GO_AWAY")
_FLAGS = ((SYN, "SYN"), (ACK, "ACK"), (FIN, "FIN"), (RST, "RST"))


def describe(kind: int, flags: int, stream_id: int, length: int) -> str:
    """A frame in words, for messages: ``WINDOW_UPDATE SYN|FIN on stream 5, length 0``."""
    if kind >> 8:
        return f"a frame of version {kind >> 8}"
    name = _TYPES[kind] if kind < len(_TYPES) else f"type {kind}"
    words = [word for bit, word in _FLAGS if flags & bit]
    if flags & ~ALL_FLAGS:
        words.append(f"{flags & ~ALL_FLAGS:#06x}")
    shown = " " + "|".join(words) if words else ""
    return f"{name}{shown} on stream {stream_id}, length {length}"
