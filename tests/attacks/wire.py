"""What an attacker speaks with: sealed bytes of its own making, and yamux frames nobody checked.

:func:`secure` takes a TCP stream to the victim as far as the end of Noise, honestly, so that the attack begins
above it; ``Wire`` then carries any bytes. Nothing here keeps a rule of yamux.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from p2p import Identity, PeerId
from p2p.abc import ProtocolId, Role, Secured
from p2p.negotiation.select import RawHandshake, propose
from p2p.security.noise import Noise
from p2p.transports.adapter import RawStreamAdapter
from p2p.wire.addresses import parse_user_addr

YAMUX = ProtocolId("/yamux/1.0.0")
NOISE = ProtocolId("/noise")

# Types and flags of yamux frames.
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8

HEADER = struct.Struct(">BBHII")


def header(kind: int, flags: int, stream: int, length: int, *, version: int = 0) -> bytes:
    """The 12 bytes in front of every yamux frame."""
    return HEADER.pack(version, kind, flags, stream, length)


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    """A DATA frame that says the truth about its length."""
    return header(DATA, flags, stream, len(payload)) + payload


def token(text: str) -> bytes:
    """A multistream message of less than 128 bytes."""
    line = text.encode() + b"\n"
    assert len(line) < 128
    return bytes([len(line)]) + line


def opening(stream: int, protocol: str) -> bytes:
    """A stream opened and negotiated in one frame, as a lazy dialer does."""
    return data(stream, token("/multistream/1.0.0") + token(protocol), SYN)


@dataclass(frozen=True)
class Frame:
    """A yamux frame of the victim; ``length`` is credit, a ping's value or a code where it is not data."""

    kind: int
    flags: int
    stream: int
    length: int
    payload: bytes = b""


class Wire:
    """A secured connection: plaintext in, plaintext out."""

    def __init__(self, raw: trio.SocketStream, secured: Secured) -> None:
        self.raw = raw
        self.secured = secured
        self._channel = secured.channel
        self._unsent = secured.unsent
        self._sealed = bytearray(secured.leftover)
        self._frame = bytearray(self._channel.frame_cipher)
        self._plain = bytearray(self._channel.frame_plain)
        self._received = bytearray()

    def seal(self, plain: bytes) -> bytes:
        """The sealed frames that carry ``plain``, and what the handshake left unsent before them."""
        sealed = bytearray(self._unsent)
        self._unsent = b""
        view = memoryview(self._frame)
        room = self._channel.frame_plain
        for start in range(0, len(plain), room):
            part = plain[start : start + room]
            self._channel.room(view)[: len(part)] = part
            sealed += view[: self._channel.seal(view, len(part))]
        return bytes(sealed)

    async def send(self, plain: bytes) -> None:
        """Also for nothing: then what the handshake left unsent, its last message, leaves alone."""
        await self.raw.send_all(self.seal(plain))

    async def receive(self) -> bytes:
        """Some plaintext, empty at the end; the victim's reset of the socket is an end too."""
        while True:
            with memoryview(self._sealed) as sealed, memoryview(self._plain) as plain:
                consumed, produced = self._channel.open_into(sealed, plain)
            del self._sealed[:consumed]
            if produced:
                return bytes(self._plain[:produced])
            if not consumed:
                try:
                    chunk = await self.raw.receive_some(65_536)
                except trio.BrokenResourceError:
                    return b""
                if not chunk:
                    return b""
                self._sealed += chunk

    async def receive_frame(self) -> Frame | None:
        """The victim's next frame, None at the end. Not to be mixed with :meth:`receive`."""
        while True:
            if len(self._received) >= HEADER.size:
                _, kind, flags, stream, length = HEADER.unpack_from(self._received)
                end = HEADER.size + (length if kind == DATA else 0)
                if len(self._received) >= end:
                    payload = bytes(self._received[HEADER.size : end])
                    del self._received[:end]
                    return Frame(kind, flags, stream, length, payload)
            chunk = await self.receive()
            if not chunk:
                return None
            self._received += chunk

    async def receive_end_of(self, stream: int) -> Frame | None:
        """Skip frames up to the one that ends ``stream``, by FIN or RST; None when the connection ends first."""
        while (frame := await self.receive_frame()) is not None:
            if frame.stream == stream and frame.flags & (FIN | RST):
                break
        return frame

    async def receive_until_closed(self) -> bytes:
        """Everything up to the end; the caller's deadline says how soon that must be."""
        received = bytearray()
        while chunk := await self.receive():
            received += chunk
        return bytes(received)


async def secure(
    raw: trio.SocketStream,
    peer: PeerId | None = None,
    *,
    identity: Identity | None = None,
    muxers: Sequence[ProtocolId] = (YAMUX,),
) -> Wire:
    """Negotiate Noise and shake hands as a dialer; the muxer is settled early when the victim knows one."""
    nowhere = parse_user_addr("/ip4/127.0.0.1/tcp/1")
    handshake = RawHandshake(RawStreamAdapter(raw, nowhere, nowhere))
    await propose(handshake, [NOISE], lazy=False)
    noise = Noise(identity or Identity.generate())
    return Wire(raw, await noise.secure(handshake, role=Role.DIALER, peer=peer, muxers=muxers))


async def closed(raw: trio.abc.ReceiveStream) -> bytes:
    """Wait until the victim closes; what it said before that."""
    said = bytearray()
    while True:
        try:
            chunk = await raw.receive_some(65_536)
        except trio.BrokenResourceError:
            return bytes(said)
        if not chunk:
            return bytes(said)
        said += chunk


async def send_until_closed(raw: trio.abc.SendStream, data: bytes) -> bool:
    """Send all of it; whether the victim let us."""
    try:
        await raw.send_all(data)
    except trio.BrokenResourceError:
        return False
    return True
