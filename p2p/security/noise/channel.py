"""Noise transport messages: what a connection's bytes are sealed in after the handshake. PURE.

A frame is a big-endian length of two bytes and that many bytes of ChaCha20-Poly1305, the last sixteen of them the
tag; so it carries at most 65,519 bytes. Each direction has a key and counts its frames: the count is the nonce.
(specs/noise, "Wire Format"; Noise Protocol Framework, sections 5.1, 11 and 12.)

Everything happens in place. A frame is sealed where its plaintext lies, at offset 2, behind the length: sealing
into a shifted position would silently give wrong ciphertext.
"""

from __future__ import annotations

from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2p.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError

_PREFIX: Final = 2
_TAG: Final = 16
_MAX_MESSAGE: Final = 65_535
#: The last nonce is reserved (Noise, section 5.1): after 2**64 - 1 frames a direction is used up.
_RESERVED_NONCE: Final = 2**64 - 1


@final
class NoiseChannel:
    """Seals and opens frames; a :class:`p2p.abc.SealedChannel`. Never repeats a nonce, never skips one."""

    __slots__ = ("_broken", "_opener", "_opening_nonce", "_sealer", "_sealing_nonce")

    def __init__(self, sealing_key: bytes, opening_key: bytes) -> None:
        """The keys have 32 bytes each and come from one handshake: a channel is their only user."""
        self._sealer = ChaCha20Poly1305(sealing_key)
        self._opener = ChaCha20Poly1305(opening_key)
        self._sealing_nonce = 0
        self._opening_nonce = 0
        self._broken = ""

    @property
    def frame_plain(self) -> int:
        return _MAX_MESSAGE - _TAG

    @property
    def frame_cipher(self) -> int:
        return _PREFIX + _MAX_MESSAGE

    @property
    def frames(self) -> tuple[int, int]:
        return self._sealing_nonce, self._opening_nonce

    def open_into(self, cipher: memoryview, plain: memoryview) -> tuple[int, int]:
        """Open as many whole frames of ``cipher`` as ``plain`` has room for; (consumed, produced).

        An empty frame consumes and produces nothing else. Frames before a bad one are given first: it raises
        ``RemoteProtocolError`` once it is the first, and from then on every call does, since nothing that
        follows can be trusted. Sealing goes on, to tell the remote. ``plain`` is undefined behind what was
        produced.
        """
        if self._broken:
            raise RemoteProtocolError(self._broken)
        available, room = len(cipher), len(plain)
        consumed = produced = 0
        while available - consumed >= _PREFIX:
            size = cipher[consumed] << 8 | cipher[consumed + 1]
            start = consumed + _PREFIX
            end = start + size
            if size < _TAG:
                problem = f"a Noise frame of {size} bytes, less than its tag"
            elif end > available or size - _TAG > room - produced:
                break
            elif self._opening_nonce == _RESERVED_NONCE:
                problem = "the remote sent more frames than there are nonces"
            else:
                after = produced + size - _TAG
                nonce = b"\0\0\0\0" + self._opening_nonce.to_bytes(8, "little")
                try:
                    self._opener.decrypt_into(nonce, cipher[start:end], None, plain[produced:after])
                except InvalidTag:
                    problem = f"Noise frame {self._opening_nonce} does not authenticate"
                else:
                    self._opening_nonce += 1
                    consumed, produced = end, after
                    continue
            if consumed:
                break
            self._broken = problem
            raise RemoteProtocolError(problem)
        return consumed, produced

    def room(self, out: memoryview) -> memoryview:
        """Where the plaintext of the next frame belongs in ``out``; empty when ``out`` holds no frame with any."""
        return out[_PREFIX : max(min(len(out), _PREFIX + _MAX_MESSAGE) - _TAG, _PREFIX)]

    def seal(self, out: memoryview, n: int) -> int:
        """Seal the ``n`` bytes put into ``room(out)``, in place; returns the size of the frame in ``out``.

        Raises ``LocalProtocolError`` when they did not fit, ``ConnectionLost`` when the nonces are used up.
        """
        size = n + _TAG
        end = _PREFIX + size
        if not _TAG <= size <= _MAX_MESSAGE or end > len(out):
            raise LocalProtocolError(f"{n} bytes do not fit a frame in {len(out)}")
        if self._sealing_nonce == _RESERVED_NONCE:
            raise ConnectionLost("its nonces are used up")
        nonce = b"\0\0\0\0" + self._sealing_nonce.to_bytes(8, "little")
        out[0] = size >> 8
        out[1] = size & 0xFF
        self._sealer.encrypt_into(nonce, out[_PREFIX : end - _TAG], None, out[_PREFIX:end])
        self._sealing_nonce += 1
        return end
