"""Releases whose entries differ: what Helm and certs make of an entry that comes and goes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.chart.conftest import Cluster
from tests.chart.test_release import HELMS, REQUIRED, ca_bundles, drift, gone, wait
from tests.cluster.api import WEBHOOK_CONFIGURATION
from tests.cluster.configuration import entries
from tests.cluster.helm import CHART, NAMESPACE, RELEASE
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

LAST = "invalid-pod-injection"


def older_chart(folder: Path) -> Path:
    """Copy the chart without its last entry, as a release that did not know it would be."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    template = chart / "templates" / "webhook-configuration.yaml"
    lines = template.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if LAST not in line]
    assert len(kept) == len(lines) - 1
    template.write_text("".join(kept), encoding="utf-8")
    about = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))
    (chart / "Chart.yaml").write_text(yaml.safe_dump({**about, "version": "0.0.9"}), encoding="utf-8")
    return chart


def names(cluster: Cluster) -> set[str]:
    found = cluster.api.get(WEBHOOK_CONFIGURATION, RELEASE)
    return {each["name"].removesuffix(".multus-eni.io") for each in found["webhooks"]}


@pytest.mark.parametrize("name", HELMS)
def test_an_entry_that_an_older_release_lacks(cluster: Cluster, tmp_path: Path, name: str) -> None:
    helm = cluster.helm(name)
    every = {entry.name.removesuffix(".multus-eni.io") for entry in entries()}
    where = ("-n", NAMESPACE, "--timeout=60s")
    try:
        helm.run(
            "install", RELEASE, older_chart(tmp_path), *where, "--create-namespace", "--wait", values=REQUIRED
        )
        assert names(cluster) == every - {LAST}
        (bundle,) = ca_bundles(cluster)
        helm.run("upgrade", RELEASE, CHART, *where, values=REQUIRED)
        wait_for(lambda: ca_bundles(cluster) == {bundle}, "the same caBundle in the new entry too")
        assert names(cluster) == every
        # Helm 4's server-side apply can't take away what certs has written into (docs/operations.md).
        client_side = ["--server-side=false"] if name == "helm4" else []
        helm.run("rollback", RELEASE, "1", *where, *client_side)
        assert names(cluster) == every - {LAST}
        assert drift(cluster, helm) == []
    finally:
        helm.run("uninstall", RELEASE, "--ignore-not-found", *wait(NAMESPACE))
        wait_for(lambda: gone(cluster), "end of the release's pods")
