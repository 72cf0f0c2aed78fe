"""The containers that call AWS for Multus pods, and what their environment says about the endpoint."""

from __future__ import annotations

from collections.abc import Iterator

from check.model import Object, objects, pod_spec, text_of
from check.views import Cluster
from common.agent_container import CONTAINER_NAME
from common.agent_settings import Backend

OWN_WAY = ("AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL", "HTTPS_PROXY", "https_proxy")
"""Variables with which calls of EC2 leave by another way than its own name ("Service-specific endpoints", AWS
SDKs and tools reference guide; botocore, `botocore.httpsession`)."""
WEB_IDENTITY = "AWS_ROLE_ARN"
"""What EKS's webhook sets for IRSA, with a token that STS exchanges ("IAM roles for service accounts")."""
POD_IDENTITY = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
"""What it sets for EKS Pod Identity, whose agent on the node asks `eks-auth`."""


def environment(cluster: Cluster) -> frozenset[str]:
    """Return the names of the variables that any of these containers has."""
    found = {text_of(each.get("name")) for each in _containers(cluster) for each in objects(each.get("env"))}
    settings = cluster.installation.settings
    if settings and settings.agent.backend is Backend.DIRECT:
        found |= {each.name for each in settings.env}
    return frozenset(found)


def _containers(cluster: Cluster) -> Iterator[Object]:
    installation = cluster.installation
    for workload in filter(None, (installation.node_agent, installation.controller)):
        yield from objects(pod_spec(workload).get("containers"))
    # What EKS adds is in the pods alone.
    for component in ("node-agent", "controller"):
        for pod in installation.pods_of(component):
            yield from objects(pod.spec.get("containers"))
    if installation.backend is Backend.DIRECT:
        for pod in cluster.pods:
            agents = (*objects(pod.spec.get("initContainers")), *objects(pod.spec.get("containers")))
            yield from (each for each in agents if each.get("name") == CONTAINER_NAME)
