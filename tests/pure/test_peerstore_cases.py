"""What other peerstores are asked, asked of ours: in memory, and with a restart before each look.

The cases are those of go-libp2p's suites (``p2p/host/peerstore/test``, address, certified and key book). There one sets
and updates the time of an address that is there; here an address is removed, or what a peer told is replaced, and both
are asked. Private keys are not asked about: they are not in a peerstore.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from p2p.errors import RemoteProtocolError
from p2p.identity import Identity, PeerId, PeerRecord
from p2p.limits import PeerstoreLimits
from p2p.peerstore import PERMANENT_TTL, Peerstore
from p2p.peerstore.file import PeerFile
from p2p.wire.addresses import Multiaddr

LIMITS = PeerstoreLimits()
ALICE, BOB = Identity.generate(), Identity.generate()
HOUR = 3600.0
Restart = Callable[[Peerstore, float], Peerstore]


def addrs(*numbers: int) -> tuple[Multiaddr, ...]:
    return tuple(Multiaddr(f"/ip4/10.0.{number >> 8}.{number & 255}/tcp/4001") for number in numbers)


def sealed(who: Identity, seq: int, *numbers: int) -> bytes:
    return PeerRecord(who.peer_id, seq, addrs(*numbers)).seal(who.private_key)


@pytest.fixture(params=["in memory", "over a restart"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Restart]:
    def restart(store: Peerstore, now: float) -> Peerstore:
        if request.param == "in memory":
            return store
        path = tmp_path / "peers.db"
        path.unlink(missing_ok=True)
        fresh = Peerstore(LIMITS)
        with closing(PeerFile(path, LIMITS)) as file:
            file.write([(peer, store.describe(peer)) for peer in store], ahead=HOUR)
        with closing(PeerFile(path, LIMITS)) as file:
            while (found := file.read(ahead=HOUR)) is not None:
                for known in found:
                    fresh.restore(known, now=now)
        return fresh

    yield restart


class Book:
    """A store, and a clock, that is restarted, perhaps, before each look."""

    def __init__(self, again: Restart) -> None:
        self.store = Peerstore(LIMITS)
        self.now = 0.0
        self._again = again

    def add(self, who: Identity, *numbers: int, ttl: float = HOUR) -> None:
        self.store.add_addrs(who.peer_id, addrs(*numbers), ttl=ttl, now=self.now)

    def set(self, who: Identity, *numbers: int, ttl: float = HOUR) -> None:
        self.store.set_addrs(who.peer_id, addrs(*numbers), ttl=ttl, now=self.now)

    def take(self, record: bytes, who: Identity = ALICE) -> bool:
        return self.store.add_record(record, peer=who.peer_id, now=self.now)

    def look(self, who: Identity = ALICE) -> set[Multiaddr]:
        self.store = self._again(self.store, self.now)
        found = self.store.addrs(who.peer_id, now=self.now)
        assert len(set(found)) == len(found)
        return set(found)


@pytest.fixture
def book(again: Restart) -> Book:
    return Book(again)


# --- addresses --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [(1,), (1, 2, 3)])
def test_adding_twice_is_adding_once(book: Book, numbers: tuple[int, ...]) -> None:
    book.add(ALICE, *numbers)
    assert book.look() == set(addrs(*numbers))
    book.add(ALICE, *numbers)
    assert book.look() == set(addrs(*numbers))


def test_a_later_end_extends(book: Book) -> None:
    book.add(ALICE, 1, 2, 3, ttl=1)
    book.add(ALICE, 3)
    book.now = 1.2
    assert book.look() == set(addrs(3))


def test_an_earlier_end_does_not_shorten(book: Book) -> None:
    book.add(ALICE, 1, 2, 3)
    book.add(ALICE, 3, ttl=1)
    book.now = 2.1
    assert book.look() == set(addrs(1, 2, 3))


def test_an_end_in_between(book: Book) -> None:
    book.add(ALICE, 1, ttl=4)
    book.now = 2
    book.add(ALICE, 1, ttl=3)
    book.now = 4
    assert book.look() == set(addrs(1))
    book.now = 5
    assert book.look() == set()


def test_a_final_p2p_names_the_peer_or_the_address_is_left_out(book: Book) -> None:
    full = Multiaddr(f"{addrs(1)[0]}/p2p/{ALICE.peer_id}")
    for who in (ALICE, BOB):
        book.store.add_addrs(who.peer_id, [full], ttl=HOUR, now=0)
    assert book.look(ALICE) == set(addrs(1))
    assert book.look(BOB) == set()


def test_clearing_one_leaves_the_other(book: Book) -> None:
    book.add(ALICE, 1, 2, 3)
    book.add(BOB, 4, 5)
    book.store.forget(ALICE.peer_id)
    assert (book.look(ALICE), book.look(BOB)) == (set(), set(addrs(4, 5)))
    book.store.forget(BOB.peer_id)
    assert (book.look(ALICE), book.look(BOB)) == (set(), set())


def test_removing_some_and_then_the_rest(book: Book) -> None:
    book.set(ALICE, *range(50))
    for number in (25, 37, 37, 99):
        book.store.remove_addr(ALICE.peer_id, addrs(number)[0])
    assert book.look() == set(addrs(*range(50))) - set(addrs(25, 37))
    for number in range(50):
        book.store.remove_addr(ALICE.peer_id, addrs(number)[0])
    assert book.look() == set()


def test_nobody_is_nobody(book: Book) -> None:
    book.store.remove_addr(ALICE.peer_id, addrs(1)[0])
    book.add(ALICE)
    book.set(ALICE)
    assert book.look() == set()


def test_replacing_what_was_told(book: Book) -> None:
    book.set(ALICE, 1)
    book.set(ALICE, 2, ttl=60)
    book.set(BOB, 3)
    book.add(ALICE, 4, ttl=1)
    assert book.look() == set(addrs(2, 4))
    book.set(ALICE)
    assert (book.look(ALICE), book.look(BOB)) == (set(addrs(4)), set(addrs(3)))
    book.now = 2
    assert (book.look(ALICE), book.look(BOB)) == (set(), set(addrs(3)))


def test_each_expires_by_itself(book: Book) -> None:
    for number in range(4):
        book.add(ALICE, number, ttl=10 * (number + 1))
        book.add(BOB, number, ttl=20 * (number + 1))
    for count in range(4):
        book.now = 10.0 * count
        assert book.look(ALICE) == set(addrs(*range(count, 4)))
        assert book.look(BOB) == set(addrs(*range(count // 2, 4)))


def test_who_has_addresses(book: Book) -> None:
    assert list(book.store) == []
    book.add(ALICE, *range(5), ttl=PERMANENT_TTL)
    book.add(BOB, *range(5, 10), ttl=PERMANENT_TTL)
    assert (book.look(ALICE), book.look(BOB)) == (set(addrs(*range(5))), set(addrs(*range(5, 10))))
    assert list(book.store) == [ALICE.peer_id, BOB.peer_id]


# --- signed records ---------------------------------------------------------------------------------------


def test_signed_and_unsigned_side_by_side(book: Book) -> None:
    newer = sealed(ALICE, 2, *range(5))
    book.add(ALICE, *range(5, 10))
    assert book.take(newer)
    assert book.look() == set(addrs(*range(10)))
    assert list(book.store) == [ALICE.peer_id]
    assert not book.take(sealed(ALICE, 1, *range(5)))
    book.add(ALICE, *range(5, 10))
    assert book.look() == set(addrs(*range(10)))
    assert book.store.record(ALICE.peer_id) == newer
    # The newest drops what it does not name, and nothing that was not signed.
    assert book.take(sealed(ALICE, 3, 0, 1, 2))
    assert book.look() == set(addrs(0, 1, 2, *range(5, 10)))


def test_a_record_goes_with_its_peer(book: Book) -> None:
    assert book.take(sealed(ALICE, 1, 1))
    book.store.forget(ALICE.peer_id)
    assert book.look() == set() and book.store.record(ALICE.peer_id) is None
    assert book.take(sealed(ALICE, 1, 1))
    assert book.look() == set(addrs(1))
    book.now = LIMITS.address_ttl
    book.store.collect(now=book.now, most=10)
    assert book.look() == set() and book.store.record(ALICE.peer_id) is None


def test_a_record_of_the_wrong_key(book: Book) -> None:
    for record in (sealed(BOB, 1, 1), b""):
        with pytest.raises(RemoteProtocolError):
            book.take(record)
    assert book.look() == set()


# --- keys -------------------------------------------------------------------------------------------------


def test_a_key_in_the_id_is_known(book: Book) -> None:
    assert book.store.public_key(ALICE.peer_id) == ALICE.public_key


@pytest.mark.parametrize("kind", ["ed25519", "secp256k1", "rsa"])
def test_a_key_that_was_shown_is_known(book: Book, kind: str) -> None:
    who = Identity.generate(kind)
    with pytest.raises(RemoteProtocolError):
        book.store.set_public_key(who.peer_id, ALICE.public_key)
    book.store.set_public_key(who.peer_id, who.public_key)
    book.add(who, 1)
    assert book.look(who) == set(addrs(1))
    assert book.store.public_key(PeerId.from_public_key(who.public_key)) == who.public_key


def test_a_key_goes_with_its_peer(book: Book) -> None:
    who = Identity.generate("rsa")
    book.store.set_public_key(who.peer_id, who.public_key)
    book.add(who, 1)
    book.store.forget(who.peer_id)
    assert book.look(who) == set() and book.store.public_key(who.peer_id) is None
