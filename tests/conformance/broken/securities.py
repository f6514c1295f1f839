"""Noise with one defect each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2p.abc import HandshakeStream, ProtocolId, Role, Secured
from p2p.errors import RemoteProtocolError
from p2p.identity import PeerId, PublicKey
from p2p.security.noise import Noise


class SignatureUnchecked(Noise):
    """Whoever claims an identity has it."""


class PeerUncompared(Noise):
    """Whoever answers will do."""

    async def secure(
        self, raw: HandshakeStream, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        return await super().secure(raw, role=role, peer=None, muxers=muxers)


class OwnMuxer(Noise):
    """Each end settles on what it likes best."""

    async def secure(
        self, raw: HandshakeStream, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        secured = await super().secure(raw, role=role, peer=peer, muxers=muxers)
        return replace(secured, early_muxer=muxers[0]) if secured.early_muxer else secured


class _Channel:
    """Noise's frames once more, in plain words, to be spoilt in one place."""

    frame_plain = 65519
    frame_cipher = 65537

    def __init__(self, sealer: ChaCha20Poly1305, opener: ChaCha20Poly1305) -> None:
        self.sealer = sealer
        self.opener = opener
        self.sealed = 0
        self.opened = 0
        self.broken = False

    def nonce(self, count: int) -> bytes:
        return b"\0\0\0\0" + count.to_bytes(8, "little")

    def bound(self, count: int) -> bytes | None:
        """What else is authenticated."""
        return None

    def room(self, out: memoryview) -> memoryview:
        return out[2 : max(min(len(out), self.frame_cipher) - 16, 2)]

    def seal(self, out: memoryview, n: int) -> int:
        sealed = self.sealer.encrypt(self.nonce(self.sealed), bytes(out[2 : 2 + n]), self.bound(self.sealed))
        self.sealed += 1
        out[:2] = len(sealed).to_bytes(2, "big")
        out[2 : 2 + len(sealed)] = sealed
        return 2 + len(sealed)

    def open_frame(self, sealed: bytes) -> bytes:
        data = self.opener.decrypt(self.nonce(self.opened), sealed, self.bound(self.opened))
        self.opened += 1
        return data

    def open_into(self, cipher: memoryview, plain: memoryview) -> tuple[int, int]:
        size = int.from_bytes(cipher[:2], "big")
        if len(cipher) < 2 or len(cipher) < 2 + size:
            return 0, 0
        try:
            if self.broken:
                raise InvalidTag
            data = self.open_frame(bytes(cipher[2 : 2 + size]))
        except InvalidTag:
            self.broken = True
            raise RemoteProtocolError("the frame does not authenticate") from None
        plain[: len(data)] = data
        return 2 + size, len(data)


class OneNonce(_Channel):
    """Every frame is sealed with the same nonce, and only bound to its place."""

    def nonce(self, count: int) -> bytes:
        return bytes(12)

    def bound(self, count: int) -> bytes | None:
        return count.to_bytes(8, "big")


class TakesTheLastAgain(_Channel):
    """The frame before is taken a second time."""

    def open_frame(self, sealed: bytes) -> bytes:
        try:
            return super().open_frame(sealed)
        except InvalidTag:
            if not self.opened:
                raise
            return self.opener.decrypt(self.nonce(self.opened - 1), sealed, None)


class SkipsAhead(_Channel):
    """A frame that was lost is not missed."""

    def open_frame(self, sealed: bytes) -> bytes:
        try:
            return super().open_frame(sealed)
        except InvalidTag:
            data = self.opener.decrypt(self.nonce(self.opened + 1), sealed, None)
            self.opened += 2
            return data


class GoesOnAfterDamage(_Channel):
    """One damaged frame is refused, and the next taken."""

    def open_into(self, cipher: memoryview, plain: memoryview) -> tuple[int, int]:
        try:
            return super().open_into(cipher, plain)
        except RemoteProtocolError:
            self.broken = False
            self.opened += 1
            raise


class _WithChannel(Noise):
    channel: type[_Channel]

    async def secure(
        self, raw: HandshakeStream, *, role: Role, peer: PeerId | None, muxers: Sequence[ProtocolId]
    ) -> Secured:
        secured = await super().secure(raw, role=role, peer=peer, muxers=muxers)
        sound = secured.channel
        return replace(secured, channel=self.channel(sound._sealer, sound._opener))


class SoundChannel(_WithChannel):
    """The channel in plain words is sound as long as nothing of it is spoilt."""

    channel = _Channel


class NonceReused(_WithChannel):
    channel = OneNonce


class ReplayTaken(_WithChannel):
    channel = TakesTheLastAgain


class GapTaken(_WithChannel):
    channel = SkipsAhead


class DamageForgotten(_WithChannel):
    channel = GoesOnAfterDamage


@contextmanager
def spoilt(security: type[Noise]) -> Iterator[None]:
    """What must hold around a check for the defect to be there."""
    if security is SignatureUnchecked:
        with mock.patch.object(PublicKey, "verify_repeated", lambda self, message, signature: True):
            yield
    else:
        yield


BROKEN = {
    SignatureUnchecked: "check_an_impostor_is_refused",
    PeerUncompared: "check_another_peer_is_refused",
    OwnMuxer: "check_early_muxers_agree",
    NonceReused: "check_every_frame_is_sealed_anew",
    ReplayTaken: "check_a_replayed_frame_is_refused",
    GapTaken: "check_a_reordered_frame_is_refused",
    DamageForgotten: "check_a_changed_frame_is_refused",
}
