"""Guards: what protobuf messages may cost, against an independent reading of the format and protobuf itself."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from p2p.errors import RemoteProtocolError
from p2p.wire import varint
from p2p.wire.guards import FIXED32, FIXED64, LENGTH, VARINT, FieldRule, Guard
from p2p.wire.proto.identify_pb2 import Identify


def field(number: int, wire_type: int, payload: bytes) -> bytes:
    head = varint.encode(number << 3 | wire_type)
    return head + (varint.encode(len(payload)) + payload if wire_type == LENGTH else payload)


INNER = Guard(64, {1: FieldRule(LENGTH, max_count=2, max_length=8)}, max_elements=4)
GUARD = Guard(
    1 << 20,
    {
        1: FieldRule(VARINT),
        2: FieldRule(LENGTH, max_count=3, max_length=10),
        3: FieldRule(LENGTH, max_count=100, nested=INNER),
        4: FieldRule(FIXED32),
        5: FieldRule(FIXED64),
    },
    max_elements=50,
)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        field(1, VARINT, b"\x05") + field(2, LENGTH, b"0123456789") * 3,
        field(3, LENGTH, field(1, LENGTH, b"x") * 2) * 10,
        field(3, LENGTH, b"") * 50,
        field(4, FIXED32, bytes(4)) + field(5, FIXED64, bytes(8)),
        field(99, LENGTH, b"unknown")
        + field(98, VARINT, b"\xff" * 9 + b"\x01")
        + field(97, FIXED64, bytes(8)),
        field(2**29 - 1, VARINT, b"\x00"),
        b"\x88\x00\x05",  # a tag that is not in its shortest form
    ],
)
def test_accepted(data: bytes) -> None:
    GUARD.check(data)


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("limit is", bytes(2 << 20)),
        ("more than 1 times", field(1, VARINT, b"\x05") * 2),
        ("more than 3 times", field(2, LENGTH, b"") * 4),
        ("limit 10", field(2, LENGTH, bytes(11))),
        ("elements", field(3, LENGTH, b"") * 51),
        ("elements", field(77, VARINT, b"\0") * 51),
        ("elements", field(3, LENGTH, field(9, VARINT, b"\0") * 5)),
        ("elements", field(3, LENGTH, field(9, VARINT, b"\0") * 4) * 11),
        ("limit 64", field(3, LENGTH, field(8, LENGTH, bytes(70)))),
        ("more than 2 times", field(3, LENGTH, field(1, LENGTH, b"") * 3)),
        ("wire type", field(1, LENGTH, b"\x05")),
        ("wire type", field(2, VARINT, b"\x05")),
        ("wire type 3", b"\x0b\x0c" * 3),
        ("group", field(70, 3, b"") + field(70, 4, b"")),
        ("group", field(70, 7, b"")),
        ("number 0", b"\x00\x00"),
        ("cut short", b"\x08"),
        ("cut short", b"\x80"),
        ("cut short", b"\x12"),
        ("cut short", field(4, FIXED32, bytes(3))),
        ("cut short", field(50, FIXED64, bytes(7))),
        ("are left", b"\x12\x05abcd"),
        ("are left", field(60, LENGTH, b"")[:-1] + b"\xff\xff\xff\xff\x07"),
        ("above", field(60, LENGTH, b"")[:-1] + b"\xff\xff\xff\xff\x0f"),
        ("five bytes", b"\x88\x80\x80\x80\x80\x00"),
        ("64 bits", field(1, VARINT, b"\xff" * 10 + b"\x01")),
        ("64 bits", field(1, VARINT, b"\xff" * 9 + b"\x02")),
        ("are left", field(3, LENGTH, b"\x0a\x05") + bytes(20)),
    ],
)
def test_refused(what: str, data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=what):
        GUARD.check(data)


def test_elements_of_nested_messages_count_at_every_level() -> None:
    leaf = Guard(1 << 10, {}, max_elements=10)
    middle = Guard(1 << 10, {1: FieldRule(LENGTH, nested=leaf)}, max_elements=6)
    outer = Guard(1 << 10, {1: FieldRule(LENGTH, nested=middle)}, max_elements=8)
    for count, accepted in ((5, True), (6, False), (7, False), (9, False)):
        data = field(1, LENGTH, field(1, LENGTH, field(9, VARINT, b"\0") * count))
        if accepted:
            outer.check(data)
        else:
            with pytest.raises(RemoteProtocolError, match="elements"):
                outer.check(data)
    shallow = Guard(1 << 10, {1: FieldRule(LENGTH, nested=leaf)}, max_elements=4)
    with pytest.raises(RemoteProtocolError, match="elements"):
        shallow.check(field(1, LENGTH, field(9, VARINT, b"\0") * 4))


def recursive() -> Guard:
    fields: dict[int, FieldRule] = {}
    guard = Guard(1 << 20, fields, max_elements=1 << 20, max_depth=8)
    fields[1] = FieldRule(LENGTH, max_count=1 << 20, nested=guard)
    return guard


def nest(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = field(1, LENGTH, data)
    return data


def test_depth() -> None:
    guard = recursive()
    guard.check(nest(7))
    with pytest.raises(RemoteProtocolError, match="deeper"):
        guard.check(nest(8))
    with pytest.raises(RemoteProtocolError, match="deeper"):
        guard.check(nest(5000))


BOMBS: dict[str, Callable[[], bytes]] = {
    "empty entries": lambda: b"\x1a\x00" * (1 << 19),
    "unknown fields": lambda: b"\xf8\x06\x00" * (1 << 18),
    "groups": lambda: b"\x0b" * 10_000 + b"\x0c" * 10_000,
    "a number without end": lambda: b"\x08" + b"\x80" * (1 << 19),
    "2 GiB": lambda: b"\x12\xff\xff\xff\xff\x07",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_end_early(bomb: str) -> None:
    data = BOMBS[bomb]()
    start = time.thread_time()
    with pytest.raises(RemoteProtocolError):
        GUARD.check(data)
    assert time.thread_time() - start < 0.010


def test_a_nested_bomb_ends_at_the_bound_of_the_outermost_message() -> None:
    roomy = Guard(1 << 20, {}, max_elements=1 << 20)
    data = field(1, LENGTH, b"\xf8\x06\x00" * (1 << 17))
    start = time.thread_time()
    with pytest.raises(RemoteProtocolError, match="elements"):
        Guard(1 << 20, {1: FieldRule(LENGTH, nested=roomy)}, max_elements=50).check(data)
    assert time.thread_time() - start < 0.010


WIRE = st.one_of(
    st.builds(field, st.integers(1, 9), st.just(VARINT), st.integers(0, 2**63 - 1).map(varint.encode)),
    st.builds(field, st.integers(1, 9), st.just(LENGTH), st.binary(max_size=12)),
    st.builds(field, st.integers(1, 9), st.just(FIXED32), st.binary(min_size=4, max_size=4)),
    st.builds(field, st.integers(1, 9), st.just(FIXED64), st.binary(min_size=8, max_size=8)),
    st.binary(max_size=6),
)
#: Knows nothing of any field, and so accepts exactly what is well formed.
LENIENT = Guard(1 << 20, {}, max_elements=1 << 20)


@given(st.lists(WIRE, max_size=6).map(b"".join))
@example(b"\x88\x00\x05")
def test_what_a_guard_lets_through_protobuf_reads(data: bytes) -> None:
    try:
        LENIENT.check(data)
    except RemoteProtocolError:
        return
    Identify.FromString(data)


@given(st.lists(WIRE, max_size=6).map(b"".join), st.integers(0, 60))
def test_elements_are_counted_exactly(data: bytes, limit: int) -> None:
    try:
        LENIENT.check(data)
    except RemoteProtocolError:
        return
    count = 0
    position = 0
    while position < len(data):  # an independent walk; what is here is well formed
        tag = shift = 0
        while True:
            byte = data[position]
            position += 1
            tag |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        count += 1
        if tag & 7 == VARINT:
            while data[position] >= 0x80:
                position += 1
            position += 1
        elif tag & 7 == LENGTH:
            size = shift = 0
            while True:
                byte = data[position]
                position += 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            position += size
        else:
            position += 8 if tag & 7 == FIXED64 else 4
    guard = Guard(1 << 20, {}, max_elements=limit)
    if count <= limit:
        guard.check(data)
    else:
        with pytest.raises(RemoteProtocolError, match="elements"):
            guard.check(data)
