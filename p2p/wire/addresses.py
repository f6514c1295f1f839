"""Multiaddrs, and the only import of ``multiaddr`` in this package.

The library is lenient: it takes truncated bytes (``04 7f`` reads as ``/ip4/0.0.0.127``), parses when asked
and not when made, and lets several kinds of exceptions out. So every address enters through one of two
functions, which parse all of it at once: :func:`parse_peer_addr` for bytes of a peer,
:func:`parse_user_addr` for what a program or its user wrote. Addresses that came through either are well
formed, and the other functions here, as ``str()``, cannot fail on them.

Its codecs are in place after this import and not, as it would do, at the first address that needs them: loading is
for start-up and not for the event loop. Those that load much are replaced (:mod:`p2p.wire.codecs`).

It is slow (19 µs to check an address, 74 µs to read its text), and the same addresses come back with every
connection: what was found out about one is kept, for ``WIRE_LIMITS.kept_addresses`` of them, by its exact bytes or
text. An IP address with a TCP port, which is new with every connection, needs no library at all.

Source: multiformats/multiaddr; specs/addressing; for ``/p2p`` values specs/peer-ids.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

# The library ships no types (hence the ignores).
from multiaddr.codecs import CODEC_CACHE, domain  # type: ignore[import-untyped]
from multiaddr.exceptions import Error as MultiaddrError  # type: ignore[import-untyped]
from multiaddr.exceptions import ParseError
from multiaddr.transforms import bytes_iter  # type: ignore[import-untyped]

from p2p.errors import InvalidAddress, RemoteProtocolError
from p2p.limits import WIRE_LIMITS
from p2p.wire import codecs, multibase, varint

if TYPE_CHECKING:

    class Multiaddr:
        """What is used here of ``multiaddr.Multiaddr``: an immutable value, printed as its text."""

        def __init__(self, addr: str | bytes | Multiaddr) -> None: ...

        def __hash__(self) -> int: ...

        def __eq__(self, other: object) -> bool: ...

        def __iter__(self) -> Iterator[Any]: ...

        def __len__(self) -> int: ...

        def to_bytes(self) -> bytes: ...

        def encapsulate(self, other: str | bytes | Multiaddr) -> Multiaddr: ...

        def items(self) -> Iterable[tuple[Any, str | None]]: ...

else:
    from multiaddr import Multiaddr

__all__ = [
    "Multiaddr", "Part", "ip_port_addr", "leading_ip", "parse_peer_addr", "parse_user_addr", "parts", "protocols",
    "split_peer", "text", "with_peer",
]  # fmt: skip

#: Bytes of /ip4/…/tcp/… and of /ip6/…/tcp/….
_IP4_TCP, _IP6_TCP = 8, 20
_PORT_CODES = {"tcp": b"\x06", "udp": b"\x91\x02"}
_P2P = 0x01A5
_CERTHASH = 0x01D2
_UNIX = 0x0190
#: ``/dns``, ``/dns4``, ``/dns6``, ``/dnsaddr``, ``/sni``: their value is a domain name.
_DOMAINS = frozenset((0x35, 0x36, 0x37, 0x38, 0x01C1))
#: A host name as nearly all are: nothing in it that the library must translate to know whether it can be (IDNA).
_LABEL = rb"(?!..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN_DOMAIN = re.compile(rb"(?=.{1,253}\Z)%b(?:\.%b)*" % (_LABEL, _LABEL))
_DOMAIN_CODEC = domain.Codec()
_SHA2_256 = b"\x12\x20"
_MAX_INLINE_KEY = 42
#: Text of a user's address: percent-encoding may triple the bytes.
_MAX_TEXT = 4 * WIRE_LIMITS.max_address

codecs.install(CODEC_CACHE)

# At DEBUG the library logs every part of every address as it is written, control characters included. Who logs all
# that this process says must not log that; who wants it sets the level of this logger after the import.
if logging.getLogger("multiaddr").level == logging.NOTSET:
    logging.getLogger("multiaddr").setLevel(logging.INFO)

# All that is known to come out of the library for bytes or text it does not like.
_REFUSALS = (MultiaddrError, ValueError, LookupError, TypeError, EOFError)


class Part(NamedTuple):
    """One part of an address: its protocol's name, and its value as text if it has one."""

    protocol: str
    value: str | None


def parse_peer_addr(raw: bytes) -> Multiaddr:
    """Read a binary address that a peer sent.

    It must be the one encoding of an address this library knows: at most 1 KiB, 1 to 16 parts, peer ids as
    multihashes of the two kinds there are, certificate hashes in SHA-256, and at most 64 bytes of domain names
    that are not plain ASCII. Raises ``RemoteProtocolError`` otherwise; whether the address is of any use is for
    the transports to say.
    """
    if not raw or len(raw) > WIRE_LIMITS.max_address:
        raise RemoteProtocolError(f"address of {len(raw)} bytes, expected 1 to {WIRE_LIMITS.max_address}")
    if _is_ip_tcp(raw):
        return Multiaddr(raw)  # any address and any port have these bytes for their only ones
    return _parse_kept(raw) if len(raw) <= WIRE_LIMITS.kept_address_size else _parse(raw)


