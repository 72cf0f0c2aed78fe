"""A release from nothing to nothing: real Helm on a real control plane, RBAC on."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from common.agent_container import TOKEN_AUDIENCE, TOKEN_DIRECTORY, TOKEN_VOLUME
from common.agent_settings import ENV_BACKEND, ENV_TIMEOUT
from common.pod_keys import INJECTION
from tests.chart.conftest import Cluster
from tests.chart.live_objects import API_SERVER_METRICS, Key, differences, exported_by, objects
from tests.chart.values import REQUIRED as VALID
from tests.chart.values import ca_bundle
from tests.cluster.api import WEBHOOK_CONFIGURATION, ApiError, Kind, Manifest
from tests.cluster.helm import CHART, RELEASE, Helm, HelmError, merged, parsed
from tests.cluster.helm import NAMESPACE as SYSTEM
from tests.cluster.manifests import multus_pod, pod
from tests.cluster.namespaces import Namespace, Namespaces, agent_of
from tests.cluster.test_generated_pods import SEED, generated, quality
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

HELMS = ("helm4", "helm3")
PLACES = {"helm4": SYSTEM, "helm3": "default"}
"""Where each Helm installs to: people install into `default` too."""
ENABLED = {INJECTION: "enabled"}
GENERATED = 60
"""Generated pods that go through the API server with the backend node."""
SECRET = Kind("v1", "Secret")
DAEMON_SET = Kind("apps/v1", "DaemonSet")
TLS = f"{RELEASE}-tls"
SPOILT = "pod-init-node"
"""An entry whose caBundle somebody damages."""
UPGRADE = ("upgrade", RELEASE, CHART)
REQUIRED = merged(VALID, {"webhook": {"drainSeconds": 1}})
NODE = {"agent": {"backend": "node"}, "nodeAgent": {"grants": {"*": {"takeover": True}}}}
BESIDE = {"nodeAgent": {"enabled": True}}
WATCH = {"nodeAgent": {"watchOnly": True}}
Attributes = tuple[str, str, str, str, str, bool]
"""API group, resource, verb, name and namespace of a request, and whether it is allowed."""


@pytest.fixture
def namespaces(cluster: Cluster) -> Namespaces:
    return Namespaces(cluster.api, "chart", "users")


def wait(place: str) -> tuple[str, ...]:
    """Make the options that name the release's namespace, and wait."""
    return ("-n", place, "--wait", "--timeout=60s")


def published(helm: Helm, registry: str) -> tuple[str, ...]:
    """Push the chart as `make push` does; return what `helm install` is given for it."""
    helm.run("package", CHART, "-d", helm.folder)
    (packed,) = helm.folder.glob("*.tgz")
    helm.run("push", packed, f"oci://{registry}/charts", "--plain-http")
    return (f"oci://{registry}/charts/{CHART.name}", "--plain-http")


@contextmanager
def release(
    cluster: Cluster, helm: Helm, place: str = SYSTEM, chart: tuple[str, ...] = (str(CHART),)
) -> Iterator[None]:
    """Install as the README says for the length of a block; also a test that fails leaves nothing behind.

    `chart` is its place, with the options for it.
    """
    helm.run("install", RELEASE, *chart, "--create-namespace", *wait(place), values=REQUIRED)
    try:
        yield
    finally:
        helm.run("uninstall", RELEASE, "--ignore-not-found", *wait(place))
        wait_for(lambda: gone(cluster), "end of the release's pods")


def gone(cluster: Cluster) -> bool:
    cluster.kubelet.kill_leaving()
    return not cluster.kubelet.pods("webhook")


def ca_bundles(cluster: Cluster) -> set[str]:
    """Return the different caBundles of the configuration's entries, `` where an entry has none."""
    found = cluster.api.get(WEBHOOK_CONFIGURATION, RELEASE)
    return {each["clientConfig"].get("caBundle", "") for each in found["webhooks"]}


