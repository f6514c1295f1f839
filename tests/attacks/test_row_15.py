"""Row 15: protobuf that expands, nests, repeats and lies: in answers to identify, in requests to fetch, and in the
payloads of Noise.
"""

from __future__ import annotations

import pytest

from p2p import Identity
from p2p.protocols.fetch import FETCH
from p2p.wire.framing import encode_frame
from tests.attacks import identifying, wire, xx
from tests.attacks.harness import Verdict
from tests.attacks.identifying import AGENT_VERSION, LISTEN_ADDR, PROTOCOL, PUBLIC_KEY, field, varint

KIB = 1024
MESSAGE = 8 * KIB
#: What a message may take of the event loop.
VERDICT = Verdict(stall=0.010)

UNKNOWN = 15
START_GROUP, END_GROUP = (bytes([UNKNOWN << 3 | wire_type]) for wire_type in (3, 4))


def empty(number: int, size: int = MESSAGE) -> bytes:
    """As many empty fields as there is room for."""
    return field(number, b"") * (size // 2)


def full(*, size: int) -> bytes:
    """One field nobody knows."""
    return field(UNKNOWN, bytes(size))


# --- anywhere -----------------------------------------------------------------------------------------


def malformed(size: int) -> dict[str, bytes]:
    """No message of whatever kind, in at most ``size`` bytes."""
    return {
        "groups in groups": START_GROUP * (size // 2) + END_GROUP * (size // 2),
        "groups without an end": START_GROUP * size,
        "an end without a group": END_GROUP,
        "unknown empty fields": empty(UNKNOWN, size),
        "2 GiB inside": varint(UNKNOWN << 3 | 2) + bytes.fromhex("ffffffff07"),
        "2^63 inside": varint(UNKNOWN << 3 | 2) + bytes.fromhex("80808080808080808001"),
        "a tag without end": b"\xff" * 20,
        "a number without end": varint(UNKNOWN << 3) + b"\xff" * 20,
        "field number 0": b"\x02\x00",
        "wire type 6": bytes([UNKNOWN << 3 | 6]),
        "wire type 7": bytes([UNKNOWN << 3 | 7]),
        "a fixed number cut short": bytes([UNKNOWN << 3 | 1]) + bytes(7),
        "a byte behind it": b"\x00",
    }


# --- identify -----------------------------------------------------------------------------------------

REFUSED = {name: [message] for name, message in malformed(MESSAGE).items()} | {
    "empty protocols": [empty(PROTOCOL)],
    "empty addresses": [empty(LISTEN_ADDR)],
    "an agent again and again": [empty(AGENT_VERSION)],
    "an agent twice": [field(AGENT_VERSION, b"one") + field(AGENT_VERSION, b"two")],
    "a protocol that is a number": [varint(PROTOCOL << 3) + b"\x01"],
    "a protocol that is no UTF-8": [field(PROTOCOL, b"/\xff")],
    "an agent that is no UTF-8": [field(AGENT_VERSION, b"\xed\xa0\x80")],
    "a protocol of 257 bytes": [field(PROTOCOL, b"/" * 257)],
    "a key of 3 KiB": [field(PUBLIC_KEY, bytes(3 * KIB))],
    "another's key": [field(PUBLIC_KEY, Identity.generate().public_key.to_protobuf())],
    "eleven messages": [b""] * 11,
    "a thousand messages": [b""] * 1000,
    "no message": [],
}

#: No fault of a message, and nothing much comes of them.
READ = {
    "nothing": [b""],
    "an agent in two messages": [field(AGENT_VERSION, b"one"), field(AGENT_VERSION, b"two")],
    "numbers packed in an unknown field": [full(size=8000)],
    "eight KiB, ten times": [full(size=8000)] * 10,
    "1000 protocols, ten times": [field(PROTOCOL, b"/12345") * 1000] * 10,
    "as many addresses as there are empty ones": [empty(LISTEN_ADDR, 2 * KIB)] * 10,
    "a record that is no envelope": [field(identifying.SIGNED_RECORD, empty(1, 8000))],
}


def in_a_record(identity: Identity) -> dict[str, list[bytes]]:
    """What is wrong in a record does not matter but to the record."""
    payloads = malformed(7 * KIB) | {"empty addresses": empty(3, 7 * KIB), "nothing": b""}
    return {
        f"a record: {name}": [field(identifying.SIGNED_RECORD, identifying.sealed(identity, payload))]
        for name, payload in payloads.items()
    }


@pytest.mark.lifted(patches={"p2p.wire.guards:Guard.check": "lifts.unguarded"})
async def test_row_15_expansion(attack):
    """In an answer to identify: the stream is reset, the connection lives, nothing is kept."""
    async with attack(verdict=VERDICT) as scene:
        identity = Identity.generate()
        expected = dict.fromkeys(REFUSED, identifying.RESET)
        expected |= dict.fromkeys([*READ, *in_a_record(identity)], identifying.READ)
        found = {}
        for name, messages in (REFUSED | READ | in_a_record(identity)).items():
            found[name], connection = await identifying.join(scene, messages, identity=identity)
            await connection.raw.aclose()
        # A length that says 1 MiB, and as much of it as the window lets pass.
        name = "1 MiB of an unknown field"
        expected[name] = identifying.RESET
        found[name] = await identifying.answer(
            scene, [], raw=encode_frame(full(size=1024 * KIB))[: 200 * KIB]
        )
        wrong = [f"{name}: {outcome}" for name, outcome in found.items() if outcome != expected[name]]
        assert not wrong, "\n".join(wrong)
        assert not (await scene.victim.ask("peers")).get(str(identity.peer_id))


# --- fetch --------------------------------------------------------------------------------------------

IDENTIFIER = 1
REQUESTS = malformed(KIB) | {
    "a key twice": field(IDENTIFIER, b"a") + field(IDENTIFIER, b"b"),
    "keys again and again": empty(IDENTIFIER, KIB),
    "a key that is a number": varint(IDENTIFIER << 3) + b"\x01",
}


@pytest.mark.lifted(patches={"p2p.wire.guards:Guard.check": "lifts.unguarded"})
async def test_row_15_in_fetch(attack):
    """In a request: its stream is reset, and the connection answers the next."""
    async with attack(verdict=VERDICT) as scene:
        connection = await scene.secure()
        wrong = []
        for number, (name, message) in enumerate([*REQUESTS.items(), ("a key", field(IDENTIFIER, b"a"))]):
            stream = 2 * number + 1
            await connection.send(wire.opening(stream, FETCH) + wire.data(stream, encode_frame(message)))
            end = await connection.receive_end_of(stream)
            assert end is not None, name
            if bool(end.flags & wire.RST) != (name in REQUESTS):
                wrong.append(name)
        assert not wrong, ", ".join(wrong)


# --- Noise --------------------------------------------------------------------------------------------

IDENTITY_KEY, IDENTITY_SIG, EXTENSIONS = 1, 2, 4
STREAM_MUXER = 2
#: What an honest payload and the keys around it leave of a handshake message.
ROOM = 7 * KIB

BEHIND = malformed(ROOM) | {
    "keys again and again": empty(IDENTITY_KEY, ROOM),
    "a key twice": field(IDENTITY_KEY, Identity.generate().public_key.to_protobuf()),
    "a signature twice": field(IDENTITY_SIG, bytes(64)),
    "extensions again and again": empty(EXTENSIONS, ROOM),
    "extensions twice": field(EXTENSIONS, b""),
    "a key that is a number": varint(IDENTITY_KEY << 3) + b"\x01",
}
EXTENDED = malformed(ROOM) | {
    "empty muxers": empty(STREAM_MUXER, ROOM),
    "101 muxers": field(STREAM_MUXER, b"/m") * 101,
    "a muxer of 257 bytes": field(STREAM_MUXER, b"/" * 257),
    "a muxer that is no UTF-8": field(STREAM_MUXER, b"\xff"),
    "a muxer that is a number": varint(STREAM_MUXER << 3) + b"\x01",
}
KEYS = malformed(KIB) | {
    "a kind of 64 bits": b"\x08" + b"\xff" * 9 + b"\x01" + b"\x12\x00",
    "a kind below zero": b"\x08" + b"\xff" * 9 + b"\x01" + field(2, bytes(32)),
    "data again and again": b"\x08\x01" + empty(2, KIB),
}
GOOD = {
    "an unknown field": full(size=6 * KIB),
    "numbers in unknown fields": (varint(UNKNOWN << 3) + b"\x01") * 100,
}


def hands() -> tuple[dict[str, xx.Hand], dict[str, xx.Hand]]:
    """The good ones, and the bad ones."""

    def signed(static: bytes, key: bytes | None = None) -> bytes:
        """An honest payload but for the extensions, or with another key."""
        identity = Identity.generate()
        key = identity.public_key.to_protobuf() if key is None else key
        return field(IDENTITY_KEY, key) + field(IDENTITY_SIG, identity.sign(xx.SIGNED + static))

    def behind(bytes_behind: bytes) -> xx.Hand:
        return xx.Hand(payload=lambda static: xx.honest_payload(static) + bytes_behind)

    def extended(extensions: bytes) -> xx.Hand:
        muxers = field(EXTENSIONS, field(STREAM_MUXER, wire.YAMUX.encode()) + extensions)
        return xx.Hand(payload=lambda static: signed(static) + muxers)

    def keyed(key: bytes) -> xx.Hand:
        return xx.Hand(payload=lambda static: signed(static, key))

    good = {name: behind(more) for name, more in GOOD.items()}
    good |= {f"in the extensions: {name}": extended(more) for name, more in GOOD.items()}
    bad = {name: behind(more) for name, more in BEHIND.items()}
    bad |= {f"in the extensions: {name}": extended(more) for name, more in EXTENDED.items()}
    bad |= {f"in the key: {name}": keyed(more) for name, more in KEYS.items()}
    bad |= {
        "nothing": xx.Hand(payload=lambda static: b""),
        "no signature": xx.Hand(payload=lambda static: signed(static)[:38]),
        "no key": xx.Hand(payload=lambda static: signed(static)[38:]),
    }
    return good, bad


@pytest.mark.lifted(patches={"p2p.wire.guards:Guard.check": "lifts.unguarded"})
async def test_row_15_in_noise(attack):
    """In what a dialer and a responder say of themselves: no connection comes of it."""
    good, bad = hands()
    async with attack(verdict=VERDICT) as scene:
        wrong = xx.others(await xx.outcomes(scene, good, good), xx.ACCEPTED)
        wrong += xx.others(await xx.outcomes(scene, bad, bad), xx.REFUSED)
        assert not wrong, "\n".join(wrong)
