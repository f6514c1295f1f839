"""Identity keys in libp2p's protobuf form, and signing with them.

Four kinds: Ed25519 (everybody's default), RSA, secp256k1 and ECDSA. A key is parsed and judged once, when
it is made; after that verifying and signing go straight to the library's objects.

Source: specs/peer-ids, "Keys".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NoReturn, final

from cryptography.exceptions import InvalidSignature

from p2p.errors import InvalidKey, RemoteProtocolError
from p2p.identity import ec, ed25519, rsa
from p2p.identity.scheme import LoadedPrivateKey, Verifier
from p2p.limits import WIRE_LIMITS
from p2p.wire.messages import (
    KeyMessage,
    KeyType,
    decode_private_key,
    decode_public_key,
    encode_private_key,
    encode_public_key,
)

_LOAD_PUBLIC: Final[dict[KeyType, Callable[[bytes], Verifier]]] = {
    KeyType.RSA: rsa.load_public,
    KeyType.ED25519: ed25519.load_public,
    KeyType.SECP256K1: ec.load_secp256k1_public,
    KeyType.ECDSA: ec.load_ecdsa_public,
}
_LOAD_PRIVATE: Final[dict[KeyType, Callable[[bytes], LoadedPrivateKey]]] = {
    KeyType.RSA: rsa.load_private,
    KeyType.ED25519: ed25519.load_private,
    KeyType.SECP256K1: ec.load_secp256k1_private,
    KeyType.ECDSA: ec.load_ecdsa_private,
}
_GENERATE: Final[dict[KeyType, Callable[[], LoadedPrivateKey]]] = {
    KeyType.RSA: rsa.generate,
    KeyType.ED25519: ed25519.generate,
    KeyType.SECP256K1: ec.generate_secp256k1,
    KeyType.ECDSA: ec.generate_ecdsa,
}


@final
class PublicKey:
    """A public key that passed every check there is. Equal and hashed by its bytes; immutable."""

    __slots__ = ("_encoded", "_type", "_verify")

    def __init__(self, type: KeyType, data: bytes) -> None:
        """``data`` as the specs have it for ``type``. Raises ``RemoteProtocolError``."""
        self._type = type
        self._verify = _LOAD_PUBLIC[type](data)
        self._encoded = encode_public_key(KeyMessage(type, data))

    @classmethod
    def from_protobuf(cls, data: bytes) -> PublicKey:
        """Read a ``PublicKey`` message, from a peer or not.

        Raises ``RemoteProtocolError`` when it is not the deterministic encoding of an acceptable key.
        """
        return _read_kept(data) if len(data) <= WIRE_LIMITS.kept_key_size else _read(data)

    @property
    def type(self) -> KeyType:
        return self._type

    @property
    def data(self) -> bytes:
        """The key as its kind writes it: 32 bytes for Ed25519, a compressed point, DER."""
        return decode_public_key(self._encoded).data

    def to_protobuf(self) -> bytes:
        """The deterministic encoding, which peer ids are made of."""
        return self._encoded

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's over ``message``. Never raises for any bytes."""
        try:
            self._verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def verify_repeated(self, message: bytes, signature: bytes) -> bool:
        """As :meth:`verify`, of something short that its signer shows again and again.

        What was found good is kept by the bytes of all three, and costs nothing the next time; what was not is
        judged each time.
        """
        try:
            _verify_kept(self, message, signature)
        except (InvalidSignature, ValueError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return self._encoded == other._encoded if isinstance(other, PublicKey) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._encoded)

    def __reduce__(self) -> tuple[Callable[[bytes], PublicKey], tuple[bytes]]:
        return PublicKey.from_protobuf, (self._encoded,)

    def __repr__(self) -> str:
        return f"<PublicKey {self.type.name} {hashlib.sha256(self._encoded).hexdigest()[:16]}>"


def _read(data: bytes) -> PublicKey:
    message = decode_public_key(data)
    return PublicKey(message.type, message.data)


_read_kept = lru_cache(maxsize=WIRE_LIMITS.kept_keys)(_read)


@lru_cache(maxsize=WIRE_LIMITS.kept_signatures)
def _verify_kept(key: PublicKey, message: bytes, signature: bytes) -> None:
    """Raises for a bad signature, and nothing is kept of that."""
    key._verify(signature, message)


@final
class PrivateKey:
    """A private key. Shown without its secret, and neither copied nor pickled.

    Python cannot wipe memory: the secret lives in the library's object, and for moments in bytes, until the
    interpreter reuses them.
    """

    __slots__ = ("_loaded", "_public", "_type")

    def __init__(self, type: KeyType, data: bytes) -> None:
        """``data`` as the specs have it for ``type``. Raises ``InvalidKey``."""
        self._adopt(type, _LOAD_PRIVATE[type](data))

    @classmethod
    def generate(cls, type: KeyType = KeyType.ED25519) -> PrivateKey:
        """A new key from the operating system's randomness; RSA with 2048 bits, ECDSA on P-256."""
        return cls._of(type, _GENERATE[type]())

    @classmethod
    def from_seed(cls, seed: bytes) -> PrivateKey:
        """The Ed25519 key of a seed of 32 bytes: the same seed, the same peer. Raises ``InvalidKey``."""
        return cls._of(KeyType.ED25519, ed25519.from_seed(seed))

    @classmethod
    def from_protobuf(cls, data: bytes) -> PrivateKey:
        """Read a ``PrivateKey`` message, as key files hold it. Raises ``InvalidKey``."""
        try:
            message = decode_private_key(data)
        except RemoteProtocolError as error:
            raise InvalidKey(f"not a libp2p private key: {error}") from error
        return cls(message.type, message.data)

    @property
    def type(self) -> KeyType:
        return self._type

    @property
    def public_key(self) -> PublicKey:
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The signature over ``message``, as :meth:`PublicKey.verify` takes it."""
        return self._loaded.sign(message)

    def to_protobuf(self) -> bytes:
        """The secret itself, in the form key files hold."""
        return encode_private_key(KeyMessage(self._type, self._loaded.export()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PrivateKey):
            return NotImplemented
        return hmac.compare_digest(self.to_protobuf(), other.to_protobuf())

    def __hash__(self) -> int:
        return hash(self._public)

    def __reduce__(self) -> NoReturn:
        raise TypeError("private keys are neither pickled nor copied: save the identity, or share the object")

    def __repr__(self) -> str:
        return f"<PrivateKey {self._type.name} of {self._public!r}>"

    @classmethod
    def _of(cls, type: KeyType, loaded: LoadedPrivateKey) -> PrivateKey:
        self = cls.__new__(cls)
        self._adopt(type, loaded)
        return self

    def _adopt(self, type: KeyType, loaded: LoadedPrivateKey) -> None:
        self._type = type
        self._loaded = loaded
        self._public = PublicKey(type, loaded.public)