def parse_user_addr(addr: str | Multiaddr) -> Multiaddr:
    """Read an address that this program or its user gave.

    Peer ids written as CIDv1 become multihashes, the form that goes on the wire. A ``Multiaddr`` made elsewhere
    is checked as one of a peer is, and given back. Raises ``InvalidAddress``, a ``ValueError``, which says what
    is wrong with it.
    """
    short = isinstance(addr, str) and len(addr) <= WIRE_LIMITS.kept_address_size
    return _parse_user_kept(addr) if short else _parse_user(addr)


def _parse_user(addr: str | Multiaddr) -> Multiaddr:
    if isinstance(addr, str):
        shown = repr(addr[:200])
        if len(addr) > _MAX_TEXT:
            raise InvalidAddress(f"address of {len(addr)} characters: {shown}…")
        if not addr.startswith("/"):
            raise InvalidAddress(f"{shown} is not a multiaddr: those start with '/', as /ip6/::1/tcp/1")
    else:
        shown = f"the multiaddr {addr.to_bytes()[:40].hex()}"
    try:
        parsed = _read_text(addr) if isinstance(addr, str) else addr
        if not parsed.to_bytes():
            raise ValueError("it has no parts")
        _check_parts(parsed.to_bytes(), _MAX_TEXT)
    except _REFUSALS as error:
        reason = error.message if isinstance(error, ParseError) else error
        raise InvalidAddress(f"{shown} is not usable: {reason}") from error
    return parsed


def parts(addr: Multiaddr) -> tuple[Part, ...]:
    """The parts of ``addr`` from the left, as ``(("ip4", "127.0.0.1"), ("tcp", "4001"), ("ws", None))``."""
    raw = addr.to_bytes()
    if len(raw) == _IP4_TCP and _is_ip_tcp(raw):
        a, b, c, d = raw[1:5]
        return Part("ip4", f"{a}.{b}.{c}.{d}"), Part("tcp", str(raw[6] << 8 | raw[7]))
    return _parts_kept(raw) if len(raw) <= WIRE_LIMITS.kept_address_size else _parts(raw)


def text(addr: Multiaddr) -> str:
    """``str(addr)``, and quicker for the addresses of the moment that tasks are named after."""
    raw = addr.to_bytes()
    return "".join(f"/{name}/{value}" for name, value in parts(addr)) if _is_ip_tcp(raw) else str(addr)


def protocols(addr: Multiaddr) -> tuple[str, ...]:
    """The names of the parts, as ``("ip4", "tcp", "ws")``: much quicker than :func:`parts`, which writes values."""
    raw = addr.to_bytes()
    if _is_ip_tcp(raw):
        return ("ip4", "tcp") if len(raw) == _IP4_TCP else ("ip6", "tcp")
    return _protocols_kept(raw) if len(raw) <= WIRE_LIMITS.kept_address_size else _protocols(raw)


