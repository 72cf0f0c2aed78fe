"""Creates the user's pod through a real API server."""

from __future__ import annotations

import json

from demo.admission import Admitted, Via, has_agent
from demo.failure import DemoError
from demo.manifests import Manifest, Manifests, pod_of
from demo.webhook import Webhook
from tests.cluster.api import POD, SERVICE_ACCOUNT, Answer, Api, ApiError, Kind
from tests.cluster.configuration import Service, webhook_configuration
from tests.cluster.control_plane import ControlPlane
from tests.cluster.tools import CONTROL_PLANE, Binaries, Missing, find_binaries
from tests.cluster.waiting import wait_for

WITHOUT_CONTROLLERS = ("etcd", "kube-apiserver")
REPLICA_SET = Kind("apps/v1", "ReplicaSet")
PATIENCE = 30.0
"""Seconds for each thing that the control plane does by itself."""


def find() -> Binaries | Missing:
    """The programs of a control plane; the controller-manager may be missing."""
    found = find_binaries(CONTROL_PLANE)
    return find_binaries(WITHOUT_CONTROLLERS) if isinstance(found, Missing) else found


def create(binaries: Binaries, manifests: Manifests, webhook: Webhook) -> Admitted:
    """Apply namespace, webhook configuration and Deployment, and wait for the pods.

    Raises DemoError where no pod comes of it, and what ControlPlane raises.
    """
    controllers = "kube-controller-manager" in binaries.paths
    with ControlPlane(binaries, controller_manager=controllers) as plane, plane.client() as api:
        version = json.loads(api.raw("/version"))["gitVersion"]
        namespace = manifests.namespace["metadata"]["name"]
        api.create(manifests.namespace)
        _default_service_account(api, namespace, controllers=controllers)
        sample = pod_of(manifests.deployment)
        before = api.create(sample, dry_run=True).object
        api.create(webhook_configuration(Service(webhook.url, webhook.ca)))
        trial = _first_injected(api, sample)
        if not controllers:
            answer = api.create(sample)
            how = f"kube-apiserver {version}, the pod created from the Deployment's template"
            return Admitted(Via.API_SERVER, how, before, answer.object, answer.warnings)
        api.create(manifests.deployment)
        pods = _wait_for_pods(api, namespace, manifests.deployment)
        if not all(has_agent(pod) for pod in pods):
            raise DemoError("some of the Deployment's pods were admitted without the agent")
        how = f"kube-apiserver {version}; of the {len(pods)} pods of the Deployment one is followed here"
        return Admitted(Via.API_SERVER, how, before, pods[0], trial.warnings)


def _first_injected(api: Api, sample: Manifest) -> Answer:
    """Wait until the webhook is called: the API server learns of a configuration by a watch of its own."""

    def trial() -> Answer | None:
        answer = api.create(sample, dry_run=True)
        return answer if has_agent(answer.object) else None

    return wait_for(trial, f"call of the webhook for a pod in {sample['metadata']['namespace']}", PATIENCE)


def _default_service_account(api: Api, namespace: str, *, controllers: bool) -> None:
    """Without it the API server refuses pods; the controller-manager makes it."""
    if not controllers:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        api.create(account, namespace)

    def there() -> bool:
        try:
            return bool(api.get(SERVICE_ACCOUNT, "default", namespace))
        except ApiError as error:
            if error.not_found:
                return False
            raise

    wait_for(there, f"service account `default` in {namespace}", PATIENCE)


def _wait_for_pods(api: Api, namespace: str, deployment: Manifest) -> list[Manifest]:
    labels = ",".join(
        f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items()
    )
    replicas = deployment["spec"].get("replicas", 1)

    def pods() -> list[Manifest]:
        found = api.list(POD, namespace, labels)
        return found if len(found) >= replicas else []

    try:
        return wait_for(pods, f"{replicas} pods of the Deployment", PATIENCE)
    except TimeoutError as error:
        raise DemoError(f"{error}; {_why_no_pods(api, namespace, labels)}") from None


def _why_no_pods(api: Api, namespace: str, labels: str) -> str:
    for replica_set in api.list(REPLICA_SET, namespace, labels):
        for condition in replica_set.get("status", {}).get("conditions", ()):
            return f"the ReplicaSet says: {condition.get('message')}"
    return "there is no ReplicaSet that would say why"
