"""The backend central: a controller that calls EC2 for all nodes, which have no right to it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fleet.agents import IPAGENT
from benchmarks.fleet.layout import NETWORK, NETWORK_TAG, REGION, ZONE, Fleet
from benchmarks.fleet.stage import SECONDS, BenchError, Cloud, Stage, wait_until
from ipagent.node_network_api import LEASE
from tests.cluster.api import ApiError, Kind
from tests.cluster.processes import Process

CLUSTER = "fleet"
CRDS = Path(__file__).parents[2] / "charts" / "multus-eni-injector" / "files" / "crds"
RULES: list[dict[str, Any]] = [
    {"apiGroups": ["multus-eni.io"], "resources": ["nodeattachments"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": ["multus-eni.io"], "resources": ["nodeattachments/status"], "verbs": ["patch"]},
]
"""What node agents may do beside their other rights."""
_NETWORK = Kind("multus-eni.io/v1alpha1", "NodeNetwork")
_ATTACHMENT = Kind("multus-eni.io/v1alpha1", "NodeAttachment")
_LEASE = Kind("coordination.k8s.io/v1", "Lease")


def install(made: Stage, fleet: Fleet) -> None:
    """Install the CRDs, register the nodes as those of EC2, and make their network."""
    for path in sorted(CRDS.glob("*.yaml")):
        made.api.apply(yaml.safe_load(path.read_text(encoding="utf-8")))

    def served() -> bool:
        try:
            return not made.api.list(_ATTACHMENT) and not made.api.list(_NETWORK)
        except ApiError:
            # It does not know them yet, or makes their storage ready.
            return False

    _wait(served, "the API server served no NodeAttachments")
    for node in fleet.nodes:
        labels = {"fleet": "yes", "node.kubernetes.io/instance-type": node.type}
        made.api.create(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": node.name, "labels": labels},
                "spec": {"providerID": f"aws:///{ZONE}/{node.instance_id}"},
            }
        )
    spec = {
        "nodeSelector": {"matchLabels": {"fleet": "yes"}},
        "source": "Adopt",
        "interfaceSelector": {"tags": NETWORK_TAG},
        "nodes": {"startupTaint": False},
    }
    made.api.create(
        {
            "apiVersion": "multus-eni.io/v1alpha1",
            "kind": "NodeNetwork",
            "metadata": {"name": NETWORK},
            "spec": spec,
        }
    )


@contextmanager
def controllers(made: Stage, fleet: Fleet, aws: Cloud, replicas: int = 1) -> Iterator[list[Process]]:
    """Run replicas of the controller, once every node has its network; raises BenchError or ProcessError.

    Those that are still in the list at the end must not have ended.
    """
    env = {**aws.env, "KUBECONFIG": str(made.plane.kubeconfig(made.plane.admin))}
    argv: list[str | Path] = [
        IPAGENT,
        "controller",
        f"--cluster={CLUSTER}",
        f"--region={REGION}",
        "--namespace=default",
        # What is adopted is left where it is.
        "--releases=off",
        "--relay",
    ]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                Process("controller", argv, log=made.folder / f"controller-{number}.log", env=env)
            )
            for number in range(replicas)
        ]

        def attached() -> bool:
            for each in running:
                each.check()
            listed = [each.get("status") or {} for each in made.api.list(_ATTACHMENT)]
            return sum(_holds(each.get("conditions", ()), "Attached") for each in listed) == len(fleet.nodes)

        _wait(attached, "the nodes' ENIs were not attached to the network")
        yield running
        for each in running:
            each.check()


def leader_of(replicas: Sequence[Process]) -> Process:
    """Return the replica that leads; raises BenchError."""
    for each in replicas:
        if each.events("leading"):
            return each
    raise BenchError("no replica of the controller leads")


def renewed(made: Stage) -> None:
    """Wait until the leader renews its Lease."""
    first = _renewal(made)
    _wait(lambda: _renewal(made) != first, "the Lease was not renewed")


def _renewal(made: Stage) -> Any:
    return made.api.get(_LEASE, LEASE, "default")["spec"]["renewTime"]


def _holds(conditions: Any, kind: str) -> bool:
    return any((each["type"], each["status"]) == (kind, "True") for each in conditions)


def _wait(condition: Any, failure: str) -> None:
    if not wait_until(condition, time.monotonic() + SECONDS, 0.2):
        raise BenchError(f"{failure} within {SECONDS:g} s")
