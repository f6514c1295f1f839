"""Noise as a security protocol of this host: the handshake's bytes over a raw stream."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2p.abc import HandshakeStream, ProtocolId, Role, Secured
from p2p.identity import Identity, PeerId
from p2p.limits import NoiseLimits
from p2p.security.noise.handshake import Handshake, StaticKey

_PROTOCOL = ProtocolId("/noise")
_DEFAULT_LIMITS = NoiseLimits()


class Noise:
    """``/noise``, for one identity; a :class:`p2p.abc.Security`.

    Its static key is made here and ends with this object: it never leaves the process. The identity signs it
    once, so a handshake costs the identity key nothing.
    """

    def __init__(self, identity: Identity, limits: NoiseLimits = _DEFAULT_LIMITS) -> None:
        self._identity = identity
        self._static = StaticKey(identity, X25519PrivateKey.generate())
        self._limits = limits

    def __repr__(self) -> str:
        return f"<Noise of {self._identity.peer_id!r}>"

    @property
    def protocol(self) -> ProtocolId:
        return _PROTOCOL

    async def secure(
        self, raw: HandshakeStream, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        """Shake hands: one round trip, the dialer's last message leaving with its first sealed frame.

        Raises ``HandshakeFailed``, ``PeerIdMismatch`` when ``peer`` is given and another answered, and what
        ``raw`` raises. Cancelled or failed: the raw stream can only be closed.
        """
        handshake = Handshake(
            self._static,
            X25519PrivateKey.generate(),
            role,
            expected_peer=peer,
            muxers=muxers,
            limits=self._limits,
        )
        while (established := handshake.established) is None:
            out = handshake.data_to_send()
            if out:
                await raw.write(out)
            handshake.receive_data(await raw.read_exactly(handshake.wanted))
        raw.hold(handshake.data_to_send())
        return Secured(
            channel=established.channel,
            remote_peer=established.remote_peer,
            remote_key=established.remote_key,
            early_muxer=established.early_muxer,
            leftover=raw.take_leftover(),
            unsent=raw.take_unsent(),
        )
