"""Ed25519 identity keys, and the public keys that must not be.

OpenSSL verifies trivial signatures under keys of small order (for the identity point every message,
always), so those are refused when a key is parsed, as are encodings whose y is not reduced.

Source: specs/peer-ids, "Ed25519"; RFC 8032, 5.1; the list of small-order points is that of libsodium.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from p2p.errors import InvalidKey, RemoteProtocolError
from p2p.identity.scheme import LoadedPrivateKey, Verifier

_SIZE = 32
_P = 2**255 - 19
_SIGN_BIT = 1 << 255
# The y of the eight points whose order divides the cofactor; the sign of x makes no difference.
_ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
_SMALL_ORDER_Y = frozenset(
    {0, 1, _P - 1, int.from_bytes(_ORDER_8, "little"), _P - int.from_bytes(_ORDER_8, "little")}
)


def load_public(data: bytes) -> Verifier:
    """Raises ``RemoteProtocolError`` for a wrong length, an unreduced y, or a point of small order."""
    if len(data) != _SIZE:
        raise RemoteProtocolError(f"Ed25519 public key of {len(data)} bytes, expected {_SIZE}")
    y = int.from_bytes(data, "little") & ~_SIGN_BIT
    if y >= _P:
        raise RemoteProtocolError("Ed25519 public key is not canonical")
    if y in _SMALL_ORDER_Y:
        raise RemoteProtocolError("Ed25519 public key is a point of small order")
    return Ed25519PublicKey.from_public_bytes(data).verify


def load_private(data: bytes) -> LoadedPrivateKey:
    """Seed and public key, 64 bytes; or, from old versions, the public key twice, 96 bytes.

    Raises ``InvalidKey`` when a public half is not that of the seed: signing with a foreign one leaks the key
    (CVE-2022-50237).
    """
    if len(data) not in (2 * _SIZE, 3 * _SIZE):
        raise InvalidKey(f"Ed25519 private key of {len(data)} bytes, expected 64 (or 96)")
    loaded = from_seed(data[:_SIZE])
    halves = loaded.public * (len(data) // _SIZE - 1)
    if not hmac.compare_digest(halves, data[_SIZE:]):
        raise InvalidKey("the public half of the Ed25519 private key does not belong to it")
    return loaded


def from_seed(seed: bytes) -> LoadedPrivateKey:
    """The key pair of a seed of 32 bytes (RFC 8032's private key)."""
    if len(seed) != _SIZE:
        raise InvalidKey(f"Ed25519 seed of {len(seed)} bytes, expected {_SIZE}")
    return _loaded(Ed25519PrivateKey.from_private_bytes(seed))


def generate() -> LoadedPrivateKey:
    return _loaded(Ed25519PrivateKey.generate())


def _loaded(key: Ed25519PrivateKey) -> LoadedPrivateKey:
    public = key.public_key().public_bytes_raw()
    return LoadedPrivateKey(public, key.sign, lambda: key.private_bytes_raw() + public)
