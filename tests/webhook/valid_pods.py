"""Pods that the API server admits, with as much in them as its validation allows.

What `pods()` varies is what the injector reads; here the rest of a pod comes to it. Each field is valid by
itself and beside the others (k8s.io/kubernetes, pkg/apis/core/validation).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from common import pod_keys
from common.quantity import parse_quantity
from tests.webhook.pods import pods

Fields = dict[str, Any]

# The same amounts as others would write them.
SPELLINGS = {
    "100m": ["100m", "0.1", ".1", "100000u", "1e-1", "1E-1", "+0.1"],
    "1000m": ["1", "1000m", "1.0", "1e0", "0.001k"],
    "64Mi": ["64Mi", "65536Ki", "67108864", "0.0625Gi", "67108864000m"],
    "1024Mi": ["1Gi", "1024Mi", "1073741824", "1.0Gi"],
}
ACTIONS: list[Fields] = [
    {"exec": {"command": ["true"]}},
    {"httpGet": {"path": "/healthz", "port": 8080, "httpHeaders": [{"name": "X-A", "value": "b"}]}},
    {"tcpSocket": {"port": 8080}},
    {"grpc": {"port": 9090, "service": "a"}},
]
HOOKS: list[Fields] = [
    {"preStop": {"sleep": {"seconds": 5}}},
    {"postStart": {"exec": {"command": ["true"]}}},
    {"preStop": {"httpGet": {"port": 80}}, "postStart": {"exec": {"command": ["true"]}}},
]
SECURITY: list[Fields] = [
    {"runAsUser": 0, "privileged": True},
    {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    },
    {"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"]}, "readOnlyRootFilesystem": True},
    {"seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"}, "procMount": "Default"},
    {"seLinuxOptions": {"level": "s0:c1,c2"}, "appArmorProfile": {"type": "Unconfined"}},
    {"windowsOptions": {}},
]
CONTAINER_FIELDS: list[Fields] = [
    {"command": ["sh", "-c"], "args": ["exit $(A)"], "workingDir": "/tmp"},
    {"env": [{"name": "A", "value": "b"}, {"name": "A", "value": "again"}, {"name": "lower.case-1"}]},
    {"env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]},
    {"env": [{"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['a/b']"}}}]},
    {"env": [{"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}]},
    {"env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}}]},
    {"envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}]},
    {"ports": [{"containerPort": 8080, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]},
    {"imagePullPolicy": "Always", "terminationMessagePath": "/tmp/end"},
    {"imagePullPolicy": "Never", "terminationMessagePolicy": "FallbackToLogsOnError"},
    {"stdin": True, "stdinOnce": True, "tty": True},
]
VOLUMES: list[Fields] = [
    {"emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    {"emptyDir": {"medium": "HugePages"}},
    {"configMap": {"name": "c", "defaultMode": 0o400, "items": [{"key": "a", "path": "b/c"}]}},
    {"secret": {"secretName": "s", "optional": True}},
    {"hostPath": {"path": "/var/log", "type": "Directory"}},
    {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    {"projected": {"sources": [{"serviceAccountToken": {"path": "token", "audience": "a"}}]}},
    {"persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
    {"nfs": {"server": "nfs.example", "path": "/"}},
    {"csi": {"driver": "csi.example", "volumeAttributes": {"a": "b"}}},
    {"ephemeral": {"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
]  # fmt: skip
SPEC_FIELDS: list[Fields] = [
    {"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a.example", "b.example"]}]},
    {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"], "options": [{"name": "ndots"}]}},
    {"hostname": "web", "subdomain": "apps", "setHostnameAsFQDN": True},
    {"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]},
    {"nodeSelector": {"kubernetes.io/os": "linux"}, "os": {"name": "linux"}},
    {"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"a": "b"}}}]},
    {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}]}}},
    {"terminationGracePeriodSeconds": 6, "activeDeadlineSeconds": 3600},
    {"enableServiceLinks": False, "shareProcessNamespace": True},
    {"hostPID": True, "hostIPC": True},
    {"hostUsers": False},
    {"readinessGates": [{"conditionType": "example.com/ready"}]},
    {"schedulingGates": [{"name": "example.com/wait"}]},
    {"schedulerName": "other-scheduler"},
    {"imagePullSecrets": [{"name": "theirs"}, {"name": "registry.example"}]},
    {"serviceAccountName": "default", "automountServiceAccountToken": True},
    {"automountServiceAccountToken": False},
    {"priorityClassName": "system-node-critical"},
    {"securityContext": {"runAsUser": 0, "fsGroup": 2000, "supplementalGroups": [1, 2]}},
    {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Unconfined"}}},
    {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "1024 65535"}]}},
]  # fmt: skip


@st.composite
def valid_pods(draw: st.DrawFn) -> Fields:
    """A pod that the API server admits."""
    pod = draw(pods())
    spec = pod["spec"]
    _annotations(draw, pod["metadata"])
    spec.pop("resources", None)
    for fields in draw(st.lists(st.sampled_from(SPEC_FIELDS), max_size=4, unique_by=id)):
        spec.update(fields)
    if spec.get("hostPID"):
        # With the host's processes there is neither a user namespace nor a process namespace of its own.
        spec.pop("hostUsers", None)
        spec.pop("shareProcessNamespace", None)
    spec["restartPolicy"] = draw(st.sampled_from(["Always", "OnFailure", "Never"]))
    _volumes(draw, spec)
    for container in (*spec["containers"], *spec.get("initContainers", ())):
        _container(draw, container, spec, app=container in spec["containers"])
    if draw(st.integers(0, 4)) == 0:
        _pod_level(draw, spec)
    return pod


def _annotations(draw: st.DrawFn, metadata: Fields) -> None:
    annotations = metadata["annotations"]
    for key in [key for key in annotations if "~" in key]:
        annotations[key.replace("~odd~1key", "odd_.key-1")] = annotations.pop(key)
    if draw(st.integers(0, 4)) == 0:
        annotations[pod_keys.STATUS] = "left over"
    if draw(st.integers(0, 9)) == 0:
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}
        metadata["ownerReferences"] = [owner]


def _volumes(draw: st.DrawFn, spec: Fields) -> None:
    sources = draw(st.lists(st.sampled_from(VOLUMES), max_size=2))
    made = [{"name": f"w{number}", **source} for number, source in enumerate(sources)]
    if made:
        spec["volumes"] = [*spec.get("volumes", []), *made]


def _container(draw: st.DrawFn, container: Fields, spec: Fields, *, app: bool) -> None:
    for fields in draw(st.lists(st.sampled_from(CONTAINER_FIELDS), max_size=2)):
        container.update(fields)
    if draw(st.booleans()):
        container["securityContext"] = _fitting(draw(st.sampled_from(SECURITY)), spec)
    if app or container.get("restartPolicy") == "Always":
        _probes(draw, container)
    _spell(draw, container)
    if draw(st.integers(0, 3)) == 0:
        _more_resources(draw, container)
    names = [volume["name"] for volume in spec.get("volumes", [])]
    if draw(st.booleans()) and names:
        container["volumeMounts"] = [
            {"name": name, "mountPath": f"/mnt/{name}", "readOnly": True} for name in names
        ]


def _fitting(security: Fields, spec: Fields) -> Fields:
    # No Windows options stand beside `os: linux`.
    linux = spec.get("os", {}).get("name") == "linux"
    return {} if linux and "windowsOptions" in security else security


def _probes(draw: st.DrawFn, container: Fields) -> None:
    for kind in draw(
        st.sets(st.sampled_from(["startupProbe", "livenessProbe", "readinessProbe"]), max_size=2)
    ):
        container[kind] = {**draw(st.sampled_from(ACTIONS)), "periodSeconds": 5, "failureThreshold": 3}
    if draw(st.integers(0, 3)) == 0:
        container["lifecycle"] = draw(st.sampled_from(HOOKS))


def _spell(draw: st.DrawFn, container: Fields) -> None:
    # Copies, since drawn resources are shared between containers.
    if "resources" in container:
        container["resources"] = {
            kind: {
                name: draw(st.sampled_from(SPELLINGS.get(amount, [amount]))) for name, amount in each.items()
            }
            for kind, each in container["resources"].items()
        }


def _more_resources(draw: st.DrawFn, container: Fields) -> None:
    resources = container.setdefault("resources", {})
    match draw(st.sampled_from(["storage", "extended", "huge", "zero"])):
        case "storage":
            resources.setdefault("requests", {})["ephemeral-storage"] = "1Gi"
            resources.setdefault("limits", {})["ephemeral-storage"] = draw(st.sampled_from(["1Gi", "2Gi"]))
        case "extended":
            resources.setdefault("limits", {})["example.com/fpga"] = "1"
        case "huge":
            resources.setdefault("limits", {}).setdefault("memory", "131072Mi")
            resources["limits"]["hugepages-2Mi"] = "4Mi"
        case _:
            # Nothing is asked for by name: no amount, and no class of its own.
            for name in ("cpu", "memory"):
                if name not in resources.get("limits", {}):
                    resources.setdefault("requests", {}).setdefault(name, "0")


def _pod_level(draw: st.DrawFn, spec: Fields) -> None:
    """Ask for the pod what its containers ask for together, or more."""
    made: Fields = {}
    for name, unit in (("cpu", Decimal("0.001")), ("memory", Decimal(2**20))):
        everyone = [
            each.get("resources", {}) for each in (*spec["containers"], *spec.get("initContainers", ()))
        ]
        # The sum is never below what the API server aggregates, and each limit is within it.
        total = sum((_most(resources, name) for resources in everyone), unit)
        request = total + draw(st.sampled_from([0, 1, 1000])) * unit
        if draw(st.booleans()):
            made.setdefault("requests", {})[name] = str(request)
        if draw(st.booleans()):
            made.setdefault("limits", {})[name] = str(request + draw(st.sampled_from([0, 1000])) * unit)
    if made:
        spec["resources"] = made


def _most(resources: Fields, name: str) -> Decimal:
    return max(parse_quantity(resources.get(kind, {}).get(name, 0)) for kind in ("requests", "limits"))
