"""Manifests get the webhook's own answer: the same decision, the same patch, wherever the pod stands."""

import copy
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonpatch
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from common import pod_keys
from common.agent_container import CONTAINER_NAME
from common.agent_settings import CONTRACT, ENV_BACKEND, ENV_CONTRACT, Backend
from common.pod_keys import CREDENTIALS, INJECTION, MODE, NETWORKS
from tests.cluster.test_selectors import expected_path
from tests.webhook.core.test_cases import CASES, SETTINGS, read_case, review
from tests.webhook.pods import pods
from webhook.core.inject import inject
from webhook.core.namespace_policy import ROUTES, NamespacePolicy
from webhook.core.pod import Pod
from webhook.core.reasons import REMEDIES, SENTENCES, Reason
from webhook.manifests.documents import patched_stream, read_documents
from webhook.manifests.explain import Explanation, as_objects, as_text, explain
from webhook.manifests.workload_decision import (
    Defaults,
    WorkloadOutcome,
    decide_workloads,
    namespace_policy,
    operations_by_document,
)
from webhook.manifests.workloads import ManifestError, read_manifests
from webhook.manifests.yaml_scalars import plain_scalar
from webhook.server.review import decode_review
from webhook.settings_file import parse_settings

pytestmark = pytest.mark.pure

SECRETS = parse_settings("agent: {image: i, imagePullSecrets: [s]}")
KINDS: dict[tuple[str, str], tuple[str, ...]] = {
    ("v1", "Pod"): (),
    ("v1", "PodTemplate"): ("template",),
    ("v1", "ReplicationController"): ("spec", "template"),
    ("apps/v1", "Deployment"): ("spec", "template"),
    ("apps/v1", "StatefulSet"): ("spec", "template"),
    ("apps/v1", "DaemonSet"): ("spec", "template"),
    ("apps/v1", "ReplicaSet"): ("spec", "template"),
    ("batch/v1", "Job"): ("spec", "template"),
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}


