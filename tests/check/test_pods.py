"""Which pods count for a finding, and what may be done to them: variations of the cases."""

from __future__ import annotations

import copy

import pytest
import yaml

from check.command import why_nothing_to_check
from check.model import Scope
from tests.check.test_cases import CASES, Object, run, snapshot_of, wrong

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("agent", "scope", "counts"),
    [
        ({"finishedAt": "2026-10-31T23:39:59Z"}, {}, False),
        ({"finishedAt": "2026-10-31T23:39:59Z"}, {"namespace": "apps", "pod": "load-x7k2p"}, True),
        ({"exitCode": 0}, {}, False),
    ],
)
def test_a_pod_that_its_agent_has_failed_counts_for_twenty_minutes_or_by_its_name(
    agent: Object, scope: Object, counts: bool
) -> None:
    case = yaml.safe_load((CASES / "agent-fails-a-job.yaml").read_text())
    (status,) = case["merge"][0]["status"]["initContainerStatuses"]
    status["state"]["terminated"] |= agent
    assert list(wrong(run({**case, "scope": scope}))) == ([case["finding"]] if counts else [])


def test_a_pod_that_its_agent_has_failed_can_be_asked_about() -> None:
    case = yaml.safe_load((CASES / "agent-fails-a-job.yaml").read_text())
    asked = Scope("apps", "load-x7k2p")
    assert why_nothing_to_check(snapshot_of(case), asked) == ""
    case["merge"][0]["status"]["reason"] = "Evicted"
    assert "has ended (Failed)" in why_nothing_to_check(snapshot_of(case), asked)


@pytest.mark.parametrize(
    "status", [{"conditions": [{"type": "Initialized", "status": "True"}]}, {"reason": "Evicted"}]
)
def test_an_agent_that_ends_with_its_pod_has_not_failed_it(status: Object) -> None:
    case = yaml.safe_load((CASES / "agent-fails-a-job.yaml").read_text())
    case["merge"][0]["status"] |= status
    assert list(wrong(run(case))) == []


@pytest.mark.parametrize(
    ("owner", "verb"),
    [
        ("ReplicaSet", "delete pod"),
        ("StatefulSet", "delete pod"),
        # Who deletes these ends a virtual machine, or spends a Job's last try.
        ("VirtualMachineInstance", "describe pods"),
        ("Job", "describe pods"),
    ],
)
@pytest.mark.parametrize("name", ["pod-without-agent.yaml", "pod-with-old-agent.yaml"])
def test_only_a_pod_that_its_controller_replaces_is_to_be_deleted(name: str, owner: str, verb: str) -> None:
    case = yaml.safe_load((CASES / name).read_text())
    case["merge"][0]["metadata"]["ownerReferences"] = [{"kind": owner, "name": "sip", "controller": True}]
    (found,) = wrong(run(case))
    assert found["commands"] == [f"kubectl {verb} -n apps sip-2"]


@pytest.mark.parametrize(
    ("spec", "counts"),
    [
        ({"scopes": ["Terminating"]}, False),
        ({"scopes": ["NotTerminating"]}, True),
        ({"scopes": ["BestEffort"]}, False),
        ({"scopes": ["NotBestEffort", "NotTerminating"]}, True),
        ({"scopes": ["NotBestEffort", "Terminating"]}, False),
        ({"scopes": ["PriorityClass"]}, True),
        ({"scopes": ["CrossNamespacePodAffinity"]}, False),
        ({"scopeSelector": {"matchExpressions": [{"operator": "In", "values": ["high"]}]}}, True),
        ({"scopeSelector": {"matchExpressions": [{"operator": "In", "values": ["low"]}]}}, False),
        ({"scopeSelector": {"matchExpressions": [{"operator": "NotIn", "values": ["low"]}]}}, True),
        ({"scopeSelector": {"matchExpressions": [{"operator": "DoesNotExist"}]}}, False),
    ],
    ids=str,
)
def test_a_quota_with_scopes_counts_the_pods_in_all_of_them(spec: Object, counts: bool) -> None:
    case = yaml.safe_load((CASES / "quota-exhausted.yaml").read_text())
    for each in spec.get("scopeSelector", {}).get("matchExpressions", ()):
        each["scopeName"] = "PriorityClass"
    case["merge"][0]["spec"] = spec
    for name in ("sip-1", "sip-2"):
        metadata = {"name": name, "namespace": "apps"}
        pod = {"spec": {"priorityClassName": "high"}, "status": {"qosClass": "Burstable"}}
        case["merge"].append({"kind": "Pod", "metadata": metadata, **pod})
    assert list(wrong(run(case))) == ([case["finding"]] if counts else [])


def test_a_network_counts_as_long_as_one_agent_assigns_its_addresses() -> None:
    case = yaml.safe_load((CASES / "in-order" / "network-left-out.yaml").read_text())
    other = copy.deepcopy(case["merge"][1])
    other["metadata"] |= {"name": "sip-2"}
    other["metadata"]["annotations"]["multus-eni.io/interfaces"] = None
    status = other["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]
    for mine, theirs in (("10.10.1.10", "10.10.1.11"), ("10.10.2.3", "10.10.2.18"), (".77.5", ".77.6")):
        status = status.replace(f'{mine}"', f'{theirs}"')
    other["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = status
    case["merge"].append(other)
    found = {each["check"] for each in wrong(run(case))}
    assert found == {"cluster-allowed-ranges", "aws-ranges", "aws-reservations"}
