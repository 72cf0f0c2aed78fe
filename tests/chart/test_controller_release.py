"""The controller's CRDs with real Helm, 3 and 4: people's networks outlive what is done to the release."""

from __future__ import annotations

import json
import re

import pytest

from tests.chart.conftest import Cluster
from tests.chart.network_rig import NETWORK
from tests.chart.test_networks import CRDS, is_known, manifest
from tests.chart.values import REQUIRED
from tests.cluster.api import Kind
from tests.cluster.helm import CHART, NAMESPACE, RELEASE, merged
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
AWAY = {"matchLabels": {"node-group": "none"}}
OFF = merged(REQUIRED, {"nodeAgent": {"watchOnly": True}})
ON = merged(OFF, {"controller": {"enabled": True, "clusterName": "prod", "region": "eu-central-1"}})
WHERE = ("-n", NAMESPACE)


@pytest.mark.parametrize("name", ["helm4", "helm3"])
def test_networks_outlive_upgrade_rollback_and_uninstall(cluster: Cluster, name: str) -> None:
    helm = cluster.helm(name)
    helm.run("install", RELEASE, CHART, "--create-namespace", *WHERE, values=ON)
    wait_for(lambda: is_known(cluster.api, NETWORK), "service of the CRDs")
    uid = cluster.api.create(manifest("kept", nodeSelector=AWAY)).object["metadata"]["uid"]

    def kept() -> bool:
        return bool(cluster.api.get(NETWORK, "kept")["metadata"]["uid"] == uid)

    helm.run("upgrade", RELEASE, CHART, *WHERE, values=merged(ON, {"controller": {"replicas": 1}}))
    assert kept()
    helm.run("rollback", RELEASE, "1", *WHERE)
    assert kept()
    helm.run("upgrade", RELEASE, CHART, *WHERE, values=OFF)
    assert kept()
    helm.run("upgrade", RELEASE, CHART, *WHERE, values=ON)
    assert kept()
    helm.run("uninstall", RELEASE, *WHERE)
    assert kept()
    helm.run("install", RELEASE, CHART, *WHERE, values=ON)
    assert kept()
    helm.run("uninstall", RELEASE, *WHERE)
    assert kept()
    cluster.api.delete(NETWORK, "kept")
    for each in CRDS:
        cluster.api.delete(CRD, each)
    wait_for(lambda: not is_known(cluster.api, NETWORK), "the CRDs' end")
    wait_for(lambda: not cluster.kubelet.pods("controller"), "the pods' end")


@pytest.mark.parametrize("name", ["helm4", "helm3"])
def test_the_folder_of_thick_multus_is_found_in_the_cluster(cluster: Cluster, name: str) -> None:
    values = merged(ON, {"nodeAgent": {"prefixes": {"enabled": True}}})
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "multus-daemon-config", "namespace": "kube-system"},
        "data": {"daemon-config.json": json.dumps({"confDir": "/host/etc/cni/net.d"})},
    }

    def written() -> set[str]:
        text = cluster.helm(name).template(values, "--dry-run=server")
        return set(re.findall(r"--cni-conf-dir=(.*)", text))

    assert written() == {"/etc/cni/multus/net.d"}
    cluster.api.apply(config)
    assert written() == {"/etc/cni/net.d"}
    cluster.api.apply({**config, "data": {"daemon-config.json": "{}"}})
    assert written() == {"/etc/cni/multus/net.d"}
    cluster.api.delete(Kind("v1", "ConfigMap"), "multus-daemon-config", "kube-system")
