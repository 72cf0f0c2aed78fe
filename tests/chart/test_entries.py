"""Which pod goes to which path by the rendered configuration: all labels, also on a real API server."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Mapping

import pytest

from common.pod_keys import CREDENTIALS, INJECTION, MODE
from tests.chart.conftest import Cluster
from tests.cluster.api import Manifest
from tests.cluster.configuration import Service
from tests.cluster.helm import only
from tests.cluster.manifests import multus_pod
from tests.cluster.namespaces import Namespaces, scope
from tests.cluster.recording_webhook import RecordingWebhook
from tests.cluster.webhook import installed
from webhook.core.namespace_policy import ROUTES

INJECTIONS = (None, "enabled", "disabled", "other")
MODES = (None, "init", "sidecar", "other")
IDENTITIES = (None, "chain", "node", "other")
NAME = "kubernetes.io/metadata.name"
Labels = Mapping[str, str | None]
Rendered = dict[str, list[Manifest]]


def selects(selector: Manifest, labels: Labels) -> bool:
    """Do as the API server: all requirements hold (apimachinery, labels.Requirement.Matches)."""
    return all(holds(each, labels.get(each["key"])) for each in selector["matchExpressions"])


def holds(requirement: Manifest, value: str | None) -> bool:
    match requirement["operator"]:
        case "In":
            return value in requirement["values"]
        case "NotIn":
            return value not in requirement["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise ValueError(other)


def expected(namespace: str | None, pod: str | None, mode: str | None, identity: str | None) -> str | None:
    """Say where a pod goes by its own and its namespace's labels; None: it is not sent at all."""
    if pod == "other":
        return "/mutate/invalid/pod-injection"
    if pod is None and namespace == "other":
        return "/mutate/invalid/namespace-injection"
    if (pod or namespace) != "enabled":
        return None
    if mode == "other":
        return "/mutate/invalid/namespace-mode"
    if identity == "other":
        return "/mutate/invalid/namespace-credentials"
    words = ["pod" if pod else "namespace", mode or "default", identity]
    return "/mutate/" + "/".join(word for word in words if word)


def configuration_in(manifests: list[Manifest]) -> Manifest:
    return only(manifests, "MutatingWebhookConfiguration")


def paths(configuration: Manifest, namespace: Labels, pod: Labels) -> list[str]:
    """Return the paths of all entries that select a pod."""
    return [
        each["clientConfig"]["service"]["path"]
        for each in configuration["webhooks"]
        if selects(each["namespaceSelector"], namespace) and selects(each["objectSelector"], pod)
    ]


def states() -> Iterator[tuple[tuple[str | None, ...], Labels, Labels]]:
    """Return all label states: their values, the namespace's labels and the pod's."""
    for state in itertools.product(INJECTIONS, INJECTIONS, MODES, IDENTITIES):
        injection, own, mode, identity = state
        namespace = {NAME: "users", INJECTION: injection, MODE: mode, CREDENTIALS: identity}
        yield state, namespace, {INJECTION: own}


@pytest.mark.parametrize("case", ["defaults", "everything", "cert-manager", "failures ignored"])
def test_each_pod_matches_one_entry_or_none(rendered: Rendered, case: str) -> None:
    configuration = configuration_in(rendered[case])
    reached = set()
    for state, namespace, pod in states():
        path = expected(*state)
        assert paths(configuration, namespace, pod) == ([path] if path else []), state
        reached.add(path)
    assert reached - {None} == set(ROUTES)


def test_without_injection_no_pod_is_sent(rendered: Rendered) -> None:
    configuration = configuration_in(rendered["injection off"])
    assert not [state for state, *labels in states() if paths(configuration, *labels)]


def test_where_pods_may_not_opt_in_their_namespace_has_to(rendered: Rendered) -> None:
    configuration = configuration_in(rendered["no opting in by pods"])
    for state, namespace, pod in states():
        path = expected(*state)
        if state[1] == "enabled" and state[0] != "enabled":
            path = None
        assert paths(configuration, namespace, pod) == ([path] if path else []), state


def test_excluded_namespaces_are_never_sent(rendered: Rendered) -> None:
    for case, name in (("defaults", "kube-system"), ("everything", "kube-system"), ("everything", "ingress")):
        configuration = configuration_in(rendered[case])
        assert not [
            state
            for state, namespace, pod in states()
            if paths(configuration, {**namespace, NAME: name}, pod)
        ]


def by_url(configuration: Manifest, service: Service, webhook: str) -> Manifest:
    """Let the rendered configuration call a server of this machine, for the namespaces of one webhook."""
    ca = base64.b64encode(service.ca).decode("ascii")
    webhooks = [
        {
            **each,
            "clientConfig": {
                "url": service.url + each["clientConfig"]["service"]["path"],
                "caBundle": ca,
            },
            "namespaceSelector": {
                "matchExpressions": [*each["namespaceSelector"]["matchExpressions"], *scope(webhook)]
            },
        }
        for each in configuration["webhooks"]
    ]
    return {**configuration, "webhooks": webhooks}


@pytest.mark.cluster
def test_the_api_server_sends_them_as_the_selectors_say(
    cluster: Cluster, rendered: Rendered, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with RecordingWebhook(tmp_path_factory.mktemp("recorder")) as recorder:
        namespaces = Namespaces(cluster.api, "entries", "entries")
        probed = namespaces.make({INJECTION: "enabled"})

        def called() -> bool:
            probed.create(multus_pod("probe"), dry_run=True)
            return bool(recorder.calls(probed.name, "probe"))

        configuration = by_url(configuration_in(rendered["defaults"]), recorder.service, "entries")
        with installed(cluster.api, configuration, called):
            for injection, mode, identity in itertools.product(INJECTIONS, MODES, IDENTITIES):
                labels = {INJECTION: injection, MODE: mode, CREDENTIALS: identity}
                namespace = namespaces.make({key: value for key, value in labels.items() if value})
                for own in INJECTIONS:
                    name = f"pod-{own}".lower()
                    namespace.create(multus_pod(name, labels={INJECTION: own} if own else {}), dry_run=True)
                    path = expected(injection, own, mode, identity)
                    assert recorder.calls(namespace.name, name) == ([path] if path else [])
