"""What waits for its bytes, as functions of the pieces that arrive: readers of streams, and whole connections.

They run in virtual time. After the pieces comes the end of the stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio
import trio.testing

from p2p.abc import Muxer, ProtocolId, Role, Stream
from p2p.errors import ConnectionLost
from p2p.limits import DEFAULT_LIMITS, IdentifyLimits
from p2p.muxers import Mplex, Yamux
from p2p.negotiation.select import RawHandshake, propose, respond
from p2p.protocols.identify.push import read_identification
from p2p.protocols.ping import PAYLOAD_SIZE, ping
from p2p.security.noise import Noise
from p2p.security.plaintext import _Plaintext
from p2p.streams import MessageReader, read_exactly, read_lp
from p2p.testing.pairs import connections_over, stream_pair
from p2p.testing.pipes import raw_pair
from p2p.transports.memory import Memory, MemoryHub
from p2p.transports.pipe import PipeStream
from p2p.transports.sealed import SealedRaw
from p2p.transports.upgraded import Upgraded
from p2p.wire.addresses import Multiaddr
from tests.fuzz.machines import ECHO, MAX_MESSAGE, OTHER, THEM, US, YAMUX, Pieces, our_channel, sealed

#: Room for all that any input makes either side say.
BUFFER = 2**21


def _run(operation: Callable[[], Awaitable[object]]) -> object:
    """In virtual time: what is not there will not come, so deadlines pass at once."""
    return trio.run(operation, clock=trio.testing.MockClock(autojump_threshold=0))


class Arriving(trio.abc.ReceiveStream):
    """A stream on which ``pieces`` arrive, and then its end."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = [piece for piece in pieces if piece]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if max_bytes is not None and len(piece) > max_bytes:
            self._pieces.insert(0, piece[max_bytes:])
            piece = piece[:max_bytes]
        return piece

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def read_one_exactly(pieces: Pieces) -> object:
    return _run(lambda: read_exactly(Arriving(pieces), 20))


def read_one_message(pieces: Pieces) -> object:
    return _run(lambda: read_lp(Arriving(pieces), max=MAX_MESSAGE))


def read_messages(pieces: Pieces) -> object:
    async def read() -> object:
        return [message async for message in MessageReader(Arriving(pieces), max=MAX_MESSAGE)]

    return _run(read)


def _arriving(pieces: Pieces) -> PipeStream:
    """A raw stream on which ``pieces`` arrive, each receive giving one at the most, and then its end."""
    sizes = [len(piece) for piece in pieces if piece]
    ours, theirs = raw_pair(buffer=BUFFER, cut=lambda: sizes.pop(0) if sizes else BUFFER)
    _say(theirs, pieces)
    return ours


def _say(raw: PipeStream, pieces: Pieces) -> None:
    """Send all of it, and the end; what comes back has room, and nobody reads it."""
    assert raw.try_send(memoryview(data := b"".join(pieces))) == len(data)
    raw._outlet.finish()


def _with_raw(operation: Callable[[RawHandshake], Awaitable[object]], pieces: Pieces) -> object:
    async def run() -> object:
        return await operation(RawHandshake(_arriving(pieces)))

    return _run(run)


def handshake_read_exactly(pieces: Pieces) -> object:
    return _with_raw(lambda raw: raw.read_exactly(20), pieces)


def handshake_read_some(pieces: Pieces) -> object:
    async def read(raw: RawHandshake) -> object:
        await propose(raw, [ECHO], lazy=True)
        return await raw.read_some() and None

    return _with_raw(read, pieces)


def handshake_propose(pieces: Pieces) -> object:
    return _with_raw(lambda raw: propose(raw, [ECHO, OTHER], lazy=False), pieces)


def handshake_respond(pieces: Pieces) -> object:
    return _with_raw(lambda raw: respond(raw, (ECHO,).__contains__, lambda: [ECHO]), pieces)


def _secure(security: Noise | _Plaintext, role: Role, pieces: Pieces) -> object:
    async def secure(raw: RawHandshake) -> object:
        return (await security.secure(raw, role=role, peer=THEM.peer_id, muxers=[YAMUX])).remote_peer

    return _with_raw(secure, pieces)


