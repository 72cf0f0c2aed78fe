"""The IAM policies in `examples/iam`: well-formed, no more than is called, and enough for it."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from common.agent_settings import AgentSettings
from common.exit_codes import ExitCode
from ipagent.assign.holders import NO_MANAGE
from ipagent.aws import ec2_calls
from ipagent.aws.aws_access import AwsAccess
from ipagent.aws.ec2_client import Ec2Client
from ipagent.aws.node_cloud import NodeCloud
from ipagent.aws.pod_cloud import PodCloud
from ipagent.commands import context
from ipagent.controller.ec2 import eips, prefixes
from ipagent.controller.ec2.client import ControllerEc2Client
from tests.doubles.ec2.iam import Asked, Statement, read_policy
from tests.ipagent import worlds
from tests.ipagent.agent_rig import Stage
from tests.ipagent.worlds import ENI_1, MAC_1, NEIGHBOUR, NEIGHBOUR_IPV6, NEIGHBOUR_SECONDARY
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture

FOLDER = Path(__file__).parents[2] / "examples" / "iam"
FILES = sorted(FOLDER.glob("*.json"))
CHECK = FOLDER / "check.json"
CONTROLLER = FOLDER / "controller.json"
CONTROLLER_EIPS = FOLDER / "controller-eips.json"
RIGHTS = [file for file in FILES if not file.stem.startswith("trust-")]
ADDRESSES = [file for file in RIGHTS if file not in (CHECK, CONTROLLER, CONTROLLER_EIPS)]
"""Those for programs that assign addresses."""
TRUSTS = [file for file in FILES if file.stem.startswith("trust-")]

MAX_CHARACTERS = 6144
"""Of a managed policy, white space apart ("IAM and AWS STS quotas", IAM user guide)."""

PERMISSION_ONLY = {"sts:TagSession"}
"""Actions without an API operation of their own ("Actions, resources, and condition keys for AWS STS")."""

# "Actions, resources, and condition keys for Amazon EC2", Service Authorization Reference: the keys of the
# resource type network-interface that all (Un)Assign actions accept, with the operators for their types.
KEYS = {
    r"aws:ResourceTag/.+": {"StringEquals"},
    r"ec2:(Subnet|Vpc)": {"ArnEquals", "ArnLike"},
    r"ec2:(AvailabilityZone|Region|NetworkInterfaceID)": {"StringEquals"},
}
ARNS = {"ec2:Subnet": r"subnet/subnet-[0-9a-f]{17}", "ec2:Vpc": r"vpc/vpc-[0-9a-f]{17}"}


def by_name(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=lambda file: file.stem)


def statements(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["Statement"]
    return found


def actions(file: Path) -> set[str]:
    return {action for statement in statements(file) for action in statement["Action"]}


def conditions(statement: dict[str, Any]) -> Iterator[tuple[str, str, list[str]]]:
    for operator, keys in statement.get("Condition", {}).items():
        for key, values in keys.items():
            yield operator, key, values if isinstance(values, list) else [values]


def called(*users: type | ModuleType, by: str = r"_client\(\)") -> set[str]:
    """Return the EC2 actions of those methods of the client that the code of `users` calls.

    `by` is how that code names the client.
    """
    names = {xform_name(name): name for name in _operations("ec2")}
    methods = {call for user in users for call in re.findall(rf"{by}\.(\w+)\(", inspect.getsource(user))}
    assert methods
    sources = [inspect.getsource(getattr(Ec2Client, method)) for method in methods]
    # What methods share.
    sources.append(inspect.getsource(Ec2Client._pages))  # noqa: SLF001 - a part of them
    shared = inspect.getmembers(ec2_calls, inspect.isfunction)
    sources += [
        inspect.getsource(function)
        for name, function in shared
        if any(re.search(rf"\b{name}\(", source) for source in sources)
    ]
    calls = {call for source in sources for call in re.findall(r"\b(?:client|ec2)\.(\w+)[(,]", source)}
    return {f"ec2:{names[call]}" for call in calls - {"close"}}


@functools.cache
def _operations(service: str) -> list[str]:
    found: list[str] = botocore.session.Session().get_service_model(service).operation_names
    return found


@pytest.mark.pure
def test_there_is_one_for_each_purpose() -> None:
    assert {file.stem for file in FILES} == {
        "agent-dual-stack",
        "agent-ipv4",
        "check",
        "controller",
        "controller-eips",
        "node-agent",
        "operator",
        "trust-irsa",
        "trust-pod-identity",
    }


@pytest.mark.pure
@by_name(FILES)
def test_it_has_the_form_of_a_policy(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    policy = json.loads(text)
    assert set(policy) == {"Version", "Statement"}
    assert policy["Version"] == "2012-10-17"
    assert len("".join(text.split())) <= MAX_CHARACTERS
    names = [statement["Sid"] for statement in policy["Statement"]]
    assert len(names) == len(set(names))
    for statement in policy["Statement"]:
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        assert statement["Effect"] == "Allow"
        assert isinstance(statement["Action"], list)
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Principal", "Condition"}
        # A policy of a role says on what, its trust policy says for whom.
        assert ("Principal" in statement) is (file in TRUSTS)
        assert ("Resource" in statement) is (file in RIGHTS)


@pytest.mark.pure
@by_name(FILES)
def test_its_actions_exist(file: Path) -> None:
    for action in actions(file) - PERMISSION_ONLY:
        service, _, name = action.partition(":")
        assert name in _operations(service), action


@pytest.mark.pure
@by_name(ADDRESSES)
def test_describing_is_for_everything_and_changing_for_tagged_enis_of_one_vpc(file: Path) -> None:
    for statement in statements(file):
        if all(action.startswith("ec2:Describe") for action in statement["Action"]):
            # Describe actions know no resources: a condition on one would never hold.
            assert (statement["Resource"], "Condition" in statement) == ("*", False)
            continue
        assert statement["Resource"] == "arn:aws:ec2:*:*:network-interface/*"
        found = {key: (operator, values) for operator, key, values in conditions(statement)}
        assert found[f"aws:ResourceTag/{NO_MANAGE}"] == ("StringEquals", ["true"])
        assert "ec2:Vpc" in found
        for key, (operator, values) in found.items():
            (operators,) = (known for pattern, known in KEYS.items() if re.fullmatch(pattern, key))
            assert operator in operators, key
            for value in values if key in ARNS else ():
                assert re.fullmatch(rf"arn:aws:ec2:[a-z0-9-]+:\*:{ARNS[key]}", value), value


@pytest.mark.pure
@by_name(ADDRESSES)
@pytest.mark.parametrize("owner", ["111122223333", "999988887777"], ids=["own", "shared"])
def test_the_rights_hold_for_enis_of_the_vpc_whichever_account_owns_it(file: Path, owner: str) -> None:
    policy = read_policy(json.loads(file.read_text(encoding="utf-8")))
    assert _may_unassign(policy, f"{owner}:vpc/vpc-0123456789abcdef0", owner)
    assert not _may_unassign(policy, f"{owner}:vpc/vpc-0123456789abcdef1", owner)


def _may_unassign(policy: tuple[Statement, ...], vpc: str, owner: str) -> bool:
    region = "arn:aws:ec2:eu-central-1"
    context = {
        f"aws:resourcetag/{NO_MANAGE}": ["true"],
        "ec2:vpc": [f"{region}:{vpc}"],
        "ec2:subnet": [f"{region}:{owner}:subnet/subnet-0123456789abcdef1"],
    }
    # An ENI in a shared subnet is its creator's.
    eni = f"{region}:111122223333:network-interface/eni-0a000000000000001"
    return any(each.covers(Asked("UnassignPrivateIpAddresses", eni, context)) for each in policy)


@pytest.mark.pure
@by_name([file for file in RIGHTS if "agent" in file.stem])
def test_an_agents_rights_end_at_its_subnets(file: Path) -> None:
    keys = {key for statement in statements(file) for _, key, _ in conditions(statement)}
    assert "ec2:Subnet" in keys


@pytest.mark.pure
def test_the_agent_may_do_what_it_calls_and_nothing_else() -> None:
    every = called(AwsAccess, PodCloud)
    assert actions(FOLDER / "agent-dual-stack.json") == every
    assert actions(FOLDER / "agent-ipv4.json") == {action for action in every if "Ipv6" not in action}
    assert actions(FOLDER / "node-agent.json") == called(AwsAccess, NodeCloud)
    changes = {action for action in every if action.startswith("ec2:Unassign")}
    assert actions(FOLDER / "operator.json") == called(context, by=r"\bec2") | changes


@pytest.mark.pure
def test_the_controller_may_do_what_it_calls_and_change_only_what_has_its_clusters_tag() -> None:
    names = {xform_name(name): name for name in _operations("ec2")}
    source = inspect.getsource(ControllerEc2Client) + inspect.getsource(prefixes)
    calls = {f"ec2:{names[call]}" for call in re.findall(r"client\.(\w+)\(", source) if call in names}
    # TagSpecifications of CreateNetworkInterface need it.
    assert actions(CONTROLLER) == calls | {"ec2:CreateTags"}
    changed: dict[str, set[str]] = {}
    for statement in statements(CONTROLLER):
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in statement["Action"])
            continue
        keys = {
            key for operator, key, _ in conditions(statement) if operator in ("StringEquals", "ArnEquals")
        }
        for action in statement["Action"]:
            if statement["Resource"] == "arn:aws:ec2:*:*:network-interface/*":
                changed.setdefault(action, set()).update(keys)
        assert keys
    own = "aws:ResourceTag/multus-eni.io/cluster"
    assert changed == {
        "ec2:CreateNetworkInterface": {
            "aws:RequestTag/multus-eni.io/cluster",
            f"aws:RequestTag/{NO_MANAGE}",
        },
        "ec2:CreateTags": {"ec2:CreateAction"},
        **{
            f"ec2:{each}NetworkInterface{end}": {own}
            for each, end in (("Attach", ""), ("Detach", ""), ("Delete", ""), ("Modify", "Attribute"))
        },
        **{
            f"ec2:{each}{kind}Addresses": {own}
            for each in ("Assign", "Unassign")
            for kind in ("PrivateIp", "Ipv6")
        },
    }


@pytest.mark.pure
def test_the_controller_may_change_only_elastic_ips_of_the_pools_on_interfaces_for_pods() -> None:
    names = {xform_name(name): name for name in _operations("ec2")}
    calls = {f"ec2:{names[call]}" for call in re.findall(r"client\.(\w+)\(", inspect.getsource(eips))}
    # `read_holders` reads what the controller's client pages through.
    assert actions(CONTROLLER_EIPS) == calls | {"ec2:DescribeNetworkInterfaces"}
    for statement in statements(CONTROLLER_EIPS):
        keys = {key for operator, key, _ in conditions(statement) if operator == "StringEquals"}
        match statement["Resource"]:
            case "*":
                assert all(action.startswith("ec2:Describe") for action in statement["Action"])
            case "arn:aws:ec2:*:*:elastic-ip/*":
                assert keys == {"aws:ResourceTag/pool"}
            case resource:
                assert resource == "arn:aws:ec2:*:*:network-interface/*"
                assert keys == {f"aws:ResourceTag/{NO_MANAGE}"}


@pytest.mark.pure
@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        (["multus-eni.io/pod"], True),
        (["multus-eni.io/pod", "pool"], False),
        # DeleteTags without a tag takes all of a resource's tags off (EC2 API reference).
        ([], False),
    ],
)
def test_the_controller_may_take_no_tag_of_others_off_an_elastic_ip(keys: list[str], allowed: bool) -> None:
    (statement,) = (each for each in statements(CONTROLLER_EIPS) if "ec2:DeleteTags" in each["Action"])
    policy = read_policy({"Version": "2012-10-17", "Statement": [statement]})
    arn = "arn:aws:ec2:eu-central-1:111122223333:elastic-ip/eipalloc-1"
    context = {"aws:resourcetag/pool": ["sip"], "aws:tagkeys": keys}
    assert any(each.covers(Asked("DeleteTags", arn, context)) for each in policy) is allowed


def world_with(rights: set[str]) -> dict[str, Any]:
    world = worlds.world(ipv6=True)
    world["access_keys"][0]["actions"] = sorted(action.removeprefix("ec2:") for action in rights)
    return world


@pytest.mark.netns
@pytest.mark.parametrize(
    ("policy", "addresses"),
    [
        ("agent-ipv4", [NEIGHBOUR_SECONDARY, "10.10.1.80"]),
        ("agent-dual-stack", [NEIGHBOUR_SECONDARY, NEIGHBOUR_IPV6, "10.10.1.80", "2001:db8:1::80"]),
    ],
)
def test_these_rights_are_enough_to_take_over_and_to_release(
    node: Node,  # noqa: F811 - the fixture
    tmp_path: Path,
    policy: str,
    addresses: list[str],
) -> None:
    on = Stage(node, world_with(actions(FOLDER / f"{policy}.json")), tmp_path)
    pod = node.pod()
    pod.add_interface("net1", mac=MAC_1, addresses=[f"{a}/{64 if ':' in a else 24}" for a in addresses])
    sidecar = on.sidecar(pod, AgentSettings(interfaces=("net1",), release_on_exit=True))
    sidecar.wait_until_started()
    assert held(on, ENI_1) == set(addresses)
    assert sidecar.end().code == ExitCode.OK
    assert held(on, ENI_1) == set()


@pytest.mark.netns
def test_the_operators_rights_are_enough_for_every_command(
    node: Node,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    on = Stage(node, world_with(actions(FOLDER / "operator.json")), tmp_path)
    pod = node.pod()
    pod.add_interface("net1", mac=MAC_1, addresses=["10.10.1.80/24"])
    release = ["release", NEIGHBOUR_SECONDARY, NEIGHBOUR_IPV6, "--eni", NEIGHBOUR, "--yes"]
    for command in (["addresses"], ["enis"], ["init", "--dry-run"], release):
        done = pod.run(["ipagent", *command, "-o", "json"], env=on.env(), read_only=True)
        assert done.returncode == ExitCode.OK, done.stdout
        assert json.loads(done.stdout)["ec2"]["error"] is None
    assert held(on, NEIGHBOUR) == set()


def held(on: Stage, eni: str) -> set[str]:
    (found,) = (shown for shown in on.state()["interfaces"] if shown["id"] == eni)
    return {*found["secondaries"], *found["ipv6s"]}
