"""Limits from a TOML file: what differs from the defaults, by the names in :mod:`p2p.limits`.

::

    upgrade = 20.0

    [yamux]
    keep_alive = 60.0

    [resources]
    allow = ["12D3KooW…", "10.9.0.0/16"]

    [resources.system]
    connections = 500
    memory = "unlimited"

    [resources.protocols."/ipfs/ping/1.0.0"]
    inbound_streams = 10

Every mistake is an :class:`InvalidLimits` that names the key; nothing is guessed and nothing is passed over.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from p2p.errors import InvalidLimits, InvalidPeerId
from p2p.identity import PeerId
from p2p.limits import Limits
from p2p.resources.amounts import UNLIMITED, Amounts
from p2p.resources.subnets import SubnetLimit
from p2p.resources.table import ResourceLimits

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    _D = TypeVar("_D", bound=DataclassInstance)

#: The tables of exceptions by name, and the rows that they are exceptions from.
_EXCEPTIONS = {
    "peers": "peer",
    "protocols": "protocol",
    "protocol_peers": "protocol_peer",
    "services": "service",
    "service_peers": "service_peer",
}


def read_limits(path: str | Path) -> Limits:
    """Raises ``InvalidLimits``, and ``OSError`` when the file cannot be read."""
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # of text, of TOML, of a number with thousands of digits
        raise InvalidLimits(f"{path} is not TOML: {error}") from error
    return _changed(Limits(), table, "")


def _changed(value: _D, table: object, key: str) -> _D:
    """A dataclass with the fields that ``table`` names replaced."""
    names = {field.name for field in dataclasses.fields(value)}
    changes = {}
    for name, given in _table(table, key).items():
        where = f"{key}.{name}" if key else name
        if name not in names:
            raise InvalidLimits(f"{where}: there is no such limit; here are {', '.join(sorted(names))}")
        changes[name] = _value(getattr(value, name), given, where)
    return dataclasses.replace(value, **changes)


def _value(old: object, given: object, key: str) -> Any:
    if isinstance(old, ResourceLimits):
        return _resources(old, given, key)
    if isinstance(old, Amounts):
        return _amounts(old, given, key)
    if dataclasses.is_dataclass(old) and not isinstance(old, type):
        return _changed(old, given, key)
    if isinstance(old, int) and not isinstance(old, bool):
        return _whole(given, key)
    if isinstance(old, float):
        return _number(given, key)
    raise InvalidLimits(f"{key}: it cannot be set in a file")


def _resources(old: ResourceLimits, given: object, key: str) -> ResourceLimits:
    """First the rows, so that exceptions by name start from those that the file sets."""
    table = dict(_table(given, key))
    exceptions = {name: table.pop(name) for name in _EXCEPTIONS if name in table}
    subnets, allow = table.pop("subnets", None), table.pop("allow", None)
    changes: dict[str, Any] = {}
    if subnets is not None:
        changes["subnets"] = tuple(
            _subnet(each, f"{key}.subnets") for each in _list(subnets, f"{key}.subnets")
        )
    if allow is not None:
        changes["allow"] = tuple(_allowed(each, f"{key}.allow") for each in _list(allow, f"{key}.allow"))
    new = dataclasses.replace(_changed(old, table, key), **changes)
    named: dict[str, Any] = {}
    for name, rows in exceptions.items():
        where = f"{key}.{name}"
        row = getattr(new, _EXCEPTIONS[name])
        named[name] = {
            _peer(each, where) if name == "peers" else each: _amounts(row, amounts, f'{where}."{each}"')
            for each, amounts in _table(rows, where).items()
        }
    return dataclasses.replace(new, **named)


def _amounts(old: Amounts, given: object, key: str) -> Amounts:
    table = {name: UNLIMITED if value == "unlimited" else value for name, value in _table(given, key).items()}
    return _changed(old, table, key)


def _subnet(given: object, key: str) -> SubnetLimit:
    table = _table(given, key)
    names = [field.name for field in dataclasses.fields(SubnetLimit)]
    if set(table) != set(names):
        raise InvalidLimits(f"{key}: each has exactly {', '.join(names)}")
    try:
        return SubnetLimit(
            version=_whole(table["version"], f"{key}.version"),
            prefix=_whole(table["prefix"], f"{key}.prefix"),
            connections=_whole(table["connections"], f"{key}.connections"),
            burst=_whole(table["burst"], f"{key}.burst"),
            rate=_number(table["rate"], f"{key}.rate"),
        )
    except InvalidLimits:
        raise
    except ValueError as error:
        raise InvalidLimits(f"{key}: {error}") from error


def _allowed(given: object, key: str) -> PeerId | ipaddress.IPv4Network | ipaddress.IPv6Network:
    if not isinstance(given, str):
        raise InvalidLimits(f"{key}: expected peer ids and networks, got {given!r}")
    try:
        return ipaddress.ip_network(given)
    except ValueError:
        return _peer(given, key)


def _peer(text: str, key: str) -> PeerId:
    try:
        return PeerId.from_text(text)
    except InvalidPeerId as error:
        raise InvalidLimits(f"{key}: {text!r} is neither a peer id nor a network: {error}") from error


def _whole(given: object, key: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidLimits(f"{key}: expected a whole number, got {given!r}")
    if given < 0:
        raise InvalidLimits(f"{key}: expected 0 or more, got {given}")
    return given


def _number(given: object, key: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise InvalidLimits(f"{key}: expected a number, got {given!r}")
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidLimits(f"{key}: expected a number, got {given!r}")
    if number < 0:
        raise InvalidLimits(f"{key}: expected 0 or more, got {given}")
    return number


def _table(given: object, key: str) -> Mapping[str, object]:
    if not isinstance(given, dict):
        raise InvalidLimits(f"{key}: expected a table, got {given!r}")
    return given


def _list(given: object, key: str) -> list[object]:
    if not isinstance(given, list):
        raise InvalidLimits(f"{key}: expected a list, got {given!r}")
    return given
