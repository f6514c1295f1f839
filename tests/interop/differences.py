"""In what the peers differ: what each library is called, can be told and can tell."""

from __future__ import annotations

from typing import Final

#: What each says it is; py-libp2p cannot be told what to say.
AGENTS: Final = {
    "ours": "interop-ours",
    "go": "interop-go",
    "rust": "interop-rust",
    "js": "interop-js",
    "py": "py-libp2p/0.8.1",
}
#: What every peer serves.
TEST_PROTOCOLS: Final = {
    "/ipfs/id/1.0.0",
    "/ipfs/id/push/1.0.0",
    "/ipfs/ping/1.0.0",
    "/echo/1.0.0",
    "/perf/1.0.0",
    "/test/sink/1.0.0",
    "/test/reset/1.0.0",
    "/test/reset-me/1.0.0",
    "/test/half/1.0.0",
    "/test/half-first/1.0.0",
}
#: Who puts a code into a yamux reset, and reads it.
WITH_CODES: Final = {"ours", "go"}
#: rust knows signed records of a form of its own alone.
WITHOUT_SIGNED_RECORDS: Final = {"rust"}


def code_told(reader: str, writer: str, muxer: str, code: int) -> int | None:
    """What ``reader`` tells of a reset with ``code`` by ``writer``: who knows no codes tells none, and sends 0."""
    if reader not in WITH_CODES or (reader, muxer) == ("go", "mplex"):
        return None
    if (reader, writer) == ("go", "rust"):
        return None  # rust resets by data frames, in which go looks for no code
    return code if muxer == "yamux" and writer in WITH_CODES else 0


def tells(listen_addrs: list[str], addr: str) -> bool:
    """Whether identify told ``addr``, with its peer id or without: py-libp2p tells it."""
    return bool({addr, addr.rpartition("/p2p/")[0]} & set(listen_addrs))
