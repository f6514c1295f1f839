"""Row 35: addresses in floods, of every size, nested, and as slow to read as they can be."""

from __future__ import annotations

import itertools

import pytest

from p2p import Identity
from p2p.protocols.identify.push import IDENTIFY_PUSH
from p2p.wire.addresses import parse_user_addr
from p2p.wire.framing import encode_frame
from tests.attacks import identifying, wire
from tests.attacks.harness import Scene
from tests.attacks.identifying import LISTEN_ADDR, OBSERVED_ADDR, SIGNED_RECORD, field, varint

KIB = 1024
#: What an answer may hold.
MESSAGE, MESSAGES = 8 * KIB, 10
#: What is kept of one answer, and of a peer that just was connected; what is tried in one dial.
ONE_ANSWER, RECENT, DIALED = 64, 20, 25

DNS4, DNSADDR, SNI, HTTP_PATH, CIRCUIT = (varint(code) for code in (0x36, 0x38, 0x01C1, 0x01E1, 0x0122))
IP4, TCP = b"\x04", b"\x06"
GOOD = parse_user_addr("/ip4/127.0.0.1/tcp/4001").to_bytes()


def refusing(number: int) -> bytes:
    """An address of this machine where nobody listens: each of another network of it."""
    return IP4 + bytes([127, 1 + number // 65_536, number // 256 % 256, number % 256]) + TCP + b"\x00\x01"


def named(code: bytes, name: bytes) -> bytes:
    return code + varint(len(name)) + name


def messages(addrs: list[bytes]) -> list[bytes]:
    """Filled to the brim, one after the other."""
    found = [b""]
    for addr in addrs:
        one = field(LISTEN_ADDR, addr)
        if len(found[-1]) + len(one) > MESSAGE:
            found.append(b"")
        found[-1] += one
    return found


async def kept(scene: Scene, identity: Identity) -> list[str]:
    return (await scene.victim.ask("peers")).get(str(identity.peer_id), [])


ODD = {
    "none": [],
    "an empty one": [b""],
    "64 KiB": [GOOD * 8192],
    "one of more than 1 KiB": [GOOD * 129],
    "one of more than 16 parts": [GOOD + CIRCUIT * 15],
    "a circuit through 100 circuits": [CIRCUIT * 100],
    "one cut short": [GOOD[:-1]],
    "one that is no address": [b"\xff" * 40],
    "a protocol nobody knows": [varint(0x3FFF) + b"\0"],
    "a name with a line of its own": [named(DNS4, b"a\nb.example")],
}


@pytest.mark.lifted(
    limits={
        "identify": {"max_addrs": 10**6},
        "peerstore": {"max_connected_addrs": 10**6, "max_recent_addrs": 10**6},
        "dial_addresses": 10**6,
    }
)
async def test_row_35_addresses(attack):
    """10,000 of one peer, over many connections; then the victim is told to dial it."""
    numbers = itertools.count(1)
    many = [refusing(next(numbers)) for _ in range(10_000)]
    identity = Identity.generate()
    async with attack() as scene:
        # In one answer: more than fit are refused, and of those that fit the first are kept.
        assert len(messages(many)) > MESSAGES
        outcome, flooding = await identifying.join(scene, messages(many))
        assert outcome == identifying.RESET
        await flooding.raw.aclose()
        outcome, first = await identifying.join(scene, messages(many)[:MESSAGES], identity=identity)
        assert outcome == identifying.READ
        assert len(await kept(scene, identity)) == ONE_ANSWER
        # In many answers, while the first connection lives: each replaces what the one before told.
        for start in range(ONE_ANSWER, 16 * ONE_ANSWER, ONE_ANSWER):
            answer = messages(many[start : start + ONE_ANSWER])
            outcome, connection = await identifying.join(scene, answer, identity=identity)
            assert outcome == identifying.READ
            await connection.raw.aclose()
        assert len(await kept(scene, identity)) == ONE_ANSWER
        await first.raw.aclose()
        await scene.wait_until("connections", 1)  # the canary's
        assert 0 < len(await kept(scene, identity)) <= RECENT

        # What it said is dialed, a little of it: while it is going away, when all of it is still known, and after.
        outcome, connection = await identifying.join(scene, messages(many)[:1], identity=identity)
        assert outcome == identifying.READ
        await connection.send(wire.opening(1, "/attacks/hang") + wire.header(wire.GO_AWAY, 0, 0, 0))
        await connection.send(wire.header(wire.PING, wire.SYN, 0, 7))
        while (frame := await connection.receive_frame()) is not None and frame.kind != wire.PING:
            pass
        assert len(await kept(scene, identity)) > DIALED
        told = await scene.victim.ask("dial", to=str(identity.peer_id))
        assert (told["error"], len(told["attempts"])) == ("AllAttemptsFailed", DIALED)
        await connection.raw.aclose()
        await scene.wait_until("connections", 1)
        told = await scene.victim.ask("dial", to=str(identity.peer_id))
        assert told["error"] == "AllAttemptsFailed" and len(told["attempts"]) <= RECENT


@pytest.mark.lifted(
    patches={"p2p.protocols.identify.state:parse_peer_addr": "__import__('p2p').Multiaddr"},
)
async def test_row_35_odd_addresses(attack):
    """None is kept, none is followed, and the connection lives on."""
    async with attack() as scene:
        for name, addrs in ODD.items():
            identity = Identity.generate()
            outcome, _ = await identifying.join(
                scene, messages([*addrs, GOOD]) if addrs else [b""], identity=identity
            )
            # One that fits no message takes the answer with it.
            assert outcome == (identifying.RESET if name == "64 KiB" else identifying.READ), name
            expected = [] if name in ("none", "64 KiB") else ["/ip4/127.0.0.1/tcp/4001"]
            assert await kept(scene, identity) == expected, name

        # A name that leads to itself is kept, and leads nowhere: there is nobody here to look it up.
        identity = Identity.generate()
        loop = [named(DNSADDR, f"{number}.example".encode()) for number in range(40)]
        outcome, connection = await identifying.join(scene, messages(loop), identity=identity)
        assert outcome == identifying.READ and len(await kept(scene, identity)) == len(loop)
        await connection.raw.aclose()
        await scene.wait_until("connections", 1 + len(ODD))
        told = await scene.victim.ask("dial", to=str(identity.peer_id))
        assert told["error"] == "NoAddresses"
        assert set(told["attempts"]) == {"InvalidAddress"} and len(told["attempts"]) <= DIALED


#: What takes the longest to read: in one address of at most 1 KiB, and such that 64 of them fit a record.
SLOW = {
    "names of many parts": lambda n: named(DNS4, b".".join([b"a"] * 116 + [b"%d" % n])) * 4,
    "names that are no ASCII": lambda n: named(DNS4, f"{'ü.' * 20}{n}".encode()),
    "many names": lambda n: named(SNI, b"a%d" % n) * 16,
    "numbers": lambda n: refusing(n)[:5] * 16,
    "escapes": lambda n: named(HTTP_PATH, b"%%%d" % n + b"%" * 32) * 14,
}


@pytest.mark.lifted(limits={"identify": {"max_addrs": 10**6}})
async def test_row_35_slow_addresses(attack):
    """As many as there may be in an answer, and in a signed record; only the loop of the victim is judged."""
    async with attack() as scene:
        for name, addr in SLOW.items():
            identity = Identity.generate()
            addrs = [addr(number) for number in range(8000)]
            fitting = messages(addrs)[:MESSAGES]
            outcome, plain = await identifying.join(scene, fitting, identity=identity)
            assert outcome == identifying.READ, name
            assert 0 < len(await kept(scene, identity)) <= ONE_ANSWER, name
            record = b""
            for count in range(1, 129):
                more = identifying.record(identity, addrs[:count])
                if len(more) > MESSAGE - 8:
                    break
                record = more
            said = [field(SIGNED_RECORD, record), field(OBSERVED_ADDR, addrs[0])]
            outcome, signed = await identifying.join(scene, said, identity=identity)
            assert outcome == identifying.READ, name
            assert 0 < len(await kept(scene, identity)) <= 2 * ONE_ANSWER, name
            await plain.raw.aclose()
            await signed.raw.aclose()
            await scene.wait_until("connections", 1)
            told = await scene.victim.ask("dial", to=str(identity.peer_id))
            assert told["error"] in ("NoAddresses", "AllAttemptsFailed"), (name, told)


#: Pushes in a row: those within the burst are read, and of the others the last.
PUSHES = 300


@pytest.mark.lifted(
    patches={
        "p2p.protocols.identify.state:open_peer_record": "lifts.of_the_signer",
        "p2p.peerstore.memory:open_peer_record": "lifts.of_the_signer",
    }
)
async def test_row_35_pushes(attack):
    """CVE-2023-40583: pushes without end, each of messages filled to the brim and of the record of another peer."""
    identity = Identity.generate()
    others = [Identity.generate() for _ in range(PUSHES)]
    addrs = messages([refusing(number) for number in range(10_000)])[: MESSAGES - 1]
    async with attack() as scene:
        outcome, connection = await identifying.join(scene, [b""], identity=identity)
        assert outcome == identifying.READ
        for number, other in enumerate(others):
            # Of another by its own hand, and of another by the attacker's.
            signer = identity if number % 2 else other
            record = identifying.record(signer, [GOOD], peer_id=other.peer_id.to_bytes())
            said = b"".join(map(encode_frame, [*addrs, field(SIGNED_RECORD, record)]))
            stream = 2 * number + 1
            await connection.send(wire.opening(stream, IDENTIFY_PUSH) + wire.data(stream, said, wire.FIN))
        assert await connection.receive_end_of(2 * PUSHES - 1) is not None
        told = await scene.victim.ask("peers")
        assert [addrs for addrs in told.values() if addrs] == []
        assert not {str(other.peer_id) for other in others} & set(told)

        # It would be kept, of the one whose it is.
        record = identifying.record(identity, [GOOD])
        stream = 2 * PUSHES + 1
        said = encode_frame(field(SIGNED_RECORD, record))
        await connection.send(wire.opening(stream, IDENTIFY_PUSH) + wire.data(stream, said, wire.FIN))
        assert await connection.receive_end_of(stream) is not None
        assert await kept(scene, identity) == ["/ip4/127.0.0.1/tcp/4001"]
