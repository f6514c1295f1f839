"""What an attacker says of itself when the victim asks, and how the victim took that.

The stream is the victim's. It ends it by FIN when it could read the answer, and by RST when it could not.
"""

from __future__ import annotations

from typing import Protocol

import trio

from p2p import Identity
from p2p.identity.envelope import SignedEnvelope
from p2p.identity.peer_record import DOMAIN, PAYLOAD_TYPE
from p2p.protocols.identify.service import IDENTIFY
from p2p.wire.framing import encode_frame
from tests.attacks import wire

#: How soon the victim has read an answer.
PROMPT = 2.0
#: Bytes in one yamux frame; the window has room for all that is sent here.
PART = 32 * 1024

READ, RESET, WAITED = "read", "reset", "neither read nor reset in time"
CLOSED = "the connection was closed"


def field(number: int, value: bytes) -> bytes:
    """A protobuf field of bytes."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


# Fields of an Identify message.
PUBLIC_KEY, LISTEN_ADDR, PROTOCOL, OBSERVED_ADDR, PROTOCOL_VERSION, AGENT_VERSION = range(1, 7)
SIGNED_RECORD = 8


def record(identity: Identity, addrs: list[bytes], *, peer_id: bytes | None = None, seq: int = 1) -> bytes:
    """A peer record in an envelope, signed by ``identity``, about itself unless told otherwise."""
    payload = field(1, identity.peer_id.to_bytes() if peer_id is None else peer_id) + b"\x10" + varint(seq)
    return sealed(identity, payload + b"".join(field(3, field(1, addr)) for addr in addrs))


def sealed(identity: Identity, payload: bytes) -> bytes:
    """Any payload, signed as a peer record."""
    return SignedEnvelope.seal(
        identity.private_key, domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=payload
    ).to_bytes()


class Visited(Protocol):
    """Whoever is joined: the victim of a scene, or another host."""

    async def secure(self, identity: Identity | None = None) -> wire.Wire: ...


async def answer(
    visited: Visited, messages: list[bytes], *, identity: Identity | None = None, raw: bytes = b""
) -> str:
    """Join as ``identity`` and answer the victim's question by ``messages``, each with its length, then ``raw``."""
    outcome, _ = await join(visited, messages, identity=identity, raw=raw)
    return outcome


async def join(
    visited: Visited, messages: list[bytes], *, identity: Identity | None = None, raw: bytes = b""
) -> tuple[str, wire.Wire]:
    """As :func:`answer`, and the connection."""
    connection = await visited.secure(identity)
    await connection.send(b"")
    with trio.move_on_after(PROMPT):
        while (frame := await connection.receive_frame()) is not None:
            if IDENTIFY.encode() in frame.payload:
                break
        if frame is None:
            return CLOSED, connection
        stream = frame.stream
        said = wire.token("/multistream/1.0.0") + wire.token(IDENTIFY)
        said += b"".join(map(encode_frame, messages)) + raw
        parts = [said[at : at + PART] for at in range(0, len(said), PART)]
        flags = wire.ACK
        for part in parts:
            await connection.send(wire.data(stream, part, flags))
            flags = 0
        await connection.send(wire.header(wire.DATA, wire.FIN, stream, 0))
        end = await connection.receive_end_of(stream)
        if end is None:
            return CLOSED, connection
        return (RESET if end.flags & wire.RST else READ), connection
    return WAITED, connection
