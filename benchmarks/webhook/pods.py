"""The reviews that are sent: the recorded one, and pods of a size that is asked for."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.pod_keys import INJECTION, NETWORKS, Injection

Manifest = dict[str, Any]

SAMPLES = "MULTUS_ENI_SAMPLES"
"""Environment variable that names a folder with `admission-review.json`, recorded at a real API server."""
RECORDED_SIZE = 11203
"""Bytes of that review without white space: what a generated equivalent has where it is not at hand."""
SERIAL = "#" * 5
"""Where the load client writes the number of a request."""
NETWORK = "ipvlan-multus"
NAMESPACE = "default"
UID = "61be1f7d-bbd3-47af-86ee-8dae9388b715"

_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_ACCOUNT_VOLUME = "kube-api-access-"
_DETAILED = 4096
"""Bytes from which on a pod has what API servers and charts add: token volume, probes, managedFields."""
_PER_CONTAINER = 8192
_MAX_CONTAINERS = 24
_LIST_KEYS = ("name", "mountPath", "containerPort")


def compact(value: Mapping[str, Any]) -> bytes:
    """Write JSON as the API server does, without white space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def recorded_review(env: Mapping[str, str] = os.environ) -> Manifest | None:
    """Read the recorded review; None where SAMPLES is not set. Raises OSError or ValueError."""
    folder = env.get(SAMPLES)
    if not folder:
        return None
    review: Manifest = json.loads(Path(folder, "admission-review.json").read_text(encoding="utf-8"))
    return review


def numbered(review: Manifest) -> Manifest:
    """Return the review with one network more, SERIAL in the name of its interface.

    So each asks for something else, and no answer can be one that was given before.
    """
    copied = copy.deepcopy(review)
    copied["request"]["object"]["metadata"]["annotations"][NETWORKS] += f",{NETWORK}@n{SERIAL}"
    return copied


def with_own_volumes(review: Manifest) -> Manifest:
    """Return the review with SERIAL in the name of the token's volume, where it has one.

    The API server makes that name up for each pod: nothing else differs between the pods of one template.
    """
    found: Manifest = json.loads(
        re.sub(rf"{_ACCOUNT_VOLUME}\w+", _ACCOUNT_VOLUME + SERIAL, json.dumps(review))
    )
    return found


def equivalent_review() -> Manifest:
    """Make a review as long as the recorded one."""
    return review_of(pod_of_size(RECORDED_SIZE - len(compact(review_of({}))) + len(compact({}))))


def review_of(pod: Manifest) -> Manifest:
    """Wrap a pod into the review of its creation."""
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    return {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": UID,
            "kind": kind,
            "resource": resource,
            "requestKind": kind,
            "requestResource": resource,
            "namespace": NAMESPACE,
            "operation": "CREATE",
            "userInfo": {
                "username": "system:serviceaccount:kube-system:replicaset-controller",
                "uid": "8b2ad1a1-5f0b-4a24-b3a5-0b3a1a2f4b11",
                "groups": ["system:serviceaccounts", "system:authenticated"],
            },
            "object": pod,
            "oldObject": None,
            "dryRun": False,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    }


def pod_of_size(size: int) -> Manifest:
    """Make a pod whose JSON without white space has exactly `size` bytes, at least 1024.

    It grows as real ones do: by containers, their environment, and the managedFields that repeat both.
    Raises ValueError where `size` is too small.
    """
    low, high = 0, 1 + size // 64
    while low < high:
        middle = (low + high + 1) // 2
        if len(compact(_pod(size, middle))) <= size:
            low = middle
        else:
            high = middle - 1
    pod = _pod(size, low)
    missing = size - len(compact(pod))
    if missing < 0:
        raise ValueError(f"a pod of {size} bytes can't hold what every pod has: ask for {size - missing}")
    pod["metadata"]["annotations"]["example.com/notes"] = "x" * missing
    return pod


