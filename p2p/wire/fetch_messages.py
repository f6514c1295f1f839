"""The messages of fetch, as frozen values; as ``messages``, whose words on guards hold here too.

Source: libp2p specs, fetch/README.md.
"""

from __future__ import annotations

from enum import IntEnum

from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen
from p2p.wire.guards import LENGTH, VARINT, FieldRule, Guard
from p2p.wire.parsing import guarded
from p2p.wire.proto.fetch_pb2 import FetchRequest, FetchResponse


class FetchStatus(IntEnum):
    OK = 0
    NOT_FOUND = 1
    ERROR = 2


@frozen
class FetchAnswer:
    """``FetchResponse``; ``data`` is the value, or with ``ERROR`` why there is none."""

    status: FetchStatus
    data: bytes = b""


#: How long a message may be is for the reader of its length to say; it is in memory here.
_ANY = 2**31 - 1
_REQUEST = Guard(_ANY, {1: FieldRule(LENGTH)}, max_elements=8)
_ANSWER = Guard(_ANY, {1: FieldRule(VARINT), 2: FieldRule(LENGTH)}, max_elements=8)


def encode_fetch_request(key: bytes) -> bytes:
    return FetchRequest(identifier=key).SerializeToString(deterministic=True)


def decode_fetch_request(data: bytes) -> bytes:
    """The key; empty where none was sent."""
    return guarded(FetchRequest, _REQUEST, data).identifier


def encode_fetch_answer(answer: FetchAnswer) -> bytes:
    return FetchResponse(status=answer.status, data=answer.data).SerializeToString(deterministic=True)


def decode_fetch_answer(data: bytes) -> FetchAnswer:
    """A status that is not sent is ``OK``, and data that is not sent is empty: js sends neither."""
    message = guarded(FetchResponse, _ANSWER, data)
    try:
        status = FetchStatus(message.status)
    except ValueError:
        raise RemoteProtocolError(f"fetch: a status {message.status} that nobody knows") from None
    return FetchAnswer(status, message.data)
