"""Values of addresses as bytes and as text, where the multiaddr library takes long to say so.

The library finds the codec of a protocol by name in a table, and loads its own where the table has none. Its own for
IP addresses, peer ids and certificate hashes stand on libraries with fifty modules, which took a tenth of the time to
import this package, and take some 10 µs a value. Those here do the same work on what this package has
anyway. :func:`install` puts them into the table, so that they are also what other users of the library in this
process get. They read and write what the library's do, but that a peer id is one: a multihash of the two kinds that
libp2p knows, or a CID of one, of a key and no other content, in base16, 32, 36 or 58. A certificate hash may have any
code, also one the library has no name for, and the one base64url text there is of it. IP addresses that are cut short
are refused, where the library makes up the rest.

Source: multiformats/multiaddr, ``protocols.csv``; for peer ids specs/peer-ids; RFC 5952 for the text of IPv6.
"""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping
from typing import Any, ClassVar, Final

from p2p.errors import RemoteProtocolError
from p2p.wire import multibase, varint

#: In ``SIZE``: the value comes with its length.
_LENGTH_PREFIXED: Final = -1
_CIDV1_LIBP2P_KEY: Final = b"\x01\x72"
#: The codes of the multihashes that peer ids are: "identity" and SHA-256.
_PEER_ID_HASHES: Final = (0x00, 0x12)
_ZEROS: Final = bytes(10)


class Codec:
    """What the library reads of one, beside ``to_bytes`` and ``to_string``: the size of its values in bits."""

    __slots__ = ()

    SIZE: ClassVar[int] = _LENGTH_PREFIXED
    IS_PATH: ClassVar[bool] = False


class IP4(Codec):
    __slots__ = ()

    SIZE: ClassVar[int] = 32

    def to_bytes(self, protocol: object, text: str) -> bytes:
        return ipaddress.IPv4Address(text).packed

    def to_string(self, protocol: object, value: bytes) -> str:
        return ".".join(map(str, _of_size(value, 4)))


class IP6(Codec):
    __slots__ = ()

    SIZE: ClassVar[int] = 128

    def to_bytes(self, protocol: object, text: str) -> bytes:
        address = ipaddress.IPv6Address(text)
        if address.scope_id is not None:
            raise ValueError(f"{text!r} has a zone, which is a part of its own: /ip6zone")
        return address.packed

    def to_string(self, protocol: object, value: bytes) -> str:
        _of_size(value, 16)
        if value[:10] == _ZEROS and (value[10:12] == b"\xff\xff" or value[10:12] == b"\0\0" != value[12:14]):
            # An IPv4 address inside is written as one (RFC 5952, section 5).
            return ("::ffff:" if value[10] else "::") + ".".join(map(str, value[12:]))
        return str(ipaddress.IPv6Address(value))


class Port(Codec):
    __slots__ = ()

    SIZE: ClassVar[int] = 16

    def to_bytes(self, protocol: object, text: str) -> bytes:
        port = int(text)
        if not 0 <= port < 65536:
            raise ValueError(f"{port} is no port, those go up to 65535")
        return port.to_bytes(2, "big")

    def to_string(self, protocol: object, value: bytes) -> str:
        return str(int.from_bytes(_of_size(value, 2), "big"))


class Peer(Codec):
    """A multihash in base58btc, or a CIDv1 of one, which is written as the multihash."""

    __slots__ = ()

    def to_bytes(self, protocol: object, text: str) -> bytes:
        if text.startswith(("1", "Qm")):
            value = multibase.decode_base58btc(text)
            if not _is_multihash(value):
                raise ValueError(f"{text!r} is no multihash")
            return value
        value = multibase.decode(text)
        if not value.startswith(_CIDV1_LIBP2P_KEY) or not _is_multihash(value[2:]):
            raise ValueError(f"{text!r} is no CID of a libp2p key")
        return value

    def to_string(self, protocol: object, value: bytes) -> str:
        multihash = value if _is_multihash(value) else value.removeprefix(_CIDV1_LIBP2P_KEY)
        if not _is_multihash(multihash):
            raise ValueError(f"{value[:48].hex()} is no peer id")
        return multibase.encode_base58btc(multihash)


class CertHash(Codec):
    """A multihash in base64url."""

    __slots__ = ()

    def to_bytes(self, protocol: object, text: str) -> bytes:
        if not text.startswith(multibase.BASE64URL):
            raise ValueError("a certificate hash is written in base64url, with a 'u' before it")
        return _any_multihash(multibase.decode(text))

    def to_string(self, protocol: object, value: bytes) -> str:
        return multibase.encode(multibase.BASE64URL, _any_multihash(value))


def install(table: MutableMapping[str, Any]) -> None:
    """Into ``multiaddr.codecs.CODEC_CACHE``, under the names the library's protocols have for them."""
    table.update(ip4=IP4(), ip6=IP6(), uint16be=Port(), cid=Peer(), certhash=CertHash())


def _of_size(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes, expected {size}")
    return value


def _is_multihash(value: bytes) -> bool:
    return len(value) >= 2 and value[0] in _PEER_ID_HASHES and value[1] == len(value) - 2


def _any_multihash(value: bytes) -> bytes:
    try:
        _, at = varint.decode(value, max_value=varint.MAX_VALUE)
        length, at = varint.decode(value, at, max_value=len(value))
    except RemoteProtocolError as error:
        raise ValueError("no multihash") from error
    if length != len(value) - at:
        raise ValueError("no multihash: its length is wrong")
    return value