def trusted_everywhere(cluster: Cluster, bundle: str) -> bool:
    """Return whether every entry trusts the CA in a caBundle."""
    authority = base64.b64decode(bundle)
    return all(authority.strip() in base64.b64decode(each) for each in ca_bundles(cluster))


def injected(namespace: Namespace, **more: Any) -> Manifest | None:
    """Return the agent of a Multus pod that is created for a moment, None where the webhook is not there."""
    try:
        return agent_of(namespace.create(multus_pod(**more), dry_run=True).object)
    except ApiError as error:
        if "failed calling webhook" not in error.message:
            raise
        return None


def drift(cluster: Cluster, helm: Helm, place: str = SYSTEM) -> list[str]:
    """Compare what Helm says that it installed with what is there."""
    manifest = helm.run("get", "manifest", RELEASE, "-n", place)
    found = []
    for each in parsed(manifest):
        kind = Kind(each["apiVersion"], each["kind"])
        name, namespace = each["metadata"]["name"], each["metadata"].get("namespace")
        live = cluster.api.get(kind, name, namespace)
        found += [f"{each['kind']} {name}{line}" for line in differences(each, live)]
    return found


def timeout_of(agent: Manifest | None) -> str:
    """Return how long the injected agent may take, `` where there is no agent."""
    return next((each["value"] for each in (agent or {}).get("env", []) if each["name"] == ENV_TIMEOUT), "")


def revised(values: dict[str, Any]) -> dict[str, Any]:
    return merged(REQUIRED, values)


@pytest.mark.parametrize("name", HELMS)
def test_a_release_from_install_to_uninstall(
    cluster: Cluster, namespaces: Namespaces, registry: str, name: str
) -> None:
    helm, place = cluster.helm(name), PLACES[name]
    before = objects(cluster.api)
    opted_in = namespaces.make(ENABLED)
    with release(cluster, helm, place, published(helm, registry)):
        cluster.kubelet.check()
        (bundle,) = ca_bundles(cluster)
        assert base64.b64decode(bundle).startswith(b"-----BEGIN CERTIFICATE-----")
        wait_for(lambda: injected(opted_in), "injection")
        assert injected(namespaces.make()) is None
        assert helm.run("test", RELEASE, "-n", place, "--timeout=60s").count("Succeeded") == 4
        assert drift(cluster, helm, place) == []

        changed = revised({"agent": {"timeout": "90s"}, "injection": {"excludedNamespaces": [opted_in.name]}})
        helm.run(*UPGRADE, *wait(place), values=changed)
        assert ca_bundles(cluster) == {bundle}
        assert drift(cluster, helm, place) == []
        wait_for(lambda: injected(opted_in) is None, "end of injection in an excluded namespace")
        other = namespaces.make(ENABLED)
        wait_for(lambda: timeout_of(injected(other)) == "90s", "answer of a new replica")

        helm.run("rollback", RELEASE, "1", *wait(place))
        assert ca_bundles(cluster) == {bundle}
        assert drift(cluster, helm, place) == []
        wait_for(lambda: injected(opted_in), "injection after the rollback")
        wait_for(
            lambda: timeout_of(injected(opted_in)) == "120s", "answer of a replica with the old settings"
        )
        assert {each.restarts for each in cluster.kubelet.pods("webhook")} == {0}
    assert left_behind(cluster, before, namespaces) == set()
    wait_for(lambda: left_alone(opted_in), "creation without the webhook")


def left_behind(cluster: Cluster, before: set[Key], namespaces: Namespaces) -> set[Key]:
    """Wait until nothing is there that was not there before; return what stays."""

    def more() -> set[Key]:
        return {
            key
            for key in objects(cluster.api) - before
            # The test's own namespaces, and that of the release with what each namespace has.
            if not key[2].startswith(namespaces.prefix) and not key[3].startswith(namespaces.prefix)
            if key[3] not in (SYSTEM, "kube-root-ca.crt", "default")
        }

    try:
        wait_for(lambda: not more(), "end of the release's objects")
    except TimeoutError:
        return more()
    return set()


