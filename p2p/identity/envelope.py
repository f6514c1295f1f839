"""Signed envelopes: a payload, who signed it, and what for.

There is no way to an envelope of somebody else but :meth:`SignedEnvelope.open`, which verifies it.

Source: libp2p/specs RFC 0002.
"""

from __future__ import annotations

from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.identity.keys import PrivateKey, PublicKey
from p2p.identity.peer_id import PeerId
from p2p.wire import varint
from p2p.wire.messages import EnvelopeMessage, decode_envelope, encode_envelope


@frozen
class SignedEnvelope:
    """An envelope whose signature is known to be good, for the domain it was sealed or opened with."""

    public_key: PublicKey
    payload_type: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def seal(cls, key: PrivateKey, *, domain: str, payload_type: bytes, payload: bytes) -> SignedEnvelope:
        """Sign ``payload``. ``domain`` keeps the signature from meaning anything elsewhere."""
        signature = key.sign(_signed_bytes(domain, payload_type, payload))
        return cls(key.public_key, payload_type, payload, signature)

    @classmethod
    def open(cls, data: bytes, *, domain: str, payload_type: bytes) -> SignedEnvelope:
        """Read and verify an ``Envelope`` message of at most ``WIRE_LIMITS.max_envelope`` bytes.

        Raises ``RemoteProtocolError``: malformed, of another type, an unacceptable key, a bad signature.
        """
        message = decode_envelope(data)
        if message.payload_type != payload_type:
            raise RemoteProtocolError(
                f"envelope of type {message.payload_type[:16].hex()}, expected {payload_type.hex()}"
            )
        key = PublicKey.from_protobuf(message.public_key)
        if not key.verify(_signed_bytes(domain, payload_type, message.payload), message.signature):
            raise RemoteProtocolError(f"the signature of an envelope for {domain} is wrong")
        return cls(key, payload_type, message.payload, message.signature)

    @property
    def signer(self) -> PeerId:
        return PeerId.from_public_key(self.public_key)

    def to_bytes(self) -> bytes:
        """The ``Envelope`` message."""
        return encode_envelope(
            EnvelopeMessage(self.public_key.to_protobuf(), self.payload_type, self.payload, self.signature)
        )


def _signed_bytes(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    fields = (domain.encode("utf-8"), payload_type, payload)
    return b"".join(part for field in fields for part in (varint.encode(len(field)), field))
