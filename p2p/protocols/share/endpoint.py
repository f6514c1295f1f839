"""The getter's side: from an address to content in its target, over as many connections as it takes. Trio.

Chunks are asked for one at a time, the next when the one before is written. That costs a round trip for each, and
has the merit that an interruption, of whichever kind on whichever side, costs one chunk at the most.

Source: docs/reference/share.md.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable

import trio

from p2p.abc import HostView, Stream
from p2p.errors import DialError, NegotiationError, RemoteProtocolError
from p2p.limits import ShareLimits
from p2p.protocols.share.address import ShareAddress
from p2p.protocols.share.content import Target
from p2p.protocols.share.errors import ShareBusy, ShareError, ShareRefused, SourceChanged
from p2p.protocols.share.manifest import Assembling, Manifest
from p2p.protocols.share.reports import ChunkFetched, ManifestRead, SenderLost, Watch, unwatched
from p2p.protocols.share.service import SHARE
from p2p.streams import read_lp, write_lp
from p2p.wire.share_messages import (
    NONCE_SIZE,
    Hello,
    Request,
    Verdict,
    decode_answer,
    decode_reply,
    encode_hello,
    encode_request,
)

#: Of the sender's messages before and after the manifest.
_MAX_ANSWER = 256


async def get(
    host: HostView,
    address: ShareAddress,
    target: Target,
    *,
    watch: Watch = unwatched,
    random: Callable[[int], bytes] = os.urandom,
) -> Manifest:
    """Fetch what is at ``address`` into ``target``, and return what it was.

    When the connection breaks later than at its first attempt, it is made again, until ``limits.redial`` seconds
    passed without a new chunk. Raises ``ShareError`` and its kinds, ``RemoteProtocolError`` for a sender that lies,
    ``trio.TooSlowError``, ``OSError``, and as ``host.open_stream``. Cancelled or failed: what is in the target stays,
    and the same call goes on there.
    """
    getting = _Getting(host, address, target, watch, random)
    while True:
        if await getting.attempt():
            break
        await trio.sleep(host.limits.share.redial_pause)
    manifest = getting.manifest
    assert manifest is not None
    if getting.unfinished:
        await target.finish()
    return manifest


class _Getting:
    """One call of :func:`get`."""

    def __init__(
        self,
        host: HostView,
        address: ShareAddress,
        target: Target,
        watch: Watch,
        random: Callable[[int], bytes],
    ) -> None:
        self._host = host
        self._address = address
        self._target = target
        self._watch = watch
        self._random = random
        #: Chunks asked for on this connection.
        self._asked = 0
        self._moved_at = trio.current_time()
        #: Known from the first connection on.
        self.manifest: Manifest | None = None
        #: Whether the target lacked something when it was prepared.
        self.unfinished = True

    async def attempt(self) -> bool:
        """One connection; whether it brought all that was missing. Raises when there is no use in another."""
        self._asked = 0
        try:
            stream = await self._host.open_stream(self._address.addr, SHARE)
            try:
                await self._converse(stream)
                await stream.aclose()
            except BaseException:
                stream.reset()
                raise
        except (trio.BrokenResourceError, DialError, NegotiationError, ShareBusy) as error:
            if self._has_all:
                return True  # the sender just was not told
            waited = trio.current_time() - self._moved_at
            if self.manifest is None or waited > self._host.limits.share.redial:
                raise
            self._watch(SenderLost(self._asked, str(error)))
            return False
        return True

    @property
    def _has_all(self) -> bool:
        if self.manifest is None:
            return False
        return not self.unfinished or len(self._target.held) == self.manifest.layout.count

    async def _converse(self, stream: Stream) -> None:
        limits = self._host.limits.share
        manifest = await self._introduce(stream, limits)
        if self.manifest is None:
            self.unfinished = await self._target.prepare(manifest)
            self.manifest = manifest
            self._moved_at = trio.current_time()
            held = manifest.size
            if self.unfinished:
                held = sum(map(manifest.layout.length, self._target.held))
            self._watch(ManifestRead(manifest, held))
        elif _told_by(manifest) != _told_by(self.manifest):
            raise ShareError("the sender shares something else under this address by now")
        if self.unfinished:
            await self._fetch(stream, manifest, limits)
        with trio.fail_after(limits.answer):
            await write_lp(stream, encode_request(Request(None)))

    async def _introduce(self, stream: Stream, limits: ShareLimits) -> Manifest:
        """Prove to know the secret, have it proven, and hear what there is."""
        sender, getter = stream.connection.remote_peer, stream.connection.local_peer
        secret, nonce = self._address.secret, self._random(NONCE_SIZE)
        proof = secret.prove_getter(sender=sender, getter=getter, nonce=nonce)
        with trio.fail_after(limits.answer):
            await write_lp(stream, encode_hello(Hello(secret.share_id, nonce, proof)))
            answer = decode_answer(await read_lp(stream, max=_MAX_ANSWER))
        if answer.verdict is Verdict.REFUSED:
            raise ShareRefused
        expected = secret.prove_sender(sender=sender, getter=getter, nonce=nonce)
        if not hmac.compare_digest(expected, answer.proof):
            raise RemoteProtocolError(f"share: {sender} does not know the secret itself")
        if answer.verdict is Verdict.BUSY:
            raise ShareBusy
        assembling = Assembling(answer, limits)
        while assembling.manifest is None:
            with trio.fail_after(limits.answer):
                assembling.receive(await read_lp(stream, max=limits.max_message))
        return assembling.manifest

    async def _fetch(self, stream: Stream, manifest: Manifest, limits: ShareLimits) -> None:
        for chunk in range(manifest.layout.count):
            if chunk in self._target.held:
                continue
            data = bytearray(manifest.layout.length(chunk))
            with trio.fail_after(limits.transfer):
                self._asked += 1
                await write_lp(stream, encode_request(Request(chunk)))
                reply = decode_reply(await read_lp(stream, max=limits.max_path + _MAX_ANSWER))
                if reply.changed is not None:
                    raise SourceChanged(reply.changed, told=True)
                await _read_into(stream, data)
            await self._target.write(chunk, data)
            self._moved_at = trio.current_time()
            self._watch(ChunkFetched(len(data)))


def _told_by(manifest: Manifest) -> tuple[bytes, int, bytes]:
    """What tells one manifest from another, without a look at each of its entries."""
    return manifest.content_id, manifest.chunk_size, manifest.hashes


async def _read_into(stream: Stream, data: bytearray) -> None:
    """Fill ``data``. Raises ``RemoteProtocolError`` when the stream ends before."""
    position = 0
    while position < len(data):
        some = await stream.receive_some(len(data) - position)
        if not some:
            raise RemoteProtocolError(f"share: a chunk ended after {position} of {len(data)} bytes")
        data[position : position + len(some)] = some
        position += len(some)
