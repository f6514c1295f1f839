"""What a protobuf message may cost, checked before it is parsed.

A mebibyte of ``0a 00`` is half a million empty entries: a parser builds an object for each. A
:class:`Guard` says which fields a message has, how often and how long each may be, and how many elements
there may be in all; :meth:`Guard.check` walks the bytes once, in constant memory, and stops at the first
excess. What passes is well formed down to every message the guard names, so that the parser behind it has
nothing left to trip over but text that is not UTF-8.

Unknown fields are skipped, as the format wants, but count as elements. Groups (deprecated, and the one
construction that nests without lengths) are refused. A field that comes with another wire type than its own
is refused too: parsers disagree on what it means.

Source: protobuf.dev "Encoding"; the caps come with each message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from p2p.errors import RemoteProtocolError
from p2p.frozen import frozen

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

_MAX_TAG = 2**32 - 1
_MAX_LENGTH = 2**31 - 1


@frozen
class FieldRule:
    """One field of a message.

    ``max_length`` bounds the bytes of a ``LENGTH`` field; ``nested`` says they are a message and how that one
    is guarded. A field that comes once has ``max_count`` 1: a second value is refused instead of winning.
    """

    wire_type: int
    max_count: int = 1
    nested: Guard | None = None
    max_length: int | None = None


@frozen
class Guard:
    """The bounds of one message.

    ``max_elements`` counts every field met, known or not, in this message and in those nested in it.
    ``fields`` is kept as it is given, so a message that nests itself adds its own guard to the mapping
    afterwards; ``max_depth`` of the outermost guard then ends the nesting.
    """

    max_bytes: int
    fields: Mapping[int, FieldRule]
    max_elements: int
    max_depth: int = 8

    def check(self, data: bytes) -> None:
        """Raises ``RemoteProtocolError`` unless ``data`` keeps within the bounds."""
        if len(data) > self.max_bytes:
            raise RemoteProtocolError(f"message of {len(data)} bytes, the limit is {self.max_bytes}")
        guard = self
        counts: dict[int, int] = {}
        position = 0
        end = len(data)
        elements = 0
        first = 0  # how many elements there had been when the current message began
        outer: list[tuple[Guard, dict[int, int], int, int]] = []
        while True:
            if position == end:
                if not outer:
                    return
                guard, counts, end, first = outer.pop()
                if elements - first > guard.max_elements:
                    raise RemoteProtocolError(f"message of more than {guard.max_elements} elements")
                continue
            elements += 1
            if elements > self.max_elements or elements - first > guard.max_elements:
                raise RemoteProtocolError(f"message of more than {guard.max_elements} elements")
            tag = data[position]  # nearly all tags and lengths take one byte, which says the same to _varint
            if tag < 0x80:
                position += 1
            else:
                tag, position = _varint(data, position, end, _MAX_TAG)
            number, wire_type = tag >> 3, tag & 7
            if number == 0:
                raise RemoteProtocolError("field number 0")
            rule = guard.fields.get(number)
            if rule is not None:
                if wire_type != rule.wire_type:
                    raise RemoteProtocolError(f"field {number}: wire type {wire_type}, not {rule.wire_type}")
                count = counts.get(number, 0) + 1
                if count > rule.max_count:
                    raise RemoteProtocolError(f"field {number} comes more than {rule.max_count} times")
                counts[number] = count
            if wire_type == LENGTH:
                if position < end and data[position] < 0x80:
                    length = data[position]
                    position += 1
                else:
                    length, position = _varint(data, position, end, _MAX_LENGTH)
                if length > end - position:
                    raise RemoteProtocolError(f"field {number} of {length} bytes, {end - position} are left")
                if rule is None:
                    position += length
                    continue
                if rule.max_length is not None and length > rule.max_length:
                    raise RemoteProtocolError(f"field {number}: {length} bytes, limit {rule.max_length}")
                nested = rule.nested
                if nested is None:
                    position += length
                    continue
                if length > nested.max_bytes:
                    raise RemoteProtocolError(f"field {number}: {length} bytes, limit {nested.max_bytes}")
                if len(outer) + 1 >= self.max_depth:
                    raise RemoteProtocolError(f"messages nested deeper than {self.max_depth}")
                outer.append((guard, counts, end, first))
                guard, counts, end, first = nested, {}, position + length, elements
            elif wire_type == VARINT:
                position = _skip_varint(data, position, end)
            elif wire_type == FIXED64 or wire_type == FIXED32:
                position += 8 if wire_type == FIXED64 else 4
                if position > end:
                    raise RemoteProtocolError(f"field {number} is cut short")
            else:
                raise RemoteProtocolError(f"field {number}: wire type {wire_type} (a group) is not accepted")


def _varint(data: bytes, position: int, end: int, limit: int) -> tuple[int, int]:
    """A tag or a length. Any form of up to five bytes is read: only keys need the shortest one."""
    value = 0
    for shift in (0, 7, 14, 21, 28):
        if position >= end:
            raise RemoteProtocolError("message cut short in a tag or length")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > limit:
                raise RemoteProtocolError(f"tag or length {value} is above {limit}")
            return value, position
    raise RemoteProtocolError("tag or length of more than five bytes")


def _skip_varint(data: bytes, position: int, end: int) -> int:
    for index in range(10):
        if position >= end:
            raise RemoteProtocolError("message cut short in a number")
        byte = data[position]
        position += 1
        if byte < 0x80:
            if index == 9 and byte > 1:
                break
            return position
    raise RemoteProtocolError("number of more than 64 bits")
