"""Peer ids: the multihash of a public key.

A key whose protobuf takes at most 42 bytes (Ed25519, secp256k1) stands in the id itself, under the "identity"
hash; of longer ones there is the SHA-256. Nothing else is a peer id.

Source: specs/peer-ids, "Peer Ids".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn, final

from p2p.errors import InvalidPeerId, RemoteProtocolError
from p2p.identity.keys import PublicKey
from p2p.limits import WIRE_LIMITS
from p2p.wire import multibase

_IDENTITY = 0x00
_SHA2_256 = b"\x12\x20"
_MAX_INLINE_KEY = 42
_CIDV1_LIBP2P_KEY = b"\x01\x72"


@final
class PeerId:
    """Who a peer is. Immutable; equal, hashed and ordered by its bytes; printed in base58btc."""

    __slots__ = ("_bytes", "_hash", "_text")

    _bytes: bytes
    _hash: int
    _text: str

    def __init__(self, data: bytes) -> None:
        """The binary multihash. Raises ``RemoteProtocolError``, for that is where bytes come from."""
        if not _is_peer_id(data):
            raise RemoteProtocolError(f"{data[:48].hex() or 'nothing'} ({len(data)} bytes) is not a peer id")
        object.__setattr__(self, "_bytes", bytes(data))
        object.__setattr__(self, "_hash", hash(self._bytes))
        object.__setattr__(self, "_text", "")

    @classmethod
    def from_bytes(cls, data: bytes) -> PeerId:
        """Read a binary multihash. Raises ``RemoteProtocolError``."""
        return cls(data)

    @classmethod
    def from_public_key(cls, key: PublicKey) -> PeerId:
        return _of_key(key.to_protobuf())

    @classmethod
    def from_text(cls, text: str) -> PeerId:
        """Read base58btc (``12D3Koo…``, ``Qm…``) or a CIDv1 in base16, 32, 36 or 58.

        Raises ``InvalidPeerId``, a ``ValueError``. The ids inside addresses that came through
        :func:`p2p.wire.addresses.parse_peer_addr` never make it raise.
        """
        if not text or len(text) > WIRE_LIMITS.max_peer_id_text:
            raise InvalidPeerId(f"peer id of {len(text)} characters")
        return _read_text(text)

    def to_bytes(self) -> bytes:
        """The binary multihash."""
        return self._bytes

    __bytes__ = to_bytes

    def to_cid(self, base: str = multibase.BASE32) -> str:
        """The CIDv1 in a base of :mod:`p2p.wire.multibase`."""
        return multibase.encode(base, _CIDV1_LIBP2P_KEY + self._bytes)

    def public_key(self) -> PublicKey | None:
        """The key that stands in the id; None when there is only its hash.

        Raises ``RemoteProtocolError`` when what stands there is no acceptable key: an id may be well formed
        and yet nobody's.
        """
        return PublicKey.from_protobuf(self._bytes[2:]) if self._bytes[0] == _IDENTITY else None

    def matches(self, key: PublicKey) -> bool:
        """Whether this is the id of ``key``."""
        return PeerId.from_public_key(key) == self

    def __str__(self) -> str:
        if not self._text:
            object.__setattr__(self, "_text", multibase.encode_base58btc(self._bytes))
        return self._text

    def __repr__(self) -> str:
        text = str(self)
        return f"<PeerId {text[:4]}…{text[-6:]}>"

    def __eq__(self, other: object) -> bool:
        return self._bytes == other._bytes if isinstance(other, PeerId) else NotImplemented

    def __hash__(self) -> int:
        return self._hash

    def __lt__(self, other: PeerId) -> bool:
        return self._bytes < other._bytes if isinstance(other, PeerId) else NotImplemented

    def __le__(self, other: PeerId) -> bool:
        return self._bytes <= other._bytes if isinstance(other, PeerId) else NotImplemented

    def __gt__(self, other: PeerId) -> bool:
        return self._bytes > other._bytes if isinstance(other, PeerId) else NotImplemented

    def __ge__(self, other: PeerId) -> bool:
        return self._bytes >= other._bytes if isinstance(other, PeerId) else NotImplemented

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a PeerId is immutable: cannot set {name}")

    def __reduce__(self) -> tuple[Callable[[bytes], PeerId], tuple[bytes]]:
        return PeerId.from_bytes, (self._bytes,)


def _is_peer_id(data: bytes) -> bool:
    if data[:1] == b"\0":
        return len(data) > 2 and data[1] == len(data) - 2 <= _MAX_INLINE_KEY
    return len(data) == 34 and data[:2] == _SHA2_256


@lru_cache(maxsize=WIRE_LIMITS.kept_keys)
def _of_key(encoded: bytes) -> PeerId:
    """Kept for its text, too, which takes longer than all the rest."""
    if len(encoded) <= _MAX_INLINE_KEY:
        return PeerId(bytes((_IDENTITY, len(encoded))) + encoded)
    return PeerId(_SHA2_256 + hashlib.sha256(encoded).digest())


@lru_cache(maxsize=WIRE_LIMITS.kept_peer_ids)
def _read_text(text: str) -> PeerId:
    """Kept, as programs name the same peers again and again; not when it raises."""
    try:
        if text.startswith(("1", "Qm")):
            return PeerId(multibase.decode_base58btc(text))
        cid = multibase.decode(text)
    except (ValueError, RemoteProtocolError) as error:
        raise InvalidPeerId(f"{text!r} is not a peer id: {error}") from error
    if not cid.startswith(_CIDV1_LIBP2P_KEY) or not _is_peer_id(cid[2:]):
        raise InvalidPeerId(f"{text!r} is not a CIDv1 of a libp2p key")
    return PeerId(cid[2:])
