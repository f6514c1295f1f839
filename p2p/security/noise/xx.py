"""Noise_XX_25519_ChaChaPoly_SHA256: three messages, what they authenticate, and the keys that come of them. PURE.

This is the Noise Protocol Framework for one pattern with one set of functions, and knows nothing of libp2p::

    1  dialer     → e
    2  responder  → e, ee, s, es
    3  dialer     → s, se

All that was said so far is in a hash, under which each part is sealed; all that was agreed on so far is in a chaining
key, from which the key of the next part comes. General libraries look up what the pattern says at every step, and take
about as long for that as the curve does for its part.

Source: Noise Protocol Framework, revision 34: sections 4 and 5; 7.5 for the pattern; 12 for the functions.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NamedTuple, final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2p.abc import Role

#: As long as the hash, and so the first hash itself.
NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY: Final = 32
TAG: Final = 16


class KeyPair(NamedTuple):
    """A Diffie-Hellman key, and the half of it that is told."""

    private: X25519PrivateKey
    public: bytes

    @classmethod
    def of(cls, private: X25519PrivateKey) -> KeyPair:
        return cls(private, private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"<KeyPair {self.public.hex()[:16]}>"


@final
class XX:
    """One side of one handshake: its messages are written and read in their order, each once.

    Message 1 and its payload are in the clear, the payload of message 2 is for whoever sent message 1, that of
    message 3 for the owner of the responder's static key. After the last one :meth:`split` gives the keys. After an
    exception the state is undefined, and the handshake over.
    """

    __slots__ = ("_chaining", "_cipher", "_dialing", "_e", "_hash", "_next", "_nonce", "_re", "_s", "rs")

    def __init__(self, role: Role, static: KeyPair, ephemeral: KeyPair, prologue: bytes = b"") -> None:
        """``ephemeral`` is a fresh one, for this handshake only. Both sides must have the same ``prologue``."""
        self._dialing = role is Role.DIALER
        self._s = static
        self._e = ephemeral
        self._re = b""
        #: The remote's static key, once it is known; whose it is, is for the payload to say.
        self.rs = b""
        self._chaining = NAME
        self._hash = hashlib.sha256(NAME + prologue).digest()
        self._cipher: ChaCha20Poly1305 | None = None
        self._nonce = 0
        self._next = 1

    @property
    def hash(self) -> bytes:
        """Of everything that was said so far."""
        return self._hash

    def write_message(self, payload: bytes) -> bytes:
        """The next message. Raises ``ValueError`` where the remote's key gives a secret that everybody knows."""
        message = b""
        if self._next < 3:
            message = self._e.public
            self._mix_hash(message)
        if self._next == 2:
            self._mix_key(_shared(self._e, self._re))  # ee
        if self._next > 1:
            message += self._seal(self._s.public)
            self._mix_key(_shared(self._s, self._re))  # es of the responder, se of the dialer
        self._next += 1
        return message + self._seal(payload)

    def read_message(self, message: bytes) -> bytes:
        """The payload of the remote's next message, which must have its least size.

        Raises ``cryptography.exceptions.InvalidTag`` where it is not authentic, and as :meth:`write_message`.
        """
        if self._next < 3:
            self._re, message = message[:KEY], message[KEY:]
            self._mix_hash(self._re)
        if self._next == 2:
            self._mix_key(_shared(self._e, self._re))  # ee
        if self._next > 1:
            sealed, message = message[: KEY + TAG], message[KEY + TAG :]
            self.rs = self._open(sealed)
            self._mix_key(_shared(self._e, self.rs))  # es of the dialer, se of the responder
        self._next += 1
        return self._open(message)

    def split(self) -> tuple[bytes, bytes]:
        """The keys to seal and to open with from here on, of 32 bytes each."""
        dialers, responders = _derive(self._chaining, b"")
        return (dialers, responders) if self._dialing else (responders, dialers)

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _mix_key(self, secret: bytes) -> None:
        self._chaining, key = _derive(self._chaining, secret)
        self._cipher = ChaCha20Poly1305(key)
        self._nonce = 0

    def _seal(self, plain: bytes) -> bytes:
        cipher = plain
        if self._cipher is not None:
            cipher = self._cipher.encrypt(self._take_nonce(), plain, self._hash)
        self._mix_hash(cipher)
        return cipher

    def _open(self, cipher: bytes) -> bytes:
        plain = cipher
        if self._cipher is not None:
            plain = self._cipher.decrypt(self._take_nonce(), cipher, self._hash)
        self._mix_hash(cipher)
        return plain

    def _take_nonce(self) -> bytes:
        nonce = self._nonce
        self._nonce += 1
        return b"\0\0\0\0" + nonce.to_bytes(8, "little")


def _shared(own: KeyPair, remote: bytes) -> bytes:
    return own.private.exchange(X25519PublicKey.from_public_bytes(remote))


def _derive(chaining: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """HKDF with two outputs (section 4.3)."""
    extracted = hmac.digest(chaining, secret, "sha256")
    first = hmac.digest(extracted, b"\x01", "sha256")
    return first, hmac.digest(extracted, first + b"\x02", "sha256")
