"""``frozen`` makes what ``dataclass(frozen=True, slots=True)`` makes, but for the time it takes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from p2p.frozen import frozen


class _Point:
    x: int
    y: int = 2
    tags: tuple[str, ...] = dataclasses.field(default_factory=lambda: ("here",))


class _Checked:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("negative")


def _ours(cls: type) -> Any:
    return frozen(type(cls.__name__, cls.__bases__, _namespace(cls)))


def _theirs(cls: type) -> Any:
    return dataclasses.dataclass(frozen=True, slots=True)(type(cls.__name__, cls.__bases__, _namespace(cls)))


def _namespace(cls: type) -> dict[str, Any]:
    return {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}


@frozen
class Base:
    """At the top, so that pickle finds it."""

    first: int
    second: str = "two"


@frozen
class Derived(Base):
    second: str = "deux"
    third: float = 3.0


OURS, THEIRS = _ours(_Point), _theirs(_Point)
CALLS: list[tuple[tuple[object, ...], dict[str, object]]] = [
    ((1,), {}),
    ((1, 5), {}),
    ((1, 5, ("a",)), {}),
    ((1,), {"tags": ()}),
    ((), {"y": 3, "x": 1}),
    ((), {}),
    ((1, 2, (), 4), {}),
    ((1,), {"x": 1}),
    ((1,), {"z": 1}),
    ((), {"y": 1}),
]


@pytest.mark.parametrize(("given", "named"), CALLS)
def test_calls_go_as_they_do_for_a_dataclass(given: tuple[object, ...], named: dict[str, object]) -> None:
    try:
        theirs = THEIRS(*given, **named)
    except TypeError:
        with pytest.raises(TypeError, match="_Point"):
            OURS(*given, **named)
        return
    ours = OURS(*given, **named)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert repr(ours) == repr(theirs)
    assert hash(ours) == hash(theirs)


def test_values_are_equal_by_type_and_fields() -> None:
    assert OURS(1) == OURS(1, 2)
    assert OURS(1) != OURS(2)
    assert OURS(1) != THEIRS(1)
    assert OURS(1).__eq__(object()) is NotImplemented
    assert len({OURS(1), OURS(1, 2), OURS(2)}) == 2
    assert Base(1, "deux") != Derived(1)


@pytest.mark.parametrize("name", ["x", "unheard_of"])
def test_nothing_is_set_or_deleted(name: str) -> None:
    value = OURS(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(value, name)
    assert not hasattr(value, "__dict__")
    assert value == OURS(1)


def test_what_dataclasses_offers_works() -> None:
    value = Derived(1, third=4.0)
    assert [field.name for field in dataclasses.fields(value)] == ["first", "second", "third"]
    assert dataclasses.replace(value, second="zwei") == Derived(1, "zwei", 4.0)
    assert dataclasses.astuple(value) == (1, "deux", 4.0)
    match value:
        case Derived(first, second, third):
            assert (first, second, third) == (1, "deux", 4.0)
        case _:
            raise AssertionError("no match")


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_are_equal(again: Callable[[Derived], Derived]) -> None:
    value = Derived(1, third=4.0)
    assert again(value) == value
    assert again(value).third == 4.0


def test_checks_run_after_the_fields_are_there() -> None:
    checked = _ours(_Checked)
    assert checked(0).size == 0
    with pytest.raises(ValueError, match="negative"):
        checked(-1)
    with pytest.raises(ValueError, match="negative"):
        dataclasses.replace(checked(1), size=-1)


def test_help_shows_the_fields() -> None:
    assert str(inspect.signature(Derived)) == "(first: 'int', second: 'str' = 'deux', third: 'float' = 3.0)"
    assert Base.__doc__ == "At the top, so that pickle finds it."


def test_a_value_that_holds_itself_is_shown() -> None:
    nested: dict[str, object] = {}
    value = OURS(1, tags=nested)
    nested["self"] = value
    assert repr(value) == "_Point(x=1, y=2, tags={'self': ...})"


@pytest.mark.parametrize(
    "namespace",
    [
        {"__repr__": lambda self: "secret"},
        {"__eq__": lambda self, other: True},
        {"__hash__": lambda self: 1},
        {"x": dataclasses.field(repr=False)},
        {"x": dataclasses.field(default=1, init=False)},
        {"x": dataclasses.field(compare=False)},
        {"x": dataclasses.field(hash=False)},
        {"x": dataclasses.field(kw_only=True)},
    ],
    ids=["repr", "eq", "hash", "hidden", "not given", "not compared", "not hashed", "by name"],
)
def test_what_it_cannot_do_is_refused_and_not_left_out(namespace: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="frozen"):
        frozen(type("Wished", (), {"__annotations__": {"x": "int"}, **namespace}))


def test_what_belongs_to_the_class_is_no_field() -> None:
    @frozen
    class Sized:
        size: int
        SMALLEST: ClassVar[int] = 1

    assert (repr(Sized(2)).rpartition(".")[2], Sized.SMALLEST) == ("Sized(size=2)", 1)
