"""RSA identity keys: the old bootstrap nodes of the public DHT have them.

A key is judged by its size when it is parsed, before anything is verified with it (CVE-2023-39533), and so is
its exponent: an exponent as long as the modulus makes verifying as slow as signing.

Source: specs/peer-ids, "RSA"; go-libp2p `core/crypto/rsa_common.go` for the sizes, go's crypto/rsa for e.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from p2p.errors import InvalidKey, RemoteProtocolError
from p2p.identity.scheme import LoadedPrivateKey, Verifier
from p2p.limits import WIRE_LIMITS

_PADDING = PKCS1v15()
_HASH = SHA256()
_MAX_EXPONENT = 2**31 - 1


def load_public(data: bytes) -> Verifier:
    """SubjectPublicKeyInfo in DER, in the one encoding there is of it. Raises ``RemoteProtocolError``."""
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RemoteProtocolError("RSA public key is not SubjectPublicKeyInfo in DER") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise RemoteProtocolError("RSA public key holds another kind of key")
    fault = _fault(key)
    if fault:
        raise RemoteProtocolError(fault)
    if _spki(key) != data:
        raise RemoteProtocolError("RSA public key is not in canonical DER")
    return lambda signature, message: key.verify(signature, message, _PADDING, _HASH)


def load_private(data: bytes) -> LoadedPrivateKey:
    """RSAPrivateKey (PKCS #1) in DER. Raises ``InvalidKey``."""
    try:
        key = load_der_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidKey("RSA private key cannot be read") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InvalidKey("RSA private key holds another kind of key")
    fault = _fault(key.public_key())
    if fault:
        raise InvalidKey(fault)
    return _loaded(key)


def generate() -> LoadedPrivateKey:
    return _loaded(rsa.generate_private_key(public_exponent=65537, key_size=WIRE_LIMITS.min_rsa_bits))


def _fault(key: rsa.RSAPublicKey) -> str:
    low, high = WIRE_LIMITS.min_rsa_bits, WIRE_LIMITS.max_rsa_bits
    if not low <= key.key_size <= high:
        return f"RSA key of {key.key_size} bits, expected {low} to {high}"
    numbers = key.public_numbers()
    if not numbers.n & 1 or not numbers.e & 1 or not 3 <= numbers.e <= _MAX_EXPONENT:
        return "RSA key with an even modulus, or an exponent that is even or not within 3 to 2**31 - 1"
    return ""


def _loaded(key: rsa.RSAPrivateKey) -> LoadedPrivateKey:
    return LoadedPrivateKey(
        _spki(key.public_key()),
        lambda message: key.sign(message, _PADDING, _HASH),
        lambda: key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    )


def _spki(key: rsa.RSAPublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
