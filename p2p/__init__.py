"""libp2p for Trio.

::

    from p2p import Host, Identity

    async with Host(Identity.generate(), listen=["/ip4/0.0.0.0/tcp/0"]) as host:
        async with await host.open_stream(address, "/echo/1.0.0") as stream:
            await stream.send_all(b"hello")
"""

from p2p.abc import Connection, Handler, ProtocolId, Service, Stream
from p2p.errors import (
    AllAttemptsFailed,
    ConnectionLost,
    Denied,
    DialError,
    HandshakeFailed,
    HostCrashed,
    InvalidAddress,
    InvalidKey,
    InvalidLimits,
    InvalidPeerId,
    ListenError,
    LocalProtocolError,
    NegotiationError,
    NoAddresses,
    NoCommonProtocol,
    P2PError,
    PeerIdMismatch,
    PeerstoreError,
    ProtocolError,
    RemoteProtocolError,
    ResourceLimitExceeded,
    SecurityError,
    StreamReset,
)
from p2p.flow import Priority
from p2p.host import Host
from p2p.identity import Identity, PeerId
from p2p.limits import DEFAULT_LIMITS, Limits
from p2p.resources.amounts import UNLIMITED, Amounts
from p2p.resources.table import ResourceLimits
from p2p.wire.addresses import Multiaddr

__all__ = [
    "DEFAULT_LIMITS",
    "UNLIMITED",
    "AllAttemptsFailed",
    "Amounts",
    "Connection",
    "ConnectionLost",
    "Denied",
    "DialError",
    "Handler",
    "HandshakeFailed",
    "Host",
    "HostCrashed",
    "Identity",
    "InvalidAddress",
    "InvalidKey",
    "InvalidLimits",
    "InvalidPeerId",
    "Limits",
    "ListenError",
    "LocalProtocolError",
    "Multiaddr",
    "NegotiationError",
    "NoAddresses",
    "NoCommonProtocol",
    "P2PError",
    "PeerId",
    "PeerIdMismatch",
    "PeerstoreError",
    "Priority",
    "ProtocolError",
    "ProtocolId",
    "RemoteProtocolError",
    "ResourceLimitExceeded",
    "ResourceLimits",
    "SecurityError",
    "Service",
    "Stream",
    "StreamReset",
]
