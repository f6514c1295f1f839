"""The sender's side: a service that gives its shares to whoever proves to know their secrets. Trio.

Source: docs/reference/share.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio

from p2p.abc import Handler, HostView, ProtocolId, Stream
from p2p.errors import RemoteProtocolError
from p2p.limits import ShareLimits
from p2p.protocols.share.content import Source
from p2p.protocols.share.door import Door
from p2p.protocols.share.errors import SourceChanged
from p2p.protocols.share.manifest import encode_manifest
from p2p.protocols.share.reports import ChunkSent, GetterCame, GetterLeft, SourceSpoilt, Watch, unwatched
from p2p.protocols.share.secret import Secret
from p2p.resources.per_peer import PerPeer
from p2p.streams import read_lp, write_lp
from p2p.wire.framing import encode_frame
from p2p.wire.share_messages import (
    Answer,
    Reply,
    Request,
    Verdict,
    decode_request,
    encode_answer,
    encode_reply,
)

SHARE: Final = ProtocolId("/p2p-trio/share/1.0.0")
#: Of the getter's messages.
_MAX_HELLO: Final = 256
_MAX_REQUEST: Final = 64


@dataclass(slots=True)
class _Getter:
    """One stream that was let in."""

    number: int
    chunks: int = 0
    finished: bool = False


class Share:
    """Answers ``/p2p-trio/share/1.0.0`` within ``host.limits.share``.

    ``offers`` has the content behind each secret; ``watch`` is told what happens. At most ``getters`` are served at
    once, in turn and each with one chunk in memory; one more is told to come later. For one host at a time.
    """

    def __init__(self, offers: Mapping[Secret, Source], *, watch: Watch = unwatched) -> None:
        self._offers = dict(offers)
        self._watch = watch
        self._host: HostView | None = None
        self._door: Door[Source] | None = None
        self._streams = PerPeer()
        self._getters = 0
        #: Let in so far.
        self._came = 0

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {SHARE: self._answer}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serves until cancelled."""
        self._door = Door(self._offers, host.limits.share, trio.current_time())
        self._host = host
        try:
            task_status.started()
            await trio.sleep_forever()
        finally:
            self._host = None

    async def _answer(self, stream: Stream) -> None:
        host, peer = self._host, stream.connection.remote_peer
        if host is None:
            stream.reset()
            return
        with self._streams.one_more(peer, host.limits.share.streams_per_peer) as may:
            if may:
                await self._judge(stream, host)
            else:
                stream.reset()

    async def _judge(self, stream: Stream, host: HostView) -> None:
        limits = host.limits.share
        assert self._door is not None
        with _within(limits.prove, "a proof"):
            hello = await read_lp(stream, max=_MAX_HELLO)
        peer = stream.connection.remote_peer
        admitted = self._door.admit(hello, sender=host.peer_id, getter=peer, now=trio.current_time())
        with _within(limits.answer, "taking an answer"):
            if admitted is None:
                await write_lp(stream, encode_answer(Answer(Verdict.REFUSED)))
                return
            source, proof = admitted
            if self._getters >= limits.getters:
                await write_lp(stream, encode_answer(Answer(Verdict.BUSY, proof)))
                return
        self._came += 1
        getter = _Getter(self._came)
        self._getters += 1
        self._watch(GetterCame(peer, getter.number))
        try:
            await self._tell(stream, source, proof, limits)
            await self._give(stream, source, getter, limits)
        finally:
            self._getters -= 1
            self._watch(GetterLeft(peer, getter.number, getter.chunks, getter.finished))

    async def _tell(self, stream: Stream, source: Source, proof: bytes, limits: ShareLimits) -> None:
        manifest = source.manifest
        answer = Answer(Verdict.ACCEPTED, proof, len(manifest.entries), manifest.size, manifest.chunk_size)
        with _within(limits.answer, "taking an answer"):
            await write_lp(stream, encode_answer(answer))
        for part in encode_manifest(manifest, limits):
            with _within(limits.answer, "taking an answer"):
                await write_lp(stream, part)

    async def _give(self, stream: Stream, source: Source, getter: _Getter, limits: ShareLimits) -> None:
        peer, layout = stream.connection.remote_peer, source.manifest.layout
        while True:
            with _within(limits.idle, "the next request"):
                request: Request = decode_request(await read_lp(stream, max=_MAX_REQUEST))
            if request.chunk is None:
                getter.finished = True
                return
            if request.chunk >= layout.count:
                raise RemoteProtocolError(f"share: {peer} asked for chunk {request.chunk} of {layout.count}")
            with _within(limits.transfer, "taking a chunk"):
                try:
                    data = await source.read(request.chunk)
                except SourceChanged as error:
                    self._watch(SourceSpoilt(error.path))
                    await write_lp(stream, encode_reply(Reply(changed=error.path)))
                    return
                getter.chunks += 1
                await stream.send_all(encode_frame(encode_reply(Reply())))
                await stream.send_all(data)
            self._watch(ChunkSent(peer, getter.number, len(data)))


@contextmanager
def _within(seconds: float, what: str) -> Iterator[None]:
    """A getter that is too slow breaks the rules, and costs its stream."""
    with trio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise RemoteProtocolError(f"share: {what} took longer than {seconds:g} seconds")
