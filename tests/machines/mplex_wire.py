"""Mplex sessions by the wire: messages made, fed and read, for the tests of this directory."""

from __future__ import annotations

import pytest

from p2p.abc import Role
from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.limits import MplexLimits
from p2p.muxers.mplex import Mplex, MplexSession, MplexStream
from p2p.muxers.session import Touched
from p2p.wire import varint

LIMITS = MplexLimits()
NOISE_FRAME = 65519
NEW, MSG_R, MSG_I, CLOSE_R, CLOSE_I, RESET_R, RESET_I = range(7)


def message(flag: int, stream_id: int, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A message; ``length`` is what it claims, if not the truth."""
    claimed = len(body) if length is None else length
    return varint.encode(stream_id << 3 | flag) + varint.encode(claimed) + body


def session(limits: MplexLimits = LIMITS) -> MplexSession:
    return Mplex(limits).session(Role.DIALER, now=0.0)


def feed(mplex: MplexSession, data: bytes, now: float = 0.0) -> list[MplexStream]:
    """Receive bytes; the streams touched."""
    return list(mplex.receive_data(memoryview(data), now))


def written(mplex: MplexSession, now: float = 0.0) -> bytes:
    """All the session has to write."""
    out, buffer = b"", memoryview(bytearray(NOISE_FRAME))
    while mplex.wants_write:
        n = mplex.write_into(buffer, now)
        assert n
        out += buffer[:n]
    assert not mplex.write_into(buffer, now)
    return out


def messages(data: bytes) -> list[tuple[int, int, bytes]]:
    """Flag, stream and body of each message in ``data``, which holds whole ones."""
    found, pos = [], 0
    while pos < len(data):
        head, pos = varint.decode(data, pos, max_value=varint.MAX_VALUE)
        length, pos = varint.decode(data, pos, max_value=LIMITS.max_message)
        assert pos + length <= len(data)
        found.append((head & 7, head >> 3, data[pos : pos + length]))
        pos += length
    return found


def accepted(mplex: MplexSession, stream_id: int = 0, body: bytes = b"") -> MplexStream:
    """A stream that the remote opened."""
    data = message(NEW, stream_id) + (message(MSG_I, stream_id, body) if body else b"")
    (stream,) = feed(mplex, data)
    assert stream.touched == Touched.OPENED | (Touched.DATA if body else 0)
    stream.touched = 0
    return stream


def opened(mplex: MplexSession) -> MplexStream:
    """A stream of ours, known to the remote."""
    stream = mplex.open_stream()
    assert messages(written(mplex)) == [(NEW, stream.stream_id, b"")]
    return stream


def verdict(mplex: MplexSession, data: bytes, now: float = 0.0) -> RemoteProtocolError:
    """The error that ``data`` raises; the session then says nothing more and takes nothing more."""
    with pytest.raises(RemoteProtocolError) as raised:
        feed(mplex, data, now)
    mplex.close(raised.value.code)
    assert not written(mplex)
    assert mplex.next_timer() is None
    assert not mplex.can_open
    with pytest.raises(LocalProtocolError):
        feed(mplex, b"")
    return raised.value
