"""The frozen dataclass without generated code is that of `dataclasses`, whatever is done with it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from common.frozen_dataclass import dataclass, field, replace

pytestmark = pytest.mark.pure


def fields(field: Callable[..., Any]) -> type:
    """A new class each time: a decorator changes it."""

    class Fields:
        """A docstring, without which `dataclasses` writes one."""

        name: str
        number: int = 7
        notes: Mapping[str, str] = field(default_factory=dict, compare=False)
        seen: int = field(default=0, compare=False)

        @property
        def twice(self) -> int:
            return 2 * self.number

    Fields.__qualname__ = "Fields"
    return Fields


Ours: Any = dataclass(frozen=True)(fields(field))
Theirs: Any = dataclasses.dataclass(frozen=True)(fields(dataclasses.field))

globals()["Fields"] = Ours
"""By its name it is pickled."""


def outcome(of: Callable[[], object]) -> object:
    """Return the text of a result, or the kind of error."""
    try:
        return str(of())
    except (TypeError, AttributeError) as error:
        return type(error)


def changed(thing: Any) -> object:
    thing.number = 8
    return thing


def deleted(thing: Any) -> object:
    del thing.number
    return thing


def matched(cls: Any) -> object:
    match cls("a", 3):
        case cls(name, number, _, _):
            return name, number
        case _:
            return None


DONE: dict[str, Callable[[Any], object]] = {
    "defaults": lambda cls: cls("a"),
    "by position": lambda cls: cls("a", 8, {"b": "c"}),
    "by name": lambda cls: cls(number=8, name="a", notes={"b": "c"}),
    "one missing": lambda cls: cls(number=8),
    "one too many": lambda cls: cls("a", 8, {}, 9, 10),
    "an unknown one": lambda cls: cls("a", colour="red"),
    "one twice": lambda cls: cls("a", name="b"),
    "equal": lambda cls: cls("a") == cls("a", 7),
    "unequal": lambda cls: cls("a") == cls("b"),
    "not compared": lambda cls: cls("a", notes={"b": "c"}, seen=1) == cls("a"),
    "another class": lambda cls: (cls("a") == ("a", 7, {}), cls("a") != ("a", 7, {})),
    "hashes": lambda cls: hash(cls("a")) == hash(cls("a", 7, {"b": "c"})),
    "in a set": lambda cls: {cls("a"), cls("a"), cls("b")} == {cls("b"), cls("a")},
    "replaced": lambda cls: replace(cls("a", seen=1), number=9),
    "replaced by the other one": lambda cls: dataclasses.replace(cls("a", seen=1), number=9),
    "replaced by an unknown one": lambda cls: replace(cls("a"), colour="red"),
    "changed": lambda cls: changed(cls("a")),
    "deleted": lambda cls: deleted(cls("a")),
    "a property": lambda cls: cls("a").twice,
    "as a dictionary": lambda cls: dataclasses.asdict(cls("a")),
    "fields": lambda cls: [(f.name, f.default, f.compare, f.init) for f in dataclasses.fields(cls)],
    "parameters": lambda cls: cls.__dataclass_params__.frozen,
    "of an instance": lambda cls: dataclasses.is_dataclass(cls("a")),
    "matched": matched,
    "copied": lambda cls: copy.deepcopy(cls("a", notes={"b": "c"})),
    "a default of its own": lambda cls: cls("a").notes is cls("a").notes,
    "of the class": lambda cls: (cls.number, cls.__doc__, cls.__match_args__),
}


@pytest.mark.parametrize("done", DONE.values(), ids=DONE)
def test_it_does_what_the_generated_code_does(done: Callable[[Any], object]) -> None:
    assert outcome(lambda: done(Ours)) == outcome(lambda: done(Theirs))


def test_a_change_is_the_error_of_frozen_instances() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'number'"):
        changed(Ours("a"))
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'number'"):
        deleted(Ours("a"))


def test_the_error_of_a_wrong_call_names_the_fields() -> None:
    with pytest.raises(TypeError, match=r"^Fields takes name, number, notes, seen$"):
        Ours()


def test_it_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(Ours("a", 8))) == Ours("a", 8)


def test_others_than_frozen_ones_are_refused() -> None:
    with pytest.raises(TypeError, match="only frozen"):
        dataclass(frozen=False)


@pytest.mark.parametrize(
    "more",
    [
        {"__post_init__": print},
        {"__init__": print},
        {"__repr__": print},
        {"__eq__": print},
        {"__hash__": print},
        {"__setattr__": print},
        {"__delattr__": print},
        {"__match_args__": ()},
        {"number": dataclasses.field(default=1)},
        {"number": []},
        {"__annotations__": {}},
        {"__annotations__": {"number": "ClassVar[int]"}},
        {"__annotations__": {"number": "dataclasses.InitVar[int]"}},
        {"__annotations__": {"number": "KW_ONLY"}},
    ],
    ids=str,
)
def test_a_class_that_it_would_make_otherwise_is_refused(more: dict[str, object]) -> None:
    odd = type("Odd", (), {"__annotations__": {"name": "str", "number": "int"}, **more})
    with pytest.raises(TypeError, match=r"^Odd has what frozen dataclasses"):
        dataclass(frozen=True)(odd)
