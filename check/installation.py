"""The injector's own objects in a snapshot: its workloads, webhook configuration and settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from check.model import DONE, Object, Resource, Snapshot, as_objects, pod_spec, text_of
from common.agent_settings import Backend
from common.object_fields import as_map
from webhook.core.settings import Settings
from webhook.settings_file import ConfigError, parse_settings

PART_OF = "app.kubernetes.io/part-of"
COMPONENT = "app.kubernetes.io/component"
VERSION = "app.kubernetes.io/version"
PROJECT = "multus-eni-injector"
HOOK_DOMAIN = ".multus-eni.io"
SETTINGS_FILE = "settings.yaml"


@dataclass(frozen=True, slots=True)
class Installation:
    """The injector's objects, None where there is none. `settings_problem` says why `settings` is None."""

    configuration: Resource | None
    webhook: Resource | None
    certs: Resource | None
    node_agent: Resource | None
    controller: Resource | None
    settings: Settings | None
    settings_problem: str
    pods: tuple[Resource, ...]

    @property
    def namespace(self) -> str:
        """Where it is installed."""
        return next((each.namespace for each in (self.webhook, self.node_agent) if each), "")

    @property
    def entries(self) -> list[Object]:
        """The configuration's `webhooks`."""
        return as_objects(self.configuration.body.get("webhooks")) if self.configuration else []

    @property
    def is_switched_off(self) -> bool:
        """Whether no entry selects any namespace (`injection.enabled`)."""
        return bool(self.entries) and all(map(_selects_nothing, self.entries))

    @property
    def is_watch_only(self) -> bool:
        """Whether there are node agents alone: nothing is injected (`nodeAgent.watchOnly`)."""
        return self.node_agent is not None and self.webhook is None and self.configuration is None

    @property
    def backend(self) -> Backend:
        """Who calls EC2 for pods."""
        if self.is_watch_only:
            return Backend.NODE
        return self.settings.agent.backend if self.settings else Backend.DIRECT

    def pods_of(self, component: str) -> tuple[Resource, ...]:
        """Return the living pods of one program."""
        return tuple(
            pod
            for pod in self.pods
            if pod.labels.get(COMPONENT) == component and pod.status.get("phase") not in DONE
        )


def find_installation(snapshot: Snapshot) -> Installation:
    """Find the injector's objects in a snapshot."""
    ours = {kind: _ours(snapshot, kind) for kind in ("Deployment", "DaemonSet", "Pod")}
    webhook = _component(ours["Deployment"], "webhook")
    settings, problem = _settings(snapshot, webhook)
    return Installation(
        configuration=_configuration(snapshot),
        webhook=webhook,
        certs=_component(ours["Deployment"], "certs"),
        node_agent=_component(ours["DaemonSet"], "node-agent"),
        controller=_component(ours["Deployment"], "controller"),
        settings=settings,
        settings_problem=problem,
        pods=ours["Pod"],
    )


def _ours(snapshot: Snapshot, kind: str) -> tuple[Resource, ...]:
    return tuple(each for each in snapshot.all(kind) if each.labels.get(PART_OF) == PROJECT)


def _configuration(snapshot: Snapshot) -> Resource | None:
    every = snapshot.all("MutatingWebhookConfiguration")
    labelled = [each for each in every if each.labels.get(PART_OF) == PROJECT]
    return next(iter((*labelled, *(each for each in every if _has_our_hooks(each)))), None)


def _settings(snapshot: Snapshot, webhook: Resource | None) -> tuple[Settings | None, str]:
    if webhook is None:
        return None, ""
    maps = {each.name: each for each in snapshot.all("ConfigMap") if each.namespace == webhook.namespace}
    found = next((maps[name] for name in config_maps(webhook) if name in maps), None)
    if found is None:
        return None, f"Deployment {webhook.key} has no ConfigMap with its settings"
    try:
        text = as_map(found.body.get("data")).get(SETTINGS_FILE)
        return parse_settings(str(text or "")), ""
    except ConfigError as error:
        return None, f"ConfigMap {found.key}: {SETTINGS_FILE}: {error}"


def _selects_nothing(entry: Object) -> bool:
    """Return whether its namespaces must both have a label and lack it."""
    asked = as_objects(as_map(entry.get("namespaceSelector")).get("matchExpressions"))
    present, absent = (
        {text_of(each.get("key")) for each in asked if each.get("operator") == operator}
        for operator in ("Exists", "DoesNotExist")
    )
    return not present.isdisjoint(absent)


def config_maps(workload: Resource) -> tuple[str, ...]:
    """Return the names of the ConfigMaps that a workload's pods mount."""
    mounted = (as_map(each.get("configMap")) for each in as_objects(pod_spec(workload).get("volumes")))
    return tuple(str(each["name"]) for each in mounted if each.get("name"))


def _component(found: Iterable[Resource], component: str) -> Resource | None:
    return next((each for each in found if each.labels.get(COMPONENT) == component), None)


def _has_our_hooks(configuration: Resource) -> bool:
    hooks = as_objects(configuration.body.get("webhooks"))
    return any(str(each.get("name")).endswith(HOOK_DOMAIN) for each in hooks)
