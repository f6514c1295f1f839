"""Noise frames: exact bytes, bounds, nonces at their ends, and what a bad frame does."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError
from p2p.security.noise.channel import NoiseChannel

ONE, OTHER = bytes(range(32)), bytes(range(32, 64))
MOST = 65_519
LAST = 2**64 - 1


def pair() -> tuple[NoiseChannel, NoiseChannel]:
    return NoiseChannel(ONE, OTHER), NoiseChannel(OTHER, ONE)


def seal(channel: NoiseChannel, data: bytes) -> bytes:
    out = memoryview(bytearray(len(data) + 18))
    channel.room(out)[: len(data)] = data
    size = channel.seal(out, len(data))
    assert size == len(data) + 18
    return bytes(out[:size])


def frame(nonce: int, data: bytes, key: bytes = ONE) -> bytes:
    """As the Noise spec says: 4 zero bytes, the count little-endian, no associated data."""
    sealed = ChaCha20Poly1305(key).encrypt(bytes(4) + nonce.to_bytes(8, "little"), data, None)
    return len(sealed).to_bytes(2, "big") + sealed


def open_all(channel: NoiseChannel, cipher: bytes, room: int = MOST) -> tuple[bytes, int]:
    plain = memoryview(bytearray(room))
    view, opened, total = memoryview(cipher), bytearray(), 0
    while True:
        consumed, produced = channel.open_into(view[total:], plain)
        opened += plain[:produced]
        total += consumed
        if not consumed:
            return bytes(opened), total


def test_frames_are_those_of_the_spec() -> None:
    us, them = pair()
    for nonce, data in enumerate([b"a", b"", b"x" * MOST, b"b"]):
        sealed = seal(us, data)
        assert sealed == frame(nonce, data)
        assert open_all(them, sealed) == (data, len(sealed))
    assert (us.frame_plain, us.frame_cipher) == (65_519, 65_537)


@pytest.mark.parametrize("nonce", [0, 1, 2**32 - 1, 2**32, 2**63, LAST - 1])
def test_nonces_do_not_wrap_on_the_way(nonce: int) -> None:
    us, them = pair()
    us._sealing_nonce = them._opening_nonce = nonce
    sealed = seal(us, b"data")
    assert sealed == frame(nonce, b"data")
    assert open_all(them, sealed)[0] == b"data"
    assert us._sealing_nonce == them._opening_nonce == nonce + 1


def test_the_last_nonce_is_never_used() -> None:
    us, them = pair()
    us._sealing_nonce = them._opening_nonce = LAST
    out = memoryview(bytearray(100))
    with pytest.raises(ConnectionLost):
        us.seal(out, 4)
    assert bytes(out) == bytes(100)
    with pytest.raises(RemoteProtocolError):
        open_all(them, frame(LAST, b"data"))
    assert us._sealing_nonce == them._opening_nonce == LAST


@pytest.mark.parametrize("size", range(16))
def test_a_frame_shorter_than_its_tag_is_refused_before_its_body(size: int) -> None:
    _, them = pair()
    with pytest.raises(RemoteProtocolError):
        open_all(them, size.to_bytes(2, "big"))


def test_an_empty_frame_says_nothing_and_harms_nothing() -> None:
    us, them = pair()
    empty, full = seal(us, b""), seal(us, b"x")
    assert len(empty) == 18
    assert them.open_into(memoryview(empty), memoryview(bytearray())) == (18, 0)
    assert open_all(them, full) == (b"x", 19)


def test_the_longest_frame() -> None:
    us, them = pair()
    data = bytes(range(256)) * 255 + bytes(239)
    assert len(data) == MOST
    sealed = seal(us, data)
    assert sealed[:2] == b"\xff\xff"
    assert open_all(them, sealed)[0] == data
    out = memoryview(bytearray(70_000))
    assert len(us.room(out)) == MOST
    with pytest.raises(LocalProtocolError):
        us.seal(out, MOST + 1)
    with pytest.raises(LocalProtocolError):
        us.seal(out, -1)


@pytest.mark.parametrize("size", range(24))
def test_room_is_what_can_be_sealed(size: int) -> None:
    us, _ = pair()
    out = memoryview(bytearray(size))
    room = len(us.room(out))
    assert room == max(size - 18, 0)
    if room:
        assert us.seal(out, room) == size
    with pytest.raises(LocalProtocolError):
        us.seal(out, room + 1)


def test_room_is_inside_the_buffer_it_is_sealed_in() -> None:
    us, them = pair()
    out = memoryview(bytearray(100))
    us.room(out[10:])[:4] = b"data"
    size = us.seal(out[10:], 4)
    assert open_all(them, bytes(out[10 : 10 + size]))[0] == b"data"
    assert bytes(out[:10]) == bytes(10) and bytes(out[10 + size :]) == bytes(90 - size)


def test_only_whole_frames_that_fit_are_opened() -> None:
    us, them = pair()
    sealed = seal(us, b"12345") + seal(us, b"678")
    plain = memoryview(bytearray(7))
    view = memoryview(sealed)
    for end in range(23):
        assert them.open_into(view[:end], plain) == (0, 0)
    assert them.open_into(view, plain) == (23, 5)
    assert them.open_into(view[23:], plain[5:]) == (0, 0)
    assert them.open_into(view[23:], plain[4:]) == (21, 3)


@pytest.mark.parametrize("position", range(2, 22))
@pytest.mark.parametrize("bit", [1, 0x80])
def test_a_changed_bit_ends_the_channel_and_advances_nothing(position: int, bit: int) -> None:
    us, them = pair()
    good = seal(us, b"data")
    bad = bytearray(good)
    bad[position] ^= bit
    with pytest.raises(RemoteProtocolError):
        open_all(them, bytes(bad))
    assert them._opening_nonce == 0
    with pytest.raises(RemoteProtocolError):  # no second try, not even with the right one
        open_all(them, good)
    assert open_all(us, seal(them, b"goodbye"))[0] == b"goodbye"


def test_a_replayed_a_reordered_and_a_lost_frame() -> None:
    for order in ([0, 0], [1, 0], [0, 2]):
        us, them = pair()
        frames = [seal(us, bytes((i,))) for i in range(3)]
        with pytest.raises(RemoteProtocolError):
            open_all(them, b"".join(frames[i] for i in order))


def test_a_frame_of_our_own_is_not_one_of_theirs() -> None:
    us, _ = pair()
    with pytest.raises(RemoteProtocolError):
        open_all(us, seal(us, b"reflected"))


def test_what_came_before_a_bad_frame_is_given_first() -> None:
    """What a session gets does not depend on how the socket cut the bytes."""
    for bad in (b"\0\0", b"\0\x10" + bytes(16), b"\0\x0f" + bytes(15)):
        us, them = pair()
        stream = seal(us, b"one") + seal(us, b"two") + bad
        plain = memoryview(bytearray(100))
        assert them.open_into(memoryview(stream), plain) == (42, 6)
        assert bytes(plain[:6]) == b"onetwo"
        for _ in range(2):
            with pytest.raises(RemoteProtocolError):
                them.open_into(memoryview(stream)[42:], plain)


def test_keys_are_not_shown() -> None:
    us, _ = pair()
    assert ONE.hex() not in repr(us) and repr(ONE) not in repr(us)


@settings(deadline=None)
@given(
    messages=st.lists(st.binary(max_size=300), max_size=8),
    cuts=st.lists(st.integers(1, 400), min_size=1),
    room=st.integers(300, 1000),
)
def test_any_chunking_opens_to_the_same(messages: list[bytes], cuts: list[int], room: int) -> None:
    us, them = pair()
    stream = b"".join(seal(us, message) for message in messages)
    opened, held, position, turn = bytearray(), b"", 0, 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        held += stream[position : position + size]
        position += size
        turn += 1
        plain, consumed = open_all(them, held, room)
        opened += plain
        held = held[consumed:]
    assert opened == b"".join(messages) and not held


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_opened_or_refused(data: bytes) -> None:
    _, them = pair()
    try:
        opened, _consumed = open_all(them, data)
    except RemoteProtocolError:
        return
    assert opened == b""
