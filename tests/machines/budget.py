"""Memory with an end, as the scope of a connection grants it."""

from __future__ import annotations

from p2p.resources.amounts import UNLIMITED
from p2p.resources.ledger import Scope, charge, charge_memory, release


class Budget:
    """A :class:`p2p.resources.memory.MemoryGrant` of ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self._scope = Scope("connection", (most, *[UNLIMITED] * 7))

    @property
    def in_use(self) -> int:
        return self._scope.used[0]

    def require(self, n: int) -> None:
        charge((self._scope,), ((0, n),))

    def reserve(self, n: int, *, nice_to_have: bool = False) -> bool:
        return charge_memory((self._scope,), n, nice_to_have=nice_to_have)

    def release(self, n: int) -> None:
        release((self._scope,), ((0, n),))
        assert self.in_use >= 0