def manifest(kind: tuple[str, str], pod: dict[str, Any], namespace: str | None = "apps") -> dict[str, Any]:
    """Put a pod (its metadata and spec) where this kind has it."""
    inner = {key: pod[key] for key in ("metadata", "spec")}
    metadata: dict[str, Any] = {} if namespace is None else {"namespace": namespace}
    *outer, last = KINDS[kind] or ("",)
    if not last:
        return {
            "apiVersion": kind[0],
            "kind": kind[1],
            **inner,
            "metadata": {**inner["metadata"], **metadata},
        }
    made: dict[str, Any] = {last: inner}
    for key in reversed(outer):
        made = {key: made}
    return {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": "w", **metadata}, **made}


def pod_in(document: dict[str, Any], kind: tuple[str, str]) -> dict[str, Any]:
    for key in KINDS[kind]:
        document = document[key]
    return document


def answered(stream: str, defaults: Defaults) -> tuple[list[WorkloadOutcome], bytes]:
    """Return the answers for a stream, and the stream with the agent in it."""
    documents = read_documents(stream.encode())
    found = decide_workloads(read_manifests(document.json for document in documents), defaults)
    return found, patched_stream(documents, operations_by_document(found))


def values(stream: bytes) -> list[Any]:
    return [json.loads(document.json) for document in read_documents(stream)]


class _Dumper(yaml.SafeDumper):
    """Quotes what kubectl would read as something else than a string; PyYAML knows no `y` and no `1e3`."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if isinstance(plain_scalar(text), str) else '"'
    )


_Dumper.add_representer(str, _quoted)


def written(documents: list[Any], form: str) -> str:
    if form == "json":
        return "\n".join(json.dumps(document) for document in documents)
    if form == "indented":
        return "\n".join(json.dumps(document, indent=2) for document in documents)
    flow = {"block": False, "flow": True, "mixed": None}[form]
    return "---\n".join(
        yaml.dump(document, Dumper=_Dumper, default_flow_style=flow, sort_keys=False)
        for document in documents
    )


kinds = st.sampled_from(sorted(KINDS))
forms = st.sampled_from(["json", "indented", "block", "flow", "mixed"])
labels = st.sampled_from(
    [{INJECTION: "enabled"}, {INJECTION: "enabled", MODE: "init"}, {INJECTION: "enabled", MODE: "sidecar"}]
)


@given(pods(), kinds, labels, forms, st.booleans())
def test_a_template_becomes_what_the_webhook_would_make_of_its_pods(
    pod: dict[str, Any], kind: tuple[str, str], labels: dict[str, str], form: str, listed: bool
) -> None:
    pod = json.loads(json.dumps(pod))
    document = manifest(kind, pod)
    document = (
        {"apiVersion": "v1", "kind": "List", "items": [{"kind": "X"}, document]} if listed else document
    )
    others = [{"kind": "Service", "metadata": {"name": "s"}}]
    _, stream = answered(written([*others, document], form), Defaults(SECRETS, labels=labels))

    policy = namespace_policy(labels, None)
    outcome = inject(
        msgspec.convert(pod_in(manifest(kind, pod), kind), Pod), "apps", policy, SECRETS, admitted=False
    )
    expected = copy.deepcopy(document)
    target = expected["items"][1] if listed else expected
    patch: Any = json.loads(json.dumps(outcome.operations))
    jsonpatch.apply_patch(pod_in(target, kind), patch, in_place=True)
    assert outcome.operations
    assert values(stream) == [*others, expected]


@given(pods(), kinds, forms)
def test_pull_secrets_are_never_written(pod: dict[str, Any], kind: tuple[str, str], form: str) -> None:
    _, stream = answered(written([manifest(kind, pod)], form), Defaults(SECRETS))
    (document,) = values(stream)
    assert "imagePullSecrets" not in pod_in(document, kind)["spec"]
    assert pod_in(document, kind)["spec"]["initContainers"][0]["name"] == CONTAINER_NAME


@given(st.lists(st.tuples(pods(), kinds), min_size=1, max_size=3), forms)
def test_injected_twice_is_injected_once(
    found: list[tuple[dict[str, Any], tuple[str, str]]], form: str
) -> None:
    stream = written([manifest(kind, pod) for pod, kind in found], form)
    _, once = answered(stream, Defaults(SECRETS))
    again, twice = answered(once.decode(), Defaults(SECRETS))
    assert twice == once
    assert {answer.decision.reason for answer in again} == {Reason.ALREADY_INJECTED}


def cases() -> Iterator[Any]:
    for file in sorted(CASES.glob("*.yaml")):
        case = read_case(file)
        if "/invalid/" not in case["path"]:
            yield pytest.param(case, id=file.stem)


@pytest.mark.parametrize("case", list(cases()))
def test_a_case_of_the_webhook_has_the_same_outcome_offline(case: dict[str, Any]) -> None:
    """All cases of tests/cases/injection but those of an entry that knows no more than that it is invalid."""
    policy = ROUTES[case["path"]]
    known = {INJECTION: policy.injection, MODE: policy.mode, CREDENTIALS: policy.credentials}
    settings = parse_settings(yaml.safe_dump(case["settings"]) if "settings" in case else SETTINGS)
    namespace = case.get("namespace", "apps")
    defaults = Defaults(
        settings, namespace, {key: value.value for key, value in known.items() if value is not None}
    )
    request = decode_review(review(case["pod"], namespace))
    assert request.pod is not None
    outcome = inject(request.pod, namespace, policy, settings, admitted=False)
    pod = {"apiVersion": "v1", "kind": "Pod", **case["pod"]}
    (answer,), _ = answered(yaml.safe_dump(pod), defaults)
    assert (answer.decision, answer.operations) == (outcome.decision, outcome.operations)
    assert answer.decision.reason == case["reason"]


STATES = (None, "enabled", "disabled", "other")
MODES = (None, "init", "sidecar", "other")
IDENTITIES = (None, "chain", "node", "other")


@pytest.mark.parametrize(
    ("namespace", "own", "mode", "identity"),
    list(itertools.product(STATES, STATES, MODES, IDENTITIES)),
    ids=str,
)
def test_each_state_of_the_labels_means_the_entry_that_is_called(
    namespace: str | None, own: str | None, mode: str | None, identity: str | None
) -> None:
    """The entries that the API server calls are in tests/cluster/test_selectors.py, seen on a real one."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "annotations": {NETWORKS: "n"}, "labels": {INJECTION: own} if own else {}},
        "spec": {"containers": []},
    }
    given = {INJECTION: namespace, MODE: mode, CREDENTIALS: identity}
    labels = {key: value for key, value in given.items() if value is not None}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": labels}}
    (answer,), _ = answered(written([pod, space], "json"), Defaults(SECRETS))

    path = expected_path(namespace, own, mode, identity)
    if path is None:
        opted_out = (own or namespace) == "disabled"
        assert answer.decision.reason == (Reason.OPTED_OUT if opted_out else Reason.NOT_OPTED_IN)
    else:
        read = msgspec.convert(pod, Pod)
        outcome = inject(read, "default", ROUTES[path], SECRETS, admitted=False)
        assert (answer.decision, answer.operations) == (outcome.decision, outcome.operations)
        assert answer.decision.refused == ("invalid" in path)


