"""The pages about rights and node groups: each shell block is right, and does what the page says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import fastjsonschema
import pytest
import yaml

from tests.examples import aws_cli
from tests.examples.check_nodegroup import DATA, CheckNodegroup
from tests.examples.cloudformation import Stack, load
from tests.examples.pages import ROOT, Call, blocks, run, script
from tests.examples.shipped import PARTITIONS, Account
from tests.examples.test_terraform import aws

DOCS = ROOT / "docs"
IAM, NODE_GROUPS, MIGRATION = (DOCS / f"{name}.md" for name in ("iam", "nodegroups", "migrate-node-groups"))
PAGES = [IAM, NODE_GROUPS, MIGRATION]
SHELLCHECK = Path(sys.executable).parent / "shellcheck"
ENV = {
    "PYTHON": sys.executable,
    "REGION": "eu-west-1",
    "OLD_NODES": "group=old",
    "OLD_TEMPLATE": "lt-00000000000000001",
    "OLD_NODE_ROLE": "ng1-NodeInstanceRole",
}


def answers(account: Account) -> dict[str, str]:
    """Return what the AWS CLI prints for the queries of the pages."""
    return {
        "--query Account ": account.account,
        "--query Arn ": f"arn:{account.partition}:sts::{account.account}:assumed-role/admin/me",
        "resourcesVpcConfig.vpcId": account.vpc,
        "resourcesVpcConfig.clusterSecurityGroupId": "sg-00000000000000009",
        "identity.oidc.issuer": f"https://{account.issuer}",
        "cluster.endpoint": "https://ABC.gr7.eu-west-1.eks.amazonaws.com",
        "certificateAuthority.data": "Q0E=",
        "serviceIpv4Cidr": "172.20.0.0/16",
        "get nodes": "node/old",
    }


@pytest.fixture(scope="module", params=PAGES, ids=lambda page: page.stem)
def calls(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Call]:
    page: Path = request.param
    return run(page, tmp_path_factory.mktemp(page.stem), answers(Account()), ENV)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_shellcheck_has_no_warning(page: Path) -> None:
    done = subprocess.run(
        [SHELLCHECK, "--severity=warning", "-"],
        input=script(page),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_aws_cli_has_every_command_and_option(calls: Sequence[Call]) -> None:
    commands = [each.arguments for each in calls if each.program == "aws"]
    assert commands
    for arguments in commands:
        aws_cli.check(arguments)


def test_stacks_get_the_parameters_that_their_templates_have(calls: Sequence[Call]) -> None:
    for each in calls:
        if each.arguments[:2] != ("cloudformation", "deploy"):
            continue
        given = each.arguments[each.arguments.index("--parameter-overrides") + 1 :]
        values = dict(part.split("=", 1) for part in given)
        template = load(ROOT / each.option("--template-file"))
        lists = {name for name, parameter in template["Parameters"].items() if "List<" in parameter["Type"]}
        stack = Stack(
            template, {key: value.split(",") if key in lists else value for key, value in values.items()}
        )
        assert stack.outputs()


@pytest.mark.parametrize("account", PARTITIONS.values(), ids=PARTITIONS)
def test_the_commands_give_roles_the_shipped_policies(account: Account, tmp_path: Path) -> None:
    found = run(IAM, tmp_path, answers(account), ENV)
    own = Account(**{**{name: getattr(account, name) for name in account.__slots__}, **PAGE})
    policies = [each for each in found if each.arguments[:2] == ("iam", "put-role-policy")]
    made = [(each.option("--role-name"), json.loads(each.option("--policy-document"))) for each in policies]
    controller = ("prod-multus-eni-controller", own.policy("controller"))
    node_agent = ("prod-multus-eni-node-agent", own.policy("node-agent"))
    agent = ("prod-multus-eni-agent", own.policy("agent-ipv4"))
    assert made == [
        controller,
        node_agent,
        ("prod-multus-eni-controller", own.policy("controller-eips")),
        agent,
        controller,
        node_agent,
        agent,
    ]
    associations = [each for each in found if each.arguments[1] == "create-pod-identity-association"]
    assert [each.option("--role-arn") for each in associations] == [
        f"arn:{account.partition}:iam::{account.account}:role/prod-multus-eni-{name}"
        for name in ("controller", "node-agent", "agent")
    ]
    trusts = [
        each.option("--assume-role-policy-document") for each in found if each.arguments[1] == "create-role"
    ]
    assert trusts[:3] == ["file://examples/iam/trust-pod-identity.json"] * 3
    of_app = Account(**{**{name: getattr(own, name) for name in own.__slots__}, "namespace": "my-apps"})
    assert [json.loads(each) for each in trusts[3:]] == [
        *(own.policy("trust-irsa", f"multus-eni-injector-{name}") for name in ("controller", "node")),
        of_app.policy("trust-irsa", "app"),
    ]


PAGE = {
    "cluster": "prod",
    "region": "eu-central-1",
    "subnets": ("subnet-0123456789abcdef0", "subnet-0123456789abcdef1"),
}
"""What the page itself sets."""


def test_the_values_for_irsa_are_the_charts(tmp_path: Path) -> None:
    run(IAM, tmp_path, answers(Account()), ENV)
    known = yaml.safe_load((ROOT / "charts/multus-eni-injector/values.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((tmp_path / "irsa.yaml").read_text(encoding="utf-8"))
    for program, role in (("controller", "controller"), ("nodeAgent", "node-agent")):
        assert "annotations" in known[program]["serviceAccount"]
        annotations = values[program]["serviceAccount"]["annotations"]
        assert annotations["eks.amazonaws.com/role-arn"].endswith(f":role/prod-multus-eni-{role}")


def test_eksctl_and_kubectl_get_documents_with_the_variables_filled_in(tmp_path: Path) -> None:
    found = run(NODE_GROUPS, tmp_path, answers(Account()), ENV)
    (eksctl,) = (each for each in found if each.program == "eksctl")
    config = yaml.safe_load(eksctl.input)
    schema = json.loads((DATA / "eksctl-schema.json").read_text(encoding="utf-8"))
    fastjsonschema.compile(schema, use_default=False)(config)
    assert (config["metadata"]["name"], config["vpc"]["securityGroup"]) == ("prod", "sg-00000000000000009")
    (node_class, *_) = yaml.safe_load_all(found[-1].input)
    assert node_class["spec"]["role"] == "KarpenterNodeRole-prod"


@pytest.mark.parametrize(
    ("page", "module"),
    [(IAM, "iam/terraform"), (NODE_GROUPS, "nodegroup/terraform")],
    ids=["iam", "nodegroups"],
)
def test_the_call_of_a_module_is_right(
    check: CheckNodegroup, tmp_path: Path, page: Path, module: str
) -> None:
    (text,) = blocks(page, "hcl")
    source = re.search(r'"git::https://\S+//examples/(\S+)\?ref=v(\S+)"', text)
    assert source is not None
    assert source[1] == module
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    versions = 'terraform {\n  required_version = ">= 1.5"\n}\n\n'
    own = versions + text.replace(source[0], f'"examples/{module}"')
    (tmp_path / "main.tf").write_text(own, encoding="utf-8")
    assert check.plan(tmp_path, {}, aws(Account())).of("aws_iam_role_policy")


def test_the_parameters_of_the_public_templates_are_all_compared() -> None:
    text = NODE_GROUPS.read_text(encoding="utf-8")
    section = text.split("### Parameters of the public templates\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:3]] for line in section.splitlines() if line[:2] == "| "
    ]
    there = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert there == PUBLIC
    ours = set(load(ROOT / "examples/nodegroup/cloudformation.yaml")["Parameters"])
    here: set[str] = set()
    for names, own in rows:
        here |= set(re.findall(r"`(\w+)`", names if own == "the same" else own))
    assert here == ours


# Of amazon-eks-nodegroup-multus.yaml and amazon-eks-nodegroup-multus-nolambda_AL2023.yaml in
# aws-samples/cfn-nodegroup-for-multus-cni, of eks-nodegroup-multus.yaml and the Lambda's template in
# aws-samples/eks-install-guide-for-multus.
PUBLIC = {
    "BootstrapArguments",
    "ClusterControlPlaneSecurityGroup",
    "ClusterName",
    "DisableIMDSv1",
    "EksApiServerEndpoint",
    "EksCertificateAuthority",
    "EksClusterDns",
    "InterfaceTags",
    "KeyName",
    "KubeletExtraArguments",
    "LambdaS3Bucket",
    "LambdaS3Key",
    "MultusInterfaceTags",
    "MultusSecurityGroupIds",
    "MultusSecurityGroups",
    "MultusSubnets",
    "NodeAutoScalingGroupDesiredCapacity",
    "NodeAutoScalingGroupMaxSize",
    "NodeAutoScalingGroupMinSize",
    "NodeGroupName",
    "NodeImageId",
    "NodeImageIdSSMParam",
    "NodeInstanceType",
    "NodeVolumeSize",
    "NodeVolumeType",
    "Subnets",
    "VpcCidr",
    "VpcId",
    "useIPsFromStartOfSubnet",
}
