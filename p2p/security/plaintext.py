"""``/plaintext/2.0.0``: no security at all, for looking at the bytes of other layers.

Both sides say who they are, and nothing proves it; nothing is sealed. Where it is offered, anybody on the way
can have it chosen. So no host offers it unless given one made by :func:`insecure_plaintext_for_tests`.
(specs/plaintext)
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import final

from p2p.abc import HandshakeStream, ProtocolId, Role, Secured, Security
from p2p.errors import HandshakeFailed, LocalProtocolError, PeerIdMismatch, RemoteProtocolError
from p2p.identity import Identity, PeerId, PublicKey
from p2p.limits import KIB, WIRE_LIMITS
from p2p.wire.framing import FrameReader, encode_frame
from p2p.wire.plaintext_messages import (
    PlaintextExchange,
    decode_plaintext_exchange,
    encode_plaintext_exchange,
)

_PROTOCOL = ProtocolId("/plaintext/2.0.0")
#: A key, a peer id, and what frames them.
_MAX_EXCHANGE = 2 * WIRE_LIMITS.max_public_key
_FRAME = 64 * KIB


class InsecureWarning(UserWarning):
    """This process talks to its peers without any security."""


def insecure_plaintext_for_tests(identity: Identity) -> Security:
    """Neither encrypts nor authenticates: who dials this host, or stands between, can be and say anything.

    Warns with :class:`InsecureWarning`.
    """
    warnings.warn(
        f"{_PROTOCOL} is offered: connections are neither encrypted nor authenticated",
        InsecureWarning,
        stacklevel=2,
    )
    return _Plaintext(identity)


@final
class _Plaintext:
    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def __repr__(self) -> str:
        return f"<insecure plaintext of {self._identity.peer_id!r}>"

    @property
    def protocol(self) -> ProtocolId:
        return _PROTOCOL

    async def secure(
        self, raw: HandshakeStream, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        """Exchange claims. Raises ``HandshakeFailed``, ``PeerIdMismatch``, and what ``raw`` raises."""
        ours = PlaintextExchange(self._identity.peer_id.to_bytes(), self._identity.public_key.to_protobuf())
        await raw.write(encode_frame(encode_plaintext_exchange(ours)))
        reader = FrameReader(_MAX_EXCHANGE)
        try:
            while (message := reader.next()) is None:
                reader.feed(await raw.read_exactly(1))
            key, claimed = _read(message)
        except RemoteProtocolError as error:
            raise HandshakeFailed(f"the remote's plaintext exchange: {error}") from error
        if peer is not None and claimed != peer:
            raise PeerIdMismatch(peer, claimed)
        return Secured(
            channel=PlaintextChannel(),
            remote_peer=claimed,
            remote_key=key,
            early_muxer=None,
            leftover=raw.take_leftover(),
            unsent=raw.take_unsent(),
        )


def _read(message: bytes) -> tuple[PublicKey, PeerId]:
    exchange = decode_plaintext_exchange(message)
    key = PublicKey.from_protobuf(exchange.public_key)
    claimed = PeerId.from_bytes(exchange.id)
    if not claimed.matches(key):
        raise RemoteProtocolError(f"{claimed} is not the id of the key that came with it")
    return key, claimed


@final
class PlaintextChannel:
    """Passes bytes through; a :class:`p2p.abc.SealedChannel` that seals nothing. PURE."""

    __slots__ = ()

    @property
    def frame_plain(self) -> int:
        return _FRAME

    @property
    def frame_cipher(self) -> int:
        return _FRAME

    @property
    def frames(self) -> tuple[int, int]:
        return 0, 0  # it has none

    def open_into(self, cipher: memoryview, plain: memoryview) -> tuple[int, int]:
        n = min(len(cipher), len(plain))
        plain[:n] = cipher[:n]
        return n, n

    def room(self, out: memoryview) -> memoryview:
        return out[:_FRAME]

    def seal(self, out: memoryview, n: int) -> int:
        if not 0 <= n <= min(len(out), _FRAME):
            raise LocalProtocolError(f"{n} bytes do not fit a frame in {len(out)}")
        return n
