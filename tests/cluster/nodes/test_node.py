"""Nodes that are lost and come back, and kubelets that are."""

from __future__ import annotations

import pytest

from tests.cluster.api import ApiError, Manifest
from tests.cluster.namespaces import Namespace
from tests.cluster.nodes import cgroups
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.test_cluster import running, shell
from tests.cluster.nodes.workloads import pod, template
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster


def test_a_node_comes_back_with_its_disk_after_a_power_cut(cluster: Cluster, namespace: Namespace) -> None:
    node = cluster.nodes["n1"]
    namespace.create(pod("stays", template(node="n1")))
    before = container_of(running(namespace, "stays"))
    node.kill()
    try:
        trees = (cgroups.ROOT, *cgroups.ROOT.iterdir())
        assert not any((tree / cluster.name / "n1").exists() for tree in trees)
        with pytest.raises(RuntimeError, match="n1 is not running"):
            node.machine.run("true")
        node.kill()
    finally:
        node.start()
    assert "localhost/busybox:1" in node.machine.run("ctr", "--namespace=k8s.io", "images", "list")

    def started_again() -> bool:
        cluster.check()
        found = namespace.pod("stays")
        return container_of(found) not in ("", before)

    wait_for(started_again, "a new container of the pod", 180)
    running(namespace, "stays")
    cluster.wait_ready("n1")
    assert shell(cluster, namespace, "stays", "echo back") == "back\n"


def test_pods_outlive_their_kubelet(cluster: Cluster, namespace: Namespace) -> None:
    node = cluster.nodes["n2"]
    namespace.create(pod("stays", template(node="n2")))
    before = container_of(running(namespace, "stays"))
    node.stop_kubelet()
    try:
        tasks = node.machine.run("ctr", "--namespace=k8s.io", "tasks", "list")
        assert before.removeprefix("containerd://") in tasks
    finally:
        node.start_kubelet()

    def answers() -> bool:
        try:
            return cluster.api.raw("/api/v1/nodes/n2/proxy/healthz") == "ok"
        except ApiError:
            return False

    wait_for(answers, "answer of the new kubelet", 60)
    cluster.wait_ready("n2")
    assert container_of(running(namespace, "stays")) == before


def container_of(found: Manifest) -> str:
    """Return the id of a pod's container, empty before it has one."""
    (status,) = found["status"].get("containerStatuses") or [{}]
    return str(status.get("containerID", "")) if "running" in status.get("state", {}) else ""
