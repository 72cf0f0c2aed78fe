"""`dataclass(frozen=True)`, `field` and `replace` for the modules that every container of the agent imports.

`dataclasses` writes six functions for each class as text and compiles them, and imports `inspect`: together a
third of what a container with the backend `direct` would execute until EC2 answers. Here a class has closures
instead. The rest is that of `dataclasses`, whose own functions work, too, and what type checkers say.
"""

from __future__ import annotations

from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass, field, replace
    from typing import Any, NoReturn

    __all__ = ["dataclass", "field", "replace"]
else:

    def dataclass(*, frozen):
        """Make a class with one field or more, and no dataclass as its base, a frozen dataclass."""
        if not frozen:
            raise TypeError("only frozen dataclasses are made here")
        return _frozen

    def field(**options):
        """Return the default of a field that is not a plain value; takes what `_Field` takes."""
        return _Field(**options)

    def replace(thing, /, **changes):
        """Return such an instance with other values."""
        return type(thing)(**{name: getattr(thing, name) for name in thing.__match_args__} | changes)


_MISSING = object()
_WRITTEN = frozenset({"__init__", "__repr__", "__eq__", "__hash__", "__setattr__", "__delattr__"})
"""What each class gets; `dataclasses` keeps a class's own one, or refuses it."""
_OTHER_FEATURES = ("ClassVar", "InitVar", "KW_ONLY")
"""Annotations of what is no field with `dataclasses`."""


class _Field:
    """A field's default, or what makes it, and whether it counts when instances are compared and hashed."""

    __slots__ = ("compare", "default", "make")

    def __init__(
        self,
        *,
        default: object = _MISSING,
        default_factory: Callable[[], object] | None = None,
        compare: bool = True,
    ) -> None:
        self.default = default
        self.make = default_factory
        self.compare = compare


def _frozen(cls: type) -> type:
    _refuse_other_features(cls)
    names = tuple(cls.__annotations__)
    fields = {name: _field_of(cls.__dict__.get(name, _MISSING)) for name in names}
    for name, each in fields.items():
        if each.default is not _MISSING:
            setattr(cls, name, each.default)
        elif each.make:
            delattr(cls, name)
    for name, function in _functions(cls, fields).items():
        setattr(cls, name, function)
    cls.__match_args__ = names  # type: ignore[attr-defined, misc]
    for name in ("__dataclass_fields__", "__dataclass_params__"):
        setattr(cls, name, _OfDataclasses(name, cls, fields))
    return cls


def _field_of(given: object) -> _Field:
    return given if isinstance(given, _Field) else _Field(default=given)


def _functions(cls: type, fields: dict[str, _Field]) -> dict[str, Callable[..., object]]:
    names = tuple(fields)
    defaults = {name: each.default for name, each in fields.items() if each.default is not _MISSING}
    factories = {name: each.make for name, each in fields.items() if each.make}
    compared = attrgetter(*(name for name, each in fields.items() if each.compare))

    def init(self: object, *values: object, **named: object) -> None:
        given = dict(zip(names, values, strict=False))
        fitting = len(values) == len(given)
        if named:
            fitting = fitting and given.keys().isdisjoint(named) and fields.keys() >= named.keys()
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

    return {
        "__init__": init,
        "__repr__": show,
        "__eq__": equals,
        "__hash__": hashed,
        "__setattr__": _refuse_change,
        "__delattr__": _refuse_deletion,
    }


class _OfDataclasses:
    """An attribute by which `dataclasses` knows its classes: made by it when it is first read."""

    def __init__(self, name: str, cls: type, fields: dict[str, _Field]) -> None:
        self._name = name
        self._cls = cls
        self._fields = fields

    def __get__(self, instance: object, owner: type) -> Any:
        import dataclasses  # noqa: PLC0415 - see the module's docstring

        namespace: dict[str, Any] = {"__doc__": "", "__annotations__": self._cls.__annotations__}
        for name, each in self._fields.items():
            if each.make:
                namespace[name] = dataclasses.field(default_factory=each.make, compare=each.compare)
            elif each.default is _MISSING:
                namespace[name] = dataclasses.field(compare=each.compare)
            else:
                namespace[name] = dataclasses.field(default=each.default, compare=each.compare)
        alike: Any = dataclasses.dataclass(frozen=True)(type(self._cls.__name__, (), namespace))
        made = getattr(alike, self._name)
        setattr(self._cls, self._name, made)
        return made


def _refuse_other_features(cls: type) -> None:
    annotations, own = cls.__annotations__, vars(cls)
    plain = (
        annotations
        and not any(feature in str(text) for text in annotations.values() for feature in _OTHER_FEATURES)
        and not any(_is_no_default(own[name]) for name in annotations if name in own)
        and not hasattr(cls, "__post_init__")
        and not hasattr(cls, "__match_args__")
        and _WRITTEN.isdisjoint(own)
    )
    if not plain:
        raise TypeError(f"{cls.__qualname__} has what frozen dataclasses without generated code do not know")


def _is_no_default(given: object) -> bool:
    """Return whether it is a field of `dataclasses`' own, or what instances must not share."""
    return type(given).__module__ == "dataclasses" or type(given).__hash__ is None


def _refuse_change(_: object, name: str, __: object) -> NoReturn:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - see the module's docstring

    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_: object, name: str) -> NoReturn:
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - see the module's docstring

    raise FrozenInstanceError(f"cannot delete field {name!r}")
