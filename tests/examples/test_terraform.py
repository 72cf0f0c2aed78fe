"""The Terraform modules, planned by the provider's schema: formatted, valid, and with the right values."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipagent.node_network_api import STARTUP_TAINT
from tests.examples.check_nodegroup import CheckNodegroup, Plan, Refused
from tests.examples.shipped import PARTITIONS, Account
from tests.examples.user_data import only_node_config

EXAMPLES = Path(__file__).parents[2] / "examples"
PERMISSIONS = EXAMPLES / "iam" / "terraform"
NODE_GROUP = EXAMPLES / "nodegroup" / "terraform"
PROGRAMS = ("controller", "node-agent")
ZONES = ("eu-west-1a", "eu-west-1b")
OAM = {
    "subnets": dict(zip(ZONES, Account().subnets, strict=True)),
    "security_group_ids": ["sg-00000000000000001"],
    "reservations": {"eu-west-1a": ["10.10.1.64/26", "10.10.1.128/26"]},
}
SIGNALLING = {
    "subnets": {"eu-west-1a": "subnet-00000000000000003"},
    "security_group_ids": ["sg-00000000000000002"],
    "ipv6_addresses": 1,
    "source_dest_check": False,
    "tags": {"cnf": "upf"},
}
NODE_SUBNETS = ["subnet-00000000000000008", "subnet-00000000000000009"]


def aws(account: Account) -> dict[str, dict[str, Any]]:
    """Return what the data sources read."""
    suffix = "amazonaws.com.cn" if account.partition == "aws-cn" else "amazonaws.com"
    return {
        "aws_partition.this": {"partition": account.partition, "dns_suffix": suffix},
        "aws_caller_identity.this": {"account_id": account.account},
        "aws_region.this": {"region": account.region},
        "aws_ssm_parameter.image": {"insecure_value": "ami-00000000000000001"},
        "aws_eks_cluster.this": {
            "version": "1.34",
            "endpoint": "https://ABC.gr7.eu-west-1.eks.amazonaws.com",
            "certificate_authority": [{"data": "Q0E="}],
            "identity": [{"oidc": [{"issuer": f"https://{account.issuer}"}]}],
            "vpc_config": [{"vpc_id": account.vpc, "cluster_security_group_id": "sg-00000000000000009"}],
            "kubernetes_network_config": [{"service_ipv4_cidr": "172.20.0.0/16", "service_ipv6_cidr": ""}],
        },
    }


def permissions(check: CheckNodegroup, account: Account, folder: Path = PERMISSIONS, **more: Any) -> Plan:
    given = {"cluster_name": account.cluster, "subnet_ids": account.subnets}
    return check.plan(folder, {**given, **more}, aws(account))


def test_agents_of_the_backend_direct_have_roles_by_their_names(check: CheckNodegroup) -> None:
    pods = {"namespace": "my-apps", "service_account": "app"}
    plan = permissions(check, Account(), agents={"apps": pods})
    policy = plan.resources['aws_iam_role_policy.this["agent-apps"]']["policy"]
    assert json.loads(policy) == Account().policy("agent-dual-stack")
    association = plan.resources['aws_eks_pod_identity_association.this["agent-apps"]']
    assert pods.items() <= association.items()
    assert set(plan.outputs["agent_role_arns"]) == {"apps"}


def test_with_the_backend_central_node_agents_have_no_role(check: CheckNodegroup) -> None:
    plan = permissions(check, Account(), node_agent_service_account="")
    assert [each for each in plan.resources if "node-agent" in each] == []
    assert set(plan.outputs) & {"controller_role_arn", "node_agent_role_arn"} == {"controller_role_arn"}


def test_networks_need_no_reserved_ranges(check: CheckNodegroup) -> None:
    assert not node_group(check, networks={"signalling": SIGNALLING}).of("aws_ec2_subnet_cidr_reservation")


def node_group(check: CheckNodegroup, **more: Any) -> Plan:
    account = Account()
    networks = {"oam": OAM, "signalling": SIGNALLING}
    given = {"cluster_name": account.cluster, "subnet_ids": NODE_SUBNETS, "networks": networks}
    return check.plan(NODE_GROUP, {**given, **more}, aws(account))


@pytest.mark.parametrize("account", PARTITIONS.values(), ids=PARTITIONS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_role_has_the_shipped_policy_and_pods_get_it_by_pod_identity(
    check: CheckNodegroup, program: str, account: Account
) -> None:
    plan = permissions(check, account)
    policy = plan.resources[f'aws_iam_role_policy.this["{program}"]']["policy"]
    assert json.loads(policy) == account.policy(program)
    role = plan.resources[f'aws_iam_role.this["{program}"]']
    assert json.loads(role["assume_role_policy"]) == account.policy("trust-pod-identity")
    association = plan.resources[f'aws_eks_pod_identity_association.this["{program}"]']
    assert association["namespace"] == account.namespace
    assert association["service_account"].startswith("multus-eni-injector-")


@pytest.mark.parametrize("account", PARTITIONS.values(), ids=PARTITIONS)
def test_without_pod_identity_the_roles_are_for_irsa(check: CheckNodegroup, account: Account) -> None:
    plan = permissions(check, account, pod_identity=False)
    assert not plan.of("aws_eks_pod_identity_association")
    for program, name in zip(PROGRAMS, ("controller", "node"), strict=True):
        role = plan.resources[f'aws_iam_role.this["{program}"]']
        trust = account.policy("trust-irsa", f"multus-eni-injector-{name}")
        assert json.loads(role["assume_role_policy"]) == trust


def test_the_node_group_has_roles_for_all_its_networks_subnets(check: CheckNodegroup) -> None:
    plan = node_group(check)
    policy = plan.resources['module.permissions[0].aws_iam_role_policy.this["node-agent"]']["policy"]
    subnets = (*Account().subnets, "subnet-00000000000000003")
    assert json.loads(policy) == Account(subnets=subnets).policy("node-agent")
    assert not node_group(check, create_permissions=False).of("aws_iam_role_policy")


def test_nodes_register_with_the_startup_taint_and_leave_enis_to_networks(check: CheckNodegroup) -> None:
    template = node_group(check).resources["aws_launch_template.node"]
    config = only_node_config(base64.b64decode(template["user_data"]).decode())
    assert config["spec"] == {
        "cluster": {
            "name": "lab",
            "apiServerEndpoint": "https://ABC.gr7.eu-west-1.eks.amazonaws.com",
            "certificateAuthority": "Q0E=",
            "cidr": "172.20.0.0/16",
        },
        "kubelet": {
            "config": {"registerWithTaints": [{"key": STARTUP_TAINT, "effect": "NoSchedule"}]},
            "maxPodsExpression": "((default_enis - 2) * (ips_per_eni - 1)) + 2",
            "flags": ["--node-labels=node-group=multus"],
        },
    }
    # Without an image ID, EKS would add user data whose maxPods overrides the expression.
    assert template["image_id"] == "ami-00000000000000001"
    assert template["metadata_options"] == [
        {"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1}
    ]


def test_instances_have_the_tag_that_the_controllers_policy_demands(check: CheckNodegroup) -> None:
    template = node_group(check).resources["aws_launch_template.node"]
    (tags,) = (each["tags"] for each in template["tag_specifications"] if each["resource_type"] == "instance")
    assert tags["kubernetes.io/cluster/lab"] == "owned"


def test_the_group_has_no_taint_that_eks_would_put_back(check: CheckNodegroup) -> None:
    group = node_group(check).resources["aws_eks_node_group.this"]
    assert group["taint"] == []
    assert group["subnet_ids"] == NODE_SUBNETS


def test_a_network_finds_its_subnets_by_the_tag_that_they_get(check: CheckNodegroup) -> None:
    plan = node_group(check)
    made = {
        each["metadata"]["name"]: each["spec"] for each in yaml.safe_load_all(plan.outputs["node_networks"])
    }
    assert set(made) == {"oam", "signalling"}
    tagged: dict[str, list[str]] = {}
    for tag in plan.of("aws_ec2_tag").values():
        tagged.setdefault(f"{tag['key']}={tag['value']}", []).append(tag["resource_id"])
    for name, network in (("oam", OAM), ("signalling", SIGNALLING)):
        (term,) = made[name]["subnetSelectorTerms"]
        ((key, value),) = term["tags"].items()
        assert tagged[f"{key}={value}"] == list(network["subnets"].values())  # type: ignore[attr-defined]
    assert made["signalling"]["ipv6"] == {"addresses": 1}
    assert made["signalling"]["sourceDestCheck"] is False
    assert made["signalling"]["tags"] == {"cnf": "upf"}
    assert made["signalling"]["securityGroupSelectorTerms"] == [{"id": "sg-00000000000000002"}]


def test_the_pods_ranges_are_reserved(check: CheckNodegroup) -> None:
    reserved = node_group(check).of("aws_ec2_subnet_cidr_reservation").values()
    assert {(each["subnet_id"], each["cidr_block"], each["reservation_type"]) for each in reserved} == {
        (Account().subnets[0], "10.10.1.64/26", "explicit"),
        (Account().subnets[0], "10.10.1.128/26", "explicit"),
    }


def test_a_second_node_group_of_the_cluster_leaves_the_subnets_alone(check: CheckNodegroup) -> None:
    plan = node_group(check, manage_subnets=False, create_permissions=False, name="upf")
    assert not plan.of("aws_ec2_tag") | plan.of("aws_ec2_subnet_cidr_reservation")
    assert plan.resources["aws_eks_node_group.this"]["node_group_name"] == "upf"


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ("role_arn        =", "role            =", 'The argument "role_arn" is required'),
        ("each.value.namespace", "each.value.namespac", 'an attribute named "namespac"'),
        ("local.programs\n", "local.program\n", "there is no local.program"),
        ("var.tags", "var.tag", 'an attribute named "tag"'),
        ("  name   = ", "  name = ", "is not formatted"),
        ("jsonencode(", "tojson(", "no function named"),
    ],
)
def test_a_mistake_in_a_module_is_found(
    check: CheckNodegroup, tmp_path: Path, found: str, instead: str, message: str
) -> None:
    folder = tmp_path / "iam" / "terraform"
    shutil.copytree(PERMISSIONS.parent, folder.parent)
    main = folder / "main.tf"
    text = main.read_text(encoding="utf-8")
    assert found in text
    main.write_text(text.replace(found, instead), encoding="utf-8")
    with pytest.raises(Refused, match=message):
        permissions(check, Account(), folder)
