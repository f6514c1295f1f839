"""The laws of security protocols (:class:`p2p.abc.Security`) and of the channels they make.

The maker takes an identity and returns a security for it. Use it under any clock: nothing here waits for a
network.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import trio

from p2p.abc import ProtocolId, RawStream, Role, SealedChannel, Secured, Security
from p2p.errors import PeerIdMismatch, RemoteProtocolError, SecurityError
from p2p.identity import Identity, PeerId, PrivateKey, PublicKey
from p2p.negotiation.select import RawHandshake
from p2p.testing.conformance.verdict import check, must_raise, run_checks
from p2p.testing.pipes import raw_pair
from p2p.transports.pipe import PipeStream

SecurityMaker = Callable[[Identity], Security]

_MUXERS = (ProtocolId("/yamux/1.0.0"), ProtocolId("/mplex/6.7.0"))


@dataclass(slots=True)
class End:
    """How the handshake went at one end: ``secured``, or ``failure``."""

    identity: Identity
    secured: Secured | None = None
    failure: Exception | None = None

    @property
    def channel(self) -> SealedChannel:
        if self.secured is None:
            raise AssertionError(f"the handshake failed: {self.failure!r}") from self.failure
        return self.secured.channel


async def _secure(
    end: End,
    security: Security,
    raw: RawStream,
    role: Role,
    peer: PeerId | None,
    muxers: tuple[ProtocolId, ...],
) -> None:
    stream = RawHandshake(raw)
    try:
        end.secured = await security.secure(stream, role=role, peer=peer, muxers=muxers)
        # What the handshake left unsent would leave with the first frame.
        await stream.write(end.secured.unsent)
    except (SecurityError, RemoteProtocolError, trio.BrokenResourceError) as error:
        end.failure = error
        await raw.aclose()


async def shake_hands(
    dialer: Security,
    responder: Security,
    *,
    identities: tuple[Identity, Identity],
    expected: PeerId | None = None,
    muxers: tuple[tuple[ProtocolId, ...], tuple[ProtocolId, ...]] = ((), ()),
    between: Callable[[RawStream, RawStream], Awaitable[None]] | None = None,
) -> tuple[End, End]:
    """Both ends after a handshake; ``expected`` is whom the dialer dials, ``between`` carries the bytes if
    given.
    """
    ends = End(identities[0]), End(identities[1])
    left, right = raw_pair()
    raws: tuple[PipeStream, ...] = (left, right)
    async with trio.open_nursery() as nursery:
        if between is not None:
            near, far = raw_pair()
            nursery.start_soon(between, right, near)
            raws, right = (left, right, near, far), far
        async with trio.open_nursery() as both:
            both.start_soon(_secure, ends[0], dialer, left, Role.DIALER, expected, muxers[0])
            both.start_soon(_secure, ends[1], responder, right, Role.RESPONDER, None, muxers[1])
        nursery.cancel_scope.cancel()
    for raw in raws:
        raw.reset()
    return ends


async def channels(make: SecurityMaker) -> tuple[SealedChannel, SealedChannel]:
    identities = Identity.generate(), Identity.generate()
    dialer, responder = await shake_hands(make(identities[0]), make(identities[1]), identities=identities)
    return dialer.channel, responder.channel


def seal(channel: SealedChannel, data: bytes) -> bytes:
    out = memoryview(bytearray(channel.frame_cipher))
    room = channel.room(out)
    assert len(data) <= len(room), f"room for {len(room)} bytes in a frame that carries {channel.frame_plain}"
    room[: len(data)] = data
    size = channel.seal(out, len(data))
    return bytes(out[:size])


def open_all(channel: SealedChannel, sealed: bytes | bytearray) -> bytes:
    view = memoryview(bytearray(sealed))
    plain = memoryview(bytearray(channel.frame_plain))
    got = b""
    while view:
        consumed, produced = channel.open_into(view, plain)
        assert consumed, f"{len(view)} bytes of whole frames were not opened"
        got += bytes(plain[:produced])
        view = view[consumed:]
    return got


# --- the handshake


@check
async def check_each_learns_who_the_other_is(make: SecurityMaker) -> None:
    identities = Identity.generate(), Identity.generate()
    ends = await shake_hands(make(identities[0]), make(identities[1]), identities=identities)
    for end, other in (ends, ends[::-1]):
        assert end.secured is not None, f"the handshake failed: {end.failure!r}"
        assert end.secured.remote_peer == other.identity.peer_id, "one end takes the other for somebody else"
        assert end.secured.remote_key == other.identity.public_key, "remote_key is another's"


@check
async def check_the_expected_peer_is_let_in(make: SecurityMaker) -> None:
    identities = Identity.generate(), Identity.generate()
    dialer, _ = await shake_hands(
        make(identities[0]), make(identities[1]), identities=identities, expected=identities[1].peer_id
    )
    assert dialer.secured is not None, f"the peer that was dialed answered, and: {dialer.failure!r}"


@check
async def check_another_peer_is_refused(make: SecurityMaker) -> None:
    identities = Identity.generate(), Identity.generate()
    expected = Identity.generate().peer_id
    dialer, _ = await shake_hands(
        make(identities[0]), make(identities[1]), identities=identities, expected=expected
    )
    assert isinstance(dialer.failure, PeerIdMismatch), (
        f"another peer than the dialed one answered, and the dialer: {dialer.failure!r}, expected PeerIdMismatch"
    )


class _Impostor:
    """A private key that claims to be another's: it signs with its own."""

    def __init__(self, victim: PublicKey) -> None:
        self.public_key = victim
        self.type = victim.type
        self._own = PrivateKey.generate()

    def sign(self, message: bytes) -> bytes:
        return self._own.sign(message)


