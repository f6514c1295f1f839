"""Two hosts of one machine, over a Unix socket."""

import stat
import tempfile
from pathlib import Path

import trio

from p2p import Host, Identity
from p2p.protocols.ping import PING, Ping, ping
from p2p.transports import Unix


def permissions(path: Path) -> str:
    return stat.filemode(path.stat().st_mode)


async def main(path: Path) -> None:
    listen = [f"/unix{path}"]
    async with Host(Identity.generate(), transports=[Unix()], listen=listen, services=[Ping()]) as bob:
        print("who may connect:", permissions(path))
        async with Host(Identity.generate(), transports=[Unix()]) as alice:
            async with await alice.open_stream(bob.addrs[0], PING) as stream:
                print("answers in a second:", await ping(stream) < 1)
    print("afterwards:", list(path.parent.iterdir()))


with tempfile.TemporaryDirectory(prefix="p2p-") as directory:
    trio.run(main, Path(directory, "socket"))

# Output:
# who may connect: srw-------
# answers in a second: True
# afterwards: []
