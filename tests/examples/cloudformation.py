"""Evaluates a CloudFormation template as CloudFormation does, as far as the examples need it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

NO_VALUE = object()
_REFERENCE = re.compile(r"\$\{(!?)([^}]+)\}")


class _Loader(yaml.SafeLoader):
    """Reads `!Sub` as {"Fn::Sub": …}, likewise for all short forms."""


def _short(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short)


def load(path: Path) -> dict[str, Any]:
    """Read a template."""
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    return found


@dataclass(frozen=True, slots=True)
class Stack:
    """A template with its parameters and pseudo parameters; lists are given as lists."""

    template: Mapping[str, Any]
    given: Mapping[str, Any]
    partition: str = "aws"
    parameters: dict[str, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        suffix = {"aws-cn": "amazonaws.com.cn"}.get(self.partition, "amazonaws.com")
        region = {"aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}.get(self.partition, "eu-west-1")
        pseudo = {
            "Partition": self.partition,
            "Region": region,
            "URLSuffix": suffix,
            "AccountId": "999988887777",
        }
        self.parameters.update({f"AWS::{name}": value for name, value in pseudo.items()})
        self.parameters["AWS::NoValue"] = NO_VALUE
        declared = self.template["Parameters"]
        assert set(self.given) <= set(declared)
        for name, parameter in declared.items():
            value = self.given.get(name, parameter.get("Default"))
            assert value is not None, f"{name} has no value"
            if parameter["Type"] == "CommaDelimitedList" and isinstance(value, str):
                value = value.split(",")
            self.parameters[name] = value

    def condition(self, name: str) -> bool:
        """Evaluate one of the template's conditions."""
        return bool(self.value(self.template["Conditions"][name]))

    def resource(self, name: str) -> dict[str, Any] | None:
        """Return a resource's properties, None where its condition does not hold."""
        found = self.template["Resources"][name]
        if "Condition" in found and not self.condition(found["Condition"]):
            return None
        made: dict[str, Any] = self.value(found.get("Properties", {}))
        return made

    def outputs(self) -> dict[str, Any]:
        """Return the outputs whose conditions hold."""
        return {
            name: self.value(each["Value"])
            for name, each in self.template["Outputs"].items()
            if "Condition" not in each or self.condition(each["Condition"])
        }

    def value(self, node: Any) -> Any:
        """Evaluate what stands in the template."""
        if isinstance(node, list):
            return [value for value in map(self.value, node) if value is not NO_VALUE]
        if not isinstance(node, dict):
            return node
        if name := called(node):
            return self._call(name, node[name])
        made = {key: self.value(value) for key, value in node.items()}
        return {key: value for key, value in made.items() if value is not NO_VALUE}

    def _call(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self.reference(argument)
            case "Condition":
                return self.condition(argument)
            case "Fn::If":
                return self.value(argument[1 if self.condition(argument[0]) else 2])
            case "Fn::Sub":
                return self._substituted(argument)
            case "Fn::GetAtt":
                return f"<{'.'.join(argument)}>"
        return _FUNCTIONS[name](self.value(argument))

    def reference(self, name: str) -> Any:
        """Return a parameter's value, or a name for a resource."""
        if name in self.template["Resources"]:
            return f"<{name}>"
        return self.parameters[name]

    def _substituted(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else (argument[0], self.value(argument[1]))

        def put(found: re.Match[str]) -> str:
            if found[1]:
                return f"${{{found[2]}}}"
            return str(own[found[2]] if found[2] in own else self.reference(found[2]))

        return _REFERENCE.sub(put, text)


def called(node: dict[str, Any]) -> str | None:
    """Return the name of the function that a node calls."""
    name = next(iter(node), "")
    return name if len(node) == 1 and (name in ("Ref", "Condition") or name.startswith("Fn::")) else None


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "Fn::And": all,
    "Fn::Base64": lambda text: text,
    "Fn::Equals": lambda values: values[0] == values[1],
    "Fn::Join": lambda values: values[0].join(values[1]),
    "Fn::Not": lambda values: not values[0],
    "Fn::Or": any,
    "Fn::Select": lambda values: values[1][int(values[0])],
    "Fn::Split": lambda values: values[1].split(values[0]),
}
"""Those whose arguments are evaluated first. What Base64 encodes is left readable."""
