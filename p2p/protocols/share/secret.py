"""The secret of a share, and how each side proves to know it without telling it. PURE.

A proof is an HMAC over both peer ids, which Noise has authenticated before: it is worth nothing when shown by another
peer, or to another. The getter's nonce makes the sender's answer a new one. Keys for the two proofs and the id of the
share are derived apart (HKDF, RFC 5869), so that none of them tells of another.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from p2p.identity import PeerId, PrivateKey
from p2p.wire import multibase
from p2p.wire.share_messages import SHARE_ID_SIZE

SECRET_SIZE = 16
_CONTEXT = b"p2p-trio share 1 "


class InvalidSecret(ValueError):
    """Text that is no secret; what it was is not repeated."""


class Secret:
    """128 bits that only those know who may get the share."""

    __slots__ = ("_getter_key", "_secret", "_sender_key", "share_id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_SIZE:
            raise InvalidSecret(f"a secret has {SECRET_SIZE} bytes")
        self._secret = secret
        #: Which share is meant; tells nothing of the secret.
        self.share_id = _derived(secret, b"share id", SHARE_ID_SIZE)
        self._getter_key = _derived(secret, b"getter", 32)
        self._sender_key = _derived(secret, b"sender", 32)

    @classmethod
    def of_key(cls, key: PrivateKey, content_id: bytes) -> Secret:
        """The same for the same key and content, so that an address holds over a restart; with other content it
        is another, so that who could get one thing cannot get the next.
        """
        return cls(_derived(key.to_protobuf(), b"secret of " + content_id, SECRET_SIZE))

    @classmethod
    def from_text(cls, text: str) -> Secret:
        """From base32, lower case, without padding. Raises ``InvalidSecret``."""
        try:
            return cls(multibase.decode(multibase.BASE32 + text))
        except ValueError:
            raise InvalidSecret("the secret behind '#' is not 26 characters of base32") from None

    def to_text(self) -> str:
        return multibase.encode(multibase.BASE32, self._secret)[1:]

    def prove_getter(self, *, sender: PeerId, getter: PeerId, nonce: bytes) -> bytes:
        """What the getter shows."""
        return _proof(self._getter_key, sender, getter, nonce)

    def prove_sender(self, *, sender: PeerId, getter: PeerId, nonce: bytes) -> bytes:
        """What the sender answers."""
        return _proof(self._sender_key, sender, getter, nonce)

    def __repr__(self) -> str:
        return "<Secret>"


def _derived(key: bytes, purpose: bytes, size: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=size, salt=None, info=_CONTEXT + purpose).derive(key)


def _proof(key: bytes, sender: PeerId, getter: PeerId, nonce: bytes) -> bytes:
    ids = [peer.to_bytes() for peer in (sender, getter)]
    message = b"".join(bytes((len(id),)) + id for id in ids) + nonce
    return hmac.digest(key, _CONTEXT + message, "sha256")
