"""What a host has in use at one moment, as values, and as a table for people. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from p2p.frozen import frozen
from p2p.resources.amounts import NAMES, UNLIMITED, Amounts
from p2p.resources.ledger import Scope
from p2p.wire.printable import printable

#: Names in a table are cut to this: protocols of peers may be long.
_NAME = 60


@frozen
class ScopeSnapshot:
    """One scope: whose it is, what it has in use, and what it may have at most."""

    #: The row of the table of limits: ``system``, ``peer`` …
    kind: str
    #: A peer, a protocol, a service, or one of these and a peer; "" where there is only one of the kind.
    name: str
    in_use: Amounts
    limits: Amounts
    #: How often it refused something.
    refused: int

    @classmethod
    def of(cls, scope: Scope) -> ScopeSnapshot:
        return cls(scope.kind, scope.whose, Amounts(*scope.used), Amounts(*scope.limits), scope.refused)


@frozen
class ResourceSnapshot:
    """``host.resources``. ``str()`` of it is a table: in use / limit of everything that is limited or in use."""

    scopes: Sequence[ScopeSnapshot]
    #: Subnets that have an inbound connection, and how often one was refused another.
    subnets: int
    refused_subnets: int

    def scope(self, kind: str, name: str = "") -> ScopeSnapshot | None:
        """The scope of that kind and name; None when nothing is in it."""
        return next((each for each in self.scopes if (each.kind, each.name) == (kind, name)), None)

    def __str__(self) -> str:
        rows = [("scope", *NAMES, "refused"), *map(_row, self.scopes)]
        rows.append(
            ("subnets", *[""] * (len(NAMES) - 1), f"{self.subnets} in use", str(self.refused_subnets))
        )
        return "\n".join(_aligned(rows))


def _row(scope: ScopeSnapshot) -> tuple[str, ...]:
    cells = []
    for name in NAMES:
        used, limit = getattr(scope.in_use, name), getattr(scope.limits, name)
        show = _bytes if name == "memory" else str
        cells.append(
            f"{show(used)} / {'unlimited' if limit == UNLIMITED else show(limit)}" if used or limit else ""
        )
    title = f"{scope.kind} {printable(scope.name, _NAME)}".rstrip()
    return (title, *cells, str(scope.refused))


def _bytes(n: int) -> str:
    """Exact, in the largest unit that it is a whole number of."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n and n % size == 0:
            return f"{n // size} {unit}"
    return f"{n} B" if n else "0"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns that nothing is in are left out."""
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    widths = [max(map(len, column)) for column in columns]
    for line in zip(*columns, strict=True):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        yield "  ".join(cells).rstrip()
