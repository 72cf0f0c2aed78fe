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


@pytest.mark.parametrize(
    ("owner", "index", "minute", "initialized", "counts"),
    [
        ("uid-load", "0", "51", "True", False),
        ("uid-load", "0", "51", "False", True),
        ("uid-load", "1", "51", "True", True),
        ("uid-other", "0", "51", "True", True),
        # One beside it (`parallelism`): the agent failed at 23:50.
        ("uid-load", "0", "49", "True", True),
    ],
)
def test_a_pod_that_its_agent_has_failed_counts_until_the_next_try_goes_well(
    owner: str, index: str, minute: str, initialized: str, counts: bool
) -> None:
    case = yaml.safe_load((CASES / "agent-fails-a-job.yaml").read_text())
    failed = case["merge"][0]
    later = copy.deepcopy(failed)
    later["metadata"]["name"] = "load-9q4zt"
    later["status"] = {
        "phase": "Succeeded",
        "conditions": [{"type": "Initialized", "status": initialized}],
    }
    for pod, uid, place, created in ((failed, "uid-load", "0", "48"), (later, owner, index, minute)):
        pod["metadata"]["ownerReferences"][0]["uid"] = uid
        pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] = place
        pod["metadata"]["creationTimestamp"] = f"2026-10-31T23:{created}:00Z"
    case["merge"].append(later)
    assert list(wrong(run(case))) == ([case["finding"]] if counts else [])


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


@pytest.mark.parametrize(
    ("scopes", "counts"),
    [
        ([], True),
        (["NotTerminating"], True),
        (["NotBestEffort", "NotTerminating"], True),
        (["Terminating"], False),
        (["NotTerminating", "PriorityClass"], False),
    ],
    ids=str,
)
def test_a_quota_that_refuses_all_pods_counts_where_there_is_none(scopes: list[str], counts: bool) -> None:
    case = yaml.safe_load((CASES / "quota-exhausted.yaml").read_text())
    case["merge"][0]["spec"] = {"scopes": scopes}
    case["remove"] = yaml.safe_load((CASES / "in-order" / "no-pods.yaml").read_text())["remove"]
    assert list(wrong(run(case))) == ([case["finding"]] if counts else [])


@pytest.mark.parametrize("injected", [True, False])
def test_a_network_counts_as_long_as_one_agent_assigns_its_addresses(injected: bool) -> None:
    """The node agent, too: it serves pods that have none."""
    case = yaml.safe_load((CASES / "in-order" / "network-left-out.yaml").read_text())
    other = copy.deepcopy(case["merge"][1])
    other["metadata"] |= {"name": "sip-2"}
    other["metadata"]["annotations"]["multus-eni.io/interfaces"] = None
    status = other["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"]
    for mine, theirs in (("10.10.1.10", "10.10.1.11"), ("10.10.2.3", "10.10.2.18"), (".77.5", ".77.6")):
        status = status.replace(f'{mine}"', f'{theirs}"')
    other["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"] = status
    if not injected:
        other["metadata"]["labels"] = {"multus-eni.io/injection": "disabled"}
        other["spec"] = {"initContainers": None}
    case["merge"].append(other)
    found = {each["check"] for each in wrong(run(case))}
    assert found == {"cluster-allowed-ranges", "aws-ranges", "aws-reservations"}


@pytest.mark.parametrize(
    ("where", "labels", "spec", "commands"),
    [
        ("lab", {}, {}, ["kubectl label namespace lab multus-eni.io/injection=enabled"]),
        # kubectl would not change the label, whose owner wants no agents.
        ("lab", {"multus-eni.io/injection": "disabled"}, {}, []),
        # A label of the namespace would change nothing for these.
        ("kube-system", {}, {}, None),
        ("lab", {}, {"schedulerName": "fargate-scheduler"}, None),
        ("lab", {}, {"nodeSelector": {"kubernetes.io/os": "windows"}}, None),
        ("lab", {}, {"containers": [{"name": "aws-ip-mgmt"}]}, None),
    ],
    ids=str,
)
def test_a_pod_whose_label_does_not_count_is_found_where_its_namespace_could_opt_it_in(
    where: str, labels: Object, spec: Object, commands: list[str] | None
) -> None:
    case = yaml.safe_load((CASES / "pod-may-not-opt-in.yaml").read_text())
    _, around, pod = case["merge"]
    around["metadata"] = {"name": where, "labels": labels}
    pod["metadata"]["namespace"] = where
    pod["spec"] |= spec
    found = list(wrong(run(case)))
    assert [each.get("commands", []) for each in found] == ([] if commands is None else [commands])


def test_with_watch_only_a_network_that_all_pods_leave_out_does_not_count() -> None:
    case = yaml.safe_load((CASES / "in-order" / "watch-only.yaml").read_text())
    left = yaml.safe_load((CASES / "in-order" / "network-left-out.yaml").read_text())
    left["merge"][1]["spec"] = {"initContainers": None}
    case["merge"] = [*case.get("merge", []), *left["merge"]]
    assert list(wrong(run(case))) == []
