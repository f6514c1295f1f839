"""A service: handlers and state that belong together, and a task that lives as long as they do."""

from collections.abc import Mapping

import trio

from p2p import Host, Identity, Stream
from p2p.abc import Handler, HostView, ProtocolId
from p2p.streams import read_lp, write_lp

GUESTBOOK = ProtocolId("/guestbook/1.0.0")
MAX_NAME = 64


class Guestbook:
    """Whoever sends a name is told the name before."""

    def __init__(self) -> None:
        self.last = "nobody"

    @property
    def handlers(self) -> Mapping[ProtocolId, Handler]:
        return {GUESTBOOK: self._sign}

    async def run(
        self, host: HostView, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        task_status.started()
        await trio.sleep_forever()

    async def _sign(self, stream: Stream) -> None:
        # The remote may say anything and may say it slowly: what it sends has a size, and a deadline.
        with trio.fail_after(5):
            name = (await read_lp(stream, max=MAX_NAME)).decode(errors="replace")
            await write_lp(stream, f"hello {name}, {self.last} was here before".encode())
        self.last = name


async def main() -> None:
    listen = ["/ip4/127.0.0.1/tcp/0"]
    async with Host(Identity.generate(), listen=listen, services=[Guestbook()]) as bob:
        async with Host(Identity.generate()) as alice:
            for name in ["Alice", "Carol"]:
                async with await alice.open_stream(bob.addrs[0], GUESTBOOK) as stream:
                    await write_lp(stream, name.encode())
                    print((await read_lp(stream, max=256)).decode())


trio.run(main)

# Output:
# hello Alice, nobody was here before
# hello Carol, Alice was here before
