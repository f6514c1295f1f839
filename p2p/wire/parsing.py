"""From bytes to protobuf objects, with the guard in between. PURE; for the modules of messages beside it."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from p2p.errors import RemoteProtocolError
from p2p.wire.guards import Guard

_M = TypeVar("_M", bound=Message)


def guarded(kind: type[_M], guard: Guard, data: bytes) -> _M:
    """The message in ``data``. Raises ``RemoteProtocolError``: beyond ``guard``, or malformed."""
    guard.check(data)
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise RemoteProtocolError(f"not a {kind.DESCRIPTOR.name} message") from error


def text_of(data: bytes, what: str) -> str:
    """The text in a ``bytes`` field. Raises ``RemoteProtocolError`` when it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"{what} is not UTF-8") from error
