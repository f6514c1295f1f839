"""A peerstore that outlives the program. Trio.

It is a :class:`p2p.peerstore.Peerstore` in memory, synchronous and within the same bounds, whose changes a task of its
own writes to a file: gathered for ``limits.write_delay``, of a peer that changes often the last state only, some
hundred peers in one transaction. What is waiting is a set of peers, so it is bounded as they are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from itertools import chain, islice
from types import TracebackType
from typing import TypeVar

import trio

from p2p.errors import PeerstoreError, RemoteProtocolError
from p2p.identity import PeerId
from p2p.limits import PeerstoreLimits
from p2p.peerstore.file import PeerFile
from p2p.peerstore.memory import Peerstore

_T = TypeVar("_T")


class SQLitePeerstore(Peerstore):
    """A peerstore kept in the file at ``path``, alive inside ``async with``; hand it to ``Host(peerstore=…)``.

    ::

        async with SQLitePeerstore("peers.db") as peerstore, Host(identity, peerstore=peerstore) as host:
            ...

    Entering reads what there is, and makes the file, for its owner alone, when there is none. It raises
    ``PeerstoreError`` for a file that is not a peerstore's, is of a version that this program does not know, is
    damaged, cannot be written to, or is used by another process.

    Leaving writes what was not written yet, however it is left; after ``limits.write_last`` seconds no more is
    begun. A write that fails cancels the body, and leaving raises ``PeerstoreError``: bare, or in a group with what
    the body raises.

    Writes wait for the disk in a thread, one at a time. Under a clock that does not go by itself
    (``trio.testing.MockClock``) say ``in_loop=True``: then they happen in Trio's own thread. ``wall_clock`` is Unix
    time, for tests.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        limits: PeerstoreLimits | None = None,
        *,
        in_loop: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(limits)
        self._path = path
        self._in_loop = in_loop
        self._wall_clock = wall_clock
        self._file: PeerFile | None = None
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None
        #: Of each peer with a change that is not on the disk, the number of the first one. The oldest comes first.
        self._waiting: dict[PeerId, int] = {}
        self._under_way: dict[PeerId, int] = {}
        self._changes = 0
        self._failure: PeerstoreError | None = None
        self._wanted = trio.Event()
        self._hurried = trio.Event()
        self._written = trio.lowlevel.ParkingLot()

    async def flush(self) -> None:
        """Wait until all that was changed before this call is on the disk.

        It outlives the process then, however that ends, and a loss of power too, if the disk keeps its word.
        Cancelled: what is written is written, and the rest is later. Raises ``PeerstoreError`` when writing
        failed, ``trio.ClosedResourceError`` when it is not entered.
        """
        await trio.lowlevel.checkpoint()
        last = self._changes
        while self._first_waiting() <= last:
            if self._failure is not None:
                raise PeerstoreError(str(self._failure)) from self._failure
            if self._file is None:
                raise trio.ClosedResourceError("this peerstore is not open")
            self._hurried.set()
            await self._written.park()

    # --- its life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> SQLitePeerstore:
        if self._manager is not None:
            raise RuntimeError("a peerstore is entered once")
        self._manager = trio.open_nursery()
        await trio.lowlevel.checkpoint()
        file = await self._wait(lambda: PeerFile(self._path, self._limits))
        now = trio.current_time()
        ahead = self._wall_clock() - now
        try:
            while await self._wait(lambda: self._load_some(file, now, ahead)):
                await trio.lowlevel.checkpoint()
            self._nursery = await self._manager.__aenter__()
            self._file = file
        finally:
            if self._file is None:
                file.close()
        self._nursery.start_soon(self._write_changes, file, self._nursery.cancel_scope)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert self._manager is not None and self._nursery is not None and self._file is not None
        # What Trio cancelled with goes back to Trio; all else is the body's own and never passes a nursery.
        cancelled: BaseException | None = None
        own = error
        if isinstance(error, trio.Cancelled):
            cancelled, own = error, None
        elif isinstance(error, BaseExceptionGroup):
            cancelled, rest = error.split(trio.Cancelled)
            own = error if cancelled is None else rest
        self._nursery.cancel_scope.cancel()
        swallowed: bool | None = False
        try:
            swallowed = await self._manager.__aexit__(
                None if cancelled is None else type(cancelled),
                cancelled,
                None if cancelled is None else cancelled.__traceback__,
            )
        finally:
            await self._finish(self._file)
            if self._failure is not None and own is not None:
                raise BaseExceptionGroup("a peerstore failed, and its body", [own, self._failure])
            if self._failure is not None:
                raise self._failure
            if own is not None and own is not error:
                raise own
        return cancelled is not None and bool(swallowed)

    async def _finish(self, file: PeerFile) -> None:
        with trio.move_on_after(self._limits.write_last, shield=True) as deadline:
            try:
                while self._waiting and self._failure is None:
                    await self._write_some(file)
            except PeerstoreError as error:
                self._failure = error
            try:
                await self._wait(file.close)
            except PeerstoreError as error:
                self._failure = self._failure or error
        if deadline.cancelled_caught:
            file.close()
            self._failure = PeerstoreError(
                f"{self._path}: {len(self._waiting)} peers could not be written in time"
            )
        self._file = None
        self._written.unpark_all()

    # --- reading --------------------------------------------------------------------------------------

    def _load_some(self, file: PeerFile, now: float, ahead: float) -> bool:
        """Whether there may be more. Nobody else uses this store yet, whatever thread this runs in."""
        known = file.read(ahead=ahead)
        for one in known or ():
            try:
                self.restore(one, now=now)
            except (RemoteProtocolError, ValueError):
                self._changed(one.peer)  # so that it is taken out
            else:
                if one.peer in self:
                    self._waiting.pop(one.peer, None)
                else:
                    self._changed(one.peer)
        return known is not None

    # --- writing --------------------------------------------------------------------------------------

    def _changed(self, peer: PeerId) -> None:
        self._changes += 1
        self._waiting.setdefault(peer, self._changes)
        self._wanted.set()

    def _first_waiting(self) -> float:
        """The number of the oldest change that is not on the disk."""
        return next(chain(self._under_way.values(), self._waiting.values()), float("inf"))

    async def _write_changes(self, file: PeerFile, body: trio.CancelScope) -> None:
        try:
            while True:
                await self._wanted.wait()
                with trio.move_on_after(self._limits.write_delay):
                    await self._hurried.wait()
                self._wanted, self._hurried = trio.Event(), trio.Event()
                # What changes meanwhile gathers anew.
                last = self._changes
                while self._first_waiting() <= last:
                    await self._write_some(file)
        except PeerstoreError as error:
            self._failure = error
            self._written.unpark_all()
            body.cancel()

    async def _write_some(self, file: PeerFile) -> None:
        """One transaction. Failed or cancelled: what was to be written waits still."""
        await trio.lowlevel.checkpoint()
        peers = list(islice(self._waiting, self._limits.write_batch))
        self._under_way = {peer: self._waiting.pop(peer) for peer in peers}
        changes = [(peer, self.describe(peer)) for peer in peers]
        ahead = self._wall_clock() - trio.current_time()
        done = False
        try:
            await self._wait(lambda: file.write(changes, ahead=ahead))
            done = True
        finally:
            if not done:
                self._waiting = {**self._under_way, **self._waiting, **self._under_way}
            self._under_way = {}
        self._written.unpark_all()

    async def _wait(self, work: Callable[[], _T]) -> _T:
        """Do what waits for the disk. It is not cancelled half-way."""
        return work() if self._in_loop else await trio.to_thread.run_sync(work)