@check
async def check_an_impostor_is_refused(make: SecurityMaker) -> None:
    """Who claims an identity must prove it, in either role."""
    victim, honest = Identity.generate(), Identity.generate()
    impostor = Identity(cast(PrivateKey, _Impostor(victim.public_key)))
    for role in (0, 1):
        identities = (impostor, honest) if role == 0 else (honest, impostor)
        ends = await shake_hands(make(identities[0]), make(identities[1]), identities=identities)
        believer = ends[1 - role]
        assert isinstance(believer.failure, SecurityError), (
            f"{'dialing' if role == 0 else 'responding'}, somebody passed for a peer whose key is not his"
        )


@check
async def check_a_changed_handshake_is_refused(make: SecurityMaker) -> None:
    """One byte is changed on its way: both ends never believe in one channel that works."""
    identities = Identity.generate(), Identity.generate()
    lengths = [0, 0]

    def relay(change: tuple[int, int] | None) -> Callable[[RawStream, RawStream], Awaitable[None]]:
        async def one_way(number: int, source: RawStream, target: RawStream) -> None:
            offset = 0
            buffer = memoryview(bytearray(4096))
            try:
                while n := await source.receive_into(buffer):
                    if change is not None and change[0] == number and offset <= change[1] < offset + n:
                        buffer[change[1] - offset] ^= 1
                    offset += n
                    lengths[number] = offset
                    target.try_send(buffer[:n])
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            await target.aclose()

        async def between(left: RawStream, right: RawStream) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one_way, 0, left, right)
                nursery.start_soon(one_way, 1, right, left)

        return between

    async def attempt(change: tuple[int, int] | None) -> tuple[End, End]:
        with trio.move_on_after(
            5
        ):  # a changed length may leave both waiting: theirs is the caller's deadline
            return await shake_hands(
                make(identities[0]), make(identities[1]), identities=identities, between=relay(change)
            )
        return End(identities[0]), End(identities[1])

    dialer, responder = await attempt(None)
    assert dialer.secured and responder.secured, "unchanged, the handshake failed"
    total = tuple(lengths)
    for number in (0, 1):
        for offset in range(0, total[number], 7):
            dialer, responder = await attempt((number, offset))
            if dialer.secured and responder.secured:
                with must_raise(RemoteProtocolError, what=f"a channel after byte {offset} was changed"):
                    open_all(responder.channel, seal(dialer.channel, b"x"))


@check
async def check_garbage_is_refused(make: SecurityMaker) -> None:
    rng = random.Random(1)
    for role in Role:
        for size in (1, 2, 33, 300):
            left, right = raw_pair()
            identity = Identity.generate()
            end = End(identity)
            right.try_send(memoryview(b"\0\x20" + rng.randbytes(size)))
            await right.aclose()
            await _secure(end, make(identity), left, role, None, ())
            assert end.failure is not None, f"{size} random bytes passed for a handshake"


@check
async def check_an_early_end_is_refused(make: SecurityMaker) -> None:
    for role in Role:
        left, right = raw_pair()
        identity = Identity.generate()
        end = End(identity)
        await right.aclose()
        await _secure(end, make(identity), left, role, None, ())
        assert isinstance(end.failure, SecurityError | trio.BrokenResourceError), (
            f"as {role.value}, with the remote gone: {end.failure!r}"
        )


@check
async def check_early_muxers_agree(make: SecurityMaker) -> None:
    identities = Identity.generate(), Identity.generate()
    yamux, mplex = _MUXERS
    for offers in (((yamux, mplex), (mplex, yamux)), ((yamux,), (mplex,)), ((), (yamux,))):
        ends = await shake_hands(
            make(identities[0]), make(identities[1]), identities=identities, muxers=offers
        )
        chosen = [end.secured.early_muxer for end in ends if end.secured]
        assert len(chosen) == 2, "the handshake failed"
        assert chosen[0] == chosen[1], f"one end chose {chosen[0]}, the other {chosen[1]}"
        assert chosen[0] is None or (chosen[0] in offers[0] and chosen[0] in offers[1]), (
            f"{chosen[0]} was chosen, which not both offered"
        )


