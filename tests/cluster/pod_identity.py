"""The EKS pod-identity webhook beside ours: `python -m tests.cluster.pod_identity PROGRAM`.

For a network namespace of its own, since that webhook listens on all addresses. Prints as JSON, by case, the
pods that the API server made.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.pod_keys import INJECTION, MODE
from tests.cluster.api import Api, Manifest
from tests.cluster.certificates import Authority
from tests.cluster.configuration import NAME, Entry, Service, configuration_of, webhook_configuration
from tests.cluster.control_plane import ControlPlane, free_ports
from tests.cluster.manifests import container, multus_pod, pod
from tests.cluster.namespaces import Namespace, Namespaces, names_of
from tests.cluster.processes import Process
from tests.cluster.tools import Missing, find_binaries
from tests.cluster.waiting import wait_for
from tests.cluster.webhook import WebhookServer, installed

ACCOUNT = "app"
ROLE = "arn:aws:iam::111122223333:role/app"
VARIABLES = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
TOKEN_VOLUME = "aws-iam-token"
MODES = ("init", "sidecar")
RESOURCES = {kind: {"cpu": "200m", "memory": "256Mi"} for kind in ("requests", "limits")}

SPECS: dict[str, Manifest] = {
    "one container": {"containers": [container()]},
    "init containers and a sidecar": {
        "containers": [container("a", resources=RESOURCES), container("b", resources=RESOURCES)],
        "initContainers": [
            container("own", resources=RESOURCES),
            container("mesh", restartPolicy="Always", resources=RESOURCES),
        ],
    },
}


@dataclass(frozen=True, slots=True)
class Order:
    """The name of the peer's configuration, which decides who is first, and its reinvocation policy."""

    peer: str
    reinvocation: str


ORDERS = {
    "ours first": Order("pod-identity-webhook", "IfNeeded"),
    "ours first, peer once": Order("pod-identity-webhook", "Never"),
    "peer first": Order("a-pod-identity-webhook", "IfNeeded"),
}
assert all((order.peer > NAME) == name.startswith("ours") for name, order in ORDERS.items())


def peer_configuration(service: Service, order: Order) -> Manifest:
    """Write the peer's configuration as EKS has it: all pods, failures ignored."""
    entry = Entry("iam-for-pods.amazonaws.com", "/mutate", namespace=(), pod=())
    configuration = configuration_of([entry], service, name=order.peer)
    (webhook,) = configuration["webhooks"]
    del webhook["matchConditions"]
    webhook.update(failurePolicy="Ignore", reinvocationPolicy=order.reinvocation)
    return configuration


@contextmanager
def peer(program: Path, plane: ControlPlane, folder: Path) -> Iterator[Service]:
    """Run the peer; it answers once the API server's calls change pods."""
    authority = Authority("peer")
    pair = authority.issue(["127.0.0.1"], folder, "peer")
    port, metrics = free_ports("127.0.0.1", "127.0.0.1")
    argv: list[str | Path] = [
        program,
        "--in-cluster=false",
        f"--kubeconfig={plane.kubeconfig(plane.admin)}",
        f"--tls-key={pair.private}",
        f"--tls-cert={pair.public}",
        f"--port={port}",
        f"--metrics-port={metrics}",
    ]
    with Process("pod-identity-webhook", argv, log=folder / "peer.log") as process:
        yield Service(f"https://127.0.0.1:{port}", authority.pem)
        process.check()


def has_credentials(each: Manifest) -> bool:
    """Return whether a container has what the peer adds."""
    return set(VARIABLES) <= set(names_of(each.get("env"))) and TOKEN_VOLUME in names_of(
        each.get("volumeMounts")
    )


def made(namespaces: dict[str, Namespace]) -> dict[str, Manifest]:
    """Create each pod in each mode; return what the API server stored."""
    return {
        f"{mode}, {name}": namespaces[mode]
        .create(multus_pod(serviceAccountName=ACCOUNT, **spec), dry_run=True)
        .object
        for mode in MODES
        for name, spec in SPECS.items()
    }


def prepared(api: Api, mode: str) -> Namespace:
    """Make a namespace whose ServiceAccount has a role."""
    namespace = Namespaces(api, "peers").make({INJECTION: "enabled", MODE: mode})
    metadata = {"name": ACCOUNT, "annotations": {"eks.amazonaws.com/role-arn": ROLE}}
    namespace.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    return namespace


def main() -> None:
    program = Path(sys.argv[1])
    binaries = find_binaries()
    if isinstance(binaries, Missing):
        sys.exit(str(binaries))
    with (
        tempfile.TemporaryDirectory() as folder,
        ControlPlane(binaries, controller_manager=False) as plane,
        plane.client() as api,
        WebhookServer(Path(folder)) as webhook,
        peer(program, plane, Path(folder)) as peer_service,
    ):
        namespaces = {mode: prepared(api, mode) for mode in MODES}

        def ours_called() -> bool:
            found = namespaces["init"].create(multus_pod(), dry_run=True).object
            return "initContainers" in found["spec"]

        def credentials() -> list[bool]:
            # The peer may have heard of one ServiceAccount and not yet of the other.
            plain = pod(serviceAccountName=ACCOUNT)
            specs = (each.create(plain, dry_run=True).object["spec"] for each in namespaces.values())
            return [has_credentials(spec["containers"][0]) for spec in specs]

        pods = {}
        with installed(api, webhook_configuration(webhook.service), ours_called):
            for name, order in ORDERS.items():
                with installed(api, peer_configuration(peer_service, order), lambda: all(credentials())):
                    pods[name] = made(namespaces)
                # The next order must not be taken for this one.
                wait_for(lambda: not any(credentials()), "end of the peer's configuration")
        print(json.dumps(pods))


if __name__ == "__main__":
    main()
