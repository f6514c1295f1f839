"""Unsigned varints, as multiformats has them.

Seven bits a byte, least significant first, always in the fewest bytes, at most nine of them, so that no value
is above 2**63 - 1 (multiformats/unsigned-varint, "Spec" and "Practical maximum of 9 bytes").

Reading takes ``max_value`` with no default: whoever reads a length says what he is ready to take. A prefix is
given up on as soon as its bytes can only mean more than that, so ``ff ff ff …`` does not get to nine bytes.
"""

from __future__ import annotations

from p2p.errors import RemoteProtocolError

MAX_VALUE = 2**63 - 1
MAX_BYTES = 9

Buffer = bytes | bytearray | memoryview


def encode(value: int) -> bytes:
    """The varint of ``value``. Raises ``ValueError`` outside 0 … 2**63 - 1."""
    if 0 <= value < 0x80:
        return bytes((value,))
    if not 0 <= value <= MAX_VALUE:
        raise ValueError(f"a varint holds 0 to 2**63 - 1, not {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(buf: Buffer, offset: int = 0, *, max_value: int) -> tuple[int, int]:
    """Read the varint at ``offset``; returns (value, offset of the byte after it).

    Raises ``RemoteProtocolError`` when it is cut short, not minimal, or above ``max_value``.
    """
    found = decode_partial(buf, offset, max_value=max_value)
    if found is None:
        raise RemoteProtocolError(f"varint cut short after {max(len(buf) - offset, 0)} bytes")
    return found


def decode_partial(buf: Buffer, offset: int = 0, *, max_value: int) -> tuple[int, int] | None:
    """As :func:`decode`, but None where ``buf`` ends inside a varint that may still turn out well."""
    value = 0
    shift = 0
    for position in range(offset, len(buf)):
        byte = buf[position]
        if byte < 0x80:
            if byte == 0 and shift:
                raise RemoteProtocolError("varint not in its shortest form")
            value |= byte << shift
            if value > max_value or value > MAX_VALUE:
                raise RemoteProtocolError(f"varint {value} is above the limit of {min(max_value, MAX_VALUE)}")
            return value, position + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        # A minimal varint that goes on has at least one more bit at ``shift``.
        if value + (1 << shift) > max_value or shift >= 7 * MAX_BYTES:
            raise RemoteProtocolError(f"varint is above the limit of {min(max_value, MAX_VALUE)}")
    return None