def test_a_pod_label_that_is_no_string_can_not_be_read() -> None:
    stream = yaml.safe_dump(
        manifest(
            ("v1", "Pod"),
            {"metadata": {"labels": {INJECTION: True}, "annotations": {NETWORKS: "n"}}, "spec": {}},
        )
    )
    (answer,), _ = answered(stream, Defaults(SECRETS))
    assert answer.decision.reason is Reason.UNREADABLE_POD
    problem = f"the label {INJECTION} is true, which is not a string: write it in quotes"
    assert answer.decision.message == f"{SENTENCES[Reason.UNREADABLE_POD]}: {problem}"


@pytest.mark.parametrize("value", [True, 1, None, ["enabled"], {}])
def test_a_namespace_label_that_is_no_string_is_wrong(value: Any) -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {INJECTION: value}}}
    found = read_manifests([json.dumps(space).encode()])
    assert namespace_policy(found.namespaces["n"], None) == NamespacePolicy(
        invalid=policy_of("other").invalid
    )


def policy_of(injection: str) -> NamespacePolicy:
    return namespace_policy({INJECTION: injection}, None)


def places(document: Any) -> list[tuple[str, str | None, str, tuple[str | int, ...]]]:
    found = read_manifests([json.dumps(document).encode()]).workloads
    return [(workload.kind, workload.namespace, workload.name, workload.place) for workload in found]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"apiVersion": "v1", "kind": "Pod"}, [("Pod", None, "", ())]),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-", "namespace": "n"}},
         [("Pod", "n", "a-", ())]),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": 1, "namespace": None}},
         [("Pod", None, "", ())]),
        ({"apiVersion": "apps/v1", "kind": "Pod"}, []),
        ({"apiVersion": "v1", "kind": "Deployment"}, []),
        ({"apiVersion": "apps/v1beta2", "kind": "Deployment"},
         [("Deployment", None, "", ("spec", "template"))]),
        ({"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod"}, 1, None, []]},
         [("Pod", None, "", ("items", 0))]),
        ({"apiVersion": "v1", "kind": "List", "items": None}, []),
        ({"apiVersion": "v1", "kind": "List"}, []),
        ({"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}}, {"kind": "Service"}]},
         [("Pod", None, "a", ("items", 0))]),
        ({"apiVersion": "batch/v1", "kind": "CronJobList", "items": [{}]},
         [("CronJob", None, "", ("items", 0, "spec", "jobTemplate", "spec", "template"))]),
        ({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "PodList", "items": [{"metadata": {"name": "a"}}]}]},
         [("Pod", None, "a", ("items", 0, "items", 0))]),
        ({"apiVersion": 1, "kind": ["Pod"]}, []),
        ({}, []), ([], []), ("Pod", []), (None, []), (1, []),
    ],
)  # fmt: skip
def test_pod_templates_are_found_in_each_kind(document: Any, expected: list[Any]) -> None:
    assert places(document) == expected


def test_a_malformed_workload_is_an_error() -> None:
    wrongs: tuple[dict[str, Any], ...] = ({"metadata": "x"}, {"metadata": []})
    for wrong in wrongs:
        with pytest.raises(ManifestError, match="Expected `object") as caught:
            read_manifests([b"{}", json.dumps({"apiVersion": "v1", "kind": "Pod", **wrong}).encode()])
        assert caught.value.document == 1


