"""The Noise XX handshake as libp2p has it: three messages, and in the last two who is speaking. PURE.

Each message has its length in front, in two bytes. ``xx.py`` keeps the transcript and derives the keys; what libp2p
says in the messages is here, and the bounds, what a message must look like before it is read, and one class of errors.

What a peer says is believed in this order: its static key, because the messages authenticate; its identity key,
because it signed the static key; its peer id, because it is that of the identity key; and only then whom we
meant to reach, and the muxers it offers. The dialer says who it is only after the responder was found to be the
right one.

Source: specs/noise; specs/connections/inlined-muxer-negotiation; Noise Protocol Framework, revision 34.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, NoReturn, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2p.abc import ProtocolId, Role
from p2p.errors import HandshakeFailed, LocalProtocolError, PeerIdMismatch, RemoteProtocolError
from p2p.identity import Identity, PeerId, PublicKey
from p2p.limits import NoiseLimits
from p2p.security.noise.channel import NoiseChannel
from p2p.security.noise.xx import KEY, TAG, XX, KeyPair
from p2p.wire.messages import NoisePayload, decode_noise_payload, encode_noise_payload

_SIGNED: Final = b"noise-libp2p-static-key:"
_PREFIX: Final = 2
#: The least each message takes: its keys, with a tag where they are sealed, and the tag of its payload.
_LEAST: Final = {1: KEY, 2: KEY + KEY + TAG + TAG, 3: KEY + TAG + TAG}

_DEFAULT_LIMITS = NoiseLimits()


@final
class StaticKey:
    """A Noise static key and an identity's word for it.

    Whoever gets hold of both can pass for the identity for ever, as the signature is bound to no session: a
    static key lives as long as one process at the most, and is never shown, copied or written.
    """

    __slots__ = ("_identity_key", "_pair", "_peer_id", "_said", "_signature")

    def __init__(self, identity: Identity, private_key: X25519PrivateKey) -> None:
        """``private_key`` is a fresh one. Signs, once for all handshakes."""
        self._pair = KeyPair.of(private_key)
        self._peer_id = identity.peer_id
        self._identity_key = identity.public_key.to_protobuf()
        self._signature = identity.sign(_SIGNED + self._pair.public)
        self._said: tuple[tuple[ProtocolId, ...], bytes] = ((), b"")

    def payload(self, muxers: tuple[ProtocolId, ...]) -> bytes:
        """What message 2 or 3 says in its payload: the same each time, of one host."""
        known, payload = self._said
        if not payload or known != muxers:
            payload = encode_noise_payload(NoisePayload(self._identity_key, self._signature, muxers))
            self._said = muxers, payload
        return payload

    def __repr__(self) -> str:
        return f"<StaticKey of {self._peer_id!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a static key is neither pickled nor copied")


class Established(NamedTuple):
    """What a handshake that went well gives."""

    channel: NoiseChannel
    remote_peer: PeerId
    remote_key: PublicKey
    #: The muxer both sides settle on without another word, or None.
    early_muxer: ProtocolId | None


class Handshake:
    """One side of one handshake.

    Give it the bytes of the remote (``wanted`` says how many are needed to get on), send what it gives, until
    ``established`` is there. A dialer still has its last message to send then.
    """

    __slots__ = (
        "_expected_peer", "_failed", "_limits", "_message", "_muxers", "_next", "_out", "_role", "_size", "_static",
        "_xx", "established",
    )  # fmt: skip

    def __init__(
        self,
        static: StaticKey,
        ephemeral: X25519PrivateKey,
        role: Role,
        *,
        expected_peer: PeerId | None = None,
        muxers: Sequence[ProtocolId] = (),
        prologue: bytes = b"",
        limits: NoiseLimits = _DEFAULT_LIMITS,
    ) -> None:
        """``ephemeral`` is fresh for this handshake. ``muxers`` are told the remote, in order of preference.

        ``prologue`` is what both sides must have seen before (empty but for WebRTC). Raises
        ``LocalProtocolError`` for more muxers, or longer names, than a peer must take.
        """
        if len(muxers) > limits.max_muxers or any(len(m.encode()) > limits.max_muxer_name for m in muxers):
            raise LocalProtocolError(f"muxers {muxers!r} are too many or too long for a handshake")
        self._static = static
        self._role = role
        self._expected_peer = expected_peer
        self._muxers = tuple(muxers)
        self._limits = limits
        self._xx = XX(role, static._pair, KeyPair.of(ephemeral), prologue)
        self._message = bytearray()
        self._size = -1  # of the message under way; -1: its length is not complete
        self._out = bytearray()
        self._failed = False
        self.established: Established | None = None
        self._next = 1
        if role is Role.DIALER:
            self._write_message(b"")

    @property
    def wanted(self) -> int:
        """How many bytes are missing for the next step; 0 when none are: the handshake is over."""
        if self.established is not None or self._failed:
            return 0
        return (_PREFIX if self._size < 0 else self._size) - len(self._message)

    def data_to_send(self) -> bytes:
        """What must leave now, once; ``b""`` when nothing. The last message of a dialer may wait for its data."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def receive_data(self, data: bytes | bytearray | memoryview) -> int:
        """Take bytes of the remote up to the end of the handshake, and return how many those were.

        Raises ``HandshakeFailed``; ``PeerIdMismatch`` when another than the expected peer proved itself;
        ``LocalProtocolError`` when fed again after either.
        """
        if self._failed:
            raise LocalProtocolError("a handshake that failed was fed again")
        taken = 0
        try:
            while self.wanted and taken < len(data):
                piece = bytes(data[taken : taken + self.wanted])
                taken += len(piece)
                self._message += piece
                if not self.wanted:
                    message = bytes(self._message)
                    self._message.clear()
                    self._receive(message)
        except (HandshakeFailed, PeerIdMismatch):
            self._failed = True
            raise
        return taken

    def _receive(self, part: bytes) -> None:
        if self._size < 0:
            size = int.from_bytes(part, "big")
            # Message 1 has no payload: nothing said there would be secret.
            most = KEY if self._next == 1 else self._limits.max_handshake_message
            if not _LEAST[self._next] <= size <= most:
                raise HandshakeFailed(
                    f"Noise message {self._next} of {size} bytes, expected {_LEAST[self._next]} to {most}"
                )
            self._size = size
            return
        self._size = -1
        payload = self._read_message(part)
        if self._role is Role.RESPONDER and self._next == 2:
            self._write_message(self._static.payload(self._muxers))
            return
        remote_key, remote_peer, offered = self._verify(payload)
        if self._role is Role.DIALER:
            self._write_message(self._static.payload(self._muxers))
        channel = NoiseChannel(*self._xx.split())
        self.established = Established(channel, remote_peer, remote_key, self._early_muxer(offered))

    def _read_message(self, message: bytes) -> bytes:
        try:
            payload = self._xx.read_message(message)
        except (InvalidTag, ValueError) as error:
            raise HandshakeFailed(f"Noise message {self._next} is not authentic: {_reason(error)}") from error
        self._next += 1
        return payload

    def _write_message(self, payload: bytes) -> None:
        try:
            message = self._xx.write_message(payload)
        except ValueError as error:
            # The remote's ephemeral key is of low order: the shared secret would be known to everybody.
            raise HandshakeFailed(f"the remote's key cannot be used: {error}") from error
        self._out += len(message).to_bytes(_PREFIX, "big") + message
        self._next += 1

    def _verify(self, payload: bytes) -> tuple[PublicKey, PeerId, tuple[str, ...]]:
        try:
            said = decode_noise_payload(payload)
            key = PublicKey.from_protobuf(said.identity_key)
        except RemoteProtocolError as error:
            raise HandshakeFailed(f"the remote's Noise payload: {error}") from error
        # Its static key is one for all its connections, as ours is: the same word was perhaps heard before.
        if not key.verify_repeated(_SIGNED + self._xx.rs, said.identity_sig):
            raise HandshakeFailed("the remote's identity key did not sign its Noise static key")
        peer = PeerId.from_public_key(key)
        if self._expected_peer is None:
            return key, peer, said.stream_muxers
        if peer != self._expected_peer:
            raise PeerIdMismatch(self._expected_peer, peer)
        return key, self._expected_peer, said.stream_muxers  # the same, and known to others already

    def _early_muxer(self, offered: Sequence[str]) -> ProtocolId | None:
        """The first of the dialer's list that the responder has too."""
        preferred, known = (self._muxers, offered) if self._role is Role.DIALER else (offered, self._muxers)
        return next((ProtocolId(muxer) for muxer in preferred if muxer in known), None)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
