"""What the AWS CLI accepts, by the models of botocore that it is made from."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import botocore.session
import jmespath
from botocore import xform_name

GLOBAL = {"--region", "--query", "--output"}
DEPLOY = {"--stack-name", "--template-file", "--capabilities", "--parameter-overrides"}
"""Of `aws cloudformation deploy`, a command of the CLI's own."""
OWN = {"ecr get-login-password", "eks get-token"}
"""Others of them, whose options are not checked."""


@functools.cache
def _model(service: str) -> Any:
    return botocore.session.Session().get_service_model(service)


@functools.cache
def _waiters(service: str) -> set[str]:
    session = botocore.session.Session()
    return {xform_name(name, "-") for name in session.get_waiter_model(service).waiter_names}


def check(arguments: Sequence[str], *, complete: bool = True) -> None:
    """Raise AssertionError where the CLI would refuse a command; what is not complete may lack options."""
    service, command, *rest = arguments
    if f"{service} {command}" in OWN:
        return
    given = {each for each in rest if each.startswith("--")}
    if "--query" in given:
        jmespath.compile(rest[rest.index("--query") + 1])
    own = given - GLOBAL
    if (service, command) == ("cloudformation", "deploy"):
        assert own <= DEPLOY, own - DEPLOY
        return
    if command == "wait":
        assert rest[0] in _waiters(service), rest[0]
        return
    operations = {xform_name(name, "-"): name for name in _model(service).operation_names}
    assert command in operations, f"{service} {command}"
    shape = _model(service).operation_model(operations[command]).input_shape
    options = {f"--{xform_name(name, '-')}": name for name in shape.members}
    assert own <= set(options), f"{service} {command}: {own - set(options)}"
    missing = set(shape.required_members) - {options[each] for each in own}
    assert not missing or not complete, f"{service} {command}: {missing}"
