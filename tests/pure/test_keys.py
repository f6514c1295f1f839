"""Identity keys: what is accepted, what is refused before it is used, and that secrets stay inside."""

from __future__ import annotations

import copy
import pickle
import time

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import InvalidKey, RemoteProtocolError
from p2p.identity import KeyType, PrivateKey, PublicKey
from p2p.wire.messages import KeyMessage, encode_private_key, encode_public_key

KEYS = {kind: PrivateKey.generate(kind) for kind in KeyType}
SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
P = 2**255 - 19
# docs: the eight points, as OpenSSL takes them (libsodium's list).
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


def wire(kind: KeyType, data: bytes) -> bytes:
    return encode_public_key(KeyMessage(kind, data))


def der_length(size: int) -> bytes:
    return (
        bytes((size,))
        if size < 128
        else bytes((0x80 | (size.bit_length() + 7) // 8,))
        + size.to_bytes((size.bit_length() + 7) // 8, "big")
    )


def der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    return bytes((tag,)) + der_length(len(content)) + content


def der_integer(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")


def rsa_spki(n: int, e: int = 65537) -> bytes:
    return der(0x30, RSA_ALGORITHM, der(3, b"\0", der(0x30, der_integer(n), der_integer(e))))


# --- every kind ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KeyType)
def test_sign_and_verify(kind: KeyType) -> None:
    key = KEYS[kind]
    signature = key.sign(b"message")
    assert key.type is key.public_key.type is kind
    assert key.public_key.verify(b"message", signature)
    assert not key.public_key.verify(b"messagf", signature)
    assert not PrivateKey.generate(kind).public_key.verify(b"message", signature)
    for position in range(0, len(signature), 7 if kind is KeyType.RSA else 1):
        flipped = bytearray(signature)
        flipped[position] ^= 1
        assert not key.public_key.verify(b"message", bytes(flipped)), position


def test_every_byte_of_an_ed25519_signature_counts() -> None:
    key = KEYS[KeyType.ED25519]
    signature = key.sign(b"message")
    assert len(signature) == 64
    for position in range(64):
        for bit in range(8):
            flipped = bytearray(signature)
            flipped[position] ^= 1 << bit
            assert not key.public_key.verify(b"message", bytes(flipped))
    assert not key.public_key.verify(b"message", bytes(64))


@pytest.mark.parametrize("kind", KeyType)
@given(signature=st.binary(max_size=300), message=st.binary(max_size=20))
def test_any_signature_is_judged(kind: KeyType, signature: bytes, message: bytes) -> None:
    assert not KEYS[kind].public_key.verify(message, signature)


@pytest.mark.parametrize("kind", KeyType)
def test_round_trip(kind: KeyType) -> None:
    key = KEYS[kind]
    encoded = key.to_protobuf()
    again = PrivateKey.from_protobuf(encoded)
    assert again == key
    assert hash(again) == hash(key)
    assert again.to_protobuf() == encoded
    public = PublicKey.from_protobuf(key.public_key.to_protobuf())
    assert public == key.public_key
    assert hash(public) == hash(key.public_key)
    assert public.data == key.public_key.data
    assert public.verify(b"message", again.sign(b"message"))


def test_keys_differ() -> None:
    keys = [*KEYS.values(), PrivateKey.generate()]
    assert len(set(keys)) == len({key.public_key for key in keys}) == len(keys)
    assert KEYS[KeyType.ED25519] != PrivateKey.generate()
    assert KEYS[KeyType.ED25519] != KEYS[KeyType.ED25519].to_protobuf()
    assert KEYS[KeyType.ED25519].public_key != KEYS[KeyType.ED25519].public_key.to_protobuf()


@pytest.mark.parametrize("kind", KeyType)
def test_secrets_stay_inside(kind: KeyType) -> None:
    key = KEYS[kind]
    secret = key.to_protobuf()
    for text in (repr(key), str(key), f"{key}"):
        assert not any(secret[start : start + 4].hex() in text for start in range(4, len(secret) - 4))
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            attempt(key)


def test_public_keys_travel() -> None:
    key = KEYS[KeyType.ED25519].public_key
    assert pickle.loads(pickle.dumps(key)) == copy.deepcopy(key) == key


@pytest.mark.parametrize("kind", KeyType)
@pytest.mark.parametrize("data", [b"", b"\0", bytes(32), b"\xff" * 33, bytes.fromhex("3084ffffffff0000")])
def test_bad_private_keys(kind: KeyType, data: bytes) -> None:
    if kind is KeyType.SECP256K1 and data == bytes(32):
        data = SECP256K1_ORDER.to_bytes(32, "big")
    with pytest.raises(InvalidKey):
        PrivateKey(kind, data)
    with pytest.raises(InvalidKey):
        PrivateKey.from_protobuf(encode_private_key(KeyMessage(kind, data)))


@given(st.binary(max_size=80))
def test_any_bytes_as_a_private_key(data: bytes) -> None:
    try:
        PrivateKey.from_protobuf(data)
    except InvalidKey:
        pass


@pytest.mark.parametrize("kind", [KeyType.RSA, KeyType.ECDSA])
def test_der_bombs(kind: KeyType) -> None:
    for bomb in (
        "3084ffffffff0000",
        "3080",
        "30" * 60,
        "3089ffffffffffffffffff",
        "3082ffff30820000",
        "02847fffffff",
    ):
        start = time.thread_time()
        with pytest.raises(RemoteProtocolError):
            PublicKey.from_protobuf(wire(kind, bytes.fromhex(bomb)))
        with pytest.raises(RemoteProtocolError):
            PublicKey.from_protobuf(wire(kind, bytes.fromhex(bomb) * 20))
        assert time.thread_time() - start < 0.010


@pytest.mark.parametrize("kind", KeyType)
def test_a_key_of_another_kind(kind: KeyType) -> None:
    for other in KeyType:
        if other is not kind:
            with pytest.raises(RemoteProtocolError):
                PublicKey(kind, KEYS[other].public_key.data)
    for foreign in (dsa.generate_private_key(1024).public_key(), X25519PrivateKey.generate().public_key()):
        with pytest.raises(RemoteProtocolError):
            PublicKey(kind, foreign.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


# --- Ed25519 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_small_order_points_are_refused(point: str) -> None:
    with pytest.raises(RemoteProtocolError, match="small order"):
        PublicKey.from_protobuf(wire(KeyType.ED25519, bytes.fromhex(point)))


def test_why_small_order_points_are_refused() -> None:
    trivial = bytes.fromhex(SMALL_ORDER[0]) + bytes(32)
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(SMALL_ORDER[0])).verify(trivial, b"any message")


@pytest.mark.parametrize("y", [P, P + 1, 2**255 - 1, P + 3])
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_unreduced_points_are_refused(y: int, sign: int) -> None:
    with pytest.raises(RemoteProtocolError, match="canonical"):
        PublicKey(KeyType.ED25519, (y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [1, P - 1])
def test_small_order_points_with_a_false_sign_are_refused(y: int) -> None:
    with pytest.raises(RemoteProtocolError, match="small order"):
        PublicKey(KeyType.ED25519, (y | 1 << 255).to_bytes(32, "little"))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_ed25519_sizes(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        PublicKey(KeyType.ED25519, b"\x09" * size)


def test_an_ed25519_private_key_with_a_foreign_public_half() -> None:
    seed = KEYS[KeyType.ED25519].to_protobuf()[4:36]
    own, foreign = KEYS[KeyType.ED25519].public_key.data, PrivateKey.generate().public_key.data
    assert PrivateKey(KeyType.ED25519, seed + own) == KEYS[KeyType.ED25519]
    assert PrivateKey(KeyType.ED25519, seed + own + own) == KEYS[KeyType.ED25519]
    for data in (seed + foreign, seed + own + foreign, seed + foreign + foreign, seed + foreign + own, seed):
        with pytest.raises(InvalidKey):
            PrivateKey(KeyType.ED25519, data)


def test_seeds() -> None:
    assert PrivateKey.from_seed(bytes(32)) == PrivateKey.from_seed(bytes(32))
    assert PrivateKey.from_seed(bytes(32)) != PrivateKey.from_seed(b"\1" + bytes(31))
    with pytest.raises(InvalidKey):
        PrivateKey.from_seed(bytes(31))


# --- secp256k1, ECDSA ---------------------------------------------------------------------------------


def test_secp256k1_forms() -> None:
    point = KEYS[KeyType.SECP256K1].public_key.data
    full = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), point).public_bytes(
        Encoding.X962, PublicFormat.UncompressedPoint
    )
    hybrid = bytes((6 | full[-1] & 1,)) + full[1:]
    off_curve = b"\x02" + (5).to_bytes(32, "big")  # x = 5 has no y
    too_large = b"\x02" + b"\xff" * 32
    for data in (full, hybrid, b"\0", b"\0" * 33, b"\x04" + point[1:], point + b"\0", off_curve, too_large):
        with pytest.raises(RemoteProtocolError):
            PublicKey(KeyType.SECP256K1, data)


def test_secp256k1_signatures_have_a_low_s() -> None:
    key = KEYS[KeyType.SECP256K1]
    for number in range(20):  # half of them would be high
        _, s = decode_dss_signature(key.sign(bytes((number,))))
        assert s <= SECP256K1_ORDER // 2


def test_secp256k1_signatures_with_a_high_s_verify() -> None:
    key = KEYS[KeyType.SECP256K1]
    r, s = decode_dss_signature(key.sign(b"message"))
    assert key.public_key.verify(b"message", encode_dss_signature(r, SECP256K1_ORDER - s))


@pytest.mark.parametrize("scalar", [0, SECP256K1_ORDER, SECP256K1_ORDER + 1, 2**256 - 1])
def test_secp256k1_scalars(scalar: int) -> None:
    with pytest.raises(InvalidKey):
        PrivateKey(KeyType.SECP256K1, scalar.to_bytes(32, "big"))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_ecdsa_curves(curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    data = private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    key = PrivateKey(KeyType.ECDSA, data)
    assert key.public_key.verify(b"message", key.sign(b"message"))
    assert PublicKey.from_protobuf(key.public_key.to_protobuf()) == key.public_key


@pytest.mark.parametrize("curve", [ec.SECP224R1(), ec.SECP256K1(), ec.BrainpoolP256R1()])
def test_other_curves_are_refused(curve: ec.EllipticCurve) -> None:
    private = ec.generate_private_key(curve)
    with pytest.raises(InvalidKey):
        PrivateKey(
            KeyType.ECDSA,
            private.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        )
    with pytest.raises(RemoteProtocolError):
        PublicKey(
            KeyType.ECDSA, private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )


def test_p192_is_refused() -> None:
    curve = der(6, bytes.fromhex("2a8648ce3d030101"))
    point = bytes.fromhex(
        "04188da80eb03090f67cbf20eb43a18800f4ff0afd82ff101207192b95ffc8da78631011ed6b24cdd573f977a11e794811"
    )
    algorithm = der(0x30, der(6, bytes.fromhex("2a8648ce3d0201")), curve)
    with pytest.raises(RemoteProtocolError):
        PublicKey(KeyType.ECDSA, der(0x30, algorithm, der(3, b"\0", point)))


def test_ecdsa_has_one_encoding() -> None:
    data = KEYS[KeyType.ECDSA].public_key.data
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), data[-65:])
    compressed = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = data[2:23]
    assert der(0x30, algorithm, der(3, b"\0", data[-65:])) == data
    long_length = b"\x30\x81" + data[1:]
    for other in (der(0x30, algorithm, der(3, b"\0", compressed)), data + b"\0", long_length, data[:-1]):
        with pytest.raises(RemoteProtocolError):
            PublicKey(KeyType.ECDSA, other)


# --- RSA ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [512, 1024, 2047, 8193, 12288, 16384])
def test_rsa_sizes_are_refused_at_once(bits: int) -> None:
    encoded = wire(KeyType.RSA, rsa_spki(1 << bits - 1 | 1))
    start = time.thread_time()
    with pytest.raises(RemoteProtocolError):
        PublicKey.from_protobuf(encoded)
    assert time.thread_time() - start < 0.005


@pytest.mark.parametrize("bits", [2048, 3072, 4096, 8192])
def test_rsa_sizes_are_accepted(bits: int) -> None:
    key = PublicKey.from_protobuf(wire(KeyType.RSA, rsa_spki(1 << bits - 1 | 1)))
    assert len(key.to_protobuf()) < 1100
    assert not key.verify(b"message", bytes(bits // 8))


@pytest.mark.parametrize("e", [1, 2, 4, 65536, 2**31 + 1, 2**2047 + 1])
def test_rsa_exponents(e: int) -> None:
    with pytest.raises(RemoteProtocolError):
        PublicKey(KeyType.RSA, rsa_spki(1 << 2047 | 1, e))


def test_an_even_rsa_modulus() -> None:
    with pytest.raises(RemoteProtocolError):
        PublicKey(KeyType.RSA, rsa_spki(1 << 2047))


def test_rsa_has_one_encoding() -> None:
    data = KEYS[KeyType.RSA].public_key.data
    without_null = data.replace(RSA_ALGORITHM, bytes.fromhex("300b06092a864886f70d010101"))
    for_pss = der(0x30, bytes.fromhex("300b06092a864886f70d01010a"), data[4 + len(RSA_ALGORITHM) :])
    assert der(0x30, RSA_ALGORITHM, data[4 + len(RSA_ALGORITHM) :]) == data
    for other in (data + b"\0", data[:-1], without_null, for_pss, b"\x30\x83\0" + data[2:]):
        with pytest.raises(RemoteProtocolError):
            PublicKey(KeyType.RSA, other)


def test_a_weak_rsa_private_key() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(InvalidKey, match="1024 bits"):
        PrivateKey(
            KeyType.RSA, weak.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
