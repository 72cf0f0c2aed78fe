"""The CloudFormation templates: cfn-lint finds nothing, and their policies are those that are shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ipagent.node_network_api import STARTUP_TAINT
from tests.examples import policies
from tests.examples.cloudformation import Stack, load
from tests.examples.shipped import ISSUER, PARTITIONS, Account
from tests.examples.user_data import only_node_config

ROOT = Path(__file__).parents[2]
NODE_GROUP = ROOT / "examples" / "nodegroup" / "cloudformation.yaml"
CFN_LINT = Path(sys.executable).parent / "cfn-lint"
PROGRAMS = {"controller": "Controller", "node-agent": "NodeAgent", "agent-dual-stack": "Agent"}
SUBNETS = [f"subnet-0000000000000000{number}" for number in range(1, 5)]
GROUPS = [f"sg-0000000000000000{number}" for number in range(1, 5)]


def test_cfn_lint_finds_nothing() -> None:
    done = subprocess.run(
        [CFN_LINT, "--include-checks", "I", "--", policies.TEMPLATE, NODE_GROUP],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.pure
def test_the_template_has_the_policies_as_the_files_have_them() -> None:
    text = policies.TEMPLATE.read_text(encoding="utf-8")
    assert policies.written(text) == text, "run python -m tests.examples.policies"


def permissions(account: Account, **more: str) -> Stack:
    given = {
        "ClusterName": account.cluster,
        "VpcId": account.vpc,
        "MultusSubnets": list(account.subnets),
        "AgentNamespace": "my-apps",
    }
    return Stack(load(policies.TEMPLATE), {**given, **more}, account.partition)


def exact(policy: str, account: Account) -> Any:
    """Read a policy; the wildcards in subnets' ARNs stand for the stack's partition and region."""
    prefix = f"arn:{account.partition}:ec2:{account.region}:*:subnet/"
    return json.loads(policy.replace("arn:*:ec2:*:*:subnet/", prefix))


@pytest.mark.pure
@pytest.mark.parametrize("account", PARTITIONS.values(), ids=PARTITIONS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_role_has_the_shipped_policy_and_pods_get_it_by_pod_identity(
    program: str, account: Account
) -> None:
    stack = permissions(account)
    role = stack.resource(f"{PROGRAMS[program]}Role")
    assert role is not None
    (policy,) = role["Policies"]
    assert exact(policy["PolicyDocument"], account) == account.policy(program)
    assert json.loads(role["AssumeRolePolicyDocument"]) == account.policy("trust-pod-identity")
    association = stack.resource(f"{PROGRAMS[program]}PodIdentity")
    assert association is not None
    assert association["RoleArn"] == f"<{PROGRAMS[program]}Role.Arn>"
    assert (
        association["Namespace"]
        == stack.parameters["AgentNamespace" if PROGRAMS[program] == "Agent" else "Namespace"]
    )


@pytest.mark.pure
@pytest.mark.parametrize("account", PARTITIONS.values(), ids=PARTITIONS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_with_an_issuer_the_role_is_for_irsa(program: str, account: Account) -> None:
    stack = permissions(account, OidcProvider=ISSUER)
    role = stack.resource(f"{PROGRAMS[program]}Role")
    assert role is not None
    name = stack.parameters[f"{PROGRAMS[program]}ServiceAccount"]
    own = replace(account, namespace="my-apps") if PROGRAMS[program] == "Agent" else account
    assert json.loads(role["AssumeRolePolicyDocument"]) == own.policy("trust-irsa", name)
    assert stack.resource(f"{PROGRAMS[program]}PodIdentity") is None


@pytest.mark.pure
def test_with_the_backend_central_node_agents_have_no_role() -> None:
    stack = permissions(Account(), NodeAgentServiceAccount="")
    assert stack.resource("NodeAgentRole") is stack.resource("NodeAgentPodIdentity") is None
    assert set(stack.outputs()) == {"ControllerRoleArn", "AgentRoleArn"}


@pytest.mark.pure
def test_without_a_namespace_of_theirs_agents_have_no_role() -> None:
    stack = permissions(Account(), AgentNamespace="")
    assert stack.resource("AgentRole") is stack.resource("AgentPodIdentity") is None
    assert set(stack.outputs()) == {"ControllerRoleArn", "NodeAgentRoleArn"}


def node_group(subnets: int = 2, groups: int = 2, **more: Any) -> Stack:
    given = {
        "ClusterName": "lab",
        "EksApiServerEndpoint": "https://ABC.gr7.eu-west-1.eks.amazonaws.com",
        "EksCertificateAuthority": "Q0E=",
        "ServiceCidr": "172.20.0.0/16",
        "ClusterControlPlaneSecurityGroup": "sg-00000000000000009",
        "NodeGroupName": "upf",
        "VpcId": "vpc-00000000000000009",
        "Subnets": ["subnet-00000000000000009"],
        "MultusSubnets": SUBNETS[:subnets],
        "MultusSecurityGroupIds": GROUPS[:groups],
    }
    return Stack(load(NODE_GROUP), {**given, **more})


def launch_data(stack: Stack) -> dict[str, Any]:
    template = stack.resource("NodeLaunchTemplate")
    assert template is not None
    found: dict[str, Any] = template["LaunchTemplateData"]
    return found


def node_config(stack: Stack) -> dict[str, Any]:
    return only_node_config(launch_data(stack)["UserData"])


@pytest.mark.pure
@pytest.mark.parametrize("subnets", [1, 2, 3, 4])
def test_max_pods_leave_an_eni_to_each_multus_subnet(subnets: int) -> None:
    kubelet = node_config(node_group(subnets))["spec"]["kubelet"]
    assert kubelet["maxPodsExpression"] == f"((default_enis - {subnets}) * (ips_per_eni - 1)) + 2"


@pytest.mark.pure
def test_nodes_register_with_the_startup_taint_and_their_labels() -> None:
    config = node_config(node_group())
    kubelet = config["spec"]["kubelet"]
    assert kubelet["config"] == {"registerWithTaints": [{"key": STARTUP_TAINT, "effect": "NoSchedule"}]}
    assert kubelet["flags"] == ["--node-labels=node-group=multus"]
    assert config["spec"]["cluster"] == {
        "name": "lab",
        "apiServerEndpoint": "https://ABC.gr7.eu-west-1.eks.amazonaws.com",
        "certificateAuthority": "Q0E=",
        "cidr": "172.20.0.0/16",
    }


@pytest.mark.pure
def test_a_user_may_set_flags_and_the_expression() -> None:
    stack = node_group(KubeletExtraArguments="--cpu-manager-policy=static", MaxPodsExpression="110")
    kubelet = node_config(stack)["spec"]["kubelet"]
    assert kubelet["flags"] == ["--node-labels=node-group=multus", "--cpu-manager-policy=static"]
    assert kubelet["maxPodsExpression"] == "110"


@pytest.mark.pure
def test_imds_takes_tokens_alone_and_one_hop() -> None:
    options = launch_data(node_group())["MetadataOptions"]
    assert options == {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1}


@pytest.mark.pure
def test_instances_have_the_tag_that_the_controllers_policy_demands() -> None:
    group = node_group().resource("NodeGroup")
    assert group is not None
    tags = {tag["Key"]: tag["Value"] for tag in group["Tags"] if tag["PropagateAtLaunch"]}
    (statement,) = (
        each
        for each in Account().policy("controller")["Statement"]
        if each["Sid"] == "OnInstancesOfTheCluster"
    )
    wanted = statement["Condition"]["StringEquals"].items()
    assert {f"aws:ResourceTag/{key}": value for key, value in tags.items()}.items() >= wanted


def networks(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(text) for name, text in stack.outputs().items() if name.startswith("NodeNetwork")]


@pytest.mark.pure
@pytest.mark.parametrize(
    ("subnets", "groups", "expected"),
    [(1, 1, [0]), (2, 2, [0, 1]), (3, 1, [0, 0, 0]), (4, 4, [0, 1, 2, 3]), (4, 2, [0, 0, 0, 0])],
)
def test_each_subnet_becomes_a_network_with_its_group_or_with_the_first(
    subnets: int, groups: int, expected: list[int]
) -> None:
    made = networks(node_group(subnets, groups, MultusNetworkNames=["oam", "sig", "up", "li"][:subnets]))
    assert [each["metadata"]["name"] for each in made] == ["oam", "sig", "up", "li"][:subnets]
    specs = [each["spec"] for each in made]
    assert [spec["subnetSelectorTerms"] for spec in specs] == [[{"id": each}] for each in SUBNETS[:subnets]]
    assert [spec["securityGroupSelectorTerms"] for spec in specs] == [
        [{"id": GROUPS[each]}] for each in expected
    ]
    assert {json.dumps(spec["nodeSelector"]) for spec in specs} == {
        '{"matchLabels": {"node-group": "multus"}}'
    }


@pytest.mark.pure
def test_networks_may_have_ipv6_and_forward() -> None:
    for each in networks(node_group(MultusIpv6Addresses=1, MultusSourceDestCheck="false")):
        assert each["spec"]["ipv6"] == {"addresses": 1}
        assert each["spec"]["sourceDestCheck"] is False


@pytest.mark.pure
def test_tags_of_enis_become_a_map() -> None:
    (first, _) = networks(node_group(InterfaceTags="cnf=abc01,type=5g"))
    assert first["spec"]["tags"] == {"cnf": "abc01", "type": "5g"}
    (first, _) = networks(node_group())
    assert first["spec"]["tags"] == {}