def leading_ip(addr: Multiaddr) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that ``addr`` begins with, if it does; nothing behind it is looked at."""
    raw = addr.to_bytes()
    if raw[:1] == b"\x04":
        return ipaddress.IPv4Address(raw[1:5])
    return ipaddress.IPv6Address(raw[1:17]) if raw[:1] == b"\x29" else None


def split_peer(addr: Multiaddr) -> tuple[Multiaddr, str | None]:
    """Take the final ``/p2p/ID`` off: (the address without it, the id in base58btc), or (``addr``, None).

    Only the last part names who answers there: the id in ``…/p2p/RELAY/p2p-circuit`` stays where it is.
    """
    raw = addr.to_bytes()
    if _is_ip_tcp(raw):
        return addr, None
    found = _split_kept(raw) if len(raw) <= WIRE_LIMITS.kept_address_size else _split(raw)
    return (addr, None) if found is None else found


def with_peer(addr: Multiaddr, peer_id: str) -> Multiaddr:
    """``addr`` ending in ``/p2p/`` and ``peer_id``, in base58btc.

    An address that ends in that id already is returned as it is. Raises ``InvalidAddress`` when it ends in
    another, or when ``peer_id`` is no peer id.
    """
    _, present = split_peer(addr)
    if present == peer_id:
        return addr
    if present is not None:
        raise InvalidAddress(f"{addr} names another peer than {peer_id}")
    return Multiaddr(addr.to_bytes() + parse_user_addr(f"/p2p/{peer_id}").to_bytes())


def ip_port_addr(ip: bytes, protocol: str, port: int) -> Multiaddr:
    """``/ip4|ip6/IP/PROTOCOL/PORT``, of an IP address in four or sixteen bytes; ``protocol`` is tcp or udp."""
    family = b"\x04" if len(ip) == 4 else b"\x29"
    return Multiaddr(family + ip + _PORT_CODES[protocol] + port.to_bytes(2, "big"))


def _is_ip_tcp(raw: bytes) -> bool:
    """Whether this is an IP address and a TCP port, and nothing else."""
    if len(raw) == _IP4_TCP:
        return raw[0] == 0x04 and raw[5] == 0x06
    return len(raw) == _IP6_TCP and raw[0] == 0x29 and raw[17] == 0x06


def _parse(raw: bytes) -> Multiaddr:
    try:
        _check_parts(raw, WIRE_LIMITS.max_translated_domains)
    except _REFUSALS as error:
        raise RemoteProtocolError(f"not a canonical multiaddr: {raw[:40].hex()}") from error
    return Multiaddr(raw)


def _parts(raw: bytes) -> tuple[Part, ...]:
    return tuple(Part(protocol.name, value) for protocol, value in Multiaddr(raw).items())


def _protocols(raw: bytes) -> tuple[str, ...]:
    return tuple(protocol.name for _, protocol, _, _ in bytes_iter(raw))


def _split(raw: bytes) -> tuple[Multiaddr, str] | None:
    last = None
    for offset, protocol, _, value in bytes_iter(raw):
        last = (offset, protocol.code, value)
    if last is None or last[1] != _P2P:
        return None
    return Multiaddr(raw[: last[0]]), multibase.encode_base58btc(last[2])


# Failures are not kept: what a cache says of an address is what the checks said of exactly these bytes.
_keep = lru_cache(maxsize=WIRE_LIMITS.kept_addresses)
_parse_kept = _keep(_parse)
_parse_user_kept = _keep(_parse_user)
_parts_kept = _keep(_parts)
_protocols_kept = _keep(_protocols)
_split_kept = _keep(_split)


def _read_text(text: str) -> Multiaddr:
    """The address of a text, with peer ids as multihashes. Raises one of ``_REFUSALS``.

    A ``/unix`` path takes all the rest of the text, so that none could be dialed as somebody's. Here a peer id at
    the end of the path is that of who listens there.
    """
    path, _, peer = text.rpartition("/p2p/")
    if "/unix/" in path:
        try:
            owner = Multiaddr(str(Multiaddr(f"/p2p/{peer}"))).to_bytes()
        except _REFUSALS:
            owner = b""  # a directory of that name
        if owner:
            return Multiaddr(Multiaddr(path).to_bytes() + owner)
    # Printing is what makes a multihash of a CID.
    return Multiaddr(str(Multiaddr(text)))


def _check_parts(raw: bytes, max_translated: int) -> None:
    """Raises one of ``_REFUSALS`` unless ``raw`` is what :func:`_read_text` makes of the text printed for it.

    For ``/p2p`` and ``/certhash`` that is decided by their shape: their texts are base58btc and base64url
    of the bytes, one text for each value, and the library takes 0.2 ms for a single certhash. Domain names are
    their own text, so it is enough that the library can read them; what it takes for that, 3 µs for each byte
    that is not plain ASCII, is bounded by ``max_translated``.
    """
    starts = []
    found = []
    for offset, protocol, _, value in bytes_iter(raw):
        starts.append(offset)
        found.append((protocol, value))
        if len(found) > WIRE_LIMITS.max_address_parts:
            raise ValueError(f"more than {WIRE_LIMITS.max_address_parts} parts")
    behind = found if found and found[-1][0].code != _P2P else found[:-1]
    if any(protocol.code == _UNIX for protocol, _ in behind[:-1]):
        raise ValueError("a /unix path with more behind it than a peer id")
    others = bytearray()
    for (protocol, value), start, end in zip(found, starts, [*starts[1:], len(raw)], strict=True):
        code = protocol.code
        if code != _P2P and code != _CERTHASH and code not in _DOMAINS:
            others += raw[start:end]
        elif code == _P2P and not _is_peer_id(value):
            raise ValueError("a /p2p value that is no peer id")
        elif code == _CERTHASH and not _is_sha256(value):
            raise ValueError("a /certhash that is not SHA-256")
        elif raw[start:end] != varint.encode(code) + varint.encode(len(value)) + value:
            raise ValueError("a part that is cut short, or has a length not in its shortest form")
        elif code in _DOMAINS and not _PLAIN_DOMAIN.fullmatch(value):
            max_translated -= len(value)
            if max_translated < 0:
                raise ValueError("too long a domain name, for one that is not plain ASCII")
            if b"/" in value:
                raise ValueError("a domain name with a slash")
            _DOMAIN_CODEC.to_string(protocol, value)
    text = str(Multiaddr(bytes(others)))
    # Once is enough where no path may hide a peer id.
    again = _read_text(text) if "/unix/" in text else Multiaddr(text)
    if again.to_bytes() != others:
        raise ValueError("not its canonical bytes")


def _is_sha256(value: bytes) -> bool:
    return len(value) == 34 and value.startswith(_SHA2_256)


def _is_peer_id(value: bytes) -> bool:
    if value[:1] == b"\0":
        return len(value) > 2 and value[1] == len(value) - 2 <= _MAX_INLINE_KEY
    return _is_sha256(value)
