"""What takes the place of code of the victim, where a bound is no field of ``Limits`` (see ``victim.py``)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import trio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from p2p.errors import HandshakeFailed, RemoteProtocolError
from p2p.identity.envelope import SignedEnvelope
from p2p.identity.peer_record import DOMAIN, PAYLOAD_TYPE, PeerRecord
from p2p.limits import KIB
from p2p.muxers.yamux.frames import ACK, HEADER, PING, SYN
from p2p.security.plaintext import insecure_plaintext_for_tests
from p2p.wire.addresses import parse_peer_addr
from p2p.wire.messages import KeyMessage, KeyType, decode_peer_record
from p2p.wire.proto.keys_pb2 import PublicKey as PublicKeyMessage


def deaf(receive: Callable[[Any], Awaitable[bool]]) -> Callable[[Any], Awaitable[bool]]:
    """A handshake that does not notice when the remote ends: ``RawHandshake._receive``."""

    async def receive_for_ever(handshake: Any) -> bool:
        if not await receive(handshake):
            await trio.sleep_forever()
        return True

    return receive_for_ever


def forgiving(receive_data: Callable[..., Sequence[Any]]) -> Callable[..., Sequence[Any]]:
    """A session that takes what breaks the rules for nothing: ``YamuxSession.receive_data``."""

    def receive_anything(session: Any, data: memoryview, now: float) -> Sequence[Any]:
        try:
            return receive_data(session, data, now)
        except RemoteProtocolError:
            session._broken = False
            session._outgoing.only_goodbye = False
            return ()

    return receive_anything


def answering_every_ping(receiver: Any, flags: int, stream_id: int, value: int, now: float) -> None:
    """In place of ``Receiver._take_ping``: a pong for each."""
    if flags == SYN:
        receiver._outgoing._resets += HEADER.pack(PING, ACK, 0, value)
    else:
        receiver._keepalive.answered(value, now)


def waiting_for_readers(session: Any) -> bool:
    """In place of ``YamuxSession.congested``: nothing is received while one stream is full."""
    return any(
        len(stream.received) >= session._limits.initial_window - KIB
        for stream in session._table.live.values()
    )


def sharing_nothing(exchange: Callable[..., bytes]) -> Callable[..., bytes]:
    """A Diffie-Hellman that takes the secret everybody knows for one: ``_shared`` of ``noise.xx``."""

    def exchange_anything(own: Any, remote: bytes) -> bytes:
        try:
            return exchange(own, remote)
        except ValueError:
            return bytes(32)

    return exchange_anything


def patient(receive_data: Callable[[Any, Any], int]) -> Callable[[Any, Any], int]:
    """A handshake that waits for a better message after a bad one: ``Handshake.receive_data``."""

    def receive_anything(handshake: Any, data: Any) -> int:
        try:
            return receive_data(handshake, data)
        except HandshakeFailed:
            handshake._failed = False
            handshake._size = -1
            return len(data)

    return receive_anything


def skipping(open_into: Callable[..., tuple[int, int]]) -> Callable[..., tuple[int, int]]:
    """A channel that goes on behind a frame that does not authenticate: ``NoiseChannel.open_into``."""

    def open_or_skip(channel: Any, cipher: memoryview, plain: memoryview) -> tuple[int, int]:
        try:
            return open_into(channel, cipher, plain)
        except RemoteProtocolError:
            channel._broken = ""
            return len(cipher), 0

    return open_or_skip


def to_anybody(dial: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A dial that does not say whom it expects: ``Upgraded.dial``."""

    async def dial_anybody(transport: Any, addr: Any, *, peer: Any, **others: Any) -> Any:
        return await dial(transport, addr, peer=None, **others)

    return dial_anybody


def with_plaintext(init: Callable[..., None]) -> Callable[..., None]:
    """A transport that offers no security as well: ``Upgraded.__init__``."""

    def init_insecure(transport: Any, raw: Any, *, security: Sequence[Any], **others: Any) -> None:
        plaintext = insecure_plaintext_for_tests(security[0]._identity)
        init(transport, raw, security=[*security, plaintext], **others)

    return init_insecure


async def without_a_wall(handler: Callable[[Any], Awaitable[object]], stream: Any, log: Any) -> bool:
    """In the place of ``serve_behind_wall``."""
    await handler(stream)
    await stream.aclose()
    return True


def verbatim(text: str | bytes, limit: int = 128) -> str:
    """In the place of ``printable``."""
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def unguarded(guard: Any, data: bytes) -> None:
    """In the place of ``Guard.check``."""


def any_writing(data: bytes) -> KeyMessage:
    """In the place of ``decode_public_key``: a key is read however it is written."""
    message = PublicKeyMessage.FromString(data)
    return KeyMessage(KeyType(message.Type), message.Data)


def unjudged(load: Mapping[KeyType, Any]) -> dict[KeyType, Any]:
    """Loaders of public keys that take what the library takes: ``_LOAD_PUBLIC``."""

    def of_der(data: bytes) -> Any:
        key: Any = load_der_public_key(data)
        if isinstance(key, RSAPublicKey):
            return lambda signature, message: key.verify(signature, message, PKCS1v15(), SHA256())
        return lambda signature, message: key.verify(signature, message, ec.ECDSA(SHA256()))

    def of_point(data: bytes) -> Any:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), data)
        return lambda signature, message: key.verify(signature, message, ec.ECDSA(SHA256()))

    return {
        KeyType.RSA: of_der,
        KeyType.ECDSA: of_der,
        KeyType.SECP256K1: of_point,
        KeyType.ED25519: lambda data: Ed25519PublicKey.from_public_bytes(data).verify,
    }


def of_the_signer(data: bytes) -> PeerRecord:
    """In the place of ``open_peer_record``: a record is about whoever signed it."""
    envelope = SignedEnvelope.open(data, domain=DOMAIN, payload_type=PAYLOAD_TYPE)
    addresses = decode_peer_record(envelope.payload).addresses
    return PeerRecord(envelope.signer, 1, tuple(map(parse_peer_addr, addresses)))
