"""Row 19: identity keys that are weak, or are none, each with a signature that is as good as can be.

Where a key can sign, it did, so that nothing but the judgement of the key stands between it and a connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from math import prod

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from p2p.identity import KeyType, PrivateKey
from p2p.wire.messages import KeyMessage, NoisePayload, encode_noise_payload, encode_public_key
from tests.attacks import wire, xx

Signer = Callable[[bytes], bytes]
ALGORITHM = ec.ECDSA(SHA256())
E = 65_537


def spki(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def protobuf(kind: KeyType, data: bytes) -> bytes:
    return encode_public_key(KeyMessage(kind, data))


# --- RSA ----------------------------------------------------------------------------------------------

#: Moduli of Mersenne primes 2^x - 1: of any size, and known to everybody. All different but for the smallest modulus.
MODULI = {
    512: (127, 127, 107, 107, 31, 13),
    1024: (607, 127, 107, 89, 61, 31, 2),
    2047: (1279, 607, 127, 31, 3),
    8193: (4423, 3217, 521, 19, 13),
    16_384: (11_213, 4423, 607, 127, 7, 5, 2),
}
#: DER of SHA-256 in front of a digest (RFC 8017, 9.2).
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def padded(message: bytes, size: int) -> int:
    """EMSA-PKCS1-v1_5 of ``message`` for a modulus of ``size`` bytes."""
    info = DIGEST_INFO + hashlib.sha256(message).digest()
    return int.from_bytes(b"\0\x01" + b"\xff" * (size - len(info) - 3) + b"\0" + info, "big")


def of_primes(exponents: tuple[int, ...]) -> tuple[bytes, Signer]:
    n = prod(2**x - 1 for x in exponents)
    # Powers of primes are few, and small enough to be done whole; different primes one by one.
    powers = {x: (2**x - 1) ** exponents.count(x) for x in exponents}

    def sign(message: bytes) -> bytes:
        size = (n.bit_length() + 7) // 8
        value = padded(message, size)
        signature = 0
        for x, power in powers.items():
            order = power // (2**x - 1) * (2**x - 2)
            rest = n // power
            signature += pow(value % power, pow(E, -1, order), power) * rest * pow(rest, -1, power)
        return (signature % n).to_bytes(size, "big")

    return protobuf(KeyType.RSA, spki(rsa.RSAPublicNumbers(E, n).public_key())), sign


def rsa_of_many_bits(bits: int) -> tuple[bytes, Signer]:
    return of_primes(MODULI[bits])


# --- Ed25519 ------------------------------------------------------------------------------------------

SMALL_ORDER = [
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
]
#: The point that adds nothing, and the number 0: OpenSSL takes that for a signature of one message in 1, 2, 4 or 8.
NOTHING = b"\x01" + bytes(63)


def of_small_order(point: bytes) -> tuple[bytes, Signer]:
    return protobuf(KeyType.ED25519, point), lambda message: NOTHING


def signs(point: bytes, static: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(point).verify(NOTHING, xx.SIGNED + static)
    except InvalidSignature:
        return False
    return True


def static_signed_by(point: bytes) -> xx.Honest:
    """A static key for which the trivial signature happens to verify."""
    while not signs(point, (key := xx.Honest()).public):
        pass
    return key


# --- the other kinds, and other writings --------------------------------------------------------------


def on_curve(curve: ec.EllipticCurve) -> tuple[bytes, Signer]:
    key = ec.generate_private_key(curve)
    return protobuf(KeyType.ECDSA, spki(key.public_key())), lambda message: key.sign(message, ALGORITHM)


def secp256k1(write: Callable[[ec.EllipticCurvePublicKey], bytes]) -> tuple[bytes, Signer]:
    key = ec.generate_private_key(ec.SECP256K1())
    encoded = protobuf(KeyType.SECP256K1, write(key.public_key()))
    return encoded, lambda message: key.sign(message, ALGORITHM)


def point(form: PublicFormat) -> Callable[[ec.EllipticCurvePublicKey], bytes]:
    return lambda key: key.public_bytes(Encoding.X962, form)


def hybrid(key: ec.EllipticCurvePublicKey) -> bytes:
    """Both coordinates, and in the first byte that of y which a compressed point has (X9.62)."""
    whole = point(PublicFormat.UncompressedPoint)(key)
    return bytes([6 | whole[-1] & 1]) + whole[1:]


def written(change: Callable[[bytes], bytes], kind: KeyType = KeyType.ED25519) -> tuple[bytes, Signer]:
    """A good key in a bad form."""
    key = PrivateKey.generate(kind)
    return change(key.public_key.to_protobuf()), key.sign


def misnamed(kind: KeyType, other: KeyType) -> tuple[bytes, Signer]:
    key = PrivateKey.generate(kind)
    return protobuf(other, key.public_key.data), key.sign


BAD: dict[str, Callable[[], tuple[bytes, Signer]]] = {
    **{f"RSA, {bits} bits": lambda bits=bits: rsa_of_many_bits(bits) for bits in MODULI},
    **{f"Ed25519, {key.hex()}": lambda key=key: of_small_order(key) for key in SMALL_ORDER},
    "ECDSA, P-192": lambda: on_curve(ec.SECP192R1()),
    "ECDSA, P-224": lambda: on_curve(ec.SECP224R1()),
    "ECDSA, secp256k1": lambda: on_curve(ec.SECP256K1()),
    "secp256k1, uncompressed": lambda: secp256k1(point(PublicFormat.UncompressedPoint)),
    "secp256k1, hybrid": lambda: secp256k1(hybrid),
    "secp256k1, infinity": lambda: secp256k1(lambda key: b"\0"),
    "secp256k1, not on the curve": lambda: secp256k1(lambda key: b"\x02" + bytes(31) + b"\x05"),
    "of kind 99": lambda: written(lambda encoded: b"\x08\x63" + encoded[2:]),
    "of a kind that is no number": lambda: written(lambda encoded: b"\x0a\x00" + encoded[2:]),
    "of no kind": lambda: written(lambda encoded: encoded[2:]),
    "of two kinds": lambda: written(lambda encoded: b"\x08\x00" + encoded),
    "kind in two bytes": lambda: written(lambda encoded: b"\x08\x81\x00" + encoded[2:]),
    "length in two bytes": lambda: written(lambda encoded: encoded[:3] + b"\xa0\x00" + encoded[4:]),
    "fields in the wrong order": lambda: written(lambda encoded: encoded[2:] + encoded[:2]),
    "an unknown field": lambda: written(lambda encoded: encoded + b"\x18\x00"),
    "a byte behind it": lambda: written(lambda encoded: encoded + b"\0"),
    "no data": lambda: written(lambda encoded: encoded[:2]),
    "a byte less": lambda: written(lambda encoded: b"\x08\x01\x12\x1f" + encoded[4:-1]),
    "Ed25519 that says secp256k1": lambda: misnamed(KeyType.ED25519, KeyType.SECP256K1),
    "secp256k1 that says ECDSA": lambda: misnamed(KeyType.SECP256K1, KeyType.ECDSA),
    "ECDSA that says RSA": lambda: misnamed(KeyType.ECDSA, KeyType.RSA),
    "DER that is longer than its bytes": lambda: (
        protobuf(KeyType.RSA, bytes.fromhex("3084ffffffff0000")),
        lambda message: bytes(256),
    ),
}


def hand(encoded: bytes, sign: Signer, static: xx.Honest | None = None) -> xx.Hand:
    static = static or xx.Honest()
    payload = encode_noise_payload(NoisePayload(encoded, sign(xx.SIGNED + static.public), (wire.YAMUX,)))
    return xx.Hand(static=static, payload=lambda public: payload)


def hands() -> dict[str, xx.Hand]:
    found = {}
    for name, make in BAD.items():
        encoded, sign = make()
        small = encoded[4:] in SMALL_ORDER
        found[name] = hand(encoded, sign, static_signed_by(encoded[4:]) if small else None)
    return found


@pytest.mark.lifted(
    patches={
        "p2p.wire.guards:Guard.check": "lifts.unguarded",
        "p2p.identity.keys:decode_public_key": "lifts.any_writing",
        "p2p.identity.keys:_LOAD_PUBLIC": "lifts.unjudged(original)",
    }
)
async def test_row_19_keys(attack):
    """Of a dialer and of a responder; good ones of each kind first, made and signed in the same way."""
    good = {kind.name: hand(*written(lambda encoded: encoded, kind)) for kind in KeyType}
    bad = hands()
    async with attack() as scene:
        assert not xx.others(await xx.outcomes(scene, good, good), xx.ACCEPTED)
        wrong = xx.others(await xx.outcomes(scene, bad, bad), xx.REFUSED)
        assert not wrong, "\n".join(wrong)
