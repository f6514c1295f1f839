"""Two sessions of one muxer set against each other, for the suites that look at sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from p2p.abc import Muxer, Role
from p2p.muxers.session import MuxerSession, SessionStream, Touched

MuxerMaker = Callable[[], Muxer]

_OUT = 64 * 1024
#: No session may keep more than this of one stream that nobody reads.
MOST_WINDOW = 16 * 1024 * 1024


class Side:
    """One session, and what is known of its streams."""

    def __init__(self, session: MuxerSession) -> None:
        self.session = session
        self.now = 0.0
        self.accepted: list[SessionStream] = []
        self.flags: dict[int, int] = {}

    def take(self, data: bytes | bytearray | memoryview) -> Sequence[SessionStream]:
        """Let the session receive ``data``, which is overwritten afterwards, as a pump's buffer is."""
        buffer = bytearray(data)
        touched = self.session.receive_data(memoryview(buffer), self.now)
        buffer[:] = b"\xff" * len(buffer)
        seen = set()
        for stream in touched:
            assert id(stream) not in seen, "receive_data returned a stream twice"
            seen.add(id(stream))
            flags, stream.touched = stream.touched, 0
            self.flags[id(stream)] = self.flags.get(id(stream), 0) | flags
            if flags & Touched.OPENED:
                self.accepted.append(stream)
        return touched

    def give(self, room: int = _OUT) -> bytes:
        """One gathering."""
        out = memoryview(bytearray(room))
        n = self.session.write_into(out, self.now)
        assert n <= room, f"write_into says it wrote {n} bytes into {room}"
        return bytes(out[:n])

    def give_all(self) -> bytes:
        given = bytearray()
        while data := self.give():
            given += data
            assert len(given) <= 2 * MOST_WINDOW, "there is no end to what is written"
        assert not self.session.wants_write, "write_into wrote nothing, and wants_write"
        return bytes(given)

    def read(self, stream: SessionStream, n: int | None = None) -> bytes:
        return bytes(self.session.read(stream, n, self.now))

    def saw(self, stream: SessionStream, flag: int) -> bool:
        return bool(self.flags.get(id(stream), 0) & flag)


class Pair:
    """A dialer's session and a responder's."""

    def __init__(self, muxer: Muxer) -> None:
        self.dialer = Side(muxer.session(Role.DIALER, now=0.0))
        self.responder = Side(muxer.session(Role.RESPONDER, now=0.0))

    def exchange(self, slices: Callable[[], int] | None = None) -> None:
        """Let all there is cross, until both are silent."""
        for _ in range(1000):
            moved = False
            for one, other in ((self.dialer, self.responder), (self.responder, self.dialer)):
                data = memoryview(one.give())
                moved = moved or bool(data)
                while data:
                    n = len(data) if slices is None else slices()
                    other.take(data[:n])
                    data = data[n:]
            if not moved:
                return
        raise AssertionError("the two sessions never fall silent")

    def stream(self, opener: Side | None = None) -> tuple[SessionStream, SessionStream]:
        """A stream known to both, the opener's books first."""
        opener = opener or self.dialer
        other = self.responder if opener is self.dialer else self.dialer
        here = opener.session.open_stream()
        before = len(other.accepted)
        self.exchange()
        assert len(other.accepted) == before + 1, "an opened stream did not appear at the other side"
        return here, other.accepted[-1]


def send(side: Side, stream: SessionStream, data: bytes) -> None:
    taken = side.session.send_copy(stream, memoryview(data))
    assert taken == len(data), f"an empty send buffer took {taken} of {len(data)} bytes"
