"""Peer records: the addresses of a peer, signed by that peer.

A record signed by anybody else poisons address books (GHSA-wc36-xgcc-jwpr), so bytes become a
:class:`PeerRecord` in one place only, which compares the two.

Source: libp2p/specs RFC 0003; domain and payload type as deployed (go-libp2p `core/peer/record.go`).
"""

from __future__ import annotations

from functools import lru_cache

from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.identity.envelope import SignedEnvelope
from p2p.identity.keys import PrivateKey
from p2p.identity.peer_id import PeerId
from p2p.limits import WIRE_LIMITS
from p2p.wire.addresses import Multiaddr, parse_peer_addr
from p2p.wire.messages import PeerRecordMessage, decode_envelope, decode_peer_record, encode_peer_record

DOMAIN = "libp2p-peer-record"
#: The multicodec of peer records.
PAYLOAD_TYPE = b"\x03\x01"


@frozen
class PeerRecord:
    """What a peer says of its own addresses; of two records the higher ``seq`` (64 bits) is the newer."""

    peer_id: PeerId
    seq: int
    addresses: tuple[Multiaddr, ...]

    def seal(self, key: PrivateKey) -> bytes:
        """The record in an envelope signed with ``key``, which must be the peer's own.

        Raises ``ValueError`` when it is not, when ``seq`` does not fit 64 bits, or when there are more
        addresses, or longer ones, than a record may hold.
        """
        if not self.peer_id.matches(key.public_key):
            raise ValueError(f"the record of {self.peer_id} must be signed with that peer's key")
        if not 0 <= self.seq < 2**64:
            raise ValueError(f"seq {self.seq} does not fit 64 bits")
        if len(self.addresses) > WIRE_LIMITS.max_record_addrs_read:
            raise ValueError(
                f"{len(self.addresses)} addresses, a record holds {WIRE_LIMITS.max_record_addrs_read}"
            )
        addresses = tuple(addr.to_bytes() for addr in self.addresses)
        payload = encode_peer_record(PeerRecordMessage(self.peer_id.to_bytes(), self.seq, addresses))
        sealed = SignedEnvelope.seal(
            key, domain=DOMAIN, payload_type=PAYLOAD_TYPE, payload=payload
        ).to_bytes()
        if len(sealed) > WIRE_LIMITS.max_envelope:
            raise ValueError(
                f"a signed record of {len(sealed)} bytes, the limit is {WIRE_LIMITS.max_envelope}"
            )
        return sealed


def holds_something_else(data: bytes) -> bool:
    """Whether this is an envelope that does not even say that it holds a peer record.

    What rust-libp2p calls one is of a type and a domain of its own, from before the specification, and says nothing
    to anybody else.
    """
    try:
        return decode_envelope(data).payload_type != PAYLOAD_TYPE
    except RemoteProtocolError:
        return False


def open_peer_record(data: bytes) -> PeerRecord:
    """Verify a signed peer record, and that the peer it speaks of is the one that signed it.

    Addresses this program cannot read are left out, as go does, so that new protocols do no harm, and so are
    those behind the first ``WIRE_LIMITS.max_record_addrs_read``; a record may be left with none. Raises
    ``RemoteProtocolError`` for everything else.

    A peer shows the same record with each connection, so of short ones that were good some are kept, by all of
    their bytes, and not verified again.
    """
    return _open_kept(data) if len(data) <= WIRE_LIMITS.kept_record_size else _open(data)


def _open(data: bytes) -> PeerRecord:
    envelope = SignedEnvelope.open(data, domain=DOMAIN, payload_type=PAYLOAD_TYPE)
    message = decode_peer_record(envelope.payload)
    peer_id = PeerId.from_bytes(message.peer_id)
    if peer_id != envelope.signer:
        raise RemoteProtocolError(f"peer record of {peer_id} signed by {envelope.signer}")
    addresses = []
    # Cut before parsing: that is what costs.
    for raw in message.addresses[: WIRE_LIMITS.max_record_addrs_read]:
        try:
            addresses.append(parse_peer_addr(raw))
        except RemoteProtocolError:
            continue
    return PeerRecord(peer_id, message.seq, tuple(addresses))


_open_kept = lru_cache(maxsize=WIRE_LIMITS.kept_records)(_open)
