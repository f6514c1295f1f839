"""What happened to a host: frozen values that ``host.events()`` gives in order.

Events are hints, and ``host.connections`` is the truth: whoever falls behind loses the oldest and is told how
many by one :class:`EventsLost`. Services may subclass :class:`Event` for what they have to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from p2p.frozen import frozen
from p2p.identity import PeerId
from p2p.wire.addresses import Multiaddr

if TYPE_CHECKING:
    from p2p.abc import Connection, ProtocolId


class Event:
    """Something happened. No dataclass, so that subclasses may be ``dataclass(frozen=True)`` or ``frozen``."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}()"


@frozen
class Listening(Event):
    """A listener accepts at ``addr``, the address really bound; a wildcard stays one."""

    addr: Multiaddr


@frozen
class Connected(Event):
    """``connection`` is in ``host.connections``. A peer may have several."""

    peer: PeerId
    connection: Connection


@frozen
class Disconnected(Event):
    """``connection`` is over; ``last``: the peer has no other, so what is kept for it can go."""

    peer: PeerId
    connection: Connection
    last: bool
    reason: str  # for people


@frozen
class PeerIdentified(Event):
    """Identify told about a peer, at first or anew. All of it is what the peer says of itself, within bounds."""

    peer: PeerId
    connection: Connection
    protocols: Sequence[ProtocolId]
    agent_version: str
    #: Where the peer saw this host's end of ``connection``.
    observed_addr: Multiaddr | None


@frozen
class AddressesChanged(Event):
    """``host.addrs`` is another now."""

    addrs: Sequence[Multiaddr]


@frozen
class ProtocolsChanged(Event):
    """``host.protocols`` is another now."""

    protocols: Sequence[ProtocolId]


@frozen
class EventsLost(Event):
    """This subscriber fell behind: the ``count`` oldest events it had not received are gone."""

    count: int
