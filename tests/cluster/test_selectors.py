"""Which pods the API server sends to which path: the configuration's selectors, against a recorder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from common.pod_keys import CREDENTIALS, INJECTION, MODE
from tests.cluster.api import NAMESPACE, POD, Api, ApiError
from tests.cluster.configuration import NAME, entries
from tests.cluster.manifests import multus_pod, pod
from tests.cluster.namespaces import SCOPE, Namespace, Namespaces, ready_namespace
from tests.cluster.recording_webhook import RecordingWebhook
from tests.cluster.waiting import wait_for
from webhook.core.namespace_policy import ROUTES

pytestmark = pytest.mark.cluster

INJECTIONS = (None, "enabled", "disabled", "other")
MODES = (None, "init", "sidecar", "other")
IDENTITIES = (None, "chain", "node", "other")


def expected_path(
    namespace: str | None, pod_label: str | None, mode: str | None, identity: str | None
) -> str | None:
    """Say where a pod goes by its own and its namespace's labels; None: it is not sent at all."""
    if pod_label == "other":
        return "/mutate/invalid/pod-injection"
    if pod_label is None and namespace == "other":
        return "/mutate/invalid/namespace-injection"
    if (pod_label or namespace) != "enabled":
        return None
    if mode == "other":
        return "/mutate/invalid/namespace-mode"
    if identity == "other":
        return "/mutate/invalid/namespace-credentials"
    path = f"/mutate/{'pod' if pod_label else 'namespace'}/{mode or 'default'}"
    return f"{path}/{identity}" if identity else path


def labels(**values: str | None) -> dict[str, str]:
    keys = {"injection": INJECTION, "mode": MODE, "credentials": CREDENTIALS}
    return {keys[name]: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("identity", IDENTITIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("injection", INJECTIONS)
def test_each_pod_is_sent_to_exactly_one_path_or_to_none(
    recorder: RecordingWebhook,
    recorded: Namespaces,
    injection: str | None,
    mode: str | None,
    identity: str | None,
) -> None:
    namespace = recorded.make(labels(injection=injection, mode=mode, credentials=identity))
    seen = {}
    for value in INJECTIONS:
        name = f"pod-{value}".lower()
        namespace.create(multus_pod(name, labels=labels(injection=value)), dry_run=True)
        seen[value] = recorder.calls(namespace.name, name)
    expected = {value: expected_path(injection, value, mode, identity) for value in INJECTIONS}
    assert seen == {value: [path] if path else [] for value, path in expected.items()}


def test_the_states_reach_every_path_that_the_webhook_serves() -> None:
    states = itertools.product(INJECTIONS, INJECTIONS, MODES, IDENTITIES)
    assert {expected_path(*state) for state in states} - {None} == set(ROUTES)


def test_the_entries_call_every_path_that_the_webhook_serves() -> None:
    assert {entry.path for entry in entries()} == set(ROUTES)


def test_the_configuration_runs_before_the_one_that_adds_credentials() -> None:
    assert NAME < "pod-identity-webhook"


@pytest.mark.parametrize(
    "annotations", [None, {"example.com/other": "x"}], ids=["no annotations", "other annotations"]
)
def test_a_pod_without_multus_is_never_sent(
    recorder: RecordingWebhook, recorded: Namespaces, annotations: dict[str, str] | None
) -> None:
    namespace = recorded.make(labels(injection="enabled"))
    namespace.create(pod("plain", labels=labels(injection="enabled"), annotations=annotations))
    namespace.create(multus_pod("multus"))
    assert recorder.calls(namespace.name, "plain") == []
    assert recorder.calls(namespace.name, "multus") == ["/mutate/namespace/default"]


def test_while_the_webhook_is_down_only_pods_that_need_it_are_held_up(unserved: Namespaces) -> None:
    namespace = unserved.make(labels(injection="enabled"))
    opted_out = labels(injection="disabled")
    assert namespace.create(pod("plain")).object["metadata"]["uid"]
    assert namespace.create(multus_pod("opted-out", labels=opted_out)).object["metadata"]["uid"]
    with pytest.raises(ApiError, match=r'failed calling webhook "namespace-default\.multus-eni\.io"'):
        namespace.create(multus_pod())


@pytest.fixture
def labelled_kube_system(api: Api, recorder: RecordingWebhook, recorded: Namespaces) -> Iterator[Namespace]:
    """kube-system with the labels of a namespace that is opted in, and known by the API server's webhooks."""
    opted_in = {SCOPE: recorded.webhook, **labels(injection="enabled", mode="init")}
    api.label(NAMESPACE, "kube-system", opted_in)
    try:
        # The API server sees changes of namespaces in their order: this one is seen once a later one is.
        later = recorded.make()
        api.label(NAMESPACE, later.name, opted_in)

        def seen() -> bool:
            later.create(multus_pod("probe"), dry_run=True)
            return bool(recorder.calls(later.name, "probe"))

        wait_for(seen, "call for a namespace that was labelled later")
        yield ready_namespace(api, "kube-system")
    finally:
        api.label(NAMESPACE, "kube-system", dict.fromkeys(opted_in))


def test_kube_system_is_never_touched(recorder: RecordingWebhook, labelled_kube_system: Namespace) -> None:
    for value in INJECTIONS:
        name = f"never-{value}".lower()
        labelled_kube_system.create(multus_pod(name, labels=labels(injection=value)), dry_run=True)
        assert recorder.calls("kube-system", name) == []


def test_changing_a_pod_calls_nothing(api: Api, recorder: RecordingWebhook, recorded: Namespaces) -> None:
    namespace = recorded.make(labels(injection="enabled"))
    namespace.create(multus_pod("changed"))
    api.label(POD, "changed", labels(injection="enabled"), namespace.name)
    assert recorder.calls(namespace.name, "changed") == ["/mutate/namespace/default"]
