"""What one identify exchange makes known of the peer that answered. PURE.

Messages go into an :class:`Exchange` as they arrive; it bounds their number and size, and believes nothing of
another peer than the one the connection was made with.

Sources: libp2p specs, identify/README.md, RFC 0003; go-libp2p for the bounds.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import islice

from p2p.abc import ProtocolId
from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.identity import PeerId, PublicKey, holds_something_else, open_peer_record
from p2p.limits import WIRE_LIMITS, IdentifyLimits
from p2p.protocols.identify.codec import merge
from p2p.wire.addresses import Multiaddr, parse_peer_addr
from p2p.wire.messages import IdentifyMessage, decode_identify
from p2p.wire.printable import printable


@frozen
class Identification:
    """What a peer says of itself. All of it is within the limits, and text is printable."""

    peer_id: PeerId
    public_key: PublicKey
    #: What the peer takes streams for, each once, in its order.
    protocols: tuple[ProtocolId, ...]
    #: Where the peer says it listens; from the signed record when there is one.
    addrs: tuple[Multiaddr, ...]
    #: The signed record, verified and the peer's own; None when there was none or it was refused.
    signed_record: bytes | None
    #: From where the peer sees us.
    observed_addr: Multiaddr | None
    agent_version: str
    protocol_version: str
    #: Why a signed record was refused, for a log; empty: it was not.
    refused: str


class Exchange:
    """The reader's side: :meth:`receive` each message, then :meth:`finish`."""

    __slots__ = ("_key", "_limits", "_merged", "_messages", "_peer")

    def __init__(self, peer: PeerId, key: PublicKey, limits: IdentifyLimits) -> None:
        """``peer`` and ``key``: whom the connection's handshake proved."""
        self._peer = peer
        self._key = key
        self._limits = limits
        self._merged = IdentifyMessage()
        self._messages = 0

    def receive(self, data: bytes) -> None:
        """Take one encoded message. Raises ``RemoteProtocolError``: malformed, or one too many."""
        if self._messages >= self._limits.max_messages:
            raise RemoteProtocolError(f"identify: more than {self._limits.max_messages} messages")
        message = decode_identify(data)
        self._merged = merge(self._merged, message) if self._messages else message
        self._messages += 1

    def finish(self) -> Identification:
        """The stream ended.

        Raises ``RemoteProtocolError`` when there was no message, or another key than the handshake's. Addresses
        that cannot be read are skipped. A record that is not this peer's own is refused, and the unsigned
        addresses with it: who forges one does not deserve belief for the other. What is signed and no peer record is
        as good as absent (rust sends its own kind of one).
        """
        message = self._merged
        if not self._messages:
            raise RemoteProtocolError("identify: the stream ended without a message")
        if message.public_key is not None and message.public_key != self._key.to_protobuf():
            raise RemoteProtocolError(
                f"identify: {self._peer} sent another public key than it proved to have"
            )
        record: bytes | None = None
        refused = ""
        addrs: tuple[Multiaddr, ...] = ()
        sealed = message.signed_peer_record
        if sealed is None:
            addrs = self._addresses(message.listen_addrs)
        else:
            try:
                addrs = self._record_addresses(sealed)
                record = sealed
            except RemoteProtocolError as error:
                if holds_something_else(sealed):
                    addrs = self._addresses(message.listen_addrs)
                else:
                    refused = printable(str(error), 4 * self._limits.max_version)
        return Identification(
            peer_id=self._peer,
            public_key=self._key,
            protocols=self._protocols(message.protocols),
            addrs=addrs,
            signed_record=record,
            observed_addr=self._observed(message.observed_addr),
            agent_version=_once(printable(message.agent_version or "", self._limits.max_version)),
            protocol_version=printable(message.protocol_version or "", self._limits.max_version),
            refused=refused,
        )

    def _record_addresses(self, record: bytes) -> tuple[Multiaddr, ...]:
        opened = open_peer_record(record)
        if opened.peer_id != self._peer:
            raise RemoteProtocolError(f"identify: {self._peer} sent the record of {opened.peer_id}")
        return opened.addresses[: self._limits.max_addrs]

    def _addresses(self, raws: tuple[bytes, ...]) -> tuple[Multiaddr, ...]:
        addrs: dict[Multiaddr, None] = {}
        # Cut before parsing: that is what costs.
        for raw in raws[: self._limits.max_addrs]:
            try:
                addrs[parse_peer_addr(raw)] = None
            except RemoteProtocolError:
                continue
        return tuple(addrs)

    def _protocols(self, names: tuple[str, ...]) -> tuple[ProtocolId, ...]:
        limits = self._limits
        fitting = dict.fromkeys(name for name in names if len(name.encode()) <= limits.max_protocol_name)
        return tuple(ProtocolId(_once(name)) for name in islice(fitting, limits.max_protocols))

    def _observed(self, raw: bytes | None) -> Multiaddr | None:
        if raw is None:
            return None
        try:
            return parse_peer_addr(raw)
        except RemoteProtocolError:
            return None


def _once(name: str) -> str:
    """``name``, as the one object that the last peers to say so share: most say the same.

    ``sys.intern`` is not for what a peer makes up: CPython 3.12 at first, and without a GIL still, keeps it for ever.
    """
    return _shared(name) if len(name) <= WIRE_LIMITS.kept_name_size else name


@lru_cache(maxsize=WIRE_LIMITS.kept_names)
def _shared(name: str) -> str:
    return name
