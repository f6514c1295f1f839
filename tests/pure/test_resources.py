"""Scopes one by one: what is refused, in which words, who makes room for whom, and the table."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import ip_address, ip_network

import pytest

from p2p.errors import LocalProtocolError, ResourceLimitExceeded
from p2p.identity import Identity, PeerId
from p2p.resources import machine
from p2p.resources.amounts import INBOUND_CONNECTION, NAMES, UNLIMITED, Amounts
from p2p.resources.ledger import Scope, charge, charge_each, release
from p2p.resources.resources import Resources
from p2p.resources.scopes import ConnectionScope
from p2p.resources.table import ROWS, ResourceLimits, of_this_machine

MIB, GIB = 1 << 20, 1 << 30
ALICE, BOB, CAROL = (Identity.generate().peer_id for _ in range(3))
BASE = ResourceLimits.scaled(0, 0)


def accept(resources: Resources, ip: str | None = None, *, descriptor: bool = False) -> ConnectionScope:
    addr = None if ip is None else ip_address(ip)
    return resources.inbound(addr, now=0.0, descriptor=descriptor, evict=lambda: None)


def connected(resources: Resources, peer: PeerId = ALICE) -> ConnectionScope:
    scope = resources.outbound(peer, None)
    scope.assign(peer)
    return scope


# --- the ledger ---------------------------------------------------------------------------------------


def test_all_are_charged_or_none() -> None:
    wide, narrow = Scope("system", (9,) * 8), Scope("peer", (0,) * 8)
    with pytest.raises(ResourceLimitExceeded):
        charge((wide, narrow), INBOUND_CONNECTION)
    with pytest.raises(ResourceLimitExceeded):
        charge_each(((wide, ((0, 5),)), (narrow, ((0, 1),))))
    assert not any(wide.used + narrow.used)
    assert (wide.refused, narrow.refused) == (0, 2)


def test_a_scope_is_at_home_while_something_is_in_it() -> None:
    home: dict[tuple[object, ...], Scope] = {}
    scope = Scope("peer", (5,) * 8, ("alice",), home)
    charge((scope,), ((0, 2),))
    assert home == {("alice",): scope}
    release((scope,), ((0, 1),))
    assert home
    release((scope,), ((0, 1),))
    assert not home


# --- every limit of every row -------------------------------------------------------------------------

STREAM_ROWS = [
    "system",
    "peer",
    "connection",
    "protocol",
    "protocol_peer",
    "service",
    "service_peer",
    "stream",
]
CONNECTION_ROWS = ["system", "transient", "peer", "connection"]


def with_row(kind: str, **changes: int) -> Resources:
    row = replace(Amounts(*[UNLIMITED] * 8), **changes)
    everything = dict.fromkeys(ROWS, Amounts(*[UNLIMITED] * 8)) | {kind: row}
    return Resources(replace(BASE, **everything))


@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("which", ["streams", "inbound_streams", "outbound_streams"])
@pytest.mark.parametrize("kind", STREAM_ROWS)
def test_streams_end_at_the_limit_of(kind: str, which: str, inbound: bool) -> None:
    limit = 0 if kind == "stream" else 3
    resources = with_row(kind, **{which: limit})
    scope = connected(resources)

    def open_stream() -> None:
        scope.open_stream(inbound=inbound, protocol="/a", service="A")

    for _ in range(limit):
        open_stream()
    if which != "streams" and which.startswith("inbound") != inbound:
        open_stream()
        return
    with pytest.raises(ResourceLimitExceeded) as caught:
        open_stream()
    assert caught.value.scope == f"{kind}.{which}"
    assert (caught.value.limit, caught.value.in_use) == (limit, limit)
    assert f"raise limits.resources.{kind}.{which}" in str(caught.value)


@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("which", ["connections", "inbound_connections", "outbound_connections"])
@pytest.mark.parametrize("kind", CONNECTION_ROWS)
def test_connections_end_at_the_limit_of(kind: str, which: str, inbound: bool) -> None:
    limit = 0 if kind == "connection" else 2
    resources = with_row(kind, **{which: limit})

    def connect() -> None:
        if not inbound:
            scope = resources.outbound(ALICE, None)
        else:
            scope = accept(resources)
        if kind != "transient":
            scope.assign(ALICE)

    for _ in range(limit):
        connect()
    if which != "connections" and which.startswith("inbound") != inbound:
        connect()
        return
    if kind == "transient" and inbound:  # the oldest makes room
        before = list(resources.waiting)
        connect()
        assert before[0].closed
        assert [each.closed for each in before[1:]] == [False]
        return
    with pytest.raises(ResourceLimitExceeded) as caught:
        connect()
    assert caught.value.scope == f"{kind}.{which}"


@pytest.mark.parametrize("kind", ["system", "transient", "peer", "connection"])
def test_descriptors_end_at_the_limit_of(kind: str) -> None:
    resources = with_row(kind, descriptors=0)
    with pytest.raises(ResourceLimitExceeded) as caught:
        accept(resources, descriptor=True).assign(ALICE)
    assert caught.value.scope == f"{kind}.descriptors"
    if kind in ("system", "transient"):
        assert resources.empty
        dial = resources.outbound(ALICE, None)
        with pytest.raises(ResourceLimitExceeded):
            dial.attempt()
    else:
        dial = resources.outbound(BOB, None)
        with dial.attempt() as socket, pytest.raises(ResourceLimitExceeded):
            dial.assign(BOB, socket)
        waiting = 1 if kind == "peer" else 0  # without a name it gets as far as that
        assert resources.system.used[-1] == waiting
    accept(resources).assign(CAROL)  # one that needs none


@pytest.mark.parametrize("kind", STREAM_ROWS)
def test_memory_ends_at_the_limit_of(kind: str) -> None:
    resources = with_row(kind, memory=1000)
    scope = connected(resources)
    stream = scope.open_stream(inbound=True, protocol="/a", service="A")
    stream.charge(((0, 600),))
    with pytest.raises(ResourceLimitExceeded) as caught:
        stream.charge(((0, 401),))
    assert caught.value.scope == f"{kind}.memory"
    assert "401 more were asked for" in str(caught.value)
    if kind in ("system", "peer", "connection"):
        assert not scope.reserve(1, nice_to_have=True)
        assert not scope.reserve(401)
        assert scope.reserve(400)
    stream.close()
    scope.close()
    assert resources.empty


def test_the_words_of_a_refusal() -> None:
    resources = Resources(replace(BASE, peer=replace(BASE.peer, connections=1)))
    connected(resources)
    with pytest.raises(ResourceLimitExceeded) as caught:
        resources.outbound(ALICE, None)
    assert str(caught.value) == (
        f"peer.connections of {ALICE}: 1 in use, the limit is 1; "
        "wait until some are free, or raise limits.resources.peer.connections"
    )


# --- one after the other ------------------------------------------------------------------------------


def test_a_connection_moves_from_the_transient_scope_to_its_peer() -> None:
    resources = Resources(BASE)
    scope = accept(resources, descriptor=True)
    assert scope.reserve(1000)
    assert resources.snapshot().scope("transient").in_use == Amounts(1000, 0, 0, 0, 1, 1, 0, 1)
    scope.assign(ALICE)
    snapshot = resources.snapshot()
    assert snapshot.scope("transient").in_use == Amounts()
    for kind, name in [("system", ""), ("peer", str(ALICE)), ("connection", str(ALICE))]:
        assert snapshot.scope(kind, name).in_use == Amounts(1000, 0, 0, 0, 1, 1, 0, 1)
    with pytest.raises(LocalProtocolError):
        scope.assign(ALICE)
    scope.close()
    assert resources.snapshot().scope("peer", str(ALICE)) is None
    assert resources.empty


def test_a_peer_that_has_enough_leaks_nothing() -> None:
    resources = Resources(replace(BASE, peer=replace(BASE.peer, connections=1)))
    connected(resources)
    before = resources.snapshot()
    with accept(resources) as scope, pytest.raises(ResourceLimitExceeded):
        scope.assign(ALICE)
    after = resources.snapshot()
    assert [each.in_use for each in after.scopes] == [each.in_use for each in before.scopes]


def test_a_dial_counts_its_sockets_and_the_connection_the_one_that_is_left() -> None:
    resources = Resources(BASE)
    dial = resources.outbound(ALICE, None)
    losers = [dial.attempt() for _ in range(7)]
    with dial.attempt() as winner:
        assert resources.snapshot().scope("system").in_use.descriptors == 8
        assert resources.snapshot().scope("peer", str(ALICE)).in_use.descriptors == 0
        dial.assign(ALICE, winner)
    assert resources.snapshot().scope("system").in_use.descriptors == 8
    for loser in losers:
        loser.close()
    assert resources.snapshot().scope("system").in_use.descriptors == 1
    assert resources.snapshot().scope("transient").in_use == Amounts()
    assert resources.snapshot().scope("peer", str(ALICE)).in_use.descriptors == 1


def test_a_dial_ends_with_the_peer_it_was_made_for() -> None:
    dial = Resources(BASE).outbound(ALICE, None)
    with pytest.raises(LocalProtocolError, match="was made for"):
        dial.assign(BOB)


def test_leaving_a_connection_ends_its_streams() -> None:
    resources = Resources(BASE)
    with pytest.raises(ZeroDivisionError), connected(resources) as scope:
        scope.open_stream(inbound=True, protocol="/a").charge(((0, 77),))
        scope.open_stream(inbound=False, protocol="/b", service="B")
        raise ZeroDivisionError
    assert resources.empty


def test_exceptions_by_name() -> None:
    few = Amounts(0, 1, 1, 1, 1, 1, 1, 1)
    resources = Resources(
        replace(BASE, peers={ALICE: few}, protocols={"/few": few}, service_peers={"S": few})
    )
    scope = connected(resources, BOB)
    scope.open_stream(inbound=True, protocol="/few")
    with pytest.raises(ResourceLimitExceeded, match=r"protocol.streams of /few"):
        scope.open_stream(inbound=True, protocol="/few")
    scope.open_stream(inbound=True, protocol="/a", service="S")
    with pytest.raises(ResourceLimitExceeded, match=rf"service_peer.streams of S {BOB}"):
        scope.open_stream(inbound=True, protocol="/a", service="S")
    connected(resources, CAROL).open_stream(inbound=True, protocol="/a", service="S")
    connected(resources, ALICE)
    with pytest.raises(ResourceLimitExceeded, match=r"peer.connections"):
        connected(resources, ALICE)


# --- making room, and the allow-list ------------------------------------------------------------------


def test_who_waits_longest_makes_room() -> None:
    resources = Resources(replace(BASE, transient=replace(BASE.transient, inbound_connections=3)))
    evicted: list[int] = []
    for number in range(10):
        resources.inbound(None, now=0.0, descriptor=True, evict=lambda number=number: evicted.append(number))
    assert evicted == list(range(7))
    assert len(resources.waiting) == 3


def test_dials_make_no_room_and_are_not_made_room_for() -> None:
    resources = Resources(replace(BASE, transient=replace(BASE.transient, connections=2)))
    accept(resources)
    accept(resources)
    with pytest.raises(ResourceLimitExceeded, match=r"transient.connections"):
        resources.outbound(ALICE, None)
    assert len(resources.waiting) == 2


def test_where_the_host_is_full_of_connections_nobody_makes_room() -> None:
    resources = Resources(replace(BASE, system=replace(BASE.system, inbound_connections=3)))
    accept(resources).assign(ALICE)
    waiting = [accept(resources) for _ in range(2)]
    with pytest.raises(ResourceLimitExceeded, match=r"system\.inbound_connections"):
        accept(resources)
    assert not any(scope.closed for scope in waiting)


def full_of_strangers(*allow: object) -> Resources:
    """No room for anybody; strangers wait in every transient scope they can get into."""
    most = Amounts(10 * MIB, 10, 10, 10, 4, 4, 4, 4)
    few = replace(most, connections=1)
    limits = replace(BASE, system=most, transient=few, allowed_system=most, allowed_transient=few)
    resources = Resources(replace(limits, allow=allow, subnets=()))
    for number in range(4):
        accept(resources, f"192.0.2.{number}", descriptor=True).assign(Identity.generate().peer_id)
    return resources


def test_a_network_on_the_list_gets_in_and_a_stranger_does_not() -> None:
    resources = full_of_strangers(ip_network("10.9.0.0/16"))
    with pytest.raises(ResourceLimitExceeded):
        accept(resources, "192.0.2.99")
    accept(resources, "10.9.1.1").assign(ALICE)
    accept(resources, "::ffff:10.9.1.1").assign(ALICE)
    resources.outbound(None, ip_address("10.9.1.2")).assign(BOB)


def test_a_peer_on_the_list_gets_in_and_a_stranger_that_waited_there_does_not() -> None:
    resources = full_of_strangers(ALICE)
    strangers = [accept(resources, "192.0.2.99") for _ in range(100)]
    assert sum(not scope.closed for scope in strangers) == 1
    for _ in range(3):
        friend = accept(resources, "192.0.2.100")
        friend.assign(ALICE)
        friend.open_stream(inbound=True, protocol="/a")
    stranger = accept(resources, "192.0.2.99")
    with pytest.raises(ResourceLimitExceeded, match="system"):
        stranger.assign(BOB)
    stranger.close()
    resources.outbound(ALICE, None)
    with pytest.raises(ResourceLimitExceeded):
        resources.outbound(BOB, None)


def test_strangers_that_flood_the_room_of_the_list_do_not_drive_its_networks_out() -> None:
    """Named by a network, a friend is known from the start; a flood of who might be a listed peer is not."""
    resources = full_of_strangers(ALICE, ip_network("10.9.0.0/16"))
    stranger = accept(resources, "192.0.2.99")
    friend = accept(resources, "10.9.1.1")
    assert stranger.closed
    for _ in range(100):
        with pytest.raises(ResourceLimitExceeded):
            accept(resources, "192.0.2.99")
    assert not friend.closed
    other = accept(resources, "10.9.1.2")  # among its like the one that waits longest goes
    assert friend.closed
    other.assign(BOB)
    accept(resources, "192.0.2.99").assign(ALICE)


def test_a_listed_network_written_as_ipv6_is_the_ipv4_one() -> None:
    resources = full_of_strangers(ip_network("::ffff:10.9.0.0/112"))
    accept(resources, "10.9.1.1").close()
    accept(resources, "::ffff:10.9.1.1").assign(ALICE)
    with pytest.raises(ResourceLimitExceeded):
        accept(resources, "10.8.1.1")


def test_who_is_on_the_list_leaves_the_room_of_others_to_them() -> None:
    resources = Resources(replace(BASE, allow=(ALICE,)))
    scope = accept(resources)
    scope.assign(ALICE)
    snapshot = resources.snapshot()
    assert snapshot.scope("system").in_use == snapshot.scope("allowed_transient").in_use == Amounts()
    assert snapshot.scope("allowed_system").in_use.connections == 1
    scope.close()
    assert resources.empty


def test_where_the_room_of_the_list_is_full_its_members_are_as_others() -> None:
    none = Amounts()
    resources = Resources(replace(BASE, allow=(ALICE,), allowed_system=none, allowed_transient=none))
    accept(resources).assign(ALICE)
    connected(resources, ALICE)
    assert resources.snapshot().scope("system").in_use.connections == 2


def test_a_listed_network_has_no_limit_of_its_subnet() -> None:
    resources = Resources(replace(BASE, allow=(ip_network("10.9.0.0/16"),)))
    for _ in range(30):
        accept(resources, "10.9.0.1")
    for _ in range(8):
        accept(resources, "10.8.0.1")
    with pytest.raises(ResourceLimitExceeded, match=r"10.8.0.1/32"):
        accept(resources, "10.8.0.1")


# --- the table ----------------------------------------------------------------------------------------


def test_the_table_is_that_of_go() -> None:
    """Below 128 MiB the base; in between by MiB; descriptors by share. Figures of go's ``scale``."""
    assert BASE.system == Amounts(128 * MIB, 2048, 1024, 2048, 128, 64, 128, 256)
    assert ResourceLimits.scaled(128 * MIB, 0).system == BASE.system
    big = ResourceLimits.scaled(2 * GIB, 4096)
    assert big.system == Amounts(128 * MIB + 2 * GIB, 6144, 3072, 6144, 384, 192, 384, 4096)
    assert big.transient == Amounts(288 * MIB, 0, 0, 0, 128, 64, 128, 1024)
    assert big.peer == Amounts(320 * MIB, 1024, 512, 1024, 8, 8, 8, 64)
    assert big.connection == BASE.connection
    assert big.connection.memory == 32 * MIB
    assert big.service == Amounts(320 * MIB, 8192, 2048, 8192)
    assert big.protocol == Amounts(392 * MIB, 3072, 1024, 3072)
    assert (big.allowed_system, big.allowed_transient) == (big.system, big.transient)
    half = ResourceLimits.scaled(GIB // 2, 100)
    assert half.system.inbound_connections == 96
    assert half.peer.descriptors == 4


def test_every_row_is_in_the_table_and_fits_inside_the_host() -> None:
    names = {field.name for field in fields(ResourceLimits)}
    assert set(ROWS) <= names
    for limits in (BASE, ResourceLimits.scaled(4 * GIB, 10_000), of_this_machine()):
        for kind in ("peer", "connection", "stream", "transient"):
            for inner, outer in zip(
                Resources(limits).rows[kind], Resources(limits).rows["system"], strict=True
            ):
                assert inner <= outer


def test_without_limits_everything_is_let_in() -> None:
    resources = Resources(ResourceLimits.unlimited())
    for _ in range(100):
        scope = accept(resources, "192.0.2.1", descriptor=True)
        scope.assign(ALICE)
        assert scope.reserve(1 << 50)
        scope.open_stream(inbound=True, protocol="/a", service="A")
    assert "unlimited" in str(resources.snapshot())


def test_this_machine_has_something_to_give() -> None:
    assert machine.memory() > 64 * MIB
    assert machine.descriptors() > 16


def test_a_limit_left_out_refuses_and_a_negative_one_is_an_error() -> None:
    assert all(getattr(Amounts(), name) == 0 for name in NAMES)
    with pytest.raises(ValueError, match="streams is -1"):
        Amounts(streams=-1)


def test_what_is_in_use_as_a_table() -> None:
    resources = Resources(replace(BASE, system=replace(BASE.system, descriptors=UNLIMITED)))
    scope = connected(resources)
    scope.open_stream(inbound=True, protocol="/evil\n\x1b[31m" + "x" * 200, service="Echo")
    assert scope.reserve(256 * 1024)
    with pytest.raises(ResourceLimitExceeded):
        scope.charge(((0, 2 * GIB),))
    lines = str(resources.snapshot()).splitlines()
    assert lines[0].split()[:4] == ["scope", "memory", "streams", "inbound_streams"]
    by_name = {line.split("  ")[0]: line for line in lines}
    assert "256 KiB / 128 MiB" in by_name["system"]
    assert "0 / unlimited" in by_name["system"]
    assert "1 / 8" in by_name[f"peer {ALICE}"]
    assert by_name[f"connection {ALICE}"].endswith(" 1")
    assert any(line.startswith("protocol /evil\\n\\x1b[31mxxx") for line in lines)
    assert all(line.isprintable() and len(line) < 300 for line in lines)
    assert len({len(line) for line in lines}) == 1