def test_the_last_namespace_of_a_name_counts() -> None:
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {INJECTION: value}}}
        for value in ("disabled", "enabled")
    ]
    found = read_manifests(json.dumps(space).encode() for space in spaces)
    assert found.namespaces == {"n": {INJECTION: "enabled"}}


def test_every_reason_has_a_sentence_and_a_remedy() -> None:
    assert set(SENTENCES) == set(REMEDIES) == set(Reason)


def explained(
    pod: dict[str, Any],
    image: str | None = "i",
    labels: Mapping[str, str] | None = None,
    backend: Backend | None = None,
) -> Explanation:
    stream = json.dumps({"apiVersion": "v1", "kind": "Pod", **pod})
    (answer,), _ = answered(stream, Defaults(SECRETS, labels=labels or {INJECTION: "enabled"}))
    return explain(answer, image, backend)


def running(agent: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    annotations = {NETWORKS: "n", **metadata.pop("annotations", {})}
    containers = [{"name": CONTAINER_NAME, **agent}] if agent is not None else []
    return {
        "metadata": {"name": "p", "annotations": annotations, **metadata},
        "spec": {"containers": [{"name": "app"}], "initContainers": containers},
        "status": {"phase": "Running"},
    }


def number(value: str | None) -> list[dict[str, Any]]:
    return [{"name": "A"}, {"name": ENV_CONTRACT, "value": value}]


NOW = str(CONTRACT)


@pytest.mark.parametrize(
    ("agent", "image", "age"),
    [
        ({"image": "i", "env": number(NOW)}, "i", None),
        ({"image": "i", "env": number(NOW)}, None, None),
        ({"image": "j", "env": number(NOW)}, None, None),
        ({"image": "i", "env": number("999999999")}, "i", None),
        ({"image": "j", "env": number(NOW)}, "i", "its image is j, the injector gives i"),
        ({"env": number(NOW)}, "i", "its image is None, the injector gives i"),
        ({"image": "i", "env": number("0")}, "i", f"it follows contract 0, the injector {NOW}"),
        ({"image": "i", "env": number("")}, "i", f"it follows contract 0, the injector {NOW}"),
        ({"image": "i", "env": number(None)}, "i", f"it follows contract 0, the injector {NOW}"),
        ({"image": "i", "env": number("one")}, "i", f"it follows contract 0, the injector {NOW}"),
        ({"image": "i", "env": number("9" * 5000)}, "i", f"it follows contract 0, the injector {NOW}"),
    ],
)
def test_an_agent_is_old_by_its_contract_or_its_image(
    agent: dict[str, Any], image: str | None, age: str | None
) -> None:
    found = explained(running(agent), image)
    assert found.reason is Reason.ALREADY_INJECTED
    assert (found.missing, found.injected) == (age is not None, True)
    assert found.warnings == ((f"multus-eni: the agent is old: {age}",) if age else ())


@pytest.mark.parametrize(
    ("written", "given", "age"),
    [
        ("node", None, None),
        ("node", Backend.NODE, None),
        (None, Backend.DIRECT, None),
        ("", Backend.DIRECT, None),
        (None, Backend.NODE, "its backend is direct, the injector gives node"),
        ("node", Backend.DIRECT, "its backend is node, the injector gives direct"),
        ("x" * 99, Backend.DIRECT, f"its backend is {'x' * 63}…, the injector gives direct"),
    ],
)
def test_an_agent_is_old_by_its_backend(written: str | None, given: Backend | None, age: str | None) -> None:
    variable = [{"name": ENV_BACKEND, "value": written}] if written is not None else []
    found = explained(running({"image": "i", "env": [*number(NOW), *variable]}), backend=given)
    assert found.missing is (age is not None)
    assert found.warnings == ((f"multus-eni: the agent is old: {age}",) if age else ())


@pytest.mark.parametrize(
    ("status", "old"),
    [
        ('{"image":"i"}', False),
        ('{"image":"older"}', True),
        ('{"image":["i"]}', True),
        ("{}", True),
        ("", True),
        ("[", True),
        ('"i"', True),
    ],
)
def test_an_image_that_another_webhook_has_rewritten_is_not_old(status: str, *, old: bool) -> None:
    pod = running({"image": "mirror/i@sha256:0", "env": number(NOW)}, annotations={pod_keys.STATUS: status})
    assert explained(pod).missing is old


def test_an_image_that_the_pod_asks_for_is_not_old() -> None:
    asked = {pod_keys.AGENT_IMAGE: "mine"}
    mine = {"image": "mine", "env": number(NOW)}
    assert not explained(running(mine, annotations=asked)).missing
    assert explained(running({**mine, "image": "i"}, annotations=asked)).missing


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, True),
        ({"status": {"phase": "Pending"}}, True),
        ({"status": {"phase": "Unknown"}}, True),
        ({"status": None}, True),
        ({"status": {"phase": "Succeeded"}}, False),
        ({"status": {"phase": "Failed"}}, False),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, False),
        ({"metadata": {"deletionTimestamp": None}}, True),
        ({"metadata": {"labels": {INJECTION: "disabled"}}}, False),
        ({"metadata": {"labels": {INJECTION: "wrong"}}}, True),
        ({"metadata": {"annotations": {NETWORKS: "n", MODE: "wrong"}}}, True),
        ({"metadata": {"annotations": {NETWORKS: "n", "a": 1}}}, True),
        ({"metadata": {"annotations": {NETWORKS: ""}}}, False),
        ({"metadata": {"annotations": {}}}, False),
        ({"spec": {"hostNetwork": True}}, False),
        ({"spec": {"containers": [{"name": "aws-ip-mgmt"}]}}, False),
        ({"spec": {"initContainers": 1}}, True),
    ],
)
def test_which_pods_lack_an_agent(changes: dict[str, Any], missing: bool) -> None:
    pod = running()
    for part, change in changes.items():
        pod[part] = {**pod[part], **change} if change else change
    assert explained(pod).missing is missing


