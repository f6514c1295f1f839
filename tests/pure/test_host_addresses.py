"""Under which addresses a host is reached: what counts as observed, and by whom."""

from __future__ import annotations

import pytest

from p2p import Connection, Identity
from p2p.abc import Direction
from p2p.host.addresses import Addresses
from p2p.limits import DEFAULT_LIMITS
from p2p.wire.addresses import Multiaddr
from tests.trio.fakes import FakeConnection, FakeNetwork

ME, PEER = Identity.generate(), Identity.generate()
LISTEN = "/ip4/10.0.0.5/tcp/4001"
SEEN = "/ip4/1.2.3.4/tcp/4001"


class Book(Addresses):
    """With a network of its own, and what it told."""

    def __init__(self, *listen: str, announce: list[Multiaddr] | None = None) -> None:
        self.told: list[list[str]] = []
        super().__init__(
            ME.peer_id, DEFAULT_LIMITS, announce, lambda addrs: self.told.append([*map(str, addrs)])
        )
        for addr in listen or (LISTEN,):
            self.listened(Multiaddr(addr))

    @property
    def texts(self) -> list[str]:
        return [str(addr).removesuffix(f"/p2p/{ME.peer_id}") for addr in self.full]

    def seen_by(self, number: int, seen: str = SEEN, *, remote: str = "", local: str = LISTEN) -> Connection:
        """A peer at the ``number``-th address says where it sees us."""
        remote = remote or f"/ip4/5.6.7.{number}/tcp/{10000 + number}"
        connection = FakeConnection(
            FakeNetwork(), ME, PEER, Multiaddr(local), Multiaddr(remote), Direction.INBOUND
        )
        self.observed(connection, Multiaddr(seen))
        return connection


def test_what_is_listened_on_is_told_in_full() -> None:
    book = Book()
    assert [str(addr) for addr in book.full] == [f"{LISTEN}/p2p/{ME.peer_id}"]
    book.unlistened()
    assert book.full == ()
    assert book.told == [[f"{LISTEN}/p2p/{ME.peer_id}"], []]


def test_four_observers_at_different_addresses_are_believed() -> None:
    book = Book()
    for number in range(3):
        book.seen_by(number)
        assert book.texts == [LISTEN]
    book.seen_by(3)
    assert book.texts == [LISTEN, SEEN]


def test_one_address_is_one_observer_however_many_peers_it_has() -> None:
    book = Book()
    for number in range(50):
        book.seen_by(number, remote=f"/ip4/5.6.7.8/tcp/{1000 + number}")
    assert book.texts == [LISTEN]


def test_one_ipv6_subscriber_is_one_observer() -> None:
    listen, seen = "/ip6/fd00::5/tcp/4001", "/ip6/2001:db8::1/tcp/4001"
    book = Book(listen)
    for number in range(50):
        book.seen_by(number, seen, local=listen, remote=f"/ip6/2001:db8:1:1{number:02x}::1/tcp/1")
    assert book.texts == [listen]
    for number in range(4):
        book.seen_by(number, seen, local=listen, remote=f"/ip6/2001:db8:1:{number}00::1/tcp/1")
    assert book.texts == [listen, seen]


def test_what_a_peer_said_is_forgotten_with_its_connection() -> None:
    book = Book()
    connections = [book.seen_by(number) for number in range(4)]
    book.forget(connections[0])
    assert book.texts == [LISTEN]
    book.forget(connections[0])
    for connection in connections:
        book.forget(connection)
    assert not book._seen


def test_a_peers_last_word_counts() -> None:
    book = Book()
    connections = [book.seen_by(number) for number in range(4)]
    book.observed(connections[0], Multiaddr("/ip4/9.9.9.9/tcp/4001"))
    assert book.texts == [LISTEN]
    book.observed(connections[0], Multiaddr(SEEN))
    assert book.texts == [LISTEN, SEEN]
    book.observed(connections[0], Multiaddr("/ip4/127.0.0.1/tcp/4001"))
    assert book.texts == [LISTEN]


def test_at_most_three_addresses_per_listener_those_with_the_most_observers() -> None:
    book = Book()
    for which in range(5):
        for number in range(4 + which):
            book.seen_by(10 * which + number, f"/ip4/1.2.3.{which}/tcp/4001")
    assert book.texts == [LISTEN, *(f"/ip4/1.2.3.{which}/tcp/4001" for which in (4, 3, 2))]


@pytest.mark.parametrize(
    "seen",
    [
        "/ip4/127.0.0.1/tcp/4001",
        "/ip4/0.0.0.0/tcp/4001",
        "/ip4/224.0.0.1/tcp/4001",
        "/ip4/169.254.1.1/tcp/4001",
        "/ip4/1.2.3.4/udp/4001",
        "/ip6/2001:db8::1/tcp/4001",
        "/dns4/example.org/tcp/4001",
        "/ip4/1.2.3.4",
        "/memory/1",
    ],
)
def test_what_cannot_be_an_address_of_ours_is_not_believed(seen: str) -> None:
    book = Book()
    for number in range(8):
        book.seen_by(number, seen)
    assert book.texts == [LISTEN]


def test_a_port_of_the_moment_says_nothing_of_a_listener() -> None:
    book = Book()
    for number in range(8):
        book.seen_by(number, local="/ip4/10.0.0.5/tcp/55555")
    assert book.texts == [LISTEN]


@pytest.mark.parametrize("remote", ["/memory/1", f"/ip4/5.6.7.8/tcp/1/p2p/{PEER.peer_id}/p2p-circuit"])
def test_who_has_no_address_of_its_own_is_no_observer(remote: str) -> None:
    book = Book()
    book.seen_by(1, remote=remote)
    assert not book._seen


def test_what_follows_the_port_is_the_listeners() -> None:
    listen = "/ip4/10.0.0.5/udp/4001/quic-v1"
    book = Book(listen)
    for number in range(4):
        book.seen_by(number, "/ip4/1.2.3.4/udp/777", local=listen)
    assert book.texts == [listen, "/ip4/1.2.3.4/udp/777/quic-v1"]


def test_what_is_announced_stands_for_all() -> None:
    book = Book(announce=[Multiaddr("/dns4/example.org/tcp/4001")])
    for number in range(8):
        book.seen_by(number)
    assert book.texts == ["/dns4/example.org/tcp/4001"]
    book.unlistened()
    assert book.texts == ["/dns4/example.org/tcp/4001"]
