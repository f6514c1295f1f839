"""Mplex messages: the header, its numbers, and how one reads in words. PURE.

Source: libp2p/specs, mplex/README.md, "Message format". A message is a varint of the stream's id, shifted by three,
and a flag; a varint of the length; and as many bytes. Both sides count their streams from 0, so the flag also says
whose stream is meant: *initiator* flags are sent by who opened it, *receiver* flags by the other.

Inside a session one number is both, the *key*: the id, shifted by one, and whether the remote opened it.
"""

from __future__ import annotations

from typing import Final

from p2p.wire import varint

NEW_STREAM: Final = 0
MESSAGE: Final = 2
CLOSE: Final = 4
RESET: Final = 6

#: The largest id: 60 bits are left of the 63 of a varint.
MAX_ID: Final = (1 << 60) - 1
#: What the two varints take at most.
MAX_HEADER: Final = 2 * varint.MAX_BYTES

_NAMES = (
    "NewStream",
    "MessageReceiver",
    "MessageInitiator",
    "CloseReceiver",
    "CloseInitiator",
    "ResetReceiver",
    "ResetInitiator",
)
FLAGS: Final = len(_NAMES)


def key_of(stream_id: int, *, inbound: bool) -> int:
    """The key of a stream."""
    return stream_id << 1 | inbound


def header(kind: int, key: int) -> bytes:
    """The first varint of a message we send; ``kind`` is its initiator flag."""
    return varint.encode(key >> 1 << 3 | kind - (key & 1))


def describe(flag: int, stream_id: int, length: int) -> str:
    """A message in words: ``CloseReceiver on stream 5, length 0``."""
    name = _NAMES[flag] if flag < FLAGS else f"flag {flag}"
    return f"{name} on stream {stream_id}, length {length}"
