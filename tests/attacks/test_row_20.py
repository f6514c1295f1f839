"""Row 20: another peer answers than the one that was dialed, and peer ids in forms that are none."""

from __future__ import annotations

import hashlib

import pytest
import trio

from p2p import Identity
from p2p.errors import PeerIdMismatch
from p2p.identity import KeyType, PrivateKey
from p2p.wire import multibase
from p2p.wire.addresses import parse_user_addr
from tests.attacks import identifying, wire, xx
from tests.attacks.identifying import LISTEN_ADDR, SIGNED_RECORD, field

PROMPT = 1.0

ME, OTHER = Identity.generate(), Identity.generate()
KEY = ME.public_key.to_protobuf()
LONG_KEY = PrivateKey.generate(KeyType.ECDSA).public_key.to_protobuf()
SHA2_256 = b"\x12\x20"

#: What is no peer id, in bytes.
NO_IDS = {
    "nothing": b"",
    "a hash cut short": (SHA2_256 + bytes(32))[:-1],
    "a byte behind the hash": SHA2_256 + bytes(33),
    "SHA-512": b"\x13\x40" + bytes(64),
    "SHA-1": b"\x11\x14" + bytes(20),
    "a length in two bytes": b"\x12\xa0\x00" + bytes(32),
    "a key of more than 42 bytes in itself": b"\0" + identifying.varint(len(LONG_KEY)) + LONG_KEY,
    "no key in itself": b"\0\0",
    "a key that is longer than its bytes": b"\0\x24" + KEY[:-1],
    "a CIDv1 in the place of its multihash": b"\x01\x72" + ME.peer_id.to_bytes(),
}
#: Peer ids, and not those of the key that signs.
NOT_MINE = {
    "another's": OTHER.peer_id.to_bytes(),
    "the hash of a key that is no longer than 42 bytes": SHA2_256 + hashlib.sha256(KEY).digest(),
}


def text_of(peer_id: bytes) -> str:
    return multibase.encode_base58btc(peer_id)


#: What is no peer id, in an address.
NO_NAMES = {name: text_of(peer_id) for name, peer_id in NO_IDS.items() if peer_id} | {
    "a CIDv1 of something else": multibase.encode(multibase.BASE32, b"\x01\x70" + ME.peer_id.to_bytes()),
    "a CIDv0 in base32": multibase.encode(multibase.BASE32, ME.peer_id.to_bytes()),
    "a letter that base58 has not": str(ME.peer_id)[:-1] + "0",
    "twice": f"{ME.peer_id}/p2p/{OTHER.peer_id}/p2p",
    "4 KiB of it": str(ME.peer_id) * 100,
    "on two lines": f"{str(ME.peer_id)[:20]}\n{str(ME.peer_id)[20:]}",
}


@pytest.mark.lifted(patches={"p2p.transports.upgraded:Upgraded.dial": "lifts.to_anybody(original)"})
async def test_row_20_wrong_peer(attack):
    """The victim wants one peer, and another answers: it hangs up, at once and before it says who it is."""
    async with attack() as scene:
        said: list[bytes | None] = []
        all_said = trio.Event()

        async def serve(raw: trio.SocketStream) -> None:
            hand = xx.Hand(payload=lambda static: xx.honest_payload(static, ME))
            said.append(await xx.respond(raw, hand))
            if len(said) == len(NOT_MINE):
                all_said.set()

        async with xx.listening(serve) as addr:
            for peer_id in NOT_MINE.values():
                told = await scene.victim.ask("dial", to=f"{addr}/p2p/{text_of(peer_id)}")
                assert (told["error"], told["attempts"]) == ("AllAttemptsFailed", ["PeerIdMismatch"]), told
            with trio.fail_after(PROMPT):
                await all_said.wait()
            assert said == [b""] * len(NOT_MINE)
            assert not set(map(text_of, NOT_MINE.values())) & set(await scene.victim.ask("peers"))

            # However the right id is written, it is the same.
            for text in (str(ME.peer_id), ME.peer_id.to_cid(), ME.peer_id.to_cid(multibase.BASE36)):
                told = await scene.victim.ask("dial", to=f"{addr}/p2p/{text}")
                assert told["peer"] == str(ME.peer_id), told
            assert len(said) == len(NOT_MINE)

        # Who dials the victim in place of another finds out in the same way.
        with pytest.raises(PeerIdMismatch):
            await wire.secure(await scene.connect(), OTHER.peer_id)


ADDR = parse_user_addr("/ip4/127.0.0.1/tcp/4001").to_bytes()
P2P = b"\xa5\x03"


def told_of_others() -> dict[str, list[bytes]]:
    """Answers to identify with addresses and records of anybody but the one who answers."""
    found = {}
    for name, peer_id in (NO_IDS | NOT_MINE).items():
        found[f"address: {name}"] = [
            field(LISTEN_ADDR, ADDR + P2P + identifying.varint(len(peer_id)) + peer_id)
        ]
        found[f"record: {name}"] = [
            field(SIGNED_RECORD, identifying.record(ME, [ADDR], peer_id=peer_id)) + field(LISTEN_ADDR, ADDR)
        ]
    found["record: signed by another"] = [field(SIGNED_RECORD, identifying.record(OTHER, [ADDR]))]
    return found


@pytest.mark.lifted(
    patches={
        "p2p.protocols.identify.state:open_peer_record": "lifts.of_the_signer",
        "p2p.peerstore.memory:open_peer_record": "lifts.of_the_signer",
    }
)
async def test_row_20_ids_of_odd_forms(attack):
    """In addresses to dial they are refused before anything is dialed; what peers say under them is not kept."""
    async with attack() as scene:

        async def serve(raw: trio.SocketStream) -> None:
            raise AssertionError("the victim dialed nobody's address")

        async with xx.listening(serve) as addr:
            for name, text in NO_NAMES.items():
                for to in (f"{addr}/p2p/{text}", text):
                    told = await scene.victim.ask("dial", to=to)
                    assert told["error"] in ("InvalidAddress", "InvalidPeerId"), (name, to, told)

        kept = {}
        for name, messages in told_of_others().items():
            outcome, connection = await identifying.join(scene, messages, identity=ME)
            assert outcome == identifying.READ, name
            known = await scene.victim.ask("peers")
            kept |= {f"{name}, of {peer}": addrs for peer, addrs in known.items() if addrs}
            await connection.raw.aclose()
        assert not kept, kept
        # It would have been kept.
        outcome, _ = await identifying.join(
            scene, [field(SIGNED_RECORD, identifying.record(ME, [ADDR]))], identity=ME
        )
        assert outcome == identifying.READ
        assert (await scene.victim.ask("peers"))[str(ME.peer_id)] == ["/ip4/127.0.0.1/tcp/4001"]