# --- the channel


@check
async def check_frames_cross(make: SecurityMaker) -> None:
    rng = random.Random(1)
    dialer, responder = await channels(make)
    for one, other in ((dialer, responder), (responder, dialer)):
        for size in (0, 1, 100, one.frame_plain - 1, one.frame_plain):
            data = rng.randbytes(size)
            frame = seal(one, data)
            assert len(frame) <= one.frame_cipher, f"a frame of {len(frame)}, more than frame_cipher"
            assert open_all(other, frame) == data, "other bytes came out than were sealed"
        messages = [rng.randbytes(rng.randint(0, 300)) for _ in range(20)]
        together = b"".join([seal(one, message) for message in messages])
        assert open_all(other, together) == b"".join(messages)


@check
async def check_part_of_a_frame_waits(make: SecurityMaker) -> None:
    dialer, responder = await channels(make)
    frame = seal(dialer, b"whole")
    plain = memoryview(bytearray(responder.frame_plain))
    for cut in range(len(frame)):
        assert responder.open_into(memoryview(bytearray(frame[:cut])), plain) == (0, 0), (
            f"{cut} of {len(frame)} bytes of a frame were taken for something"
        )
    assert open_all(responder, frame) == b"whole"


@check
async def check_too_small_an_output_has_no_room(make: SecurityMaker) -> None:
    channel, _ = await channels(make)
    assert not len(channel.room(memoryview(bytearray(1)))), "there is room for a frame in one byte"
    out = memoryview(bytearray(500))
    assert 0 < len(channel.room(out)) < 500, "a frame of 500 bytes has no room, or costs nothing"
    assert channel.seal(out, len(channel.room(out))) <= 500, "a frame outgrew the room it was given"


@check
async def check_plaintext_does_not_show(make: SecurityMaker) -> None:
    dialer, responder = await channels(make)
    secret = b"attack at dawn, from the north"
    frames = [seal(channel, secret) for channel in (dialer, responder, dialer)]
    assert not any(secret in frame for frame in frames), "the plaintext can be read in the frame"


@check
async def check_every_frame_is_sealed_anew(make: SecurityMaker) -> None:
    dialer, _ = await channels(make)
    size = 1000
    frames = [seal(dialer, bytes(size)) for _ in range(5)]
    for i, frame in enumerate(frames):
        for other in frames[:i]:
            alike = sum(one == two for one, two in zip(frame, other, strict=True))
            assert alike < size / 10, "the same plaintext gave the same ciphertext: a nonce was used twice"


@check
async def check_a_changed_frame_is_refused(make: SecurityMaker) -> None:
    dialer, _ = await channels(make)
    size = len(seal(dialer, b"0123456789"))
    for offset in range(2, size, 5):
        dialer, responder = await channels(make)
        frame = bytearray(seal(dialer, b"0123456789"))
        frame[offset] ^= 1
        with must_raise(RemoteProtocolError, what=f"a frame whose byte {offset} was changed"):
            open_all(responder, frame)
        with must_raise(RemoteProtocolError, what="a channel that met a changed frame"):
            open_all(responder, seal(dialer, b"0123456789"))


@check
async def check_a_replayed_frame_is_refused(make: SecurityMaker) -> None:
    dialer, responder = await channels(make)
    frame = seal(dialer, b"pay ten")
    assert open_all(responder, frame) == b"pay ten"
    with must_raise(RemoteProtocolError, what="a frame that came a second time"):
        open_all(responder, frame)


@check
async def check_a_reordered_frame_is_refused(make: SecurityMaker) -> None:
    dialer, responder = await channels(make)
    seal(dialer, b"one")
    with must_raise(RemoteProtocolError, what="the second frame in the place of the first"):
        open_all(responder, seal(dialer, b"two"))


@check
async def check_a_reflected_frame_is_refused(make: SecurityMaker) -> None:
    dialer, _ = await channels(make)
    with must_raise(RemoteProtocolError, what="one's own frame sent back"):
        open_all(dialer, seal(dialer, b"mine"))


CHECKS = (
    check_each_learns_who_the_other_is,
    check_the_expected_peer_is_let_in,
    check_another_peer_is_refused,
    check_an_impostor_is_refused,
    check_a_changed_handshake_is_refused,
    check_garbage_is_refused,
    check_an_early_end_is_refused,
    check_early_muxers_agree,
    check_frames_cross,
    check_part_of_a_frame_waits,
    check_too_small_an_output_has_no_room,
    check_plaintext_does_not_show,
    check_every_frame_is_sealed_anew,
    check_a_changed_frame_is_refused,
    check_a_replayed_frame_is_refused,
    check_a_reordered_frame_is_refused,
    check_a_reflected_frame_is_refused,
)


async def run_all(make: SecurityMaker) -> None:
    """Run every check; raises an ``ExceptionGroup`` of :class:`CheckFailed`."""
    await run_checks(CHECKS, make)
