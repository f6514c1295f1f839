"""The ledger: what each scope has in use, and charging several scopes at once or not at all. PURE.

Everything here is synchronous and does all or nothing: first every scope is asked, then every scope is charged. So
between two checkpoints the books always agree: what a scope holds, every scope around it holds too.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from p2p.errors import ResourceLimitExceeded
from p2p.resources.amounts import MEMORY, NAMES, STREAMS, Amounts, Charge

#: Whose a scope is.
Name = tuple[Hashable, ...]

#: How much of a memory limit what is merely nice to have may fill (go: priority 152 of 255): receive windows that
#: grow for speed leave the rest to streams and connections that want to begin.
NICE_TO_HAVE = 0.6


class Scope:
    """One account: limits and what is in use, by the indices of :mod:`p2p.resources.amounts`.

    ``kind`` is the row of the table that its limits come from, ``name`` whose it is (a peer, a protocol, both …). With
    a ``home`` it is there, under its name, exactly while something is in it: nothing outlives its last use.
    """

    __slots__ = ("home", "kind", "limits", "name", "refused", "used")

    def __init__(
        self,
        kind: str,
        limits: tuple[int, ...],
        name: Name = (),
        home: dict[Name, Scope] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.limits = limits
        self.used = [0, 0, 0, 0, 0, 0, 0, 0]
        #: How often it refused something.
        self.refused = 0
        self.home = home

    def __repr__(self) -> str:
        return f"<scope {self.kind} {self.whose}>"

    @property
    def whose(self) -> str:
        return " ".join(map(str, self.name))

    @property
    def in_use(self) -> Amounts:
        return Amounts(*self.used)

    def refusal(self, index: int, n: int) -> ResourceLimitExceeded:
        """Count it, and return what to raise."""
        self.refused += 1
        what = NAMES[index]
        wanted = f"{n} more were asked for; " if n > 1 else ""
        return ResourceLimitExceeded(
            f"{self.kind}.{what}",
            self.limits[index],
            self.used[index],
            f"{wanted}wait until some are free, or raise limits.resources.{self.kind}.{what}",
            of=self.whose,
        )


def fits(scope: Scope, amount: Charge) -> bool:
    """Whether ``charge`` would not be refused; nothing is counted."""
    return all(scope.used[index] + n <= scope.limits[index] for index, n in amount)


def charge(scopes: Sequence[Scope], amount: Charge) -> None:
    """Charge each of ``scopes`` (none twice), or none: then raises ``ResourceLimitExceeded`` and nothing changed."""
    for scope in scopes:
        used, limits = scope.used, scope.limits
        for index, n in amount:
            if used[index] + n > limits[index]:
                raise scope.refusal(index, n)
    for scope in scopes:
        used = scope.used
        for index, n in amount:
            used[index] += n
        if scope.home is not None:
            scope.home[scope.name] = scope


def charge_stream(scopes: Sequence[Scope], direction: int) -> None:
    """As ``charge``, one stream, unrolled: this is done for each of thousands in a second."""
    for scope in scopes:
        used, limits = scope.used, scope.limits
        if used[STREAMS] >= limits[STREAMS]:
            raise scope.refusal(STREAMS, 1)
        if used[direction] >= limits[direction]:
            raise scope.refusal(direction, 1)
    for scope in scopes:
        used = scope.used
        used[STREAMS] += 1
        used[direction] += 1
        if scope.home is not None and used[STREAMS] == 1:
            scope.home[scope.name] = scope


def release_stream(scopes: Sequence[Scope], direction: int) -> None:
    """As ``release``, one stream."""
    for scope in scopes:
        used = scope.used
        used[STREAMS] -= 1
        used[direction] -= 1
        if not used[STREAMS] and scope.home is not None and not any(used):
            scope.home.pop(scope.name, None)


def charge_each(charges: Sequence[tuple[Scope, Charge]]) -> None:
    """As ``charge``, an amount for each."""
    for scope, amount in charges:
        if not fits(scope, amount):
            charge((scope,), amount)  # raises, and says why
    for scope, amount in charges:
        charge((scope,), amount)


def charge_memory(scopes: Sequence[Scope], n: int, *, nice_to_have: bool) -> bool:
    """``n`` bytes, or none: then False. For windows and buffers, where a refusal is an everyday thing."""
    share = NICE_TO_HAVE if nice_to_have else 1.0
    for scope in scopes:
        if scope.used[MEMORY] + n > scope.limits[MEMORY] * share:
            scope.refused += not nice_to_have
            return False
    for scope in scopes:
        scope.used[MEMORY] += n
    return True


def release(scopes: Sequence[Scope], amount: Charge) -> None:
    """Take back what was charged. A scope with a home leaves it when nothing is in it any more."""
    for scope in scopes:
        used = scope.used
        for index, n in amount:
            used[index] -= n
        if scope.home is not None and not any(used):
            scope.home.pop(scope.name, None)


def held(scope: Scope) -> Charge:
    """All that ``scope`` has in use, to be charged elsewhere or released."""
    return tuple((index, n) for index, n in enumerate(scope.used) if n)
