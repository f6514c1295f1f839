"""Row 40: handlers that raise, hang, return early and spawn, whenever the attacker likes."""

from __future__ import annotations

import pytest
import trio

from p2p.protocols.echo import ECHO
from tests.attacks import wire
from tests.attacks.harness import Verdict

PROMPT = 2.0
KIB = 1024

RAISING = (
    "/attacks/fail",
    "/attacks/fail-late",
    "/attacks/fail-cleaning-up",
    "/attacks/fail-in-groups",
    "/attacks/recurse",
    "/attacks/exhaust",
)
#: Of each kind of handler.
STREAMS = 10
#: What one of them spawns.
TASKS = 100
HANGING = ("/attacks/hang", "/attacks/spawn", "/attacks/ignore")

#: A handler that raises is a bug on this side, and told with its traceback; a bounded number of lines all the same.
VERDICT = Verdict(tracebacks=10_000)


class Neighbours:
    """A connection on which one stream is echoed all the while, and others end somehow."""

    ECHOED = 1

    def __init__(self, connection: wire.Wire) -> None:
        self._connection = connection
        self._next = 3
        self._echoes = 0
        self.ended: dict[int, int] = {}  # stream: the flags that ended it
        self.resets: list[int] = []

    async def begin(self) -> None:
        await self._connection.send(wire.opening(self.ECHOED, ECHO))

    async def open(self, protocol: str, behind: bytes = b"", flags: int = 0) -> int:
        """A stream, and data behind its proposal."""
        stream, self._next = self._next, self._next + 2
        await self._connection.send(wire.opening(stream, protocol))
        if behind or flags:
            await self._connection.send(wire.data(stream, behind, flags))
        return stream

    async def send(self, plain: bytes) -> None:
        await self._connection.send(plain)

    async def live(self) -> None:
        """One more echo; what came before it is taken note of."""
        self._echoes += 1
        word = b"echo %d." % self._echoes
        await self._connection.send(wire.data(self.ECHOED, word))
        heard = b""
        while word not in heard:
            frame = await self._next_frame()
            if frame.stream == self.ECHOED:
                assert not frame.flags & (wire.FIN | wire.RST), "the neighbour died too"
                heard += frame.payload

    async def end_of(self, stream: int) -> int:
        while stream not in self.ended:
            await self._next_frame()
        return self.ended[stream]

    async def _next_frame(self) -> wire.Frame:
        frame = await self._connection.receive_frame()
        assert frame is not None, "the connection died"
        if frame.flags & wire.RST:
            self.resets.append(frame.stream)
        if frame.flags & (wire.FIN | wire.RST):
            self.ended.setdefault(frame.stream, frame.flags)
        return frame


@pytest.mark.lifted(patches={"p2p.host.serving:serve_behind_wall": "lifts.without_a_wall"})
async def test_row_40_handlers(attack):
    """One that raises ends its stream by a reset, one that returns by FIN, and neither ends anything else."""
    async with attack(verdict=VERDICT) as scene:
        neighbours = Neighbours(await scene.secure())
        await neighbours.begin()
        await neighbours.live()
        for _ in range(STREAMS):
            with trio.fail_after(PROMPT):
                streams = [await neighbours.open(protocol, b"x", wire.FIN) for protocol in RAISING]
                for stream in streams:
                    assert await neighbours.end_of(stream) & wire.RST, RAISING[streams.index(stream)]
                await neighbours.live()
        assert (await scene.counters())["handlers"] <= 1 + 2  # the echo, the canary's, and who is asked

        # Another name and another connection for each failure are no way to more lines in the log.
        with trio.fail_after(2 * PROMPT):
            for _ in range(STREAMS):
                strangers = Neighbours(await scene.secure())
                assert await strangers.end_of(await strangers.open("/attacks/fail")) & wire.RST
        await neighbours.live()

        # Returning early is no failure; what comes late is refused, once.
        with trio.fail_after(PROMPT):
            stream = await neighbours.open("/attacks/give-up")
            assert await neighbours.end_of(stream) & wire.FIN
            await neighbours.send(wire.data(stream, bytes(1 * KIB)) * 100)
            await neighbours.live()
        assert neighbours.resets.count(stream) <= 1


@pytest.mark.lifted(limits={"shutdown_grace": 1000.0})
async def test_row_40_handlers_that_do_not_end(attack):
    """They last as long as their connection and a grace, whatever becomes of their streams."""
    async with attack() as scene:
        connection = await scene.secure()
        neighbours = Neighbours(connection)
        await neighbours.begin()
        with trio.fail_after(PROMPT):
            for protocol in HANGING:
                streams = [await neighbours.open(protocol) for _ in range(STREAMS)]
                await neighbours.live()
                # Half of them are reset; that is nothing to a handler that does not look.
                for stream in streams[: STREAMS // 2]:
                    await neighbours.send(wire.header(wire.WINDOW, wire.RST, stream, 0))
                await neighbours.live()
        counters = await scene.counters()
        assert counters["handlers"] >= len(HANGING) * STREAMS
        assert counters["tasks"] >= TASKS * STREAMS
        await connection.raw.aclose()