def manifest_of(review: Manifest) -> Manifest:
    """Return the pod of a review as its author sent it: without what the API server has added."""
    pod = copy.deepcopy(review["request"]["object"])
    for field in ("managedFields", "namespace", "creationTimestamp", "uid"):
        pod["metadata"].pop(field, None)
    spec = pod["spec"]
    spec["volumes"] = [
        each for each in spec.get("volumes", []) if not each["name"].startswith(_ACCOUNT_VOLUME)
    ]
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        mounts = container.get("volumeMounts", [])
        container["volumeMounts"] = [each for each in mounts if each["mountPath"] != _ACCOUNT_PATH]
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def comparable(pod: Manifest) -> Manifest:
    """Return a pod that the API server has made, without what differs from create to create."""
    plain: Manifest = json.loads(re.sub(rf"{_ACCOUNT_VOLUME}\w+", _ACCOUNT_VOLUME, json.dumps(pod)))
    for field in ("name", "namespace", "uid", "creationTimestamp", "managedFields"):
        plain["metadata"].pop(field, None)
    return plain


def _pod(size: int, variables: int) -> Manifest:
    """Make a pod for a size class with so many environment variables."""
    detailed = size >= _DETAILED
    count = max(1, min(_MAX_CONTAINERS, size // _PER_CONTAINER)) if detailed else 1
    shares = [variables // count + (1 if i < variables % count else 0) for i in range(count)]
    pod: Manifest = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "generateName": "cnf-7c9f8d6b5-",
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/name": "cnf", INJECTION: Injection.ENABLED.value},
            "annotations": {NETWORKS: NETWORK, "example.com/notes": ""},
        },
        "spec": {
            "containers": [_container(i, share, detailed=detailed) for i, share in enumerate(shares)],
            "serviceAccountName": "default",
        },
    }
    if detailed:
        _add_details(pod)
    return pod


def _add_details(pod: Manifest) -> None:
    own = {"metadata": pod["metadata"], "spec": pod["spec"]}
    pod["metadata"]["managedFields"] = [
        {
            "manager": "kube-controller-manager",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields_v1(own),
        }
    ]
    pod["spec"] |= {
        "volumes": [
            {"name": "config", "configMap": {"name": "cnf", "defaultMode": 420}},
            {
                "name": f"{_ACCOUNT_VOLUME}7xk2p",
                "projected": {
                    "sources": [
                        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                        {
                            "configMap": {
                                "name": "kube-root-ca.crt",
                                "items": [{"key": "ca.crt", "path": "ca.crt"}],
                            }
                        },
                    ],
                    "defaultMode": 420,
                },
            },
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{taint}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }
            for taint in ("not-ready", "unreachable")
        ],
        "priority": 0,
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _container(index: int, variables: int, *, detailed: bool) -> Manifest:
    amount = {"cpu": "500m", "memory": "256Mi"}
    container: Manifest = {
        "name": f"c{index}",
        "image": f"registry.example/cnf/c{index}:1.2.3",
        "resources": {"limits": amount, "requests": amount},
    }
    if variables:
        container["env"] = [_variable(number) for number in range(variables)]
    if detailed:
        port = 8000 + index
        container |= {
            "ports": [{"name": f"p{index}", "containerPort": port, "protocol": "TCP"}],
            "volumeMounts": [
                {"name": "config", "mountPath": "/etc/cnf"},
                {"name": f"{_ACCOUNT_VOLUME}7xk2p", "readOnly": True, "mountPath": _ACCOUNT_PATH},
            ],
            "livenessProbe": {
                "httpGet": {"path": "/healthz", "port": port, "scheme": "HTTP"},
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
            },
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "imagePullPolicy": "IfNotPresent",
        }
    return container


def _variable(number: int) -> Manifest:
    name = f"SETTING_{number}"
    if number % 4 == 3:
        reference = {"name": "cnf-credentials", "key": f"setting-{number}"}
        return {"name": name, "valueFrom": {"secretKeyRef": reference}}
    return {"name": name, "value": f"value-{number}-" + "y" * (8 + number % 5 * 6)}


def _fields_v1(value: Any) -> Manifest:
    """Write who owns which field as the API server does (structured-merge-diff, fieldpath)."""
    if isinstance(value, dict):
        return {f"f:{key}": _fields_v1(each) for key, each in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {_list_key(each): {".": {}, **_fields_v1(each)} for each in value}
    return {}


def _list_key(item: Manifest) -> str:
    key = next(key for key in _LIST_KEYS if key in item)
    return "k:" + json.dumps({key: item[key]}, separators=(",", ":"))
