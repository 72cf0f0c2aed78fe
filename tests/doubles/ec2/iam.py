"""IAM: credentials, and what their identity-based policies allow.

Source: "IAM JSON policy elements: Condition operators" and "Policy evaluation logic" in the IAM user guide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

Context = Mapping[str, Sequence[str]]
"""Condition key in lower case -> its values; a key that is absent has none."""


@dataclass(frozen=True)
class Asked:
    """One thing that a call needs: an action on a resource, with the condition keys that hold for it."""

    action: str
    arn: str
    context: Context = field(default_factory=dict)


@dataclass(frozen=True)
class Condition:
    """One key of a statement's `Condition`: operator such as `ForAllValues:StringEquals`, key, values."""

    operator: str
    key: str
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if self._compare is None:
            raise ValueError(f"the condition operator {self.operator} is not known here")

    @property
    def _name(self) -> str:
        return self.operator.rpartition(":")[2].removesuffix("IfExists")

    @property
    def _compare(self) -> Callable[[str, str], bool] | None:
        return _OPERATORS.get(self._name)

    def holds(self, context: Context) -> bool:
        """Whether it holds in a context."""
        found = context.get(self.key.lower(), ())
        compare = self._compare
        if self._name == "Null":
            return str(not found).lower() in self.values
        if compare is None or (not found and not self.operator.startswith("ForA")):
            return self.operator.endswith("IfExists") or self._name in _NEGATED
        if self.operator.startswith("ForAllValues:"):
            return all(self._any(compare, value) for value in found)
        return any(self._any(compare, value) for value in found)

    def _any(self, compare: Callable[[str, str], bool], value: str) -> bool:
        matched = any(compare(value, pattern) for pattern in self.values)
        return not matched if self._name in _NEGATED else matched


def _equal(value: str, other: str) -> bool:
    return value == other


def _equal_ignoring_case(value: str, other: str) -> bool:
    return value.lower() == other.lower()


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "ArnEquals": fnmatchcase,
    "ArnLike": fnmatchcase,
    "Bool": _equal_ignoring_case,
    "Null": _equal,
    "StringEquals": _equal,
    "StringEqualsIgnoreCase": _equal_ignoring_case,
    "StringLike": fnmatchcase,
    "StringNotEquals": _equal,
    "StringNotLike": fnmatchcase,
}
_NEGATED = ("StringNotEquals", "StringNotLike")


@dataclass(frozen=True)
class Statement:
    """One statement of a policy; `actions` carry no `ec2:`."""

    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...] = ("*",)
    conditions: tuple[Condition, ...] = ()

    def covers(self, asked: Asked) -> bool:
        """Whether it is about this."""
        return (
            any(fnmatchcase(asked.action.lower(), pattern.lower()) for pattern in self.actions)
            and any(fnmatchcase(asked.arn, pattern) for pattern in self.resources)
            and all(condition.holds(asked.context) for condition in self.conditions)
        )


EVERYTHING = (Statement(allows=True, actions=("*",)),)


@dataclass(frozen=True)
class AccessKey:
    """Credentials and the identity behind them, with the statements of its policies."""

    id: str
    secret: str
    arn: str
    token: str | None = None
    statements: tuple[Statement, ...] = EVERYTHING

    def allows(self, asked: Asked) -> bool:
        """Whether a statement allows it and none denies it."""
        covering = [statement.allows for statement in self.statements if statement.covers(asked)]
        return bool(covering) and all(covering)


def actions_only(patterns: Sequence[str]) -> tuple[Statement, ...]:
    """Return the rights to actions on everything; patterns are IAM's, without `ec2:`."""
    return (Statement(allows=True, actions=tuple(patterns)),)


def read_policy(document: Mapping[str, object]) -> tuple[Statement, ...]:
    """Read a policy as IAM takes it; raises ValueError for what is not known here.

    Actions of other services than EC2 are left out.
    """
    if set(document) - {"Version", "Id", "Statement"} or document.get("Version") != "2012-10-17":
        raise ValueError("a policy has the Version 2012-10-17 and the key Statement")
    found = document.get("Statement")
    return tuple(map(_statement, found if isinstance(found, list) else [found]))


def _statement(given: object) -> Statement:
    if not isinstance(given, dict) or set(given) - {"Sid", "Effect", "Action", "Resource", "Condition"}:
        raise ValueError(f"a statement has Effect, Action, Resource and Condition, not {given!r}")
    if given.get("Effect") not in ("Allow", "Deny"):
        raise ValueError(f"Effect must be Allow or Deny, is {given.get('Effect')!r}")
    actions = _texts(given.get("Action"))
    return Statement(
        allows=given["Effect"] == "Allow",
        actions=tuple(
            action.partition(":")[2] or action for action in actions if action == "*" or _of_ec2(action)
        ),
        resources=_texts(given.get("Resource")),
        conditions=tuple(
            Condition(operator, key, _texts(values))
            for operator, keys in (given.get("Condition") or {}).items()
            for key, values in keys.items()
        ),
    )


def _of_ec2(action: str) -> bool:
    return action.lower().startswith("ec2:")


def _texts(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str) for each in values):
        raise ValueError(f"must be text or a list of texts, is {value!r}")
    return tuple(map(str, values))
