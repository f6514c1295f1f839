"""The message of the plaintext "security"; as ``messages``, whose words on guards hold here too.

Source: libp2p specs, plaintext/README.md.
"""

from __future__ import annotations

from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.limits import WIRE_LIMITS
from p2p.wire.guards import LENGTH, FieldRule, Guard
from p2p.wire.parsing import guarded
from p2p.wire.proto.plaintext_pb2 import Exchange


@frozen
class PlaintextExchange:
    """``Exchange``: a binary peer id and a ``PublicKey`` message."""

    id: bytes
    public_key: bytes


_PLAINTEXT = Guard(
    2 * WIRE_LIMITS.max_public_key,
    {1: FieldRule(LENGTH), 2: FieldRule(LENGTH, max_length=WIRE_LIMITS.max_public_key)},
    max_elements=8,
)


def encode_plaintext_exchange(exchange: PlaintextExchange) -> bytes:
    return Exchange(id=exchange.id, pubkey=exchange.public_key).SerializeToString(deterministic=True)


def decode_plaintext_exchange(data: bytes) -> PlaintextExchange:
    message = guarded(Exchange, _PLAINTEXT, data)
    if not message.id or not message.pubkey:
        raise RemoteProtocolError("plaintext exchange without id or pubkey")
    return PlaintextExchange(message.id, message.pubkey)
