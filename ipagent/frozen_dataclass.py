"""`dataclass(frozen=True)` for the modules that a container with the backend `direct` imports at its start.

`dataclasses` writes six functions for each class as text and compiles them: a sixth of what such a container
executes until EC2 answers. Here a class has closures instead. The rest is that of `dataclasses`: fields and
their defaults, `replace`, and what type checkers say.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass
    from typing import Any, NoReturn

    __all__ = ["dataclass"]
else:

    def dataclass(*, frozen):
        """Make a class with one field or more, and no dataclass as its base, a frozen dataclass."""
        if not frozen:
            raise TypeError("only frozen dataclasses are made here")
        return _frozen


_WRITTEN = frozenset({"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"})
"""What each class gets; `dataclasses` keeps a class's own one, or refuses it."""


def _frozen(cls: type) -> Any:
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    fields = dataclasses.fields(made)
    _refuse_other_features(made)
    names = tuple(field.name for field in fields)
    known = frozenset(names)
    defaults = {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}
    factories = {
        field.name: field.default_factory
        for field in fields
        if field.default_factory is not dataclasses.MISSING
    }
    compared = attrgetter(*(field.name for field in fields if field.compare))

    def init(self: object, *values: object, **named: object) -> None:
        given = dict(zip(names, values, strict=False))
        fitting = len(values) == len(given)
        if named:
            fitting = fitting and given.keys().isdisjoint(named) and known.issuperset(named)
            given.update(named)
        if len(given) < len(names):
            given = {**defaults, **given}
            for name in factories.keys() - given.keys():
                given[name] = factories[name]()
        if not fitting or len(given) < len(names):
            raise TypeError(f"{cls.__qualname__} takes {', '.join(names)}")
        self.__dict__.update(given)

    def show(self: object) -> str:
        return f"{cls.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def equals(self: object, other: object) -> bool:
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def hashed(self: object) -> int:
        return hash(compared(self))

    for name, function in (
        ("__init__", init),
        ("__repr__", show),
        ("__eq__", equals),
        ("__hash__", hashed),
        ("__setattr__", _refuse_change),
        ("__delattr__", _refuse_deletion),
    ):
        setattr(made, name, function)
    return made


def _refuse_other_features(made: Any) -> None:
    fields = dataclasses.fields(made)
    plain = all(field.init and field.repr and field.hash is None and not field.kw_only for field in fields)
    if not plain or hasattr(made, "__post_init__") or not _WRITTEN.isdisjoint(vars(made)):
        raise TypeError(f"{made.__qualname__} has what frozen dataclasses without generated code do not know")


def _refuse_change(_: object, name: str, __: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
