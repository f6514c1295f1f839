"""Every failure this library raises, in one tree.

Failures of streams also subclass :class:`trio.BrokenResourceError`, so that code written for Trio's own
streams works unchanged. A message says what was expected, what came, and from whom; programs decide by
class and attributes, never by text.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

# Yamux spec, "Go Away": what a peer is told when its connection ends because of it.
NORMAL_TERMINATION = 0
PROTOCOL_ERROR = 1
INTERNAL_ERROR = 2


class P2PError(Exception):
    """The root of the tree."""


class ProtocolError(P2PError):
    """Somebody broke the rules of a wire protocol."""


class LocalProtocolError(ProtocolError):
    """This program misused a protocol machine: a bug on our side, nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The remote broke the spec.

    ``code`` is what the remote is told when the error ends its connection (a yamux GoAway code).
    """

    def __init__(self, message: str, *, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


class InvalidAddress(P2PError, ValueError):
    """A multiaddr given by this program or its user cannot be read, or cannot be used here."""


class InvalidPeerId(P2PError, ValueError):
    """A peer id given by this program or its user cannot be read."""


class InvalidKey(P2PError, ValueError):
    """A private key, or the file that holds it, cannot be used: malformed, too weak, or readable by others."""


class InvalidLimits(P2PError, ValueError):
    """A file of limits cannot be used: it is not TOML, or has a name, a type or a number that makes no sense."""


class NegotiationError(P2PError):
    """The two sides could not agree on a protocol."""


class NoCommonProtocol(NegotiationError):
    """The remote speaks none of the protocols we offered.

    ``supported`` holds what the remote is known to speak, and is empty when it did not tell.
    """

    def __init__(self, offered: Sequence[str], supported: Sequence[str] = ()) -> None:
        self.offered = tuple(offered)
        self.supported = tuple(supported)
        told = f"; it speaks {', '.join(self.supported)}" if self.supported else ""
        super().__init__(f"the remote refused {', '.join(self.offered)}{told}")


class SecurityError(P2PError):
    """A secure channel could not be made."""


class HandshakeFailed(SecurityError):
    """The security handshake broke off: bad keys, bad signature, bad framing, or an early end."""


class PeerIdMismatch(SecurityError):
    """Another peer answered than the one that was dialed."""

    def __init__(self, expected: object, got: object) -> None:
        self.expected = expected
        self.got = got
        super().__init__(f"dialed {expected}, but {got} answered")


class DialError(P2PError):
    """No connection to ``peer`` could be made; ``attempts`` pairs each address tried with its failure."""

    def __init__(
        self, peer: object, attempts: Sequence[tuple[object, BaseException]], message: str = ""
    ) -> None:
        self.peer = peer
        self.attempts = tuple(attempts)
        reasons = "".join(f"\n  {addr}: {_reason(error)}" for addr, error in self.attempts)
        super().__init__(f"{message or f'cannot dial {peer}'}{reasons}")


class NoAddresses(DialError):
    """No address of the peer is known, or none that any transport here can dial."""


class AllAttemptsFailed(DialError):
    """Every address was tried, and every attempt failed."""


class Denied(DialError):
    """The dial was refused on this side before any address was tried; ``by`` names who refused."""

    def __init__(self, peer: object, by: str) -> None:
        self.by = by
        super().__init__(peer, (), f"dialing {peer} is denied by {by}")


class ListenError(P2PError):
    """Listening failed; ``attempts`` pairs each address that failed with the reason."""

    def __init__(self, attempts: Sequence[tuple[object, BaseException]]) -> None:
        self.attempts = tuple(attempts)
        reasons = "".join(f"\n  {addr}: {_reason(error)}" for addr, error in self.attempts)
        super().__init__(f"cannot listen{reasons}")


class PeerstoreError(P2PError):
    """The file of a peerstore cannot be used: it is something else, too new, damaged, in use, or the disk fails."""


class ResourceLimitExceeded(P2PError):
    """A local limit refused the operation before anything was spent.

    ``scope`` names the limit as ``limits.resources`` does (``peer.connections``), ``of`` whose it is where there are
    many of that name (a peer, a protocol, a subnet).
    """

    def __init__(self, scope: str, limit: float, in_use: float, remedy: str, *, of: str = "") -> None:
        self.scope = scope
        self.limit = limit
        self.in_use = in_use
        self.remedy = remedy
        self.of = of
        whose = f" of {of}" if of else ""
        super().__init__(f"{scope}{whose}: {in_use} in use, the limit is {limit}; {remedy}")


class HostCrashed(P2PError):
    """A service or transport failed in a way no remote can cause; the failure is the ``__cause__``."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name} crashed, and the host with it")


class StreamReset(P2PError, trio.BrokenResourceError):
    """The stream was reset. ``remote`` says by whom, ``code`` what the remote gave as the reason (0: none)."""

    def __init__(self, code: int = 0, *, remote: bool = True) -> None:
        self.code = code
        self.remote = remote
        super().__init__(f"stream reset by {'the remote' if remote else 'this side'} with code {code}")


class ConnectionLost(P2PError, trio.BrokenResourceError):
    """The connection under a stream is gone; ``reason`` says why, for people."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"connection lost: {reason}")


def _reason(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
