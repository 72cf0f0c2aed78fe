"""The policy that keeps writers of pods from posing as Multus: on a real API server, with the rights of RBAC.

What counts is read by the node agent's own rule, `written_through_status`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ipagent.network_status_origin import NETWORK_STATUS, written_through_status
from ipagent.node.model.network_status import network_status_text
from tests.chart.conftest import EDITOR, MULTUS, Cluster
from tests.chart.test_admission_policy import POLICY, refusal, status_of
from tests.cluster.api import APPLY_PATCH, MERGE_PATCH, POD, Api, Kind, Manifest
from tests.cluster.helm import only
from tests.cluster.namespaces import Namespaces, ready_namespace
from tests.cluster.node_agents import networked, status_entry
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

BINDING = Kind(POLICY.api_version, "ValidatingAdmissionPolicyBinding")
NAME = "multus-eni-injector-network-status"
OLD_STATUS = "k8s.v1.cni.cncf.io/networks-status"
STOLEN = json.dumps([status_entry("10.10.1.99")])
OWN = json.dumps([status_entry("10.10.1.81")])
REFUSES = "leave metadata.managedFields out"
RULES = {
    EDITOR.name: [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "create", "update", "patch"]}],
    # Multus' own ClusterRole, deployments/multus-daemonset-thick.yml.
    MULTUS.name: [{"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["get", "update"]}],
}


def forged(fields: Manifest | None = None, **entry: Any) -> Manifest:
    """Make an entry of managedFields that says that Multus wrote network-status."""
    owned = fields or {"f:metadata": {"f:annotations": {f"f:{NETWORK_STATUS}": {}}}}
    return {
        "manager": "multus",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": owned,
        "subresource": "status",
        **entry,
    }


@dataclass(frozen=True, slots=True)
class Guarded:
    """A namespace, an author of pods, and Multus."""

    author: Api
    multus: Api
    namespace: str

    def path(self, name: str, subresource: str = "") -> str:
        """Return the path of a pod."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{name}{subresource}"

    def create(self, name: str, **metadata: Any) -> Manifest:
        """Create a pod as its author."""
        return self.author.create(networked(name, **metadata), self.namespace).object

    def read(self, name: str) -> Manifest:
        """Return the pod as the API server has it."""
        return self.author.get(POD, name, self.namespace)

    def patch(self, name: str, metadata: Manifest, **parameters: str) -> Manifest:
        """Patch a pod as its author."""
        path, body = self.path(name), {"metadata": metadata}
        return self.author._answer("PATCH", path, parameters, body, MERGE_PATCH).object  # noqa: SLF001

    def put(self, name: str, change: Callable[[Manifest], object]) -> Manifest:
        """Replace a pod as its author, by what `change` makes of its metadata."""
        found = self.read(name)
        change(found["metadata"])
        return self.author._answer("PUT", self.path(name), {}, found).object  # noqa: SLF001

    def attach(self, name: str, status: str = OWN) -> Manifest:
        """Write both annotations with UpdateStatus, as setPodNetworkStatus does."""
        found = self.multus.get(POD, name, self.namespace)
        found["metadata"].setdefault("annotations", {}).update({NETWORK_STATUS: status, OLD_STATUS: status})
        return self.multus._answer("PUT", self.path(name, "/status"), {}, found).object  # noqa: SLF001


@pytest.fixture(scope="module")
def guarded(cluster: Cluster, rendered: dict[str, list[Manifest]]) -> Iterator[Guarded]:
    api = cluster.api
    namespace = Namespaces(api, "none", "network-status").make().name
    ready_namespace(api, namespace)
    for user, rules in RULES.items():
        group = "rbac.authorization.k8s.io"
        metadata = {"name": user}
        api.create(
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": rules}, namespace
        )
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": user},
            "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
        }
        api.create(binding, namespace)
    policy = [each for each in rendered["backend node"] if each["metadata"]["name"] == NAME]
    assert [each["kind"] for each in policy] == [
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ]
    with cluster.plane.client(EDITOR) as author, cluster.plane.client(MULTUS) as multus:
        found = Guarded(author, multus, namespace)
        for name in ("older", "probe"):
            found.create(name, annotations={NETWORK_STATUS: STOLEN})
        # What this test is about: without the policy the API server stores it, and it counts.
        assert written_through_status(found.patch("older", {"managedFields": [forged()]}))
        for each in policy:
            api.create(each)

        def in_force() -> bool:
            metadata = {"managedFields": [forged()]}
            return refusal(lambda: found.patch("probe", metadata, dryRun="All")) is not None

        wait_for(in_force, "force of the policy")
        yield found
    for each in policy:
        api.delete(POLICY if each["kind"] == POLICY.kind else BINDING, NAME)


def test_a_pod_that_brings_a_proof_along_has_none(guarded: Guarded) -> None:
    """Of a new pod the API server takes each field from those who are said to have written it."""
    both = [forged(), forged(manager="kubelet")]
    for number, entries in enumerate(([forged()], both, [forged(operation="Apply")], [forged(time=None)])):
        annotations = {NETWORK_STATUS: STOLEN}
        stored = guarded.create(f"new-{number}", annotations=annotations, managedFields=entries)
        assert network_status_text(stored) == STOLEN
        assert not written_through_status(stored)


def test_a_pod_from_a_backup_is_created_and_its_old_value_counts_for_nothing(guarded: Guarded) -> None:
    """Velero restores labels and annotations, and no managedFields (restore.go, resetMetadata)."""
    guarded.create("restored", annotations={NETWORK_STATUS: STOLEN, OLD_STATUS: STOLEN})
    assert not written_through_status(guarded.read("restored"))
    assert written_through_status(guarded.attach("restored"))
    assert network_status_text(guarded.read("restored")) == OWN


