"""Limits of resources for tests: some numbers of some rows, and the others as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from p2p.limits import Limits
from p2p.resources.table import ResourceLimits


def rows(resources: ResourceLimits | None = None, **changes: dict[str, Any]) -> ResourceLimits:
    """``rows(peer={"connections": 2})``: for each row the fields that differ."""
    resources = Limits().resources if resources is None else resources
    changed = {kind: replace(getattr(resources, kind), **fields) for kind, fields in changes.items()}
    return replace(resources, **changed)


def limited(**changes: dict[str, Any]) -> Limits:
    """The default limits, with such rows."""
    return replace(Limits(), resources=rows(**changes))


def many_of_one_peer(n: int) -> dict[str, Any]:
    """The row of a peer that may have so many connections in either direction."""
    return {"connections": n, "inbound_connections": n, "outbound_connections": n}
