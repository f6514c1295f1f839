"""Noise XX by hand: every key, payload and message is what the attacker wants it to be.

:func:`dial` and :func:`answer` shake hands with the victim, as its dialer and as the responder it dials, and say how
it took what a :class:`Hand` did. An honest hand is accepted in both.

Source: Noise Protocol Framework, revision 34, sections 5 and 7.5; specs/noise.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2p import Identity
from p2p.abc import Role, Secured
from p2p.errors import RemoteProtocolError
from p2p.security.noise.channel import NoiseChannel
from p2p.streams import read_exactly
from p2p.wire.messages import NoisePayload, encode_noise_payload
from tests.attacks import wire
from tests.attacks.harness import Scene

NAME = b"Noise_XX_25519_ChaChaPoly_SHA256"
SIGNED = b"noise-libp2p-static-key:"
PROPOSAL = wire.token("/multistream/1.0.0") + wire.token("/noise")
#: How soon the victim says yes or no.
PROMPT = 2.0

ACCEPTED, REFUSED, WAITED = "accepted", "refused", "neither accepted nor refused in time"
#: How a dial may end that the attacker spoiled.
TYPED = {"HandshakeFailed", "RemoteProtocolError", "PeerIdMismatch"}


class Key(Protocol):
    public: bytes

    def exchange(self, public: bytes) -> bytes: ...


class Honest:
    """An X25519 key pair."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = self._private.public_key().public_bytes_raw()

    def exchange(self, public: bytes) -> bytes:
        return self._private.exchange(X25519PublicKey.from_public_bytes(public))


class LowOrder:
    """A point whose product with every private key is nothing: who accepts it shares a secret with everybody."""

    def __init__(self, public: bytes) -> None:
        self.public = public

    def exchange(self, public: bytes) -> bytes:
        return bytes(32)


class XX:
    """One side of the handshake, without a single check."""

    def __init__(self, role: Role, *, ephemeral: Key, static: Key) -> None:
        self._dialer = role is Role.DIALER
        self._e = ephemeral
        self._s = static
        self._re = self._rs = b""
        self._ck = self._h = NAME
        self._k: ChaCha20Poly1305 | None = None
        self._n = 0
        self._next = 1
        self._mix_hash(b"")  # the prologue

    def write(self, payload: bytes) -> bytes:
        """The next message, without its length."""
        number, self._next = self._next, self._next + 1
        message = b""
        if number < 3:
            message += self._e.public
            self._mix_hash(self._e.public)
        if number == 2:
            self._mix_key(self._e.exchange(self._re))
        if number > 1:
            message += self._seal(self._s.public)
            self._mix_key(self._s.exchange(self._re))
        return message + self._seal(payload)

    def read(self, message: bytes) -> bytes:
        """The payload of the next message. Raises ``InvalidTag``."""
        number, self._next = self._next, self._next + 1
        if number < 3:
            self._re, message = message[:32], message[32:]
            self._mix_hash(self._re)
        if number == 2:
            self._mix_key(self._e.exchange(self._re))
        if number > 1:
            self._rs, message = self._open(message[:48]), message[48:]
            self._mix_key(self._e.exchange(self._rs))
        return self._open(message)

    def channel(self) -> NoiseChannel:
        """After the last message."""
        from_dialer, from_responder = self._derive(b"")
        return (
            NoiseChannel(from_dialer, from_responder)
            if self._dialer
            else NoiseChannel(from_responder, from_dialer)
        )

    def _derive(self, material: bytes) -> tuple[bytes, bytes]:
        secret = hmac.digest(self._ck, material, "sha256")
        first = hmac.digest(secret, b"\x01", "sha256")
        return first, hmac.digest(secret, first + b"\x02", "sha256")

    def _mix_key(self, material: bytes) -> None:
        self._ck, key = self._derive(material)
        self._k, self._n = ChaCha20Poly1305(key), 0

    def _mix_hash(self, data: bytes) -> None:
        self._h = hashlib.sha256(self._h + data).digest()

    def _nonce(self) -> bytes:
        self._n += 1
        return bytes(4) + (self._n - 1).to_bytes(8, "little")

    def _seal(self, plain: bytes) -> bytes:
        sealed = plain if self._k is None else self._k.encrypt(self._nonce(), plain, self._h)
        self._mix_hash(sealed)
        return sealed

    def _open(self, sealed: bytes) -> bytes:
        plain = sealed if self._k is None else self._k.decrypt(self._nonce(), sealed, self._h)
        self._mix_hash(sealed)
        return plain


def honest_payload(static: bytes, identity: Identity | None = None) -> bytes:
    """Who is speaking, and that it knows yamux."""
    identity = identity or Identity.generate()
    signature = identity.sign(SIGNED + static)
    return encode_noise_payload(NoisePayload(identity.public_key.to_protobuf(), signature, (wire.YAMUX,)))


