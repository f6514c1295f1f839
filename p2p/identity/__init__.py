"""Who peers are: keys, peer ids, and what peers sign. Pure, but for an identity's file."""

from p2p.identity.envelope import SignedEnvelope
from p2p.identity.identity import Identity
from p2p.identity.keys import PrivateKey, PublicKey
from p2p.identity.peer_id import PeerId
from p2p.identity.peer_record import PeerRecord, holds_something_else, open_peer_record
from p2p.wire.messages import KeyType

__all__ = [
    "Identity",
    "KeyType",
    "PeerId",
    "PeerRecord",
    "PrivateKey",
    "PublicKey",
    "SignedEnvelope",
    "holds_something_else",
    "open_peer_record",
]
