"""Identity keys on Weierstrass curves: secp256k1, and what libp2p calls ECDSA (NIST curves).

Both sign with ECDSA over SHA-256 and write signatures in DER; they differ in how keys are written.

Source: specs/peer-ids, "Secp256k1" and "ECDSA".
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
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

_ALGORITHM = ec.ECDSA(SHA256())
_SECP256K1 = ec.SECP256K1()
_SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_COMPRESSED = 33
_NIST_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
#: A P-521 key takes 158 bytes as SubjectPublicKeyInfo; longer input is not worth parsing.
_MAX_SPKI = 256


def _verifier(key: ec.EllipticCurvePublicKey) -> Verifier:
    return lambda signature, message: key.verify(signature, message, _ALGORITHM)


# --- secp256k1 ------------------------------------------------------------------------------------------


def load_secp256k1_public(data: bytes) -> Verifier:
    """A compressed point, 33 bytes. Other forms are refused: one key has one peer id."""
    if len(data) != _COMPRESSED or data[0] not in (2, 3):
        raise RemoteProtocolError("secp256k1 public key is not a compressed point of 33 bytes")
    try:
        return _verifier(ec.EllipticCurvePublicKey.from_encoded_point(_SECP256K1, data))
    except ValueError as error:
        raise RemoteProtocolError("secp256k1 public key is not on the curve") from error


def load_secp256k1_private(data: bytes) -> LoadedPrivateKey:
    """The scalar, 32 bytes big-endian. Raises ``InvalidKey``."""
    scalar = int.from_bytes(data, "big")
    if len(data) != 32 or not 0 < scalar < _SECP256K1_ORDER:
        raise InvalidKey("secp256k1 private key is not a scalar of 32 bytes within the group's order")
    return _loaded_secp256k1(ec.derive_private_key(scalar, _SECP256K1))


def generate_secp256k1() -> LoadedPrivateKey:
    return _loaded_secp256k1(ec.generate_private_key(_SECP256K1))


def _loaded_secp256k1(key: ec.EllipticCurvePrivateKey) -> LoadedPrivateKey:
    return LoadedPrivateKey(
        key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
        lambda message: _low_s(key.sign(message, _ALGORITHM)),
        lambda: key.private_numbers().private_value.to_bytes(32, "big"),
    )


def _low_s(signature: bytes) -> bytes:
    """BIP 62's form, of the two there are: libsecp256k1 and rust's k256 verify no other."""
    r, s = decode_dss_signature(signature)
    return signature if 2 * s <= _SECP256K1_ORDER else encode_dss_signature(r, _SECP256K1_ORDER - s)


# --- ECDSA ----------------------------------------------------------------------------------------------


def load_ecdsa_public(data: bytes) -> Verifier:
    """SubjectPublicKeyInfo in DER, on P-256, P-384 or P-521, in the one encoding there is of it."""
    if len(data) > _MAX_SPKI:
        raise RemoteProtocolError(f"ECDSA public key of {len(data)} bytes")
    try:
        key = load_der_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RemoteProtocolError("ECDSA public key is not SubjectPublicKeyInfo in DER") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _NIST_CURVES):
        raise RemoteProtocolError("ECDSA public key is not on P-256, P-384 or P-521")
    if _spki(key) != data:
        raise RemoteProtocolError("ECDSA public key is not in canonical DER")
    return _verifier(key)


def load_ecdsa_private(data: bytes) -> LoadedPrivateKey:
    """ECPrivateKey (RFC 5915) in DER. Raises ``InvalidKey``."""
    try:
        key = load_der_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidKey("ECDSA private key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, _NIST_CURVES):
        raise InvalidKey("ECDSA private key is not on P-256, P-384 or P-521")
    return _loaded_ecdsa(key)


def generate_ecdsa() -> LoadedPrivateKey:
    """On P-256, go's default and the only curve rust reads."""
    return _loaded_ecdsa(ec.generate_private_key(ec.SECP256R1()))


def _loaded_ecdsa(key: ec.EllipticCurvePrivateKey) -> LoadedPrivateKey:
    return LoadedPrivateKey(
        _spki(key.public_key()),
        lambda message: key.sign(message, _ALGORITHM),
        lambda: key.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    )


def _spki(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
