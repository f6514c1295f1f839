"""The vocabulary of finding: who knows where a peer is, who has what, and who is about.

As in ``p2p.abc``, nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from p2p.identity import PeerId
from p2p.wire.addresses import Multiaddr


class PeerRouting(Protocol):
    """Finds addresses of a peer nobody here has any of."""

    async def find_peer(self, peer: PeerId) -> Sequence[Multiaddr]: ...


class ContentRouting(Protocol):
    """Finds, and says, who has what."""

    async def find_providers(self, key: bytes, count: int) -> Sequence[PeerId]: ...

    async def provide(self, key: bytes) -> None: ...


class Discovery(Protocol):
    """Peers that turn up by themselves."""

    def peers(
        self,
    ) -> AbstractAsyncContextManager[trio.abc.ReceiveChannel[tuple[PeerId, Sequence[Multiaddr]]]]: ...
