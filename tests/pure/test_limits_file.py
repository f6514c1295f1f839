"""A file of limits: what differs, and every mistake with the name of its key."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.cli.limits_file import read_limits
from p2p.errors import InvalidLimits
from p2p.identity import Identity
from p2p.limits import Limits
from p2p.resources.amounts import UNLIMITED
from p2p.resources.resources import Resources
from p2p.resources.subnets import SubnetLimit

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "limits.toml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


def read(folder: Path, text: str) -> Limits:
    path = folder / "limits.toml"
    path.write_text(text, encoding="utf-8")
    return read_limits(path)


def test_an_empty_file_changes_nothing(folder: Path) -> None:
    assert read(folder, "") == Limits()


def test_the_example_of_the_docs() -> None:
    limits = read_limits(EXAMPLE)
    assert limits.upgrade == 20.0
    resources = limits.resources
    assert (resources.system.connections, resources.system.memory) == (500, UNLIMITED)
    assert resources.system.outbound_connections == Limits().resources.system.outbound_connections
    assert resources.protocols["/echo/1.0.0"] == dataclasses.replace(resources.protocol, inbound_streams=10)
    assert resources.subnets == (SubnetLimit(4, 32, 4, 8, 0.1),)
    assert resources.allow[1] == ip_network("10.9.0.0/16")
    assert Resources(resources).allows(resources.allow[0], None)
    assert limits.yamux == Limits().yamux


def test_exceptions_start_from_the_row_of_the_file(folder: Path) -> None:
    peer = Identity.generate().peer_id
    limits = read(
        folder,
        f"""
        [resources.peers.{peer}]
        connections = 1
        [resources.peer]
        inbound_streams = 3
        [resources.services.Ping]
        streams = "unlimited"
        """,
    )
    row = limits.resources.peers[peer]
    assert (row.connections, row.inbound_streams) == (1, 3)
    assert limits.resources.services["Ping"].streams == UNLIMITED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("upgrade", "not TOML"),
        ("upgrades = 1.0", "upgrades: there is no such limit"),
        ("yamux.window = 1", "yamux.window: there is no such limit"),
        ("yamux = 3", "yamux: expected a table, got 3"),
        ("upgrade = 'long'", "upgrade: expected a number, got 'long'"),
        ("upgrade = true", "upgrade: expected a number, got True"),
        ("upgrade = -1", "upgrade: expected 0 or more, got -1"),
        ("upgrade = inf", "upgrade: expected a number, got inf"),
        ("upgrade = nan", "upgrade: expected a number, got nan"),
        ("upgrade = 1" + "0" * 400, "upgrade: expected a number, got 1000"),
        ("upgrade = 1" + "0" * 5000, "not TOML"),
        ("upgrade = " + "[" * 5000, "not TOML"),
        ("upgrade = 'unlimited'", "upgrade: expected a number"),
        ("yamux.ack_backlog = 1.5", "yamux.ack_backlog: expected a whole number, got 1.5"),
        ("yamux.ack_backlog = false", "yamux.ack_backlog: expected a whole number, got False"),
        ("resources.systems.memory = 1", "resources.systems: there is no such limit"),
        ("resources.system.mem = 1", "resources.system.mem: there is no such limit"),
        ("resources.system.memory = -5", "resources.system.memory: expected 0 or more, got -5"),
        ("resources.system.memory = 'infinite'", "resources.system.memory: expected a whole number"),
        ("resources.system = 'unlimited'", "resources.system: expected a table"),
        ("resources.allow = 'x'", "resources.allow: expected a list"),
        ("resources.allow = [3]", "resources.allow: expected peer ids and networks"),
        ("resources.allow = ['nobody']", "resources.allow: 'nobody' is neither"),
        ("resources.allow = ['10.0.0.1/8']", "resources.allow: '10.0.0.1/8' is neither"),
        ("resources.peers.me.streams = 1", "resources.peers: 'me' is neither"),
        ("resources.protocols.'/a'.stream = 1", 'resources.protocols."/a".stream: there is no such'),
        ("resources.subnets = [{version = 4}]", "resources.subnets: each has exactly version, prefix"),
        (
            "resources.subnets = [{version=5, prefix=8, connections=1, burst=1, rate=1}]",
            "resources.subnets: version is 5",
        ),
        (
            "resources.subnets = [{version=4, prefix=8, connections=-1, burst=1, rate=1}]",
            "resources.subnets.connections: expected 0 or more",
        ),
        (
            f"resources.subnets = [{{version=4, prefix=8, connections=1, burst=1, rate=1{'0' * 400}}}]",
            "resources.subnets.rate: expected a number",
        ),
    ],
)
def test_a_mistake_is_told_with_its_key(folder: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidLimits) as caught:
        read(folder, text)
    assert told in str(caught.value)


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / "limits.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidLimits, match="not TOML"):
        read_limits(folder / "limits.toml")


KEYS = st.sampled_from(
    ["upgrade", "yamux", "resources", "system", "peers", "subnets", "allow", "memory", "x"]
)
VALUES = st.recursive(
    st.one_of(st.integers(-3, 3), st.booleans(), st.sampled_from(["'unlimited'", "1.5", "nan", "[]", "{}"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda values: f"[{', '.join(map(_toml, values))}]"),
        st.dictionaries(KEYS, inner, max_size=2).map(
            lambda values: "{" + ", ".join(f"{key} = {_toml(value)}" for key, value in values.items()) + "}"
        ),
    ),
    max_leaves=6,
)


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_anything_is_taken_or_refused(folder: Path, table: dict[str, object]) -> None:
    try:
        read(folder, "\n".join(f"{key} = {_toml(value)}" for key, value in table.items()))
    except InvalidLimits as error:
        assert str(error)