def test_only_pods_lack_an_agent_not_what_makes_them() -> None:
    stream = json.dumps(manifest(("apps/v1", "Deployment"), running()))
    (answer,), _ = answered(stream, Defaults(SECRETS))
    assert not explain(answer, "i").missing


@pytest.mark.parametrize(
    ("agent", "labels", "mode", "injected"),
    [
        (None, {INJECTION: "enabled"}, "init", True),
        (None, {INJECTION: "enabled", MODE: "sidecar"}, "sidecar", True),
        ({"image": "i", "env": number(NOW)}, {INJECTION: "enabled"}, "init", True),
        (
            {"image": "i", "env": number(NOW), "restartPolicy": "Always"},
            {INJECTION: "enabled"},
            "sidecar",
            True,
        ),
        (None, {INJECTION: "disabled"}, None, False),
        (None, {INJECTION: "wrong"}, None, False),
    ],
    ids=["init", "sidecar", "has one", "has a sidecar", "opted out", "refused"],
)
def test_an_explanation_as_an_object(
    agent: dict[str, Any] | None, labels: dict[str, str], mode: str | None, injected: bool
) -> None:
    found = explained(running(agent), labels=labels)
    (made,) = as_objects([found])
    assert (made["mode"], made["injected"]) == (mode, injected)
    assert list(made) == [
        "kind", "namespace", "name", "reason", "mode", "injected", "networks", "warnings", "refusal"
    ]  # fmt: skip
    assert made["networks"] == [{"namespace": "default", "name": "n", "interface": "net1"}]
    assert (made["refusal"] is not None) == (made["reason"] == "invalid_setting")


@given(pods(), labels)
def test_every_explanation_says_what_to_change(pod: dict[str, Any], labels: dict[str, str]) -> None:
    found = explained(pod, labels=labels)
    text = as_text(found)
    first, *details = text.splitlines()
    assert first.startswith(f"Pod default/{found.name}: {found.reason}: ")
    assert details[-1] == f"    change: {REMEDIES[found.reason]}"
    assert all(line.startswith("    ") for line in details)
    assert as_text(found, existing=True).splitlines()[-1].startswith("    change: replace the pod")
