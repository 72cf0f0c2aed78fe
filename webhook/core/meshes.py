"""Warn of service meshes that redirect a pod's traffic before the agent can use it.

A pod is in a mesh by its own labels, annotations and containers, or by those of its namespace. Sources:
istio.io, "Resource labels", "Resource annotations" and "Ztunnel traffic redirection"; linkerd.io,
"Proxy configuration"; developer.konghq.com, "Kubernetes annotations and labels" (Kuma);
developer.hashicorp.com/consul, "Annotations and labels". Cilium's mesh needs no
entry: it does not redirect a pod's connections to EC2.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from common.agent_settings import AgentSettings, Backend
from webhook.core.pod import Pod

Keys = Mapping[str, str]
"""Labels and annotations."""

_ANY = ""
_SPELLINGS = {
    **dict.fromkeys(("1", "t", "y", "yes", "on"), "true"),
    **dict.fromkeys(("0", "f", "n", "no", "off"), "false"),
}
"""How meshes read true and false beside these words, in any case: Istio (`pkg/kube/inject`, injectRequired),
Consul (Go's strconv.ParseBool)."""
_EARLY = (
    "multus-eni: where {mesh}'s CNI plugin redirects traffic before the first container, the agent "
    'cannot reach {target}: exclude it with the annotation {exclusion}: "{ports}"'
)
_AMBIENT = (
    "multus-eni: {mesh} passes the agent's calls to {target} through ztunnel: should they fail "
    "(exit code 18 or 19), label the pod istio.io/dataplane-mode=none"
)


@dataclass(frozen=True, slots=True)
class Mesh:
    """A mesh: how a pod gets into it, and the warning.

    `keys` are labels or annotations of the pod or its namespace: value -> whether the pod is in the mesh (an
    empty value stands for all others). `containers` are names of containers that the mesh injects. With one
    of the annotations `exclusions` the user has excluded traffic.
    """

    name: str
    keys: Mapping[str, Mapping[str, bool]]
    sentence: str = _EARLY
    containers: frozenset[str] = frozenset()
    exclusions: tuple[str, ...] = ()


_ENABLED = {"enabled": True, "true": True, "disabled": False, "false": False}

MESHES = (
    Mesh(
        "Istio",
        {
            "sidecar.istio.io/inject": {"true": True, "false": False},
            "istio-injection": {"enabled": True, "disabled": False},
            "istio.io/rev": {_ANY: True},
        },
        containers=frozenset({"istio-proxy", "istio-validation"}),
        exclusions=(
            "traffic.sidecar.istio.io/excludeOutboundPorts",
            "traffic.sidecar.istio.io/excludeOutboundIPRanges",
        ),
    ),
    Mesh(
        "Istio's ambient mode",
        {
            "istio.io/dataplane-mode": {"ambient": True, "none": False},
            "ambient.istio.io/redirection": {"enabled": True, "disabled": False},
        },
        sentence=_AMBIENT,
    ),
    Mesh(
        "Linkerd",
        {"linkerd.io/inject": {"enabled": True, "ingress": True, "disabled": False}},
        containers=frozenset({"linkerd-proxy", "linkerd-init", "linkerd-network-validator"}),
        exclusions=("config.linkerd.io/skip-outbound-ports", "config.linkerd.io/skip-subnets"),
    ),
    Mesh(
        "Kuma",
        {"kuma.io/sidecar-injection": _ENABLED},
        containers=frozenset({"kuma-sidecar", "kuma-init", "kuma-validation"}),
        exclusions=(
            "traffic.kuma.io/exclude-outbound-ports",
            "traffic.kuma.io/exclude-outbound-ips",
            "traffic.kuma.io/exclude-outbound-ports-for-uids",
        ),
    ),
    Mesh(
        "Consul",
        {"consul.hashicorp.com/connect-inject": {"true": True, "false": False}},
        containers=frozenset({"consul-dataplane", "consul-connect-inject-init"}),
        exclusions=(
            "consul.hashicorp.com/transparent-proxy-exclude-outbound-ports",
            "consul.hashicorp.com/transparent-proxy-exclude-outbound-cidrs",
        ),
    ),
)

MESH_KEYS = frozenset(key for mesh in MESHES for key in (*mesh.keys, *mesh.exclusions))
"""All labels and annotations that are read."""
_MESH_CONTAINERS = frozenset(name for mesh in MESHES for name in mesh.containers)


def mesh_warnings(pod: Pod, settings: AgentSettings, namespace: Keys | None = None) -> list[str]:
    """Warn of each mesh that may keep the agent from EC2 or the node agent.

    `namespace` are labels and annotations of the pod's namespace, where they are known.
    """
    target, ports = (
        ("the node agent", str(settings.node_port)) if settings.backend is Backend.NODE else ("EC2", "80,443")
    )
    own = {**pod.annotations, **pod.labels}
    names = {container.name for container in (*pod.containers, *pod.init_containers)}
    if not namespace and MESH_KEYS.isdisjoint(own) and _MESH_CONTAINERS.isdisjoint(names):
        return []
    return [
        mesh.sentence.format(
            mesh=mesh.name, target=target, ports=ports, exclusion=next(iter(mesh.exclusions), "")
        )
        for mesh in MESHES
        if _in_mesh(mesh, names, own, namespace or {})
        and not any(key in own or key in (namespace or {}) for key in mesh.exclusions)
    ]


def _in_mesh(mesh: Mesh, containers: AbstractSet[str], own: Keys, namespace: Keys) -> bool:
    if not mesh.containers.isdisjoint(containers):
        return True
    answer = _answer(mesh, own)
    return bool(_answer(mesh, namespace) if answer is None else answer)


def _answer(mesh: Mesh, keys: Keys) -> bool | None:
    """Return what labels and annotations say about the mesh, None for nothing; a no takes precedence."""
    answers = [
        answer
        for key, values in mesh.keys.items()
        if key in keys and (answer := values.get(_spelled(keys[key]), values.get(_ANY))) is not None
    ]
    return all(answers) if answers else None


def _spelled(value: str) -> str:
    lower = value.lower()
    return _SPELLINGS.get(lower, lower)
