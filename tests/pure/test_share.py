"""Layouts, manifests, secrets, addresses and the door: what both sides agree on before a file is touched."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.errors import InvalidAddress, RemoteProtocolError
from p2p.identity import Identity
from p2p.limits import ShareLimits
from p2p.protocols.share.address import ShareAddress
from p2p.protocols.share.door import Door
from p2p.protocols.share.layout import Layout, Slice
from p2p.protocols.share.manifest import Assembling, Manifest, encode_manifest
from p2p.protocols.share.secret import InvalidSecret, Secret
from p2p.wire.addresses import parse_user_addr
from p2p.wire.share_messages import (
    Answer,
    EntryKind,
    EntryMessage,
    Hello,
    Part,
    Verdict,
    decode_answer,
    decode_hello,
    decode_part,
    encode_answer,
    encode_hello,
    encode_part,
)

LIMITS = ShareLimits()
SECRET = Secret(b"sixteen bytes ok")
SENDER, GETTER, OTHER = (Identity.generate().peer_id for _ in range(3))

# --- layout ---------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 40))
def test_chunks_cover_every_byte_once_and_in_order(sizes: list[int], chunk_size: int) -> None:
    layout = Layout(sizes, chunk_size)
    data = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    whole = b"".join(data)
    assert layout.size == len(whole) and layout.count == -(-len(whole) // chunk_size)
    for chunk in range(layout.count):
        expected = whole[chunk * chunk_size : (chunk + 1) * chunk_size]
        slices = list(layout.slices(chunk))
        assert b"".join(data[file][offset : offset + length] for file, offset, length in slices) == expected
        assert layout.length(chunk) == len(expected)
        assert all(length for _, _, length in slices)
    for chunk in (-1, layout.count):
        with pytest.raises(IndexError):
            layout.length(chunk)


def test_a_chunk_over_several_files() -> None:
    assert list(Layout([3, 0, 2, 9], 8).slices(0)) == [Slice(0, 0, 3), Slice(2, 0, 2), Slice(3, 0, 3)]
    assert list(Layout([3, 0, 2, 9], 8).slices(1)) == [Slice(3, 3, 6)]


# --- manifest -------------------------------------------------------------------------------------------


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    name = st.text(st.characters(categories=["Ll", "Nd"], max_codepoint=0x24F), min_size=1, max_size=8)
    paths = draw(st.lists(st.lists(name, min_size=1, max_size=3), min_size=1, max_size=30))
    entries, kept = [], []
    for names in sorted(paths):
        folds = [tuple(other[: len(names)]) for other in kept] + [
            tuple(names[: len(other)]) for other in kept
        ]
        if tuple(names) in folds or any(tuple(other) in folds for other in kept):
            continue
        kept.append(names)
    for names in kept:
        kind = draw(st.sampled_from(EntryKind))
        size = 0 if kind is EntryKind.FOLDER else draw(st.integers(0, 5000))
        digest = b"" if kind is EntryKind.FOLDER else hashlib.sha256(bytes(size)).digest()
        entries.append(EntryMessage("/".join(["t", *names]), kind, size, digest))
    chunk_size = draw(st.integers(1, 3000))
    chunks = -(-sum(entry.size for entry in entries) // chunk_size)
    return Manifest.of(entries, chunk_size, hashlib.sha256(b"x").digest() * chunks)


def answer_for(manifest: Manifest) -> Answer:
    return Answer(Verdict.ACCEPTED, bytes(32), len(manifest.entries), manifest.size, manifest.chunk_size)


def through(manifest: Manifest, limits: ShareLimits) -> Manifest | None:
    assembling = Assembling(answer_for(manifest), limits)
    for part in encode_manifest(manifest, limits):
        assert len(part) <= limits.max_message and assembling.manifest is None
        assembling.receive(part)
    return assembling.manifest


@settings(deadline=None)
@given(manifests(), st.sampled_from([1, 3, 512]), st.sampled_from([400, 64 * 1024]))
def test_a_manifest_arrives_however_it_is_cut(manifest: Manifest, entries: int, size: int) -> None:
    limits = replace(LIMITS, max_message=size, max_message_entries=entries)
    try:
        assert through(manifest, limits) == manifest
    except RemoteProtocolError as error:
        # Names drawn by chance may differ by case or accents only.
        assert "neighbour" in str(error)


def entries_of(count: int) -> list[EntryMessage]:
    return [EntryMessage(f"t/{number:06}", EntryKind.FILE, 1, bytes(32)) for number in range(count)]


def test_ten_thousand_files_are_few_messages() -> None:
    manifest = Manifest.of(entries_of(10_000), 4 * 1024 * 1024, bytes(32))
    assert len(list(encode_manifest(manifest, LIMITS))) <= 22
    assert through(manifest, LIMITS) == manifest


def test_content_is_called_the_same_however_it_is_cut() -> None:
    one = Manifest.of(entries_of(3), 1, bytes(96))
    assert one.content_id == Manifest.of(entries_of(3), 3, bytes(32)).content_id
    changed = entries_of(3)
    for other in (
        replace(changed[0], path="t/0"),
        replace(changed[0], kind=EntryKind.EXECUTABLE),
        replace(changed[0], size=2),
        replace(changed[0], sha256=b"\1" * 32),
    ):
        assert Manifest.of([other, *changed[1:]], 1, bytes(96)).content_id != one.content_id


def test_paths_are_bounded_together() -> None:
    limits = replace(LIMITS, max_paths=100)
    assembling = Assembling(Answer(Verdict.ACCEPTED, bytes(32), 50, 50, 1), limits)
    with pytest.raises(RemoteProtocolError, match="100 bytes"):
        assembling.receive(encode_part(Part(tuple(entries_of(50)))))


def test_folders_are_bounded_together() -> None:
    """However few the files in them and the bytes of their paths."""
    entries = [replace(entry, path=f"t/{number}/a/a/a/a") for number, entry in enumerate(entries_of(5))]
    assembling = Assembling(Answer(Verdict.ACCEPTED, bytes(32), 50, 50, 1), replace(LIMITS, max_folders=20))
    assembling.receive(encode_part(Part(tuple(entries[:3]))))
    with pytest.raises(RemoteProtocolError, match="20 folders"):
        assembling.receive(encode_part(Part(tuple(entries[3:]))))


@pytest.mark.parametrize(
    ("change", "bound"),
    [
        ({"entries": 0}, "entries"),
        ({"entries": LIMITS.max_entries + 1}, "entries"),
        ({"chunk_size": 0}, "chunks of"),
        ({"chunk_size": LIMITS.chunk + 1}, "chunks of"),
        ({"size": LIMITS.chunk * LIMITS.max_chunks + 1}, "more than"),
        ({"size": LIMITS.max_chunks + 1, "chunk_size": 1}, "more than"),
        ({"proof": b"short"}, "proof"),
    ],
)
def test_an_answer_over_the_bounds(change: dict[str, int], bound: str) -> None:
    good = Answer(
        Verdict.ACCEPTED, bytes(32), LIMITS.max_entries, LIMITS.chunk * LIMITS.max_chunks, LIMITS.chunk
    )
    assert decode_answer(encode_answer(good)) == good
    with pytest.raises(RemoteProtocolError, match=bound):
        decode_answer(encode_answer(replace(good, **change)))


def test_a_part_that_would_expand() -> None:
    """64 KiB of empty entries would be 32,768 of them."""
    with pytest.raises(RemoteProtocolError, match="512 times"):
        decode_part(b"\x0a\x00" * 32_768)
    for part in (Part(), Part(chunks=bytes(33)), Part((EntryMessage("a", EntryKind.FILE, 1, b"short"),))):
        with pytest.raises(RemoteProtocolError):
            decode_part(encode_part(part))
    with pytest.raises(RemoteProtocolError, match="path"):
        decode_part(b"\x0a\x2a\x0a\x02a\xff\x10\x00\x18\x00\x22\x20" + bytes(32))
    with pytest.raises(RemoteProtocolError, match="field 1"):
        decode_part(encode_part(Part((EntryMessage("x" * 2049, EntryKind.FILE, 1, bytes(32)),))))
    # A kind that is not known is no file.
    with pytest.raises(RemoteProtocolError, match="neither"):
        decode_part(b"\x0a\x05\x0a\x01a\x10\x07")


# --- secret, address ------------------------------------------------------------------------------------


def test_a_secret_is_128_bits_and_shows_nothing() -> None:
    text = SECRET.to_text()
    assert len(text) == 26 and Secret.from_text(text).share_id == SECRET.share_id
    assert text not in repr(SECRET) and "sixteen" not in repr(SECRET)
    for wrong in ("", text[:-1], text.upper(), text + "a", text[:-1] + "1", text[:-1] + "é"):
        with pytest.raises(InvalidSecret) as failure:
            Secret.from_text(wrong)
        assert not wrong or wrong not in str(failure.value)
    with pytest.raises(InvalidSecret):
        Secret(b"short")


def test_every_part_of_a_proof_counts() -> None:
    nonce = bytes(16)
    proof = SECRET.prove_getter(sender=SENDER, getter=GETTER, nonce=nonce)
    others = [
        SECRET.prove_sender(sender=SENDER, getter=GETTER, nonce=nonce),
        SECRET.prove_getter(sender=GETTER, getter=SENDER, nonce=nonce),
        SECRET.prove_getter(sender=SENDER, getter=OTHER, nonce=nonce),
        SECRET.prove_getter(sender=OTHER, getter=GETTER, nonce=nonce),
        SECRET.prove_getter(sender=SENDER, getter=GETTER, nonce=b"\1" * 16),
        Secret(bytes(16)).prove_getter(sender=SENDER, getter=GETTER, nonce=nonce),
    ]
    assert len({proof, *others}) == 7
    assert proof == SECRET.prove_getter(sender=SENDER, getter=GETTER, nonce=nonce)


def test_a_secret_of_a_key_is_that_of_its_content() -> None:
    key, other = Identity.generate().private_key, Identity.generate().private_key
    same = Secret.of_key(key, b"content").to_text()
    assert Secret.of_key(key, b"content").to_text() == same
    assert Secret.of_key(key, b"other").to_text() != same
    assert Secret.of_key(other, b"content").to_text() != same


def test_an_address_in_text() -> None:
    addr = parse_user_addr(f"/ip4/192.0.2.1/tcp/4001/p2p/{SENDER}")
    text = str(ShareAddress(addr, SECRET))
    assert text == f"{addr}#{SECRET.to_text()}"
    again = ShareAddress.from_text(f" {text}\n")
    assert (again.addr, again.peer, again.secret.share_id) == (addr, SENDER, SECRET.share_id)
    for wrong in (str(addr), f"{addr}#", f"#{SECRET.to_text()}", f"/ip4/192.0.2.1/tcp/1#{SECRET.to_text()}"):
        with pytest.raises(InvalidAddress) as failure:
            ShareAddress.from_text(wrong)
        assert SECRET.to_text() not in str(failure.value)


# --- the door -------------------------------------------------------------------------------------------


def hello(secret: Secret = SECRET) -> bytes:
    proof = secret.prove_getter(sender=SENDER, getter=GETTER, nonce=bytes(16))
    return encode_hello(Hello(secret.share_id, bytes(16), proof))


def test_the_door_opens_to_the_proof_of_each_share() -> None:
    other = Secret(bytes(range(16)))
    door = Door({SECRET: "one", other: "two"}, LIMITS, 0.0)
    for secret, offer in ((SECRET, "one"), (other, "two")):
        proof = secret.prove_sender(sender=SENDER, getter=GETTER, nonce=bytes(16))
        assert door.admit(hello(secret), sender=SENDER, getter=GETTER, now=0.0) == (offer, proof)
    assert door.admit(hello(), sender=SENDER, getter=OTHER, now=0.0) is None
    assert door.admit(hello(), sender=OTHER, getter=GETTER, now=0.0) is None
    # The dummy that stands for unknown shares opens nothing itself.
    assert door.admit(hello(Secret(bytes(16))), sender=SENDER, getter=GETTER, now=0.0) is None


def test_malformed_hellos_are_guesses_too() -> None:
    door = Door({SECRET: "one"}, replace(LIMITS, guess_burst=2), 0.0)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            door.admit(b"\xff", sender=SENDER, getter=GETTER, now=0.0)
    assert door.admit(hello(), sender=SENDER, getter=GETTER, now=0.0) is None
    with pytest.raises(RemoteProtocolError):
        decode_hello(encode_hello(Hello(b"short", bytes(16), bytes(32))))


def test_few_guessers_are_remembered() -> None:
    door = Door({SECRET: "one"}, replace(LIMITS, guessers=3, judge_burst=1000), 0.0)
    for _ in range(50):
        door.admit(hello(), sender=SENDER, getter=Identity.generate().peer_id, now=0.0)
    assert len(door._guessers) == 3
