"""A reader that does not read, and what that looks like at both ends."""

import trio

from p2p.testing import raw_pair, stream_pair


async def main() -> None:
    async with stream_pair(raw_pair(buffer=2**20)) as (near, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all, bytes(400_000))
            await trio.testing.wait_all_tasks_blocked()
            here, there = near.statistics(), far.statistics()
            print(f"received and unread: {there.unread} of a window of {there.receive_window} bytes")
            assert here.waits_for is not None
            print(
                f"{here.unsent} bytes wait for the {here.waits_for.value}, and a send waits: {here.send_waits}"
            )
            nursery.cancel_scope.cancel()


trio.run(main)

# Output:
# received and unread: 262144 of a window of 262144 bytes
# 137856 bytes wait for the window, and a send waits: True