@dataclass
class Hand:
    """What the attacker brings to one handshake; all of it honest unless told otherwise.

    ``payload`` makes that of its last message, of its static key. ``message`` may change what leaves, a number and
    the message with its length in front.
    """

    ephemeral: Key = field(default_factory=Honest)
    static: Key = field(default_factory=Honest)
    payload: Callable[[bytes], bytes] = honest_payload
    message: Callable[[int, bytes], bytes] = lambda number, framed: framed

    def xx(self, role: Role) -> XX:
        return XX(role, ephemeral=self.ephemeral, static=self.static)

    def write(self, xx: XX, number: int) -> bytes:
        message = xx.write(self.payload(self.static.public) if number > 1 else b"")
        return self.message(number, len(message).to_bytes(2, "big") + message)


async def _read_message(raw: trio.SocketStream) -> bytes:
    return await read_exactly(raw, int.from_bytes(await read_exactly(raw, 2), "big"))


async def dial(scene: Scene, hand: Hand) -> str:
    """The victim is accepted to have accepted once it answers a ping on the new connection."""
    outcome, _ = await connect(scene, hand)
    return outcome


async def connect(scene: Scene, hand: Hand) -> tuple[str, wire.Wire | None]:
    """As :func:`dial`, and the connection made, if one was."""
    raw = await scene.connect()
    xx = hand.xx(Role.DIALER)
    with trio.move_on_after(PROMPT):
        try:
            await raw.send_all(PROPOSAL + hand.write(xx, 1))
            assert await read_exactly(raw, len(PROPOSAL)) == PROPOSAL
            answer = await _read_message(raw)
            try:
                xx.read(answer)
            except InvalidTag:  # it answered something else than what it was sent
                return ACCEPTED, None
            await raw.send_all(hand.write(xx, 3))
            channel = xx.channel()
            key = scene.peer_id.public_key()
            assert key is not None
            connection = wire.Wire(raw, Secured(channel, scene.peer_id, key, wire.YAMUX, b"", b""))
            await connection.send(wire.header(wire.PING, wire.SYN, 0, 7))
            while (frame := await connection.receive_frame()) is not None:
                if (frame.kind, frame.flags, frame.length) == (wire.PING, wire.ACK, 7):
                    return ACCEPTED, connection
        except (RemoteProtocolError, trio.BrokenResourceError):
            pass
        return REFUSED, None
    return WAITED, None


async def respond(raw: trio.SocketStream, hand: Hand) -> bytes | None:
    """Answer a dial; what the victim says after that until it closes, None when it does not close in time."""
    xx = hand.xx(Role.RESPONDER)
    assert await read_exactly(raw, len(PROPOSAL)) == PROPOSAL
    xx.read(await _read_message(raw))
    await raw.send_all(PROPOSAL + hand.write(xx, 2))
    with trio.move_on_after(PROMPT):
        return await wire.closed(raw)
    return None


async def answer(scene: Scene, hand: Hand) -> str:
    """The victim is told to dial the attacker, whoever that turns out to be."""
    waited = False

    async def serve(raw: trio.SocketStream) -> None:
        nonlocal waited
        waited = await respond(raw, hand) is None

    async with listening(serve) as addr:
        told = await scene.victim.ask("dial", to=addr)
    if told["peer"]:
        return ACCEPTED
    typed = bool(told["attempts"]) and set(told["attempts"]) <= TYPED
    return REFUSED if typed and not waited else f"{WAITED}: {told['text']}"


async def outcomes(scene: Scene, dials: Mapping[str, Hand], answers: Mapping[str, Hand]) -> dict[str, str]:
    """How the victim took each of them; the dials are made all at once."""
    found = {}

    async def one(name: str, hand: Hand) -> None:
        found[f"{name}, dialing"] = await dial(scene, hand)

    async with trio.open_nursery() as nursery:
        for name, hand in dials.items():
            nursery.start_soon(one, name, hand)
    for name, hand in answers.items():
        found[f"{name}, answering"] = await answer(scene, hand)
    return found


def others(outcomes: Mapping[str, str], expected: str) -> list[str]:
    """Those that ended otherwise."""
    return [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome != expected]


@asynccontextmanager
async def listening(serve: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """Accept as long as the block lasts, each stream for a ``serve`` of its own; gives the address."""

    async def serve_and_close(raw: trio.SocketStream) -> None:
        async with raw:
            await serve(raw)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        nursery.start_soon(
            partial(trio.serve_listeners, serve_and_close, [listener], handler_nursery=nursery)
        )
        yield f"/ip4/127.0.0.1/tcp/{port}"
        nursery.cancel_scope.cancel()
