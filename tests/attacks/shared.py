"""What the victim shares, and what an attacker who was told its secret says."""

from __future__ import annotations

import hashlib

import trio

from p2p import PeerId
from p2p.limits import ShareLimits
from p2p.protocols.share import Manifest, Secret
from p2p.wire.framing import encode_frame
from p2p.wire.share_messages import EntryKind, EntryMessage, Hello, Request, encode_hello, encode_request

SECRET = Secret(b"told to anybody!")
CHUNK = ShareLimits().chunk
CHUNKS = 100
_HASH = hashlib.sha256(bytes(CHUNK)).digest()


class Zeros:
    """A file of zeros, read anew for each chunk."""

    manifest = Manifest.of(
        (EntryMessage("zeros", EntryKind.FILE, CHUNK * CHUNKS, _HASH),), CHUNK, _HASH * CHUNKS
    )

    async def read(self, chunk: int) -> bytearray:
        await trio.lowlevel.checkpoint()
        return bytearray(CHUNK)


def hello(secret: Secret, *, victim: PeerId, attacker: PeerId) -> bytes:
    nonce = bytes(16)
    proof = secret.prove_getter(sender=victim, getter=attacker, nonce=nonce)
    return encode_frame(encode_hello(Hello(secret.share_id, nonce, proof)))


def request(chunk: int) -> bytes:
    return encode_frame(encode_request(Request(chunk)))