def test_multus_writes_and_others_go_on_changing_the_pod(guarded: Guarded) -> None:
    guarded.create("served")
    assert written_through_status(guarded.attach("served"))
    guarded.patch("served", {"labels": {"example.com/colour": "blue"}})
    guarded.put("served", lambda metadata: metadata["labels"].update({"example.com/colour": "red"}))
    guarded.patch("served", {"annotations": {"example.com/note": "x"}, "managedFields": None})
    assert written_through_status(guarded.read("served"))
    more = json.dumps([status_entry("10.10.1.81"), status_entry("10.10.1.82", interface="net2")])
    guarded.attach("served", more)
    assert network_status_text(guarded.read("served")) == more
    assert written_through_status(guarded.read("served"))


CHANGES: dict[str, Callable[[Guarded, str], object]] = {
    "patch of the value": lambda at, name: at.patch(name, {"annotations": {NETWORK_STATUS: STOLEN}}),
    "patch of both at once": lambda at, name: at.patch(
        name, {"annotations": {NETWORK_STATUS: STOLEN}, "managedFields": [forged()]}
    ),
    "put of both at once": lambda at, name: at.put(
        name,
        lambda metadata: metadata.update(
            annotations={**metadata["annotations"], NETWORK_STATUS: STOLEN}, managedFields=[forged()]
        ),
    ),
    "apply of the value": lambda at, name: at.author._answer(  # noqa: SLF001
        "PATCH",
        at.path(name),
        {"fieldManager": "multus", "force": "true"},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "annotations": {NETWORK_STATUS: STOLEN}},
        },
        APPLY_PATCH,
    ),
    "value, then the proof": lambda at, name: (
        at.patch(name, {"annotations": {NETWORK_STATUS: STOLEN}}),
        at.patch(name, {"managedFields": [forged()]}),
    ),
    "value taken off, then put back with the proof": lambda at, name: (
        at.patch(name, {"annotations": {NETWORK_STATUS: None}}),
        at.patch(name, {"annotations": {NETWORK_STATUS: STOLEN}, "managedFields": [forged()]}),
    ),
    "proof while there is no value": lambda at, name: (
        at.patch(name, {"annotations": {NETWORK_STATUS: None}}),
        at.patch(name, {"managedFields": [forged()]}),
        at.patch(name, {"annotations": {NETWORK_STATUS: STOLEN}}),
    ),
    "reset, then the value and the proof": lambda at, name: (
        at.patch(name, {"managedFields": [{}]}),
        at.patch(name, {"annotations": {NETWORK_STATUS: STOLEN}}),
        at.patch(name, {"managedFields": [forged()]}),
    ),
    "proof beside Multus', then the value": lambda at, name: at.put(
        name,
        lambda metadata: metadata.update(
            annotations={**metadata["annotations"], NETWORK_STATUS: STOLEN},
            managedFields=[*metadata["managedFields"], forged(manager="another")],
        ),
    ),
}


@pytest.mark.parametrize("attached", [False, True], ids=["before Multus", "after Multus"])
@pytest.mark.parametrize("change", CHANGES)
def test_no_way_of_writing_the_pod_makes_another_value_count(
    guarded: Guarded, change: str, attached: bool
) -> None:
    name = f"{'after' if attached else 'before'}-{list(CHANGES).index(change)}"
    guarded.create(name)
    if attached:
        guarded.attach(name)
    said = refusal(lambda: CHANGES[change](guarded, name))
    assert said is None or REFUSES in said
    found = guarded.read(name)
    assert network_status_text(found) in ("", OWN) or not written_through_status(found)
    # Whatever was tried, a label can be changed, and Multus' next value is the pod's.
    guarded.patch(name, {"labels": {"example.com/after": "yes"}})
    guarded.attach(name, json.dumps([status_entry("10.10.1.83")]))


def test_a_subresource_takes_no_managed_fields_from_a_request(cluster: Cluster, guarded: Guarded) -> None:
    """So the policy need not look at them: the API server takes those that it has."""
    guarded.create("debugged", annotations={NETWORK_STATUS: STOLEN})
    found = guarded.read("debugged")
    found["metadata"]["managedFields"] = [forged()]
    found["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "busybox"}]
    cluster.api._answer("PUT", guarded.path("debugged", "/ephemeralcontainers"), {}, found)  # noqa: SLF001
    assert guarded.read("debugged")["spec"]["ephemeralContainers"]
    assert not written_through_status(guarded.read("debugged"))


def test_what_is_older_than_the_policy_can_still_be_changed(guarded: Guarded) -> None:
    guarded.patch("older", {"labels": {"example.com/colour": "blue"}})
    guarded.patch("older", {"annotations": {NETWORK_STATUS: OWN}})
    assert not written_through_status(guarded.read("older"))


def test_the_api_server_finds_nothing_to_warn_of_in_the_expressions(
    cluster: Cluster, guarded: Guarded
) -> None:
    assert guarded.namespace
    found = wait_for(functools.partial(status_of, cluster.api, NAME), "type check of the policy")
    assert found.get("typeChecking", {}) == {}


def test_it_comes_with_the_node_agent_and_can_be_left_out(rendered: dict[str, list[Manifest]]) -> None:
    having = {
        case
        for case, manifests in rendered.items()
        if any(each["metadata"]["name"] == NAME for each in manifests)
    }
    assert having == {
        "backend node",
        "watch only",
        "agent of the node beside direct",
        "controller",
        "backend central",
    }
    left_out = rendered["everything"]
    assert only(left_out, "DaemonSet", "multus-eni-injector-node")
