"""The messages of ``/p2p-trio/share``, as frozen values; as ``messages``, whose words on guards hold here too.

What a path may be is for ``p2p.protocols.share.names`` to say, and whether entries make up a tree.
Source: docs/reference/share.md.
"""

from __future__ import annotations

from enum import IntEnum

from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.limits import ShareLimits
from p2p.wire.guards import LENGTH, VARINT, FieldRule, Guard
from p2p.wire.parsing import guarded, text_of
from p2p.wire.proto import share_pb2

_LIMITS = ShareLimits()
SHARE_ID_SIZE = 16
NONCE_SIZE = 16
PROOF_SIZE = 32
HASH_SIZE = 32


@frozen
class Hello:
    """The getter's first message: which share, and that it knows the secret."""

    share_id: bytes
    nonce: bytes
    proof: bytes


_HELLO = Guard(256, {1: FieldRule(LENGTH), 2: FieldRule(LENGTH), 3: FieldRule(LENGTH)}, max_elements=8)


def encode_hello(hello: Hello) -> bytes:
    return share_pb2.Hello(share_id=hello.share_id, nonce=hello.nonce, proof=hello.proof).SerializeToString(
        deterministic=True
    )


def decode_hello(data: bytes) -> Hello:
    """Each field must have its size."""
    message = guarded(share_pb2.Hello, _HELLO, data)
    hello = Hello(message.share_id, message.nonce, message.proof)
    if (len(hello.share_id), len(hello.nonce), len(hello.proof)) != (SHARE_ID_SIZE, NONCE_SIZE, PROOF_SIZE):
        raise RemoteProtocolError("share: a hello with fields of other sizes than theirs")
    return hello


class Verdict(IntEnum):
    """What becomes of a getter."""

    REFUSED = 0
    ACCEPTED = 1
    BUSY = 2


@frozen
class Answer:
    """The sender's first message. All but the verdict is there only when that is ``ACCEPTED``, and ``proof``
    with ``BUSY`` too.
    """

    verdict: Verdict
    proof: bytes = b""
    #: Files and empty folders that the manifest tells, bytes of all files, bytes of a chunk.
    entries: int = 0
    size: int = 0
    chunk_size: int = 0


_ANSWER = Guard(
    256,
    {
        1: FieldRule(VARINT),
        2: FieldRule(LENGTH),
        3: FieldRule(VARINT),
        4: FieldRule(VARINT),
        5: FieldRule(VARINT),
    },
    max_elements=8,
)


def encode_answer(answer: Answer) -> bytes:
    if answer.verdict is Verdict.REFUSED:
        return share_pb2.Answer(status=share_pb2.Answer.REFUSED).SerializeToString(deterministic=True)
    if answer.verdict is Verdict.BUSY:
        message = share_pb2.Answer(status=share_pb2.Answer.BUSY, proof=answer.proof)
        return message.SerializeToString(deterministic=True)
    return share_pb2.Answer(
        status=share_pb2.Answer.ACCEPTED,
        proof=answer.proof,
        entries=answer.entries,
        size=answer.size,
        chunk_size=answer.chunk_size,
    ).SerializeToString(deterministic=True)


def decode_answer(data: bytes) -> Answer:
    """Whatever does not say that it accepts refuses. Numbers are within what a share may be."""
    message = guarded(share_pb2.Answer, _ANSWER, data)
    verdict = Verdict(message.status)
    if verdict is Verdict.REFUSED:
        return Answer(verdict)
    if len(message.proof) != PROOF_SIZE:
        raise RemoteProtocolError("share: an answer without a proof")
    if verdict is Verdict.BUSY:
        return Answer(verdict, message.proof)
    if not 0 < message.chunk_size <= _LIMITS.chunk:
        raise RemoteProtocolError(
            f"share: chunks of {message.chunk_size} bytes, expected 1 to {_LIMITS.chunk}"
        )
    if not 0 < message.entries <= _LIMITS.max_entries:
        raise RemoteProtocolError(f"share: {message.entries} entries, expected 1 to {_LIMITS.max_entries}")
    if message.size > message.chunk_size * _LIMITS.max_chunks:
        raise RemoteProtocolError(f"share: {message.size} bytes are more than {_LIMITS.max_chunks} chunks")
    return Answer(verdict, message.proof, message.entries, message.size, message.chunk_size)


class EntryKind(IntEnum):
    """What an entry is."""

    FILE = 0
    EXECUTABLE = 1
    FOLDER = 2


