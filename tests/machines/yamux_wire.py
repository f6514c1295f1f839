"""Yamux sessions by the wire: frames made, fed and read, for the tests of this directory."""

from __future__ import annotations

import pytest

from p2p.abc import Role
from p2p.errors import LocalProtocolError, RemoteProtocolError
from p2p.limits import YamuxLimits
from p2p.muxers.session import Touched
from p2p.muxers.yamux import Yamux, YamuxSession, YamuxStream
from p2p.muxers.yamux.frames import ACK, DATA, HEADER, PING, SYN, WINDOW_UPDATE

LIMITS = YamuxLimits()
NOISE_FRAME = 65519
GOAWAY_1 = "000300000000000000000001"
OPEN_1 = "000100010000000100000000"


def frame(kind: int, flags: int, stream_id: int, length: int | bytes = 0) -> bytes:
    """A frame; for ``length`` as bytes, with them as its body."""
    if isinstance(length, bytes):
        return HEADER.pack(kind, flags, stream_id, len(length)) + length
    return HEADER.pack(kind, flags, stream_id, length)


def responder(limits: YamuxLimits = LIMITS) -> YamuxSession:
    return Yamux(limits).session(Role.RESPONDER, now=0.0)


def dialer(limits: YamuxLimits = LIMITS) -> YamuxSession:
    return Yamux(limits).session(Role.DIALER, now=0.0)


def feed(session: YamuxSession, data: bytes | str, now: float = 0.0) -> list[YamuxStream]:
    """Receive bytes, given as such or in hex; the streams touched."""
    if isinstance(data, str):
        data = bytes.fromhex(data)
    return list(session.receive_data(memoryview(data), now))


def written(session: YamuxSession, now: float = 0.0) -> bytes:
    """All the session has to write."""
    out, buffer = b"", memoryview(bytearray(NOISE_FRAME))
    while session.wants_write:
        n = session.write_into(buffer, now)
        assert n
        out += buffer[:n]
    assert not session.write_into(buffer, now)
    return out


def frames(data: bytes) -> list[tuple[int, int, int, int]]:
    """The headers in ``data``, but for pings, which are not the subject."""
    found = []
    while data:
        kind, flags, stream_id, length = HEADER.unpack_from(data)
        if kind != PING:
            found.append((kind, flags, stream_id, length))
        data = data[HEADER.size + (length if kind == DATA else 0) :]
    return found


def settle(session: YamuxSession) -> None:
    """Write all there is, and answer a ping in it."""
    data = written(session)
    while data:
        kind, flags, _, length = HEADER.unpack_from(data)
        if (kind, flags) == (PING, SYN):
            feed(session, HEADER.pack(PING, ACK, 0, length))
        data = data[HEADER.size + (length if kind == DATA else 0) :]


def accepted(session: YamuxSession, stream_id: int = 1, body: bytes = b"") -> YamuxStream:
    """A stream that the remote opened, its ACK written."""
    (stream,) = feed(session, frame(DATA, SYN, stream_id, body))
    assert stream.touched == Touched.OPENED | (Touched.DATA if body else 0)
    stream.touched = 0
    settle(session)
    return stream


def opened(session: YamuxSession) -> YamuxStream:
    """A stream that this side opened and the remote acknowledged."""
    stream = session.open_stream()
    written(session)
    feed(session, frame(WINDOW_UPDATE, ACK, stream.stream_id))
    assert stream.touched == Touched.SLOT
    stream.touched = 0
    settle(session)
    return stream


def verdict(session: YamuxSession, data: bytes | str) -> RemoteProtocolError:
    """The error that ``data`` raises; the session then says GoAway 1 and nothing else."""
    with pytest.raises(RemoteProtocolError) as raised:
        feed(session, data)
    assert raised.value.code == 1
    session.close(raised.value.code)
    assert written(session).hex() == GOAWAY_1
    assert session.next_timer() is None
    with pytest.raises(LocalProtocolError):
        feed(session, b"")
    return raised.value


def syns(n: int, first: int = 1) -> bytes:
    return b"".join(frame(WINDOW_UPDATE, SYN, first + 2 * i) for i in range(n))
