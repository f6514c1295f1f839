"""A program that changes a peerstore, and says what was acknowledged, until it is killed; for ``test_peerstore_kill``.

It is started once, and forks for each life: line by line it is told ``FIRST-STEP SEED``, and says on standard output

- ``pid PID`` of the life that begins, and ``open`` when it has read the file;
- ``step N`` before it changes anything in step N, ``ack N`` when a flush after step N returned;
- ``gone`` when that life was ended.

What a step does follows from its number alone (:func:`change`), so that the file can be checked against it.
"""

from __future__ import annotations

import os
import random
import sys
from dataclasses import dataclass

import trio

from p2p.identity import Identity, PeerRecord, PrivateKey
from p2p.peerstore import PERMANENT_TTL
from p2p.peerstore.sqlite import SQLitePeerstore
from p2p.wire.addresses import Multiaddr

PEOPLE = tuple(Identity(PrivateKey.from_seed(bytes([number]) * 32)) for number in range(12))


@dataclass(frozen=True)
class Change:
    """What one step leaves of one peer; no addresses: it is forgotten."""

    who: Identity
    addrs: tuple[Multiaddr, ...]
    record: bytes
    protocols: tuple[str, ...]


def change(step: int) -> Change:
    rng = random.Random(step)
    who = PEOPLE[rng.randrange(len(PEOPLE))]
    if rng.random() < 0.1:
        return Change(who, (), b"", ())
    addrs = tuple(
        Multiaddr(f"/ip4/10.{step >> 8 & 255}.{step & 255}.{n}/tcp/1") for n in range(rng.randrange(1, 9))
    )
    record = PeerRecord(who.peer_id, step, addrs).seal(who.private_key)
    return Change(who, addrs, record, tuple(f"/{step}/{n}" for n in range(rng.randrange(9))))


def apply(store: SQLitePeerstore, step: int) -> None:
    new, now = change(step), trio.current_time()
    peer = new.who.peer_id
    store.forget(peer)
    if new.addrs:
        store.connected(peer, now=now)
        store.set_public_key(peer, new.who.public_key)
        store.add_record(new.record, peer=peer, now=now)
        store.add_addrs(peer, new.addrs, ttl=PERMANENT_TTL, now=now)
        store.set_protocols(peer, new.protocols)
        store.set_agent_version(peer, f"step/{step}")
        store.set_metadata(peer, "step", str(step).encode())
        store.disconnected(peer, now=now)


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def live(path: str, step: int, seed: int) -> None:
    rng = random.Random(seed)
    async with SQLitePeerstore(path) as store:
        say("open")
        while True:
            for _ in range(rng.randrange(1, 6)):
                say("step", step)
                apply(store, step)
                step += 1
                if rng.random() < 0.3:
                    await trio.lowlevel.checkpoint()
            await store.flush()
            say("ack", step - 1)


def main(path: str) -> None:
    for line in sys.stdin:
        step, seed = map(int, line.split())
        pid = os.fork()
        if not pid:
            say("pid", os.getpid())
            try:
                trio.run(live, path, step, seed)
            finally:
                os._exit(1)  # it is killed, or has failed: what the parent has open is the parent's
        os.waitpid(pid, 0)
        say("gone")


if __name__ == "__main__":
    main(sys.argv[1])
