"""Sharing between two hosts in virtual time: who gets in, what each side may do, what each is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from p2p.abc import Stream
from p2p.errors import ConnectionLost, DialError, RemoteProtocolError, StreamReset
from p2p.limits import DEFAULT_LIMITS, Limits
from p2p.protocols.share import SHARE, Secret, ShareBusy, ShareError, ShareRefused, SourceChanged, get
from p2p.protocols.share.reports import (
    ChunkFetched,
    ChunkSent,
    GetterCame,
    GetterLeft,
    ManifestRead,
    Report,
    SenderLost,
    SourceSpoilt,
)
from p2p.streams import read_lp, write_lp
from p2p.wire.share_messages import (
    Answer,
    EntryKind,
    EntryMessage,
    Part,
    Reply,
    Request,
    Verdict,
    decode_answer,
    decode_hello,
    decode_reply,
    encode_answer,
    encode_hello,
    encode_part,
    encode_reply,
    encode_request,
)
from tests.trio.sharing import FILES, SECRET, MemoryTarget, Sharing, sharing
from tests.trio.two_hosts import two_hosts

OTHER = Secret(bytes(range(16)))
Clock = trio.testing.MockClock


def limited(**changes: Any) -> Limits:
    return replace(DEFAULT_LIMITS, share=replace(DEFAULT_LIMITS.share, **changes))


async def test_all_of_it_and_each_chunk_once(autojump_clock: Clock) -> None:
    told: list[Report] = []
    target = MemoryTarget()
    async with sharing() as shared:
        manifest = await get(shared.hosts.bob, shared.address, target, watch=told.append)
        await trio.testing.wait_all_tasks_blocked()
        assert manifest == shared.source.manifest
        assert target.finished and target.whole == b"".join(FILES.values())
        assert shared.source.reads == [0, 1, 2, 3, 4]
        sizes = [1000, 1000, 1000, 1000, 173]
        bob = shared.hosts.bob.peer_id
        assert told == [ManifestRead(manifest, 0), *map(ChunkFetched, sizes)]
        assert shared.reports == [
            GetterCame(bob, 1),
            *(ChunkSent(bob, 1, size) for size in sizes),
            GetterLeft(bob, 1, 5, finished=True),
        ]


async def test_what_is_held_is_not_asked_for(autojump_clock: Clock) -> None:
    target = MemoryTarget()
    async with sharing() as shared:
        whole = b"".join(FILES.values())
        target.chunks = {1: whole[1000:2000], 4: whole[4000:]}
        await get(shared.hosts.bob, shared.address, target)
        assert shared.source.reads == [0, 2, 3] and target.whole == whole
        await get(shared.hosts.bob, shared.address, target)
        assert shared.source.reads == [0, 2, 3]


# --- who gets in ----------------------------------------------------------------------------------------


async def test_wrong_secret_and_unknown_share_get_the_same_bytes(autojump_clock: Clock) -> None:
    async with sharing() as shared:
        right = decode_hello(shared.hello())
        lies = {
            "unknown share": shared.hello(OTHER),
            "wrong proof": encode_hello(replace(right, proof=bytes(32))),
            "another nonce": encode_hello(replace(right, nonce=b"\1" * 16)),
        }
        answers = set()
        for hello in lies.values():
            stream = await shared.stream()
            await write_lp(stream, hello)
            answers.add(await read_lp(stream, max=256))
            assert await stream.receive_some() == b""
        assert answers == {encode_answer(Answer(Verdict.REFUSED))} and len(answers.pop()) == 2
        assert not shared.reports
        with pytest.raises(ShareRefused):
            await get(shared.hosts.bob, replace(shared.address, secret=OTHER), MemoryTarget())


async def test_a_proof_is_worth_nothing_to_another_peer(autojump_clock: Clock) -> None:
    async with sharing() as shared:
        stolen = shared.hello()
    async with sharing() as shared:  # other identities, the same secret
        stream = await shared.stream()
        await write_lp(stream, stolen)
        assert decode_answer(await read_lp(stream, max=256)).verdict is Verdict.REFUSED


async def test_a_sender_that_does_not_know_the_secret_is_not_believed(autojump_clock: Clock) -> None:
    async def pretend(stream: Stream) -> None:
        hello = decode_hello(await read_lp(stream, max=256))
        await write_lp(stream, encode_answer(Answer(Verdict.ACCEPTED, hello.proof, 1, 1, 1)))
        await trio.sleep_forever()

    async with sharing() as shared, two_hosts() as hosts:
        with hosts.alice.handle(SHARE, pretend):
            address = replace(shared.address, addr=hosts.alice.addrs[0])
            with pytest.raises(RemoteProtocolError, match="does not know the secret"):
                await get(hosts.bob, address, MemoryTarget())


async def test_a_peer_that_guesses_is_refused_unheard(autojump_clock: Clock) -> None:
    """Also with the right proof, until its time has come; others are heard."""
    async with sharing(limits=limited(guess_burst=3, guess_rate=0.01)) as shared:
        for _ in range(3):
            _, answer = await shared.knock(OTHER)
            assert decode_answer(answer).verdict is Verdict.REFUSED
        _, answer = await shared.knock()
        assert decode_answer(answer).verdict is Verdict.REFUSED
        await trio.sleep(101)
        _, answer = await shared.knock()
        assert decode_answer(answer).verdict is Verdict.ACCEPTED


async def test_proofs_are_judged_at_a_bounded_rate_in_all(autojump_clock: Clock) -> None:
    limits = limited(judge_burst=4, judge_rate=0.01, guess_burst=100)
    async with sharing(limits=limits) as shared:
        for _ in range(4):
            await shared.knock(OTHER)
        _, answer = await shared.knock()
        assert decode_answer(answer).verdict is Verdict.REFUSED
        await trio.sleep(101)
        _, answer = await shared.knock()
        assert decode_answer(answer).verdict is Verdict.ACCEPTED


async def test_silence_before_the_proof_ends_the_stream(autojump_clock: Clock) -> None:
    async with sharing() as shared:
        stream = await shared.stream()
        await stream.send_all(b"\x50")
        start = trio.current_time()
        with pytest.raises(StreamReset):
            await stream.receive_some()
        assert trio.current_time() - start == pytest.approx(DEFAULT_LIMITS.share.prove, abs=0.1)
        assert not len(shared.service._streams)


# --- what a getter may do -------------------------------------------------------------------------------


async def read_manifest(stream: Stream, shared: Sharing) -> None:
    await read_lp(stream, max=65536)
    await read_lp(stream, max=65536)


async def test_one_getter_too_many_is_told_to_come_later(autojump_clock: Clock) -> None:
    async with sharing(limits=limited(getters=2)) as shared:
        first, answer = await shared.knock()
        assert decode_answer(answer).verdict is Verdict.ACCEPTED
        await shared.knock()
        _, answer = await shared.knock()
        assert decode_answer(answer).verdict is Verdict.BUSY
        with pytest.raises(ShareBusy):
            await get(shared.hosts.bob, shared.address, MemoryTarget())
        first.reset()
        await trio.testing.wait_all_tasks_blocked()
        await get(shared.hosts.bob, shared.address, MemoryTarget())


async def test_a_stream_too_many_of_one_peer_is_reset(autojump_clock: Clock) -> None:
    async with sharing(limits=limited(streams_per_peer=2)) as shared:
        for _ in range(2):
            await shared.knock()
        with pytest.raises(StreamReset):
            await shared.knock()


@pytest.mark.parametrize("request_", [Request(5), Request(2**40)], ids=["the next", "far away"])
async def test_a_chunk_out_of_range(request_: Request, autojump_clock: Clock) -> None:
    async with sharing() as shared:
        stream, _ = await shared.knock()
        await read_manifest(stream, shared)
        await write_lp(stream, encode_request(request_))
        with pytest.raises(StreamReset):
            await stream.receive_some()
        assert not shared.source.reads


async def test_a_getter_that_asks_for_nothing_is_left(autojump_clock: Clock) -> None:
    async with sharing() as shared:
        stream, _ = await shared.knock()
        await read_manifest(stream, shared)
        start = trio.current_time()
        with pytest.raises(StreamReset):
            await stream.receive_some()
        assert trio.current_time() - start == pytest.approx(DEFAULT_LIMITS.share.idle, abs=0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert shared.reports[-1] == GetterLeft(shared.hosts.bob.peer_id, 1, 0, finished=False)


async def test_a_getter_that_never_reads_holds_one_chunk_and_not_for_ever(autojump_clock: Clock) -> None:
    """And a flood of requests is no more than one: the next is read when the one before is served."""
    files = {"top": bytes(4_000_000)}
    async with sharing(files, limits=limited(transfer=50.0)) as shared:
        stream, _ = await shared.knock()
        await stream.send_all(b"".join(bytes((4,)) + encode_request(Request(300 + n)) for n in range(1000)))
        with trio.move_on_after(49):
            await trio.sleep_forever()
        reads = len(shared.source.reads)
        assert reads < 1000
        await trio.sleep(2)
        assert len(shared.source.reads) == reads
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(shared.reports[-1], GetterLeft)


# --- what a sender may do -------------------------------------------------------------------------------


async def test_a_source_that_changed_is_told_on_both_sides(autojump_clock: Clock) -> None:
    target = MemoryTarget()
    async with sharing() as shared:
        shared.source.changed.add(3)
        with pytest.raises(SourceChanged) as failure:
            await get(shared.hosts.bob, shared.address, target)
        assert failure.value.path == "top/a" and "at the sender" in str(failure.value)
        assert set(target.chunks) == {0, 1, 2} and not target.finished
        assert SourceSpoilt("top/a") in shared.reports


ENTRY = EntryMessage("top", EntryKind.FILE, 10, bytes(32))
SENDERS_LIES = {
    "leads up": [Part((replace(ENTRY, path="../top"),))],
    "absolute": [Part((replace(ENTRY, path="/top"),))],
    "more than announced": [Part((ENTRY, replace(ENTRY, path="top2")))],
    "hashes first": [Part(chunks=bytes(32))],
    "too many hashes": [Part((ENTRY,)), Part(chunks=bytes(64 * 3))],
    "larger than announced": [Part((replace(ENTRY, size=11),))],
    "smaller than announced": [Part((replace(ENTRY, size=9),)), Part(chunks=bytes(32 * 2))],
    "the end": [],
}


@pytest.mark.parametrize("lie", SENDERS_LIES)
async def test_a_manifest_that_lies(lie: str, autojump_clock: Clock) -> None:
    async def serve(stream: Stream) -> None:
        hello = decode_hello(await read_lp(stream, max=256))
        sender, getter = stream.connection.local_peer, stream.connection.remote_peer
        proof = SECRET.prove_sender(sender=sender, getter=getter, nonce=hello.nonce)
        await write_lp(stream, encode_answer(Answer(Verdict.ACCEPTED, proof, 1, 10, 5)))
        for part in SENDERS_LIES[lie]:
            await write_lp(stream, encode_part(part))

    target = MemoryTarget()
    async with sharing() as shared, two_hosts() as hosts:
        with hosts.alice.handle(SHARE, serve):
            with pytest.raises(RemoteProtocolError):
                await get(hosts.bob, replace(shared.address, addr=hosts.alice.addrs[0]), target)
    assert target.manifest is None


@pytest.mark.parametrize("data", [b"y" * 1000, b"short", b""], ids=["other bytes", "fewer", "none"])
async def test_a_chunk_that_lies(data: bytes, autojump_clock: Clock) -> None:
    async def lie(stream: Stream) -> None:
        hello = decode_hello(await read_lp(stream, max=256))
        sender, getter = stream.connection.local_peer, stream.connection.remote_peer
        proof = SECRET.prove_sender(sender=sender, getter=getter, nonce=hello.nonce)
        await write_lp(stream, encode_answer(Answer(Verdict.ACCEPTED, proof, 1, 1000, 1000)))
        await write_lp(stream, encode_part(Part((EntryMessage("top", EntryKind.FILE, 1000, bytes(32)),))))
        await write_lp(stream, encode_part(Part(chunks=bytes(32))))
        await read_lp(stream, max=64)
        await write_lp(stream, encode_reply(Reply()))
        await stream.send_all(data)

    target = MemoryTarget()
    async with sharing() as shared, two_hosts() as hosts:
        with hosts.alice.handle(SHARE, lie), pytest.raises(RemoteProtocolError):
            await get(hosts.bob, replace(shared.address, addr=hosts.alice.addrs[0]), target)
    assert not target.chunks and not target.finished


async def test_a_sender_that_does_not_answer(autojump_clock: Clock) -> None:
    async def silent(stream: Stream) -> None:
        await trio.sleep_forever()

    async with sharing() as shared, two_hosts() as hosts:
        with hosts.alice.handle(SHARE, silent):
            start = trio.current_time()
            with pytest.raises(trio.TooSlowError):
                await get(hosts.bob, replace(shared.address, addr=hosts.alice.addrs[0]), MemoryTarget())
            assert trio.current_time() - start == pytest.approx(DEFAULT_LIMITS.share.answer, abs=0.1)


async def test_a_getter_that_does_not_read_the_manifest(autojump_clock: Clock) -> None:
    files = {f"top/{number:05}{'x' * 200}": b"" for number in range(3000)}
    async with sharing(files) as shared:
        stream, _ = await shared.knock()
        await trio.sleep(DEFAULT_LIMITS.share.answer - 1)
        assert shared.service._getters == 1
        await trio.sleep(2)
        assert shared.service._getters == 0
        with pytest.raises(StreamReset):
            while await stream.receive_some():
                pass


async def test_a_sender_that_does_not_give_a_chunk(autojump_clock: Clock) -> None:
    async with sharing(limits=limited(transfer=100.0)) as shared:

        async def hang(chunk: int) -> bytes:
            await trio.sleep_forever()
            return b""

        shared.source.read = hang
        start = trio.current_time()
        with pytest.raises((trio.TooSlowError, StreamReset)):
            await get(shared.hosts.bob, shared.address, MemoryTarget())
        assert 100 <= trio.current_time() - start < 140


# --- connections that break -----------------------------------------------------------------------------


async def test_a_lost_connection_is_made_again_and_costs_one_chunk(autojump_clock: Clock) -> None:
    told: list[Report] = []
    target = MemoryTarget()
    async with sharing({"top": bytes(10_000)}) as shared:

        def watch(report: Report) -> None:
            told.append(report)
            if isinstance(report, ChunkFetched) and len(target.chunks) in (2, 5):
                shared.hosts.alice.connections[shared.hosts.bob.peer_id][0].abort()

        await get(shared.hosts.bob, shared.address, target, watch=watch)
        lost = [report for report in told if isinstance(report, SenderLost)]
        assert len(lost) == 2
        assert len(shared.source.reads) <= 12 and set(shared.source.reads) == set(range(10))
        assert target.finished


async def test_a_sender_that_stays_away_is_given_up(autojump_clock: Clock) -> None:
    target = MemoryTarget()
    async with sharing({"top": bytes(10_000)}) as shared:
        start = 0.0

        def watch(report: Report) -> None:
            nonlocal start
            if isinstance(report, ChunkFetched) and len(target.chunks) == 4:
                start = trio.current_time()
                shared.service._host = None  # it answers nobody any more
                shared.hosts.alice.connections[shared.hosts.bob.peer_id][0].abort()

        with pytest.raises((StreamReset, ConnectionLost, DialError)):
            await get(shared.hosts.bob, shared.address, target, watch=watch)
        patience = DEFAULT_LIMITS.share.redial
        assert patience < trio.current_time() - start < patience + 5
        assert len(target.chunks) == 4 and not target.finished


async def test_a_first_connection_that_fails_is_not_tried_again(autojump_clock: Clock) -> None:
    async with sharing() as shared:
        shared.service._host = None
        start = trio.current_time()
        with pytest.raises(StreamReset):
            await get(shared.hosts.bob, shared.address, MemoryTarget())
        assert trio.current_time() - start < 1


async def test_something_else_under_the_same_address(autojump_clock: Clock) -> None:
    target = MemoryTarget()
    async with sharing({"top": bytes(10_000)}) as shared, sharing({"top": b"\1" * 10_000}) as other:

        def watch(report: Report) -> None:
            if isinstance(report, ChunkFetched):
                shared.source._manifest = other.source.manifest
                shared.hosts.alice.connections[shared.hosts.bob.peer_id][0].abort()

        with pytest.raises(ShareError, match="something else"):
            await get(shared.hosts.bob, shared.address, target, watch=watch)


async def test_all_chunks_are_enough_if_the_sender_goes_then(autojump_clock: Clock) -> None:
    target = MemoryTarget()
    async with sharing() as shared:

        def watch(report: Report) -> None:
            if isinstance(report, ChunkFetched) and len(target.chunks) == 5:
                shared.service._host = None
                shared.hosts.alice.connections[shared.hosts.bob.peer_id][0].abort()

        await get(shared.hosts.bob, shared.address, target, watch=watch)
        assert target.finished


def test_messages_that_are_no_replies() -> None:
    assert decode_reply(encode_reply(Reply("a"))) == Reply("a")
    for data in (b"", b"\x08\x09"):
        with pytest.raises(RemoteProtocolError):
            decode_reply(data)