# The entries are the same for every value, so that Helm 4's server-side apply never has to take one away.
def test_a_release_between_the_backends_and_back(cluster: Cluster, namespaces: Namespaces) -> None:
    helm, before = cluster.helm("helm4"), objects(cluster.api)
    opted_in = namespaces.make(ENABLED)
    with release(cluster, helm):
        (bundle,) = ca_bundles(cluster)
        wait_for(lambda: backend_of(injected(opted_in)) == "direct", "injection")
        direct = opted_in.create(multus_pod("from-before")).object

        helm.run(*UPGRADE, *wait(SYSTEM), values=revised(NODE))
        assert ca_bundles(cluster) == {bundle}
        assert drift(cluster, helm) == []
        assert_rights(cluster, NODE_RIGHTS, f"{RELEASE}-node")
        # Replicas from before answer as before, until the API server has closed its connections to them.
        made = wait_for(lambda: created_by(opted_in, "node"), "answer of a new replica")
        assert token_of(made) == (TOKEN_AUDIENCE, TOKEN_DIRECTORY)
        for pod_of_any_kind in generated(SEED, GENERATED):
            quality(opted_in, pod_of_any_kind)
        # Who sends such a pod again, as a restore of a backup does, gets what it sends.
        again = opted_in.create(resent(direct), dry_run=True).object
        assert backend_of(agent_of(again)) == "direct"

        helm.run(*UPGRADE, *wait(SYSTEM), values=revised(BESIDE))
        assert cluster.api.get(DAEMON_SET, f"{RELEASE}-node", SYSTEM)
        wait_for(lambda: backend_of(injected(opted_in)) == "direct", "answer of a replica as before")
        helm.run("rollback", RELEASE, "1", *wait(SYSTEM))
        with pytest.raises(ApiError, match="not found"):
            cluster.api.get(DAEMON_SET, f"{RELEASE}-node", SYSTEM)
        assert ca_bundles(cluster) == {bundle}
        assert drift(cluster, helm) == []
    assert left_behind(cluster, before, namespaces) == set()


def test_a_release_to_watching_only_and_back(cluster: Cluster, namespaces: Namespaces) -> None:
    helm, before = cluster.helm("helm3"), objects(cluster.api)
    opted_in = namespaces.make(ENABLED)
    with release(cluster, helm):
        wait_for(lambda: injected(opted_in), "injection")
        (bundle,) = ca_bundles(cluster)
        helm.run(*UPGRADE, *wait(SYSTEM), values=revised(WATCH))
        with pytest.raises(ApiError, match="not found"):
            cluster.api.get(WEBHOOK_CONFIGURATION, RELEASE)
        assert drift(cluster, helm) == []
        wait_for(lambda: left_alone(opted_in), "creation without the webhook")
        wait_for(lambda: gone(cluster), "end of the webhook's pods")

        helm.run("rollback", RELEASE, "1", *wait(SYSTEM))
        wait_for(lambda: injected(opted_in), "injection as before")
        assert ca_bundles(cluster) == {bundle}
        assert drift(cluster, helm) == []
    assert left_behind(cluster, before, namespaces) == set()


def backend_of(agent: Manifest | None) -> str:
    """Return who calls EC2 for the injected agent's pod, `` where there is no agent."""
    return next((each["value"] for each in (agent or {}).get("env", []) if each["name"] == ENV_BACKEND), "")


def token_of(created: Manifest) -> tuple[str, str]:
    """Return the audience of the agent's token, and where it is mounted."""
    (volume,) = [each for each in created["spec"]["volumes"] if each["name"] == TOKEN_VOLUME]
    (source,) = volume["projected"]["sources"]
    agent = agent_of(created)
    assert agent is not None
    (mount,) = [each for each in agent["volumeMounts"] if each["name"] == TOKEN_VOLUME]
    return source["serviceAccountToken"]["audience"], mount["mountPath"]


