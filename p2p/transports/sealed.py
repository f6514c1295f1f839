"""A secure channel as a raw stream, for the moment between the handshake and the muxer.

Only a muxer's negotiation goes through here: a few hundred bytes, once. Afterwards the pump drives the channel
itself, since a stream of frames would cost it copies and wake-ups.
"""

from __future__ import annotations

from dataclasses import replace

from p2p.abc import RawStream, SealedChannel, Secured
from p2p.wire.addresses import Multiaddr


class SealedRaw:
    """``raw`` through ``channel``; ``leftover`` is sealed and came with the handshake, ``unsent`` goes out first."""

    def __init__(self, raw: RawStream, channel: SealedChannel, *, leftover: bytes, unsent: bytes) -> None:
        self._raw = raw
        self._channel = channel
        self._sealed = bytearray(leftover)
        self._refused = bytearray(unsent)

    @property
    def local_addr(self) -> Multiaddr:
        return self._raw.local_addr

    @property
    def remote_addr(self) -> Multiaddr:
        return self._raw.remote_addr

    async def receive_into(self, buffer: memoryview) -> int:
        """One frame's plaintext at the most; raises also ``RemoteProtocolError`` for a frame that is not right."""
        plain = memoryview(bytearray(self._channel.frame_plain))
        while True:
            # An empty frame is legal and says nothing, so being consumed is not yet having produced.
            with memoryview(self._sealed) as sealed:
                consumed, produced = self._channel.open_into(sealed[: self._channel.frame_cipher], plain)
            del self._sealed[:consumed]
            if produced:
                if produced > len(buffer):
                    raise ValueError(f"{len(buffer)} bytes of room for a frame of {produced}")
                buffer[:produced] = plain[:produced]
                return produced
            if not consumed:
                while self._refused and not self._send_refused():  # the remote may be waiting for it
                    await self._raw.wait_writable()
                chunk = bytearray(self._channel.frame_cipher)
                n = await self._raw.receive_into(memoryview(chunk))
                if not n:
                    return 0
                self._sealed += chunk[:n]

    def try_send(self, data: memoryview) -> int:
        """Takes one frame's worth, once everything before has gone."""
        if self._refused and not self._send_refused():
            return 0
        taken = data[: self._channel.frame_plain]
        frame = bytearray(self._channel.frame_cipher)
        out = memoryview(frame)
        self._channel.room(out)[: len(taken)] = taken
        size = self._channel.seal(out, len(taken))
        self._refused += out[:size]
        self._send_refused()
        return len(taken)

    def _send_refused(self) -> bool:
        with memoryview(self._refused) as view:
            sent = self._raw.try_send(view)
        del self._refused[:sent]
        return not self._refused

    async def wait_writable(self) -> None:
        await self._raw.wait_writable()

    async def aclose(self) -> None:
        await self._raw.aclose()

    def rest_of(self, secured: Secured) -> Secured:
        """What the handshake gave, with the sealed bytes that are left of it now: received, and not sent."""
        return replace(secured, leftover=bytes(self._sealed), unsent=bytes(self._refused))
