"""Frozen dataclasses that cost little to define.

``dataclass(frozen=True, slots=True)`` writes six methods for each class as text and compiles them: 0.4 ms for a class
of four fields, 1.4 ms for :class:`p2p.limits.Limits`. With some fifty of them that was a sixth of what it took to
import this package. Here the same methods are closures over the fields. A value takes a microsecond longer to make,
so what is made for every frame or call is no dataclass.
"""

from __future__ import annotations

import dataclasses
import inspect
import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar, cast, dataclass_transform

T = TypeVar("T")
_MISSING = dataclasses.MISSING


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def frozen(cls: type[T]) -> type[T]:
    """Decorate as with ``dataclass(frozen=True, slots=True)``; ``dataclasses.replace`` and its like work on it.

    All fields take part in everything: of what ``field`` can say, there is ``default`` and ``default_factory``. A
    ``__post_init__`` is called. Setting or deleting an attribute raises ``dataclasses.FrozenInstanceError``, also of
    a subclass. Raises ``TypeError`` for other options of a field, and for a class with methods that are made here.
    """
    # Finds the fields, those inherited included, and makes the slots. It compiles nothing.
    made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    fields = {field.name: field for field in dataclasses.fields(cast(Any, made))}
    for field in fields.values():
        if field.kw_only or field.hash is not None or not (field.init and field.repr and field.compare):
            raise TypeError(f"{cls.__qualname__}.{field.name} has options that frozen does not know")
    methods = _methods(made, fields)
    if own := methods.keys() & vars(cls).keys():
        raise TypeError(f"{cls.__qualname__} has {', '.join(sorted(own))} of its own, which frozen makes")
    for name, method in methods.items():
        type.__setattr__(made, name, method)
    return made


class _Signature:
    """``__signature__`` of a class, made when somebody asks: ``help``, the documentation, an editor."""

    def __init__(self, fields: Mapping[str, dataclasses.Field[Any]]) -> None:
        self._fields = fields

    def __get__(self, value: object, owner: type) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature(
            [
                inspect.Parameter(name, kind, default=_shown(field), annotation=field.type)
                for name, field in self._fields.items()
            ]
        )


def _shown(field: dataclasses.Field[Any]) -> object:
    if field.default is not _MISSING:
        return field.default
    return inspect.Parameter.empty if field.default_factory is _MISSING else field.default_factory


def _methods(cls: type, fields: Mapping[str, dataclasses.Field[Any]]) -> dict[str, object]:
    count = len(fields)
    names = tuple(fields)
    # What a slot leaves in its class reads and writes it, whatever __setattr__ says.
    slots = [getattr(cls, name) for name in fields]
    readers: list[Callable[[object], object]] = [slot.__get__ for slot in slots]
    writers: list[Callable[[object, object], None]] = [slot.__set__ for slot in slots]
    finish: Callable[[object], None] | None = getattr(cls, "__post_init__", None)

    def __init__(self: object, *given: object, **named: object) -> None:
        if len(given) != count or named:
            if not given and tuple(named) == names:  # as most calls are: all by name, in order
                given = tuple(named.values())
            else:
                given = (*given, *_rest(cls, fields, len(given), named))
        for write, value in zip(writers, given, strict=True):
            write(self, value)
        if finish is not None:
            finish(self)

    def __eq__(self: object, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(read(self) == read(other) for read in readers)

    def __hash__(self: object) -> int:
        return hash(tuple([read(self) for read in readers]))

    @reprlib.recursive_repr()
    def __repr__(self: object) -> str:
        shown = [f"{name}={read(self)!r}" for name, read in zip(fields, readers, strict=True)]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __getstate__(self: object) -> list[object]:
        return [read(self) for read in readers]

    def __setstate__(self: object, state: list[object]) -> None:
        for write, value in zip(writers, state, strict=True):
            write(self, value)

    return {
        "__init__": __init__,
        "__eq__": __eq__,
        "__hash__": __hash__,
        "__repr__": __repr__,
        "__getstate__": __getstate__,
        "__setstate__": __setstate__,
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
        "__signature__": _Signature(fields),
    }


def _rest(
    cls: type, fields: Mapping[str, dataclasses.Field[Any]], given: int, named: dict[str, object]
) -> list[object]:
    """The values of all fields but the first ``given``: by name, or the default. ``TypeError`` as of any call."""
    if given > len(fields):
        raise TypeError(f"{cls.__qualname__}() takes {len(fields)} arguments but {given} were given")
    values = []
    for name, field in list(fields.items())[given:]:
        if name in named:
            values.append(named.pop(name))
        elif field.default is not _MISSING:
            values.append(field.default)
        elif field.default_factory is not _MISSING:
            values.append(field.default_factory())
        else:
            raise TypeError(f"{cls.__qualname__}() is missing its argument {name!r}")
    if named:
        name = next(iter(named))
        wrong = "more than one value for" if name in fields else "an argument it does not have,"
        raise TypeError(f"{cls.__qualname__}() got {wrong} {name!r}")
    return values


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