@frozen
class EntryMessage:
    """A file, or a folder with nothing in it. ``path``: names separated by ``/``, the share's own name first."""

    path: str
    kind: EntryKind
    size: int = 0
    sha256: bytes = b""


@frozen
class Part:
    """Part of a manifest: entries, or hashes of chunks."""

    entries: tuple[EntryMessage, ...] = ()
    chunks: bytes = b""


_ENTRY = Guard(
    _LIMITS.max_path + 64,
    {
        1: FieldRule(LENGTH, max_length=_LIMITS.max_path),
        2: FieldRule(VARINT),
        3: FieldRule(VARINT),
        4: FieldRule(LENGTH, max_length=HASH_SIZE),
    },
    max_elements=8,
)
_PART = Guard(
    _LIMITS.max_message,
    {
        1: FieldRule(LENGTH, max_count=_LIMITS.max_message_entries, nested=_ENTRY),
        2: FieldRule(LENGTH),
    },
    max_elements=8 * _LIMITS.max_message_entries,
)
_KINDS = {
    EntryKind.FILE: share_pb2.Entry.FILE,
    EntryKind.EXECUTABLE: share_pb2.Entry.EXECUTABLE,
    EntryKind.FOLDER: share_pb2.Entry.FOLDER,
}


def encode_part(part: Part) -> bytes:
    message = share_pb2.Part()
    for entry in part.entries:
        added = message.entries.add(path=entry.path.encode("utf-8"), kind=_KINDS[entry.kind])
        if entry.kind is not EntryKind.FOLDER:
            added.size = entry.size
            added.sha256 = entry.sha256
    if part.chunks:
        message.chunks = part.chunks
    return message.SerializeToString(deterministic=True)


def decode_part(data: bytes) -> Part:
    """A part tells something; files have a size and a hash, folders neither."""
    message = guarded(share_pb2.Part, _PART, data)
    if not (message.entries or message.chunks) or len(message.chunks) % HASH_SIZE:
        raise RemoteProtocolError("share: a part of a manifest without entries, or with cut hashes")
    return Part(tuple(map(_entry, message.entries)), message.chunks)


def _entry(message: share_pb2.Entry) -> EntryMessage:
    path = text_of(message.path, "a path")
    if not message.HasField("kind"):  # or of a kind that is not known here
        raise RemoteProtocolError("share: an entry that is neither file nor folder")
    kind = EntryKind(message.kind)
    if kind is EntryKind.FOLDER:
        if message.size or message.sha256:
            raise RemoteProtocolError("share: a folder with a size or a hash")
        return EntryMessage(path, kind)
    if len(message.sha256) != HASH_SIZE:
        raise RemoteProtocolError("share: a file without a hash")
    return EntryMessage(path, kind, message.size, message.sha256)


@frozen
class Request:
    """What a getter wants next: the chunk of that number, or, with None, nothing more: it has all."""

    chunk: int | None


_REQUEST = Guard(64, {1: FieldRule(VARINT), 2: FieldRule(VARINT)}, max_elements=4)


def encode_request(request: Request) -> bytes:
    if request.chunk is None:
        message = share_pb2.Request(kind=share_pb2.Request.DONE)
    else:
        message = share_pb2.Request(kind=share_pb2.Request.CHUNK, chunk=request.chunk)
    return message.SerializeToString(deterministic=True)


def decode_request(data: bytes) -> Request:
    message = guarded(share_pb2.Request, _REQUEST, data)
    if not message.HasField("kind"):
        raise RemoteProtocolError("share: a request for nothing")
    return Request(None if message.kind == share_pb2.Request.DONE else message.chunk)


@frozen
class Reply:
    """What precedes a chunk's bytes; or, with ``changed``, that there are none: this file is not what it was."""

    changed: str | None = None


_REPLY = Guard(
    _LIMITS.max_path + 64,
    {1: FieldRule(VARINT), 2: FieldRule(LENGTH, max_length=_LIMITS.max_path)},
    max_elements=4,
)


def encode_reply(reply: Reply) -> bytes:
    if reply.changed is None:
        message = share_pb2.Reply(status=share_pb2.Reply.CHUNK)
    else:
        message = share_pb2.Reply(status=share_pb2.Reply.CHANGED, path=reply.changed.encode("utf-8"))
    return message.SerializeToString(deterministic=True)


def decode_reply(data: bytes) -> Reply:
    message = guarded(share_pb2.Reply, _REPLY, data)
    if not message.HasField("status"):
        raise RemoteProtocolError("share: a reply without a status")
    if message.status == share_pb2.Reply.CHANGED:
        return Reply(text_of(message.path, "a path"))
    return Reply()
