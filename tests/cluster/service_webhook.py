"""A control plane that calls the webhook behind a Service: `python -m tests.cluster.service_webhook ADDRESS`.

For a network namespace in which ADDRESS, no loopback one, is the machine's: an EndpointSlice takes no
loopback address. There are no nodes and no kube-proxy; the API server goes to the endpoints by itself.
Prints the stored pod as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from common.agent_container import CONTAINER_NAME
from common.pod_keys import INJECTION
from tests.cluster.api import Api, Manifest
from tests.cluster.configuration import webhook_configuration
from tests.cluster.control_plane import ControlPlane
from tests.cluster.manifests import multus_pod
from tests.cluster.namespaces import Namespace, Namespaces, names_of
from tests.cluster.tools import Missing, find_binaries
from tests.cluster.webhook import WebhookServer, installed

NAME = "multus-eni-injector"
NAMESPACE = "default"


def service(address: str, port: int) -> list[Manifest]:
    """Make a Service without selector, and its one endpoint by hand."""
    named = {"name": NAME, "namespace": NAMESPACE}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": {"ports": [{"port": 443}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**named, "labels": {"kubernetes.io/service-name": NAME}},
            "addressType": "IPv4",
            "ports": [{"port": port}],
            "endpoints": [{"addresses": [address]}],
        },
    ]


def behind_service(configuration: Manifest) -> Manifest:
    """Let the configuration call the Service instead of a URL."""
    for webhook in configuration["webhooks"]:
        path = urlsplit(webhook["clientConfig"].pop("url")).path
        webhook["clientConfig"]["service"] = {"name": NAME, "namespace": NAMESPACE, "path": path, "port": 443}
    return configuration


@contextmanager
def routing_control_plane(address: str) -> Iterator[Api]:
    """Run a control plane that goes to a Service's endpoints by itself; ends the program where it can't."""
    binaries = find_binaries()
    if isinstance(binaries, Missing):
        sys.exit(str(binaries))
    with (
        ControlPlane(
            binaries, bind_address=address, controller_manager=False, aggregator_routing=True
        ) as plane,
        plane.client() as api,
    ):
        yield api


def injects(namespace: Namespace) -> bool:
    """Return whether a pod that is created in the namespace gets the agent."""
    spec = namespace.create(multus_pod(), dry_run=True).object["spec"]
    return CONTAINER_NAME in names_of(spec.get("initContainers"))


def main() -> None:
    address = sys.argv[1]
    with (
        tempfile.TemporaryDirectory() as folder,
        routing_control_plane(address) as api,
        WebhookServer(Path(folder), host=address, names=[f"{NAME}.{NAMESPACE}.svc"]) as webhook,
    ):
        for manifest in service(address, webhook.port):
            api.create(manifest)
        namespace = Namespaces(api, "service").make({INJECTION: "enabled"})
        configuration = behind_service(webhook_configuration(webhook.service))
        with installed(api, configuration, lambda: injects(namespace)):
            print(json.dumps(namespace.create(multus_pod()).object))


if __name__ == "__main__":
    main()
