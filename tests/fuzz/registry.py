"""Every function and every machine that takes apart what a peer sent, with what it may cost and how it may refuse.

``test_the_registry_is_complete.py`` finds those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio
from cryptography.exceptions import InvalidTag

from p2p.errors import (
    HandshakeFailed,
    NegotiationError,
    NoCommonProtocol,
    PeerIdMismatch,
    RemoteProtocolError,
    SecurityError,
)
from p2p.identity import KeyType, PeerId, PublicKey, SignedEnvelope, ec, ed25519, open_peer_record, rsa
from p2p.identity.peer_record import DOMAIN, PAYLOAD_TYPE
from p2p.limits import KIB, IdentifyLimits
from p2p.muxers.connection import MuxedConnection
from p2p.muxers.mplex import MplexSession
from p2p.muxers.yamux import YamuxSession
from p2p.negotiation import select
from p2p.negotiation.multistream import Dialer, Responder
from p2p.negotiation.select import RawHandshake
from p2p.peerstore import Peerstore
from p2p.protocols.identify.push import read_identification
from p2p.protocols.identify.state import Exchange
from p2p.protocols.ping import ping
from p2p.protocols.share.door import Door
from p2p.protocols.share.manifest import Assembling
from p2p.security.noise import Noise
from p2p.security.noise.channel import NoiseChannel
from p2p.security.noise.handshake import Handshake
from p2p.security.noise.xx import XX
from p2p.security.plaintext import PlaintextChannel, _Plaintext
from p2p.streams import MessageReader, read_exactly, read_lp
from p2p.transports.sealed import SealedRaw
from p2p.transports.upgraded import Upgraded
from p2p.wire import fetch_messages, messages, plaintext_messages, share_messages, varint
from p2p.wire.addresses import parse_peer_addr, parts, split_peer
from p2p.wire.fetch_messages import FetchStatus
from p2p.wire.framing import FrameReader, encode_frame
from p2p.wire.guards import LENGTH, VARINT, FieldRule, Guard
from p2p.wire.printable import printable
from tests.fuzz import machines, readers, seeds, shares
from tests.fuzz.machines import THEM, Pieces

Refusals = tuple[type[BaseException], ...]
BROKEN: Refusals = (RemoteProtocolError,)
HANDSHAKE: Refusals = (HandshakeFailed, PeerIdMismatch)
NEGOTIATION: Refusals = (RemoteProtocolError, NoCommonProtocol)
RAW: Refusals = (RemoteProtocolError, NegotiationError, HandshakeFailed)
UPGRADE: Refusals = (RemoteProtocolError, NegotiationError, SecurityError, trio.BrokenResourceError)


@dataclass(frozen=True, repr=False)
class Entry:
    """One parser.

    ``parse`` is given the bytes in pieces. With ``chunks`` it takes them as they arrive, and its result is the same
    however they were cut; else it joins them.
    """

    #: The function that is tested: the registry is complete by these.
    target: Callable[..., object]
    parse: Callable[[Pieces], object]
    #: What it accepts (unless it is ``fresh``: fresh keys leave nothing that could be replayed).
    seeds: tuple[bytes, ...]
    #: How it refuses, as its docstring says.
    refuses: Refusals = BROKEN
    #: Which of several entries for one function.
    variant: str = ""
    chunks: bool = False
    seldom: bool = False
    fresh: bool = False
    #: The longest input whose cost is measured; what comes in one piece is never longer.
    largest: int = 64 * KIB
    #: The most bytes it has allocated at any moment, for such inputs.
    memory: int = 16 * KIB
    #: The most seconds of a processor that one input may take (security.md: no loop stall over 50 ms).
    seconds: float = 0.05
    #: What once went wrong, and what chance would hardly find.
    kept: tuple[bytes, ...] = ()

    @property
    def name(self) -> str:
        return name_of(self.target)

    def __repr__(self) -> str:
        return f"{self.name}{f' ({self.variant})' if self.variant else ''}"


def name_of(target: Callable[..., object]) -> str:
    """The dotted name of a function, where it is defined."""
    return f"{target.__module__}.{target.__qualname__}"


def codec(
    target: Callable[..., Any], *seeds: bytes, parse: Callable[[bytes], object] | None = None, **options: Any
) -> Entry:
    """An entry for a function of bytes."""
    take = parse or target
    return Entry(target, lambda pieces: take(b"".join(pieces)), seeds, **options)


def machine(
    target: Callable[..., Any], parse: Callable[[Pieces], object], *seeds: bytes, **options: Any
) -> Entry:
    """An entry for what is fed, or waits for its bytes."""
    return Entry(target, parse, seeds, **{"chunks": True, "memory": 32 * KIB, **options})


def reader(
    target: Callable[..., Any], parse: Callable[[Pieces], object], *seeds: bytes, **options: Any
) -> Entry:
    """An entry for what waits for its bytes. The run of Trio that it needs counts too, and is made less often."""
    return machine(target, parse, *seeds, **{"memory": 256 * KIB, "seconds": 0.5, "seldom": True, **options})


# --- functions that take or give more than bytes ------------------------------------------------------

NESTED = Guard(
    100, {1: FieldRule(VARINT, max_count=3), 2: FieldRule(LENGTH, max_length=10, max_count=4)}, max_elements=8
)
GUARD = Guard(300, {1: FieldRule(VARINT), 3: FieldRule(LENGTH, max_count=5, nested=NESTED)}, max_elements=20)


def decode_varint(data: bytes) -> object:
    value, end = varint.decode(data, max_value=varint.MAX_VALUE)
    assert 0 <= value <= varint.MAX_VALUE and varint.encode(value) == data[:end]
    return value


def decode_part_of_varint(data: bytes) -> object:
    return varint.decode_partial(data, max_value=machines.MAX_MESSAGE)


def read_addr(data: bytes) -> object:
    """With what the rest of the package does to an address: none of that may fail any more."""
    addr = parse_peer_addr(data)
    assert addr.to_bytes() == data
    for part in parts(addr):
        if part.protocol == "p2p":
            PeerId.from_text(part.value or "")
    split_peer(addr)
    return str(addr)


def key_in_peer_id(data: bytes) -> object:
    return PeerId.from_bytes(data).public_key()


def open_envelope(data: bytes) -> object:
    return SignedEnvelope.open(data, domain=DOMAIN, payload_type=PAYLOAD_TYPE)


def take_record(data: bytes) -> object:
    store = Peerstore()
    try:
        return store.add_record(data, peer=THEM.peer_id, now=0.0)
    except RemoteProtocolError:
        assert not len(store) and store.record(THEM.peer_id) is None
        raise


def take_identify_message(data: bytes) -> object:
    exchange = Exchange(THEM.peer_id, THEM.public_key, IdentifyLimits())
    exchange.receive(data)
    return exchange.finish()


def show(data: bytes) -> None:
    for text in (printable(data), printable(data[:2000].decode("utf-8", "replace"))):
        assert len(text) <= 128 and text.isascii() and text.isprintable()


def verify(kind: KeyType, method: Callable[[PublicKey, bytes, bytes], bool] = PublicKey.verify) -> Entry:
    key = PublicKey.from_protobuf(bytes.fromhex(seeds.SIGNED[kind]["public"]))
    good = bytes.fromhex(seeds.SIGNED[kind]["signature"])

    def judge(data: bytes) -> object:
        valid = method(key, seeds.MESSAGE, data)
        assert valid or data != good
        return valid

    return codec(method, good, parse=judge, refuses=(), variant=kind.name)


# --- the registry -------------------------------------------------------------------------------------

FRAMES = machines.sealed(b"hello", b"", b"x" * 300)
RECORD_MESSAGE = messages.PeerRecordMessage(THEM.peer_id.to_bytes(), 7, seeds.ADDRS)

WIRE = (
    codec(varint.decode, b"\x05", b"\xff\x7f", b"\xff" * 8 + b"\x7f", parse=decode_varint),
    codec(varint.decode_partial, b"\x05", b"\xff\x01", b"\x80", parse=decode_part_of_varint),
    machine(
        FrameReader.feed,
        machines.read_frames,
        encode_frame(b"hello") * 3,
        encode_frame(b"x" * 300),
        largest=2 * KIB,
    ),
    codec(Guard.check, b"\x08\x05\x1a\x06\x08\x01\x12\x02ab", parse=GUARD.check),
    codec(messages.decode_public_key, *seeds.KEYS.values()),
    codec(messages.decode_envelope, seeds.RECORD),
    codec(messages.decode_peer_record, messages.encode_peer_record(RECORD_MESSAGE)),
    codec(
        messages.decode_noise_payload,
        seeds.NOISE_PAYLOAD,
        seeds.SHORT_NOISE_PAYLOAD,
        kept=(b"\x0a\1k\x12\1s\x22\3\x12\1\xff",),
    ),
    codec(plaintext_messages.decode_plaintext_exchange, seeds.EXCHANGE),
    codec(
        messages.decode_identify,
        seeds.IDENTIFY,
        seeds.SHORT_IDENTIFY,
        seeds.IDENTIFY_WITH_RECORD_OF_ANOTHER,
        memory=256 * KIB,
        kept=(b"\x1a\1\xff", b"\x2a\1\xff", b"\x32\1\xff"),
    ),
    codec(fetch_messages.decode_fetch_request, fetch_messages.encode_fetch_request(b"/ipns/key")),
    codec(
        fetch_messages.decode_fetch_answer,
        *(
            fetch_messages.encode_fetch_answer(fetch_messages.FetchAnswer(status, b"v"))
            for status in FetchStatus
        ),
        b"",
        memory=80 * KIB,
    ),
    codec(parse_peer_addr, *seeds.ADDRS, parse=read_addr),
    codec(
        printable, b"agent/1.0", b"\x1b[2J\r\n\xe2\x80\xae", "\U0001f600\\".encode(), parse=show, refuses=()
    ),
)

IDENTITY = (
    codec(PublicKey.from_protobuf, *seeds.KEYS.values()),
    codec(ed25519.load_public, seeds.KEY_DATA[KeyType.ED25519]),
    codec(rsa.load_public, seeds.KEY_DATA[KeyType.RSA]),
    codec(ec.load_secp256k1_public, seeds.KEY_DATA[KeyType.SECP256K1]),
    codec(ec.load_ecdsa_public, seeds.KEY_DATA[KeyType.ECDSA]),
    *(verify(kind) for kind in seeds.SIGNED),
    *(verify(kind, PublicKey.verify_repeated) for kind in seeds.SIGNED),
    codec(PeerId.from_bytes, THEM.peer_id.to_bytes(), b"\x12\x20" + bytes(32)),
    codec(PeerId.public_key, THEM.peer_id.to_bytes(), b"\x12\x20" + bytes(32), parse=key_in_peer_id),
    codec(SignedEnvelope.open, seeds.RECORD, parse=open_envelope),
    codec(open_peer_record, seeds.RECORD, seeds.RECORD_OF_ANOTHER),
    codec(Peerstore.add_record, seeds.RECORD, parse=take_record),
)

NEGOTIATING = (
    machine(
        Dialer.receive_data,
        machines.negotiate_as_dialer,
        seeds.MULTISTREAM + seeds.ECHO + b"next",
        seeds.MULTISTREAM + seeds.NA + seeds.OTHER,
        refuses=NEGOTIATION,
        variant="dialer",
    ),
    machine(
        Dialer.receive_data,
        machines.negotiate_as_lazy_dialer,
        seeds.MULTISTREAM + seeds.ECHO + b"next",
        refuses=NEGOTIATION,
        variant="lazy dialer",
    ),
    machine(
        Responder.receive_data,
        machines.negotiate_as_responder,
        seeds.MULTISTREAM + seeds.LS + seeds.OTHER + seeds.ECHO + b"next",
        variant="responder",
    ),
    reader(RawHandshake.read_exactly, readers.handshake_read_exactly, b"x" * 25, refuses=RAW),
    reader(
        RawHandshake.read_some,
        readers.handshake_read_some,
        seeds.MULTISTREAM + seeds.ECHO + b"next",
        refuses=(*RAW, NoCommonProtocol),
        variant="behind a lazy proposal",
    ),
    reader(
        select.propose,
        readers.handshake_propose,
        seeds.MULTISTREAM + seeds.NA + seeds.OTHER,
        refuses=(RemoteProtocolError, NegotiationError),
    ),
    reader(
        select.respond,
        readers.handshake_respond,
        seeds.MULTISTREAM + seeds.LS + seeds.OTHER + seeds.ECHO,
        refuses=(RemoteProtocolError, NegotiationError),
    ),
)

SECURING = (
    machine(
        Handshake.receive_data,
        machines.shake_hands_as_responder,
        machines.noise_message(1),
        refuses=HANDSHAKE,
        variant="responder",
        kept=tuple(b"\0\x20" + point for point in seeds.LOW_ORDER),
    ),
    machine(
        Handshake.receive_data,
        machines.shake_hands_as_responder_after_the_first_message,
        machines.noise_message(3),
        refuses=HANDSHAKE,
        variant="responder, its message sent",
    ),
    machine(
        Handshake.receive_data,
        machines.shake_hands_as_dialer,
        machines.noise_message(2),
        refuses=HANDSHAKE,
        variant="dialer",
        kept=tuple(b"\0\xd8" + point + bytes(0xB8) for point in seeds.LOW_ORDER),
    ),
    *(
        codec(
            Handshake.receive_data,
            seeds.NOISE_PAYLOAD,
            parse=parse,
            refuses=HANDSHAKE,
            variant=f"{role}, a payload that authenticates",
            memory=256 * KIB,
        )
        for role, parse in (
            ("dialer", machines.hear_payload_as_dialer),
            ("responder", machines.hear_payload_as_responder),
        )
    ),
    *(
        codec(
            XX.read_message,
            machines.noise_message(number)[2:],
            parse=parse,
            refuses=(InvalidTag, ValueError),
            variant=f"message {number}",
            largest=8 * KIB,  # NoiseLimits.max_handshake_message
            memory=64 * KIB,
        )
        for number, parse in (
            (2, machines.read_noise_message_as_dialer),
            (3, machines.read_noise_message_as_responder),
        )
    ),
    machine(NoiseChannel.open_into, machines.open_noise_frames, FRAMES, memory=256 * KIB),
    machine(
        PlaintextChannel.open_into, machines.open_plaintext_frames, b"hello", refuses=(), memory=256 * KIB
    ),
    reader(SealedRaw.receive_into, readers.receive_sealed, FRAMES, memory=512 * KIB),
    reader(
        Noise.secure,
        readers.secure_with_noise_as_dialer,
        machines.noise_message(2),
        fresh=True,
        refuses=HANDSHAKE,
        variant="dialer",
    ),
    reader(
        Noise.secure,
        readers.secure_with_noise_as_responder,
        machines.noise_message(1),
        fresh=True,
        refuses=HANDSHAKE,
        variant="responder",
    ),
    reader(
        _Plaintext.secure,
        readers.secure_with_plaintext,
        encode_frame(seeds.EXCHANGE),
        refuses=HANDSHAKE,
    ),
)

MUXING = (
    machine(
        YamuxSession.receive_data, machines.mux_as_dialer, *seeds.yamux(2), variant="dialer", memory=128 * KIB
    ),
    machine(
        YamuxSession.receive_data,
        machines.mux_as_responder,
        *seeds.yamux(1),
        variant="responder",
        memory=128 * KIB,
    ),
    machine(
        MplexSession.receive_data, machines.mplex_unread, *seeds.MPLEX, variant="unread", memory=128 * KIB
    ),
    machine(MplexSession.receive_data, machines.mplex_read, *seeds.MPLEX, variant="read", memory=160 * KIB),
)

CONNECTIONS = (
    reader(
        MuxedConnection.run,
        readers.pump,
        *seeds.STREAMS,
        *seeds.yamux(2),
        variant="yamux",
        refuses=RAW,
    ),
    reader(MuxedConnection.run, readers.pump_mplex, *seeds.MPLEX, variant="mplex", refuses=RAW),
    reader(
        Upgraded.accept,
        readers.accept_connection,
        seeds.MULTISTREAM + seeds.NOISE + machines.noise_message(1),
        fresh=True,
        refuses=UPGRADE,
    ),
    reader(
        Upgraded.dial,
        readers.dial_connection,
        seeds.MULTISTREAM + seeds.NOISE + machines.noise_message(2),
        fresh=True,
        refuses=UPGRADE,
    ),
)

PROTOCOLS = (
    reader(read_exactly, readers.read_one_exactly, b"x" * 20),
    reader(read_lp, readers.read_one_message, encode_frame(b"hello")),
    reader(
        MessageReader.receive,
        readers.read_messages,
        encode_frame(b"hello") * 3,
        encode_frame(b"x" * 300),
        largest=KIB,
    ),
    codec(
        Exchange.receive,
        seeds.IDENTIFY,
        seeds.SHORT_IDENTIFY,
        seeds.IDENTIFY_WITH_RECORD_OF_ANOTHER,
        parse=take_identify_message,
        memory=256 * KIB,
        variant="one message",
    ),
    machine(
        Exchange.receive,
        machines.identify,
        encode_frame(seeds.IDENTIFY),
        encode_frame(seeds.IDENTIFY_WITH_RECORD_OF_ANOTHER) + encode_frame(b""),
        variant="a stream",
    ),
    reader(
        read_identification,
        readers.answer_to_identify,
        encode_frame(seeds.IDENTIFY_OF_ANYBODY),
        encode_frame(seeds.SHORT_IDENTIFY),
    ),
    reader(ping, readers.answer_to_ping, readers.PONG),
)

SHARES = (
    codec(share_messages.decode_hello, shares.HELLO),
    codec(share_messages.decode_answer, *shares.ANSWERS),
    codec(share_messages.decode_part, *shares.PARTS, memory=512 * KIB),
    codec(share_messages.decode_request, *shares.REQUESTS),
    codec(share_messages.decode_reply, *shares.REPLIES),
    codec(Door.admit, shares.HELLO, shares.HELLO_FOR_NOTHING, parse=shares.knock),
    codec(Assembling.receive, *shares.PARTS, parse=shares.assemble, memory=512 * KIB),
)

REGISTRY = (*WIRE, *IDENTITY, *NEGOTIATING, *SECURING, *MUXING, *CONNECTIONS, *PROTOCOLS, *SHARES)
