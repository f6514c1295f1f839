"""The address of a share: a full multiaddr, ``#``, and the secret. PURE.

As with a URL's fragment, what stands behind ``#`` is for who has the address and is sent to nobody.
"""

from __future__ import annotations

from p2p.errors import InvalidAddress
from p2p.frozen import frozen
from p2p.identity import PeerId
from p2p.protocols.share.secret import InvalidSecret, Secret
from p2p.wire.addresses import Multiaddr, parse_user_addr, split_peer


@frozen
class ShareAddress:
    """``addr`` ends in ``/p2p/PEER-ID``."""

    addr: Multiaddr
    secret: Secret

    @classmethod
    def from_text(cls, text: str) -> ShareAddress:
        """Raises ``InvalidAddress``, whose text does not repeat the secret."""
        addr, mark, secret = text.strip().partition("#")
        if not mark:
            raise InvalidAddress(
                "an address of a share ends in '#' and its secret (is it quoted, and whole?)"
            )
        parsed = parse_user_addr(addr)
        if split_peer(parsed)[1] is None:
            raise InvalidAddress(f"{addr!r} does not end in /p2p/PEER-ID")
        try:
            return cls(parsed, Secret.from_text(secret))
        except InvalidSecret as error:
            raise InvalidAddress(str(error)) from None

    @property
    def peer(self) -> PeerId:
        """Whose it is."""
        return PeerId.from_text(split_peer(self.addr)[1] or "")

    def __str__(self) -> str:
        return f"{self.addr}#{self.secret.to_text()}"