def resent(created: Manifest) -> Manifest:
    """Make the manifest that a copy of a stored pod is."""
    metadata = {
        key: created["metadata"][key] for key in ("labels", "annotations") if key in created["metadata"]
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "name": "copied"},
        "spec": created["spec"],
    }


def test_rights_as_rendered_heal_what_is_deleted_or_damaged(cluster: Cluster, namespaces: Namespaces) -> None:
    helm = cluster.helm("helm4")
    with release(cluster, helm):
        (bundle,) = ca_bundles(cluster)
        wrong = base64.b64encode(ca_bundle().encode()).decode("ascii")
        damage = {
            "apiVersion": WEBHOOK_CONFIGURATION.api_version,
            "kind": WEBHOOK_CONFIGURATION.kind,
            "metadata": {"name": RELEASE},
            "webhooks": [{"name": f"{SPOILT}.multus-eni.io", "clientConfig": {"caBundle": wrong}}],
        }
        cluster.api.apply(damage)
        wait_for(lambda: trusted_everywhere(cluster, bundle), "the CA in every entry again")

        cluster.api.delete(WEBHOOK_CONFIGURATION, RELEASE)
        helm.run(*UPGRADE, *wait(SYSTEM), values=REQUIRED)
        wait_for(lambda: ca_bundles(cluster) == {bundle}, "caBundle of the configuration made again")

        cluster.api.delete(SECRET, TLS, SYSTEM)
        wait_for(lambda: ca_bundles(cluster) not in ({bundle}, {""}), "new CA in caBundle")
        made = cluster.api.get(SECRET, TLS, SYSTEM)
        assert set(made["data"]) >= {"tls.crt", "tls.key"}
        opted_in = namespaces.make(ENABLED)
        wait_for(lambda: injected(opted_in), "injection")


# Helm wants its own labels and annotations on what it changes and removes.
def test_helm_takes_over_a_secret_that_certs_made_anew(cluster: Cluster) -> None:
    helm = cluster.helm("helm4")
    with release(cluster, helm):
        (bundle,) = ca_bundles(cluster)
        cluster.api.delete(SECRET, TLS, SYSTEM)
        wait_for(lambda: ca_bundles(cluster) not in ({bundle}, {""}), "new CA in caBundle")
        helm.run(*UPGRADE, *wait(SYSTEM), values=REQUIRED)
        cluster.helm("helm3").run(*UPGRADE, *wait(SYSTEM), values=REQUIRED)
    with pytest.raises(ApiError, match="not found"):
        cluster.api.get(SECRET, TLS, SYSTEM)


NOBODYS = ("a-secret", "another-configuration")
RIGHTS: dict[str, Attributes] = {
    "its Secret": ("", "secrets", "patch", TLS, SYSTEM, True),
    "its Secret, anew": ("", "secrets", "create", TLS, SYSTEM, True),
    "another Secret": ("", "secrets", "get", NOBODYS[0], SYSTEM, False),
    "all Secrets": ("", "secrets", "list", "", SYSTEM, False),
    "its Secret's name elsewhere": ("", "secrets", "get", TLS, "default", False),
    "its configuration": (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "patch",
        RELEASE,
        "",
        True,
    ),
    "another configuration": (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "patch",
        NOBODYS[1],
        "",
        False,
    ),
    "deleting": (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "delete",
        RELEASE,
        "",
        False,
    ),
    "pods": ("", "pods", "list", "", SYSTEM, False),
}


