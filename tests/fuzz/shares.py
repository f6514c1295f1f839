"""What a getter and a sender may be sent, and how it is taken apart: for the registry."""

from __future__ import annotations

from p2p.errors import RemoteProtocolError
from p2p.limits import ShareLimits
from p2p.protocols.share.door import Door
from p2p.protocols.share.manifest import Assembling, Manifest, encode_manifest
from p2p.protocols.share.names import Tree
from p2p.protocols.share.secret import Secret
from p2p.wire.share_messages import (
    Answer,
    EntryKind,
    EntryMessage,
    Hello,
    Reply,
    Request,
    Verdict,
    encode_answer,
    encode_hello,
    encode_reply,
    encode_request,
)
from tests.fuzz.machines import THEM, US

LIMITS = ShareLimits()
SECRET = Secret(b"sixteen bytes ok")
NONCE = b"\7" * 16
PROOF = SECRET.prove_getter(sender=US.peer_id, getter=THEM.peer_id, nonce=NONCE)

HELLO = encode_hello(Hello(SECRET.share_id, NONCE, PROOF))
HELLO_FOR_NOTHING = encode_hello(Hello(b"\1" * 16, NONCE, PROOF))
MANIFEST = Manifest.of(
    (
        EntryMessage("a/b/c", EntryKind.FILE, 5, b"\1" * 32),
        EntryMessage("a/b/é", EntryKind.EXECUTABLE, 0, b"\2" * 32),
        EntryMessage("a/d", EntryKind.FOLDER),
    ),
    4,
    b"\3" * 64,
)
ANSWER = Answer(Verdict.ACCEPTED, PROOF, len(MANIFEST.entries), MANIFEST.size, MANIFEST.chunk_size)
ANSWERS = (
    encode_answer(ANSWER),
    encode_answer(Answer(Verdict.REFUSED)),
    encode_answer(Answer(Verdict.BUSY, PROOF)),
)
PARTS = tuple(encode_manifest(MANIFEST, LIMITS))
REQUESTS = (encode_request(Request(7)), encode_request(Request(None)))
REPLIES = (encode_reply(Reply()), encode_reply(Reply("a/b")))


def knock(data: bytes) -> object:
    """Whoever knocks gets in with a proof, and with nothing else."""
    door = Door({SECRET: "the offer"}, LIMITS, 0.0)
    admitted = door.admit(data, sender=US.peer_id, getter=THEM.peer_id, now=0.0)
    assert (admitted is not None) <= (SECRET.share_id in data)
    return admitted


def assemble(data: bytes) -> object:
    """As the first part, and as the second one. What comes out of it would make up a tree again."""
    results: list[object] = []
    for parts in ((data,), (PARTS[0], data)):
        assembling = Assembling(ANSWER, LIMITS)
        try:
            for part in parts:
                assembling.receive(part)
        except RemoteProtocolError as error:
            if len(parts) == 1:
                first = error
            results.append(type(error))
            continue
        results.append(assembling.manifest)
        if assembling.manifest is not None:
            tree = Tree(LIMITS)
            for entry in assembling.manifest.entries:
                tree.add(entry.path)
    if results == [RemoteProtocolError, RemoteProtocolError]:
        raise first
    return results