def secure_with_noise_as_dialer(pieces: Pieces) -> object:
    return _secure(Noise(US), Role.DIALER, pieces)


def secure_with_noise_as_responder(pieces: Pieces) -> object:
    return _secure(Noise(US), Role.RESPONDER, pieces)


def secure_with_plaintext(pieces: Pieces) -> object:
    return _secure(_Plaintext(US), Role.DIALER, pieces)


def receive_sealed(pieces: Pieces) -> object:
    async def receive() -> object:
        raw = SealedRaw(_arriving(pieces), our_channel(), leftover=b"", unsent=b"")
        buffer = memoryview(bytearray(70_000))
        found = bytearray()
        while n := await raw.receive_into(buffer):
            found += buffer[:n]
        return bytes(found)

    return _run(receive)


def _upgraded(transport: Memory) -> Upgraded:
    return Upgraded(
        transport, local_peer=US.peer_id, security=[Noise(US)], muxers=[Yamux()], limits=DEFAULT_LIMITS
    )


def accept_connection(pieces: Pieces) -> object:
    async def accept() -> None:
        connection = await _upgraded(Memory(MemoryHub())).accept(_arriving(pieces))
        await connection.aclose()

    return _run(accept)


def dial_connection(pieces: Pieces) -> object:
    async def dial() -> object:
        memory = Memory(MemoryHub(), buffer=BUFFER)
        async with memory.listen(Multiaddr("/memory/1")) as listener, trio.open_nursery() as nursery:

            async def answer() -> None:
                while True:
                    _say(await listener.accept(), pieces)

            nursery.start_soon(answer)
            failure = None
            try:
                connection = await _upgraded(memory).dial(listener.addr, peer=THEM.peer_id)
                await connection.aclose()
            except BaseException as error:
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return None

    return _run(dial)


class Router:
    """Takes streams for one protocol."""

    def __init__(self) -> None:
        self.served = 0

    def supports(self, protocol: ProtocolId) -> bool:
        return protocol == ECHO

    def protocols(self) -> Sequence[ProtocolId]:
        return [ECHO]

    def serve(self, stream: Stream) -> None:
        assert stream.protocol == ECHO
        self.served += 1

    def ended(self, stream: Stream) -> None:
        """Nothing is kept of it."""


def pump(pieces: Pieces) -> object:
    """A connection with two streams that were opened lazily; each piece comes sealed in a frame of its own."""
    return _pump(Yamux(), pieces)


def pump_mplex(pieces: Pieces) -> object:
    return _pump(Mplex(), pieces)


def _pump(muxer: Muxer, pieces: Pieces) -> object:
    async def run() -> object:
        frames = _arriving([sealed(*pieces)])
        connection, _ = connections_over((frames, frames), muxer=muxer)
        router = Router()
        for _ in range(2):
            await (await connection.open_stream(ECHO, lazy=True)).send_all(b"hello")
        connection.flush()  # what comes may be of streams it has heard of
        try:
            await connection.run(router)
        except ConnectionLost:
            pass  # the end of the pieces
        return connection.lost, router.served

    return _run(run)


def _on_stream(operation: Callable[[Stream], Awaitable[object]], pieces: Pieces) -> object:
    async def run() -> object:
        failure: BaseException | None = None
        found: object = None
        async with stream_pair() as (left, right):
            for piece in pieces:
                await right.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            await right.send_eof()
            try:
                found = await operation(left)
            except BaseException as error:
                failure = error
        if failure is not None:  # bare, and not in the group of the pair's nursery
            raise failure
        return found

    return _run(run)


def answer_to_ping(pieces: Pieces) -> object:
    return _on_stream(lambda stream: ping(stream, random=lambda n: b"r" * n), pieces)


PONG = b"r" * PAYLOAD_SIZE


def answer_to_identify(pieces: Pieces) -> object:
    async def read(stream: Stream) -> object:
        found = await read_identification(stream, IdentifyLimits())
        return found.protocols, found.addrs, found.agent_version, bool(found.refused)

    return _on_stream(read, pieces)
