"""What an attacker speaks in mplex, and what it hears. Nothing here keeps a rule of it."""

from __future__ import annotations

from p2p.abc import ProtocolId
from p2p.wire import varint
from tests.attacks import wire
from tests.machines.mplex_wire import CLOSE_I, MSG_I, NEW, message

MPLEX = ProtocolId("/mplex/6.7.0")


def opening(stream: int, protocol: str) -> bytes:
    """A stream opened and negotiated at once, as a lazy dialer does."""
    return message(NEW, stream) + message(
        MSG_I, stream, wire.token("/multistream/1.0.0") + wire.token(protocol)
    )


class Mplex:
    """A secured connection, and the victim's messages on it."""

    def __init__(self, connection: wire.Wire) -> None:
        self.raw = connection.raw
        self.send = connection.send
        self.seal = connection.seal
        self.receive_until_closed = connection.receive_until_closed
        self._connection = connection
        self._received = bytearray()

    async def receive(self) -> tuple[int, int, bytes] | None:
        """Flag, stream and body of the next message; None at the end."""
        while True:
            found = self._next()
            if found is not None:
                return found
            chunk = await self._connection.receive()
            if not chunk:
                return None
            self._received += chunk

    def _next(self) -> tuple[int, int, bytes] | None:
        head = varint.decode_partial(self._received, max_value=varint.MAX_VALUE)
        length = head and varint.decode_partial(self._received, head[1], max_value=1 << 20)
        if not head or not length or len(self._received) < length[1] + length[0]:
            return None
        body = bytes(self._received[length[1] : length[1] + length[0]])
        del self._received[: length[1] + length[0]]
        return head[0] & 7, head[0] >> 3, body

    async def receive_end_of(self, stream: int) -> bytes | None:
        """What the victim says on a stream of ours until it ends it there; None when the connection ends first."""
        said = b""
        while (found := await self.receive()) is not None:
            flag, stream_id, body = found
            if stream_id == stream and flag % 2:
                said += body
                if flag > 2:
                    return said
        return None

    async def goes_on(self, stream: int) -> bool:
        """Whether the victim serves another stream."""
        await self.send(opening(stream, "/attacks/count") + message(CLOSE_I, stream))
        said = await self.receive_end_of(stream)
        return said is not None and said.endswith(b"0")
