"""What a connection makes this side do, counted exactly: nothing is signed, verified or read twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

import pytest
import trio

from p2p.host import Host
from p2p.identity import Identity, KeyType, PrivateKey, PublicKey, ed25519, keys
from p2p.identity.scheme import Verifier
from p2p.limits import WIRE_LIMITS
from p2p.protocols.identify import Identify
from p2p.transports.memory import Memory, MemoryHub
from p2p.wire.addresses import parse_user_addr

Clock = trio.testing.MockClock


@dataclass
class Work:
    signed: int = 0
    verified: int = 0

    def since(self, before: tuple[int, int]) -> tuple[int, int]:
        """Signatures made and verified since then."""
        return self.signed - before[0], self.verified - before[1]

    def now(self) -> tuple[int, int]:
        return self.signed, self.verified


@contextmanager
def counted() -> Iterator[Work]:
    """All that is signed with any key, and verified by Ed25519 keys read from here on."""
    work = Work()
    sign = PrivateKey.sign

    def signing(key: PrivateKey, message: bytes) -> bytes:
        work.signed += 1
        return sign(key, message)

    def load_public(data: bytes) -> Verifier:
        verify = ed25519.load_public(data)

        def verifying(signature: bytes, message: bytes) -> None:
            work.verified += 1
            verify(signature, message)

        return verifying

    with (
        mock.patch.object(PrivateKey, "sign", signing),
        mock.patch.dict(keys._LOAD_PUBLIC, {KeyType.ED25519: load_public}),
    ):
        yield work


async def meet(alice: Host, bob: Host, identify: tuple[Identify, Identify]) -> None:
    """A new connection of which each side is told who the other is, and its end."""
    at_bob = await bob.dial(alice.addrs[0])
    at_alice = await alice.wait_connected(bob.peer_id)
    await identify[0].wait_identified(at_alice)
    await identify[1].wait_identified(at_bob)
    await at_bob.aclose()
    await bob.wait_disconnected(alice.peer_id)
    await alice.wait_disconnected(bob.peer_id)


@pytest.mark.parametrize("again", [1, 3])
async def test_what_was_verified_is_not_verified_again(again: int, autojump_clock: Clock) -> None:
    """Each side signs its static key and its record, and verifies both of the other's: once."""
    hub = MemoryHub()
    asking = Identify(), Identify()
    with counted() as work:
        async with (
            Host(
                Identity.generate(),
                transports=[Memory(hub)],
                listen=[parse_user_addr("/memory/0")],
                services=[asking[0]],
            ) as alice,
            Host(Identity.generate(), transports=[Memory(hub)], services=[asking[1]]) as bob,
        ):
            assert work.now() == (2, 0)
            await meet(alice, bob, asking)
            assert work.now() == (4, 4)
            for _ in range(again):
                before = work.now()
                await meet(alice, bob, asking)
                assert work.since(before) == (0, 0)


def test_a_signature_found_bad_is_judged_again_and_one_found_good_is_not() -> None:
    with counted() as work:
        key = PrivateKey.generate()
        public = PublicKey.from_protobuf(key.public_key.to_protobuf())
        good = key.sign(b"message")
        for _ in range(3):
            assert public.verify_repeated(b"message", good)
        assert work.verified == 1

        def changed(data: bytes, i: int) -> bytes:
            return data[:i] + bytes((data[i] ^ 1,)) + data[i + 1 :]

        for i in range(len(good)):
            assert not public.verify_repeated(b"message", changed(good, i))
            assert not public.verify_repeated(b"message", changed(good, i))
        for i in range(len(b"message")):
            assert not public.verify_repeated(changed(b"message", i), good)
        assert not PrivateKey.generate().public_key.verify_repeated(b"message", good)
        assert work.verified == 1 + 2 * len(good) + len(b"message") + 1


def test_what_is_kept_of_keys_and_signatures_is_bounded() -> None:
    key = PrivateKey.generate()
    for number in range(WIRE_LIMITS.kept_signatures + 10):
        message = number.to_bytes(4, "big")
        assert key.public_key.verify_repeated(message, key.sign(message))
    assert keys._verify_kept.cache_info().currsize == WIRE_LIMITS.kept_signatures
    large = PrivateKey.generate(KeyType.RSA).public_key.to_protobuf()
    assert len(large) > WIRE_LIMITS.kept_key_size
    before = keys._read_kept.cache_info()
    assert PublicKey.from_protobuf(large) == PublicKey.from_protobuf(large)
    assert keys._read_kept.cache_info() == before


_MEETING = """
import sys, trio
from p2p import Host, Identity

async def main():
    here = Host(Identity.generate())
    there = Host(Identity.generate(), listen=["/ip4/127.0.0.1/tcp/0"])
    async with there, here, here.events() as events:
        before = set(sys.modules)
        with trio.fail_after(20):
            await here.dial(there.addrs[0])
            while type(await events.receive()).__name__ != "PeerIdentified":
                pass
        print(*sorted(set(sys.modules) - before))

trio.run(main)
"""


def test_a_connection_imports_nothing() -> None:
    """What it needs is there when the hosts run: an import takes the loop for milliseconds."""
    ran = subprocess.run(
        [sys.executable, "-c", _MEETING], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.split() == []
