"""The access keys and roles of a world file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tests.doubles.config.document import Node
from tests.doubles.config.fields import NAME, add
from tests.doubles.ec2.iam import EVERYTHING, AccessKey, Statement, actions_only, read_policy
from tests.doubles.state.resources import Instance

DEFAULT_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
"""The access key of a world that lists none."""
DEFAULT_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


def access_keys(node: Node | None, account: str) -> dict[str, AccessKey]:
    """Read `access_keys`; without them there is one that may do everything."""
    if node is None:
        arn = f"arn:aws:iam::{account}:user/everything"
        return {DEFAULT_KEY_ID: AccessKey(DEFAULT_KEY_ID, DEFAULT_SECRET, arn)}
    found: dict[str, AccessKey] = {}
    for item in node.items():
        keys = item.mapping(required=("id", "secret"), optional=("actions", "policy"))
        identifier = keys["id"].text(r"[A-Z0-9]{16,128}", "16 to 128 capital letters and digits")
        arn = f"arn:aws:iam::{account}:user/{identifier}"
        key = AccessKey(identifier, keys["secret"].text(), arn)
        add(found, replace(key, statements=_rights(keys)), item)
    return found


def role_keys(
    node: Node | None, account: str, instances: Iterable[Instance], place: Node
) -> dict[str, AccessKey]:
    """Make the credentials of each instance's role, with the rights under `roles`; all without it."""
    rights: dict[str, tuple[Statement, ...]] = {}
    for item in node.items() if node else []:
        keys = item.mapping(required=("name",), optional=("actions", "policy"))
        rights[keys["name"].text(NAME, "an IAM role name")] = _rights(keys)
    found: dict[str, AccessKey] = {}
    for instance in instances:
        if instance.role and node and instance.role not in rights:
            place.refuse(f"the role {instance.role} of {instance.id} is not among the world's roles")
        if instance.role:
            key = _role_key(account, instance.id, instance.role)
            found[instance.id] = replace(key, statements=rights.get(instance.role, EVERYTHING))
    return found


def _role_key(account: str, instance: str, role: str) -> AccessKey:
    def derived(what: str) -> str:
        return hashlib.sha256(f"{what} {account} {instance} {role}".encode()).hexdigest()

    return AccessKey(
        id="ASIA" + derived("id")[:16].upper(),
        secret=derived("secret")[:40],
        arn=f"arn:aws:sts::{account}:assumed-role/{role}/{instance}",
        token=derived("token"),
    )


def _rights(keys: Mapping[str, Node]) -> tuple[Statement, ...]:
    """Read `actions` or `policy`; without both everything is allowed."""
    if "policy" in keys:
        node = keys["policy"]
        if "actions" in keys:
            node.refuse("stands beside actions: one of them")
        if not isinstance(node.value, dict):
            node.refuse("must be an IAM policy")
        try:
            return read_policy(node.value)
        except ValueError as error:
            node.refuse(str(error))
    if "actions" not in keys:
        return EVERYTHING
    meaning = "an EC2 action without prefix, with * and ? as in IAM"
    return actions_only([item.text(r"[A-Za-z0-9*?]+", meaning) for item in keys["actions"].items()])
