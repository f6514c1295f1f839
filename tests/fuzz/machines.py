"""Machines as functions of the pieces that arrive; what they return says what became known.

Two runs over the same bytes must return the same however they were cut. Nothing here catches: what a machine
raises is what is being looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from p2p.abc import Muxer, ProtocolId, Role
from p2p.identity import Identity, PrivateKey
from p2p.limits import IdentifyLimits
from p2p.muxers import Mplex, Yamux
from p2p.muxers.session import SessionStream, Touched
from p2p.negotiation.multistream import Dialer, Responder
from p2p.protocols.identify.state import Exchange
from p2p.security.noise.channel import NoiseChannel
from p2p.security.noise.handshake import Handshake, StaticKey
from p2p.security.noise.xx import XX, KeyPair
from p2p.security.plaintext import PlaintextChannel
from p2p.wire.framing import FrameReader
from tests.machines.noise_peers import Stranger, speak

Pieces = Sequence[bytes]

#: The same peers in every run, or a failure could not be had again.
US = Identity(PrivateKey.from_seed(bytes([1]) * 32))
THEM = Identity(PrivateKey.from_seed(bytes([2]) * 32))
YAMUX, ECHO, OTHER = ProtocolId("/yamux/1.0.0"), ProtocolId("/echo/1"), ProtocolId("/other/1")
MAX_MESSAGE = 1000


def x25519(number: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes([number]) * 32)


OUR_STATIC, THEIR_STATIC = StaticKey(US, x25519(1)), StaticKey(THEM, x25519(2))


# --- framing, negotiation -----------------------------------------------------------------------------


def read_frames(pieces: Pieces) -> object:
    reader = FrameReader(MAX_MESSAGE)
    messages = checksum = 0
    for piece in map(memoryview, pieces):
        while piece:
            piece = piece[reader.feed(piece) :]
            while (message := reader.next()) is not None:
                messages += 1
                checksum = crc32(message, checksum)
            assert reader.buffered <= MAX_MESSAGE + 9
    reader.feed_eof()
    return messages, checksum


def _negotiate(machine: Dialer | Responder, pieces: Pieces) -> object:
    rest = bytearray()
    answers = bytearray()
    for piece in pieces:
        rest += piece[machine.receive_data(piece) :]
        answers += machine.data_to_send()
    return machine.agreed, machine.done, bytes(rest), bytes(answers)


def negotiate_as_dialer(pieces: Pieces) -> object:
    return _negotiate(Dialer([ECHO, OTHER]), pieces)


def negotiate_as_lazy_dialer(pieces: Pieces) -> object:
    return _negotiate(Dialer([ECHO], lazy=True), pieces)


def negotiate_as_responder(pieces: Pieces) -> object:
    return _negotiate(Responder((ECHO,).__contains__, lambda: [ECHO]), pieces)


# --- Noise --------------------------------------------------------------------------------------------


def our_handshake(role: Role) -> Handshake:
    return Handshake(OUR_STATIC, x25519(3), role, expected_peer=THEM.peer_id, muxers=[YAMUX])


def their_handshake(role: Role) -> Handshake:
    return Handshake(THEIR_STATIC, x25519(4), role, muxers=[YAMUX])


def _shake_hands(ours: Handshake, pieces: Pieces) -> object:
    rest = bytearray()
    for piece in pieces:
        rest += piece[ours.receive_data(piece) :]
    established = ours.established
    facts = established and (established.remote_peer, established.early_muxer)
    return facts, bytes(rest), ours.wanted, ours.data_to_send()


def shake_hands_as_responder(pieces: Pieces) -> object:
    return _shake_hands(our_handshake(Role.RESPONDER), pieces)


def shake_hands_as_responder_after_the_first_message(pieces: Pieces) -> object:
    ours = our_handshake(Role.RESPONDER)
    ours.receive_data(their_handshake(Role.DIALER).data_to_send())
    ours.data_to_send()
    return _shake_hands(ours, pieces)


def shake_hands_as_dialer(pieces: Pieces) -> object:
    return _shake_hands(our_handshake(Role.DIALER), pieces)


def noise_message(number: int) -> bytes:
    """What an honest peer sends to ``our_handshake``, as message ``number``."""
    dialer, responder = (
        (our_handshake(Role.DIALER), their_handshake(Role.RESPONDER))
        if number == 2
        else (their_handshake(Role.DIALER), our_handshake(Role.RESPONDER))
    )
    first = dialer.data_to_send()
    if number == 1:
        return first
    responder.receive_data(first)
    second = responder.data_to_send()
    if number == 2:
        return second
    dialer.receive_data(second)
    return dialer.data_to_send()


def read_noise_message_as_dialer(data: bytes) -> bytes:
    ours = XX(Role.DIALER, KeyPair.of(x25519(1)), KeyPair.of(x25519(3)))
    ours.write_message(b"")
    return ours.read_message(data)


def read_noise_message_as_responder(data: bytes) -> bytes:
    ours = XX(Role.RESPONDER, KeyPair.of(x25519(1)), KeyPair.of(x25519(3)))
    ours.read_message(noise_message(1)[2:])
    ours.write_message(OUR_STATIC.payload((YAMUX,)))
    return ours.read_message(data)


def _hear_payload(role: Role, payload: bytes) -> object:
    """An attacker who holds keys of his own and seals what he likes in the last message."""
    theirs = Role.RESPONDER if role is Role.DIALER else Role.DIALER
    ours = our_handshake(role)
    speak(ours, Stranger(theirs, static=x25519(2)), payload[:8000])
    assert ours.established is not None
    return ours.established.remote_peer, ours.established.early_muxer


def hear_payload_as_dialer(payload: bytes) -> object:
    return _hear_payload(Role.DIALER, payload)


def hear_payload_as_responder(payload: bytes) -> object:
    return _hear_payload(Role.RESPONDER, payload)


_KEYS = (bytes(range(32)), bytes(range(32, 64)))


def our_channel() -> NoiseChannel:
    return NoiseChannel(*_KEYS)


def sealed(*plains: bytes) -> bytes:
    """Frames that :func:`our_channel` opens, one for each of ``plains`` that fits one."""
    theirs = NoiseChannel(*reversed(_KEYS))
    out = memoryview(bytearray(theirs.frame_cipher))
    most = theirs.frame_plain
    found = bytearray()
    for plain in plains:
        for part in [plain[i : i + most] for i in range(0, len(plain), most)] or [b""]:
            theirs.room(out)[: len(part)] = part
            found += out[: theirs.seal(out, len(part))]
    return bytes(found)


def _open_frames(channel: NoiseChannel | PlaintextChannel, pieces: Pieces) -> object:
    plain = memoryview(bytearray(70_000))
    waiting = bytearray()
    found = bytearray()
    for piece in pieces:
        waiting += piece
        consumed = 1
        while consumed:
            with memoryview(waiting) as view:
                consumed, produced = channel.open_into(view, plain)
            found += plain[:produced]
            del waiting[:consumed]
        assert len(waiting) < channel.frame_cipher
    return bytes(found), bytes(waiting)


def open_noise_frames(pieces: Pieces) -> object:
    return _open_frames(our_channel(), pieces)


def open_plaintext_frames(pieces: Pieces) -> object:
    return _open_frames(PlaintextChannel(), pieces)


# --- yamux, mplex -------------------------------------------------------------------------------------


def _mux(muxer: Muxer, role: Role, pieces: Pieces, *, reading: bool) -> object:
    session = muxer.session(role, now=0.0)
    out = memoryview(bytearray(70_000))
    first = session.open_stream()
    streams: dict[str, SessionStream] = {str(stream): stream for stream in (first, session.open_stream())}
    heard: dict[str, bytearray] = {}
    session.send_copy(first, memoryview(b"hello"))
    while session.write_into(out, 0.0):
        pass
    for piece in pieces:
        for stream in session.receive_data(memoryview(piece), 0.0):
            assert stream.touched
            if stream.touched & Touched.OPENED:
                assert str(stream) not in streams
            streams[str(stream)] = stream
            stream.touched = 0
            if reading:
                heard.setdefault(str(stream), bytearray()).extend(session.read(stream, None, 0.0))
        while session.write_into(out, 0.0):
            pass
        assert not session.congested
    return session.closed_by_remote, session.live_streams, [
        (name, bytes(heard.get(name, b"") + stream.received), stream.eof_received, stream.reset_code)
        for name, stream in sorted(streams.items())
    ]  # fmt: skip


def mux_as_dialer(pieces: Pieces) -> object:
    return _mux(Yamux(), Role.DIALER, pieces, reading=False)


def mux_as_responder(pieces: Pieces) -> object:
    return _mux(Yamux(), Role.RESPONDER, pieces, reading=True)


def mplex_unread(pieces: Pieces) -> object:
    return _mux(Mplex(), Role.DIALER, pieces, reading=False)


def mplex_read(pieces: Pieces) -> object:
    return _mux(Mplex(), Role.RESPONDER, pieces, reading=True)


# --- identify -----------------------------------------------------------------------------------------


def identify(pieces: Pieces) -> object:
    """The messages of one exchange, each with its length in front."""
    limits = IdentifyLimits()
    exchange = Exchange(THEM.peer_id, THEM.public_key, limits)
    reader = FrameReader(limits.max_message)
    for piece in map(memoryview, pieces):
        while piece:
            piece = piece[reader.feed(piece) :]
            if (message := reader.next()) is not None:
                exchange.receive(message)
    found = exchange.finish()
    assert found.agent_version.isprintable() and len(found.agent_version) <= limits.max_version
    assert len(found.addrs) <= limits.max_addrs and len(found.protocols) <= limits.max_protocols
    return found
