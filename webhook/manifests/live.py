"""Manifests from a live cluster: a workload, the namespace that it is in, and the webhook's settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from common.kube.errors import ApiError
from common.kube.kubeconfig_client import KubeconfigClient
from common.pod_keys import NETWORKS_FILE
from webhook.core.settings import Settings
from webhook.networks_file import parse_networks_file
from webhook.settings_file import ConfigError, parse_settings

SETTINGS_LABELS = "app.kubernetes.io/part-of=multus-eni-injector,app.kubernetes.io/component=webhook"
SETTINGS_FILE = "settings.yaml"
REMEDIES = {
    401: "log in again: the kubeconfig's credentials were not accepted",
    403: "you need `get` on the workload and on its Namespace, and `list` on ConfigMaps",
}

_BUILT_IN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "/api/v1": {"pods": ("pod", "po"), "replicationcontrollers": ("replicationcontroller", "rc")},
    "/apis/apps/v1": {
        "deployments": ("deployment", "deploy"),
        "statefulsets": ("statefulset", "sts"),
        "daemonsets": ("daemonset", "ds"),
        "replicasets": ("replicaset", "rs"),
    },
    "/apis/batch/v1": {"jobs": ("job",), "cronjobs": ("cronjob", "cj")},
}
_RESOURCES = {
    name: (prefix, plural)
    for prefix, resources in _BUILT_IN.items()
    for plural, names in resources.items()
    for name in (plural, *names)
}
"""What kubectl calls a resource -> its API, and its name there."""


class UnknownResource(Exception):
    """What is asked for does not name a workload; the text says how to name one."""


@dataclass(frozen=True, slots=True)
class LiveManifests:
    """What was read, as JSON. `settings` are the webhook's, None where `note` says why they can't be had."""

    documents: bytes
    namespace: str
    settings: Settings | None
    note: str = ""


def read_workloads(client: KubeconfigClient, names: Iterable[str], namespace: str | None) -> LiveManifests:
    """Read workloads by names such as `deploy/web` or `rollouts.argoproj.io/web`, and their namespace.

    Without a namespace that of the context counts. Raises UnknownResource, ApiError or Unreachable.
    """
    where = namespace or client.namespace
    objects = [_without_status(_workload(client, name, where)) for name in names]
    found = client.get(f"/api/v1/namespaces/{quote(where, safe='')}", f"read Namespace {where}").object
    documents = {"apiVersion": "v1", "kind": "List", "items": [{**found, "kind": "Namespace"}, *objects]}
    settings, note = _settings(client)
    return LiveManifests(msgspec.json.encode(documents), where, settings, note)


def _workload(client: KubeconfigClient, name: str, namespace: str) -> dict[str, Any]:
    resource, slash, own = name.partition("/")
    if not slash or not resource or not own or "/" in own:
        raise UnknownResource(f"{name!r} does not name a workload: write KIND/NAME, as in deploy/web")
    kind, _, group = resource.lower().partition(".")
    prefix, plural = _discover(client, kind, group) if group else _RESOURCES.get(kind, ("", ""))
    if not prefix:
        known = ", ".join(sorted(_RESOURCES))
        raise UnknownResource(
            f"{resource!r} is not one of {known}; other kinds are named with their API group, as in "
            "rollouts.argoproj.io/web"
        )
    path = f"{prefix}/namespaces/{quote(namespace, safe='')}/{plural}/{quote(own, safe='')}"
    return client.get(path, f"read {resource}/{own} in {namespace}").object


def _discover(client: KubeconfigClient, kind: str, group: str) -> tuple[str, str]:
    found = client.get(f"/apis/{quote(group, safe='')}", f"read the API group {group}").object
    version = str((found.get("preferredVersion") or {}).get("groupVersion") or "")
    resources = client.get(f"/apis/{version}", f"read the API {version}").object.get("resources") or ()
    for each in resources:
        names = (each.get("name"), each.get("singularName"), *(each.get("shortNames") or ()))
        if kind in names or kind == str(each.get("kind")).lower():
            return f"/apis/{version}", str(each["name"])
    raise UnknownResource(f"the API group {group} has no resource {kind!r}")


def _without_status(found: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what only says how a workload fares, and who wrote it; a pod's phase counts."""
    metadata = {key: value for key, value in found.get("metadata", {}).items() if key != "managedFields"}
    kept = {key: value for key, value in found.items() if key != "status" or found.get("kind") == "Pod"}
    return {**kept, "metadata": metadata}


def _settings(client: KubeconfigClient) -> tuple[Settings | None, str]:
    try:
        maps = list(client.items("/api/v1/configmaps", "list ConfigMaps", {"labelSelector": SETTINGS_LABELS}))
    except ApiError as error:
        return None, f"the webhook's settings can't be read, the defaults apply: {error.message}"
    networks = next((text for each in maps if (text := (each.get("data") or {}).get(NETWORKS_FILE))), None)
    for each in maps:
        text = (each.get("data") or {}).get(SETTINGS_FILE)
        if text is not None:
            try:
                return _with_networks(parse_settings(str(text)), networks), ""
            except ConfigError as error:
                return None, f"the webhook's settings can't be used, the defaults apply: {error}"
    return None, "the injector's settings are not in this cluster, the defaults apply"


def _with_networks(settings: Settings, text: object) -> Settings:
    """Complete the settings by the controller's ConfigMap, which is there where pods request capacity."""
    if text is None:
        return settings
    return replace(settings, networks=parse_networks_file(str(text).encode()))


def connect(kubeconfig: Path | None, context: str | None) -> KubeconfigClient:
    """Return a client of the cluster. Raises ClusterError."""
    return KubeconfigClient("multus-eni-explain", kubeconfig, context, REMEDIES)
