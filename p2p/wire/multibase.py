"""Bytes as text: multibase, in the bases libp2p writes, and bare base58btc for peer ids.

Decoding is strict: what does not encode back to the same text is refused, so that one value has one text in
each base. Lengths are the caller's to bound: base36 and base58 take quadratic time.

Source: multiformats/multibase, table of encodings; RFC 4648 for base16, base32 and base64url.
"""

from __future__ import annotations

import base64
import binascii

BASE58_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE36_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"

BASE16 = "f"
BASE32 = "b"
BASE36 = "k"
BASE58BTC = "z"
BASE64URL = "u"


def encode(base: str, data: bytes) -> str:
    """``data`` in ``base``, led by it. ``ValueError`` for a base not among the constants here."""
    if base == BASE16:
        return base + data.hex()
    if base == BASE32:
        return base + base64.b32encode(data).decode("ascii").rstrip("=").lower()
    if base == BASE36:
        return base + _encode_digits(data, BASE36_ALPHABET)
    if base == BASE58BTC:
        return base + _encode_digits(data, BASE58_ALPHABET)
    if base == BASE64URL:
        return base + base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")
    raise ValueError(f"multibase prefix {base!r} is not known here")


def decode(text: str) -> bytes:
    """The bytes of a multibase text. ``ValueError``: unknown prefix, or text not canonical in its base."""
    base, digits = text[:1], text[1:]
    if not digits.isascii():
        raise ValueError("multibase text has characters outside ASCII")
    try:
        if base == BASE16:
            data = binascii.unhexlify(digits)
        elif base == BASE32:
            data = base64.b32decode(digits.upper() + "=" * (-len(digits) % 8))
        elif base == BASE36:
            data = _decode_digits(digits, BASE36_ALPHABET)
        elif base == BASE58BTC:
            data = _decode_digits(digits, BASE58_ALPHABET)
        elif base == BASE64URL:
            data = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
        else:
            raise ValueError(f"multibase prefix {base!r} is not known here")
    except binascii.Error as error:
        raise ValueError(f"not multibase {base!r}: {error}") from error
    if encode(base, data) != text:
        raise ValueError(f"text is not the canonical multibase {base!r} of its bytes")
    return data


def encode_base58btc(data: bytes) -> str:
    """Bare base58btc, without a prefix."""
    return _encode_digits(data, BASE58_ALPHABET)


def decode_base58btc(text: str) -> bytes:
    """The bytes of bare base58btc. ``ValueError`` for a character outside its alphabet."""
    return _decode_digits(text, BASE58_ALPHABET)


def _encode_digits(data: bytes, alphabet: str) -> str:
    radix = len(alphabet)
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    while number:
        number, digit = divmod(number, radix)
        digits.append(alphabet[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return alphabet[0] * zeros + "".join(reversed(digits))


def _decode_digits(text: str, alphabet: str) -> bytes:
    radix = len(alphabet)
    number = 0
    for character in text:
        digit = alphabet.find(character)
        if digit < 0:
            raise ValueError(f"{character!r} is not a digit of base {radix}")
        number = number * radix + digit
    zeros = len(text) - len(text.lstrip(alphabet[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
