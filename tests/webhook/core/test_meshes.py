"""Which labels, annotations and containers put a pod into a mesh, in whatever way they are written."""

from typing import Any

import msgspec
import pytest

from common.agent_settings import AgentSettings, Backend
from webhook.core.meshes import mesh_warnings
from webhook.core.pod import Pod

pytestmark = pytest.mark.pure


def pod(
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    init: tuple[str, ...] = (),
    containers: tuple[str, ...] = ("app",),
) -> Pod:
    made: dict[str, Any] = {
        "metadata": {"labels": labels or {}, "annotations": annotations or {}},
        "spec": {
            "initContainers": [{"name": name} for name in init],
            "containers": [{"name": name} for name in containers],
        },
    }
    return msgspec.convert(made, Pod)


@pytest.mark.parametrize(
    ("found", "mesh"),
    [
        (pod({"istio.io/rev": "1-26-0"}), "Istio"),
        (pod({"istio.io/rev": "canary"}, {"sidecar.istio.io/inject": "true"}), "Istio"),
        (pod(annotations={"sidecar.istio.io/inject": "yes"}), "Istio"),
        (pod(annotations={"sidecar.istio.io/inject": "On"}), "Istio"),
        (pod(init=("istio-validation", "istio-proxy")), "Istio"),
        (pod({"istio.io/dataplane-mode": "ambient"}), "Istio's ambient mode"),
        (pod(annotations={"ambient.istio.io/redirection": "enabled"}), "Istio's ambient mode"),
        (pod(annotations={"linkerd.io/inject": "enabled"}), "Linkerd"),
        (pod(annotations={"linkerd.io/inject": "ingress"}), "Linkerd"),
        (pod(init=("linkerd-network-validator",)), "Linkerd"),
        (pod(init=("linkerd-proxy",)), "Linkerd"),
        (pod({"kuma.io/sidecar-injection": "enabled"}), "Kuma"),
        (pod(annotations={"kuma.io/sidecar-injection": "true"}), "Kuma"),
        (pod(init=("kuma-sidecar",)), "Kuma"),
        (pod(annotations={"consul.hashicorp.com/connect-inject": "True"}), "Consul"),
        (pod(annotations={"consul.hashicorp.com/connect-inject": "1"}), "Consul"),
        (pod(containers=("app", "consul-dataplane")), "Consul"),
    ],
)
def test_a_pod_in_a_mesh_is_warned_of(found: Pod, mesh: str) -> None:
    for backend, target in ((Backend.DIRECT, "EC2"), (Backend.NODE, "the node agent")):
        (warning,) = mesh_warnings(found, AgentSettings(backend=backend))
        assert f" {mesh}'s CNI plugin" in warning or f" {mesh} passes" in warning
        assert target in warning


@pytest.mark.parametrize(
    "found",
    [
        pod(),
        pod({"istio.io/rev": "canary", "sidecar.istio.io/inject": "false"}),
        pod(annotations={"sidecar.istio.io/inject": "No"}),
        pod({"istio.io/dataplane-mode": "none"}),
        pod(annotations={"linkerd.io/inject": "disabled"}),
        pod(annotations={"consul.hashicorp.com/connect-inject": "f"}),
        pod({"istio.io/rev": "canary"}, {"traffic.sidecar.istio.io/excludeOutboundPorts": "80,443"}),
        pod(annotations={"linkerd.io/inject": "enabled", "config.linkerd.io/skip-outbound-ports": "443"}),
    ],
)
def test_a_pod_outside_or_with_an_exclusion_is_not(found: Pod) -> None:
    assert mesh_warnings(found, AgentSettings()) == []


@pytest.mark.parametrize(
    ("namespace", "mesh"),
    [
        ({"istio.io/rev": "stable"}, "Istio"),
        ({"istio-injection": "enabled"}, "Istio"),
        ({"istio.io/dataplane-mode": "ambient"}, "Istio's ambient mode"),
        ({"linkerd.io/inject": "enabled"}, "Linkerd"),
        ({"kuma.io/sidecar-injection": "enabled"}, "Kuma"),
    ],
)
def test_the_namespace_puts_its_pods_into_the_mesh_unless_they_refuse(
    namespace: dict[str, str], mesh: str
) -> None:
    (warning,) = mesh_warnings(pod(), AgentSettings(), namespace)
    assert f" {mesh}'s CNI plugin" in warning or f" {mesh} passes" in warning
    refused = pod(
        {
            "sidecar.istio.io/inject": "false",
            "istio.io/dataplane-mode": "none",
            "kuma.io/sidecar-injection": "disabled",
        },
        {"linkerd.io/inject": "disabled"},
    )
    assert mesh_warnings(refused, AgentSettings(), namespace) == []