NODE_RIGHTS: dict[str, Attributes] = {
    "pods of a node": ("", "pods", "list", "", "", True),
    "their changes": ("", "pods", "watch", "", "", True),
    "changing pods": ("", "pods", "patch", "app", "default", False),
    "their status": ("", "pods/status", "patch", "app", "default", False),
    "whose token it is": ("authentication.k8s.io", "tokenreviews", "create", "", "", True),
    "Events on them": ("", "events", "create", "", "default", True),
    "counting on": ("", "events", "patch", "", "default", True),
    "reading Events": ("", "events", "list", "", "", False),
    "Secrets": ("", "secrets", "get", TLS, SYSTEM, False),
    "tokens of its own making": ("", "serviceaccounts/token", "create", "default", "default", False),
    "nodes": ("", "nodes", "list", "", "", False),
    "the webhook's configuration": (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        "get",
        RELEASE,
        "",
        False,
    ),
}


def test_all_replicas_dead_hold_up_only_pods_that_need_them(cluster: Cluster, namespaces: Namespaces) -> None:
    helm = cluster.helm("helm4")
    opted_in, other = namespaces.make(ENABLED), namespaces.make()
    with release(cluster, helm):
        wait_for(lambda: injected(opted_in), "injection")
        assert_rights(cluster, RIGHTS, f"{RELEASE}-certs")
        with cluster.kubelet.outage("webhook"):
            with pytest.raises(ApiError) as refused:
                opted_in.create(multus_pod())
            assert 'failed calling webhook "namespace-default.multus-eni.io"' in refused.value.message
            assert f"https://{RELEASE}.{SYSTEM}.svc:443/" in refused.value.message
            assert exported_by(cluster.api) == set(API_SERVER_METRICS)
            with pytest.raises(HelmError):
                helm.run("test", RELEASE, "-n", SYSTEM, "--timeout=60s")
            opted_out = multus_pod("opted-out", labels={INJECTION: "disabled"})
            for free in (pod("plain"), opted_out):
                assert opted_in.create(free).object["metadata"]["uid"]
            assert "initContainers" not in other.create(multus_pod("multus")).object["spec"]
            # Whoever has to, can switch injection off without the webhook.
            off = revised({"injection": {"enabled": False}})
            helm.run("upgrade", RELEASE, CHART, "-n", SYSTEM, values=off)
            wait_for(lambda: created(opted_in, "switched-off"), "creation while injection is off")
            helm.run("rollback", RELEASE, "-n", SYSTEM)
        wait_for(lambda: injected(opted_in), "injection by the replicas that came back")


def created(namespace: Namespace, name: str) -> bool:
    """Create a Multus pod; tell whether it was let through."""
    try:
        return bool(namespace.create(multus_pod(name), dry_run=True).object)
    except ApiError:
        return False


def left_alone(namespace: Namespace) -> bool:
    """Create a Multus pod; tell whether it was stored without the agent."""
    try:
        return agent_of(namespace.create(multus_pod("left-alone"), dry_run=True).object) is None
    except ApiError:
        return False


def created_by(namespace: Namespace, backend: str) -> Manifest | None:
    """Create a Multus pod; return it where it got the agent of a backend."""
    made = namespace.create(multus_pod(f"from-{backend}"), dry_run=True).object
    return made if backend_of(agent_of(made)) == backend else None


def assert_rights(cluster: Cluster, rights: dict[str, Attributes], account: str) -> None:
    """Assert what a ServiceAccount may do, and what not."""
    allowed = {who: each[:-1] for who, each in rights.items() if each[-1]}
    # The API server's authorizer reads roles from a cache.
    wait_for(lambda: all(may(cluster, account, *each) for each in allowed.values()), f"rights of {account}")
    found = {who for who, each in rights.items() if may(cluster, account, *each[:-1])}
    assert found == set(allowed)


def may(
    cluster: Cluster, account: str, group: str, resource: str, verb: str, name: str, namespace: str
) -> bool:
    """Ask the API server whether one of our ServiceAccounts may do something."""
    plural, _, below = resource.partition("/")
    attributes = {"group": group, "resource": plural, "subresource": below, "verb": verb}
    attributes |= {"name": name, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": f"system:serviceaccount:{SYSTEM}:{account}",
            "resourceAttributes": attributes,
        },
    }
    return bool(cluster.api.create(review).object["status"]["allowed"])
