"""Bulk leaves nothing behind, and little is allocated at one time while it flows."""

from __future__ import annotations

import gc
import sys
import tracemalloc

import trio
import trio.testing

from p2p.limits import KIB, MIB
from p2p.muxers.stream import MuxedStream
from p2p.testing.pairs import stream_pair
from p2p.testing.pipes import raw_pair
from tests.budgets.table import BULK_BLOCKS, BULK_PEAK


async def flow(near: MuxedStream, far: MuxedStream, size: int) -> None:
    """So many bytes in writes of 64 KiB, read as they come."""
    data = bytes(64 * KIB)

    async def read() -> None:
        got = 0
        while got < size:
            got += len(await far.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        for _ in range(size // len(data)):
            await near.send_all(data)
    await trio.testing.wait_all_tasks_blocked()


async def test_bulk_leaves_no_objects_behind() -> None:
    async with stream_pair(raw_pair(buffer=256 * KIB)) as (near, far):
        await flow(near, far, 4 * MIB)
        gc.collect()
        before = sys.getallocatedblocks()
        await flow(near, far, 16 * MIB)
        gc.collect()
        left = sys.getallocatedblocks() - before
    assert left <= BULK_BLOCKS


async def test_bulk_holds_little_at_one_time() -> None:
    async with stream_pair(raw_pair(buffer=256 * KIB)) as (near, far):
        await flow(near, far, 4 * MIB)
        tracemalloc.start()
        try:
            await flow(near, far, 4 * MIB)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak <= BULK_PEAK
