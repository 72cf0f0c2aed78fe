"""A snapshot from the checks' side: the installation, networks, and the pods that the user asks about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, cast

import msgspec

from check.installation import Installation, find_installation
from check.model import (
    Aws,
    NotApplicable,
    Object,
    Resource,
    Scope,
    Snapshot,
    node_name,
    seconds_since_epoch,
    text_of,
)
from check.net_attach_defs import Network, read_network
from check.node_status import is_exempt
from check.pod_status import failed_agent, has_networks, is_attached, networks_left_out, without_retried
from check.selectors import may_run_on
from common.object_fields import as_map
from common.pod_keys import INJECTION, NETWORKS, Injection
from ipagent.assign.holders import owner_of
from ipagent.assign.topology import EniDetails
from ipagent.aws.describe_enis import details
from ipagent.node_network_api import AddressMode
from webhook.core.settings import Settings
from webhook.manifests.explain import Explanation, explain
from webhook.manifests.workload_decision import Defaults, WorkloadOutcome, decide_workloads
from webhook.manifests.workloads import ManifestError, read_manifests

RECENT = 1200
"""Seconds for which an Event counts: controllers and the kubelet try again within a quarter of an hour."""
NO_MASTER = re.compile(r'master "([^"]{1,64})": Link not found')
"""What plugins say of a master that the node lacks (containernetworking/plugins, ipvlan.go, macvlan.go)."""


class Cluster:
    """A snapshot and what the user asks about."""

    def __init__(self, snapshot: Snapshot, scope: Scope) -> None:
        self.snapshot = snapshot
        self.scope = scope

    def all(self, kind: str) -> tuple[Resource, ...]:
        """Return all objects of a kind, wherever they are."""
        return self.snapshot.all(kind)

    def scoped(self, kind: str) -> tuple[Resource, ...]:
        """Return those of the namespace that the user asks about, or all."""
        wanted = self.scope.namespace
        return tuple(each for each in self.all(kind) if wanted in ("", each.namespace))

    def is_hidden(self, kind: str, namespace: str) -> bool:
        """Return whether the user may read a kind in the namespace asked about alone, and this is another."""
        return kind in self.snapshot.partial and namespace != self.scope.namespace

    @cached_property
    def networks(self) -> tuple[Network, ...]:
        """All NetworkAttachmentDefinitions."""
        return tuple(read_network(each) for each in self.all("NetworkAttachmentDefinition"))

    @cached_property
    def vpc_networks(self) -> tuple[Network, ...]:
        """Those of them whose addresses are the VPC's, as far as their plugin or their pods tell."""
        by_nodes = self.installation.node_agent is not None
        left_out = networks_left_out(self.all("Pod"), by_nodes=by_nodes)
        return tuple(each for each in self.networks if not each.is_local and each.key not in left_out)

    @cached_property
    def installation(self) -> Installation:
        """The injector's objects."""
        return find_installation(self.snapshot)

    def required_installation(self) -> Installation:
        """Return the installation; raises NotApplicable where there is none."""
        found = self.installation
        if found.configuration is None and found.webhook is None and found.node_agent is None:
            for kind in ("Deployment", "DaemonSet"):
                if why := self.snapshot.missing.get(kind):
                    raise NotApplicable(why)
            raise NotApplicable("the injector is not installed")
        return found

    def injector(self) -> Installation:
        """Return the installation; raises NotApplicable where nothing injects."""
        found = self.required_installation()
        if found.webhook is None and found.configuration is None:
            raise NotApplicable("only node agents are installed (watchOnly)")
        return found

    @property
    def settings(self) -> Settings:
        """The webhook's settings, the defaults where they are not known."""
        return self.installation.settings or Settings(image="")

    @cached_property
    def namespaces(self) -> tuple[Resource, ...]:
        """The namespaces that the user asks about."""
        wanted = self.scope.namespace
        return tuple(each for each in self.all("Namespace") if wanted in ("", each.name))

    @cached_property
    def injecting(self) -> frozenset[str]:
        """Those of them that inject into their pods, or have a pod that asks for it itself and may."""
        asking = self.scoped("Pod") if self.settings.pod_opt_in else ()
        asked = {pod.namespace for pod in asking if pod.labels.get(INJECTION) == Injection.ENABLED}
        return frozenset((self.opted_in | asked) - self.settings.excluded_namespaces)

    @cached_property
    def opted_in(self) -> frozenset[str]:
        """The namespaces whose own label opts their pods in."""
        return frozenset(
            each.name for each in self.namespaces if each.labels.get(INJECTION) == Injection.ENABLED
        )

    @cached_property
    def pods(self) -> tuple[Resource, ...]:
        """The living pods that the user asks about and that attach to Multus networks."""
        return tuple(
            pod
            for pod in self.scoped("Pod")
            if self.scope.pod in ("", pod.name) and pod.annotations.get(NETWORKS) and is_attached(pod)
        )

    @cached_property
    def failed_pods(self) -> tuple[Resource, ...]:
        """The pods that their agent has failed for good, lately and without a later try that went well.

        One that the user names is there whenever it was.
        """
        since = 0.0 if self.scope.pod else self.snapshot.now - RECENT
        found = tuple(
            pod
            for pod in self.scoped("Pod")
            if self.scope.pod in ("", pod.name)
            and (ended := failed_agent(pod))
            and (seconds_since_epoch(ended.get("finishedAt")) or self.snapshot.now) > since
        )
        return found if self.scope.pod or not found else without_retried(found, self.all("Pod"))

    @cached_property
    def served_pods(self) -> tuple[Resource, ...]:
        """Those of them whose addresses are ours to assign: with an agent, or to have one; else all."""
        if self.installation.is_watch_only:
            return self.pods
        found = self.explanations
        return tuple(
            pod
            for pod in self.pods
            if (each := found.get(pod.key)) is not None and (each.injected or each.missing)
        )

    @cached_property
    def nodes_with_pods(self) -> tuple[str, ...]:
        """The nodes on which these pods are."""
        return tuple(sorted({node_name(pod) for pod in self.served_pods} - {""}))

    @cached_property
    def exempt_nodes(self) -> frozenset[str]:
        """The nodes on which neither Multus nor node agents have to be ready."""
        now = self.snapshot.now
        return frozenset(each.name for each in self.all("Node") if is_exempt(each, now))

    def count_exempt(self, daemon_set: Resource) -> int:
        """Return how many of these nodes a DaemonSet counts: it may have pods there."""
        nodes = (each for each in self.all("Node") if each.name in self.exempt_nodes)
        return sum(may_run_on(daemon_set, node) for node in nodes)

    @cached_property
    def prefix_pools(self) -> Mapping[str, frozenset[str]]:
        """The NodeSlicePools that the controller writes from ENIs' prefixes, each with its nodes."""
        return {
            network.name: frozenset(
                text_of(each.spec.get("node"))
                for each in self.all("NodeAttachment")
                if each.spec.get("network") == network.name
            )
            for network in self.all("NodeNetwork")
            if prefixes_of(network).get("ipam") == "Whereabouts"
        }

    @property
    def aws(self) -> Aws:
        """What EC2 shows of the nodes."""
        return self.snapshot.aws

    @cached_property
    def instances(self) -> Mapping[str, str]:
        """The EC2 instance of each node, by the cloud provider's `spec.providerID`."""
        found = {node.name: str(node.spec.get("providerID") or "") for node in self.all("Node")}
        return {name: each.rpartition("/")[2] for name, each in found.items() if each.startswith("aws:")}

    def node_of(self, instance: str) -> str:
        """Return the node that an instance is; its id where it is none."""
        return next((node for node, each in self.instances.items() if each == instance), instance)

    @cached_property
    def pod_enis(self) -> tuple[EniDetails, ...]:
        """The nodes' ENIs that somebody attached for pods: neither primary ones nor the VPC CNI's."""
        nodes = set(self.instances.values())
        found = filter(None, map(_details, self.aws.network_interfaces))
        return tuple(
            eni for eni in found if eni.instance_id in nodes and not eni.is_primary and not owner_of(eni)
        )

    @cached_property
    def explanations(self) -> Mapping[str, Explanation]:
        """What the webhook would do with each of these pods, by its key."""
        found = self.installation
        settings = self.settings
        image, backend = (settings.image, settings.agent.backend) if found.settings else (None, None)
        namespaces = {each.name: _document(each) for each in self.all("Namespace")}
        outcomes = {pod.key: _decide(pod, namespaces.get(pod.namespace), settings) for pod in self.pods}
        return {key: explain(each, image, backend) for key, each in outcomes.items() if each}

    def events(self, *reasons: str) -> tuple[Resource, ...]:
        """Return recent Events with one of these reasons, on existing objects that the user asks about."""
        return tuple(
            event
            for event in self.scoped("Event")
            if event.body.get("reason") in reasons
            and self._is_recent(event)
            and self._concerns(as_map(event.body.get("involvedObject")))
        )

    def unattached(self) -> Iterator[tuple[Resource, str]]:
        """Yield pods that Multus has not attached, each with what the kubelet says of its last attempt.

        On a node that has just joined attempts fail until Multus runs there.
        """
        exempt = self.exempt_nodes
        pods = {pod.key: pod for pod in self.pods if not has_networks(pod) and node_name(pod) not in exempt}
        for event in self.events("FailedCreatePodSandBox"):
            involved = as_map(event.body.get("involvedObject"))
            pod = pods.get(f"{involved.get('namespace')}/{involved.get('name')}")
            if pod is not None:
                yield pod, str(event.body.get("message") or "")

    def _is_recent(self, event: Resource) -> bool:
        series = as_map(event.body.get("series")).get("lastObservedTime")
        when = seconds_since_epoch(series or event.body.get("lastTimestamp") or event.body.get("eventTime"))
        return when is None or when > self.snapshot.now - RECENT

    def _concerns(self, involved: Object) -> bool:
        if involved.get("kind") != "Pod":
            return not self.scope.pod
        key = f"{involved.get('namespace')}/{involved.get('name')}"
        return key in self._uids and involved.get("uid") in (None, self._uids[key])

    @cached_property
    def _uids(self) -> Mapping[str, object]:
        return {pod.key: pod.metadata.get("uid") for pod in self.pods}


def prefixes_of(network: Resource) -> Object:
    """Return what a NodeNetwork of prefixes says of them, empty of any other."""
    addresses = as_map(network.spec.get("addresses"))
    return as_map(addresses.get("prefixes")) if addresses.get("mode") == AddressMode.PREFIXES else {}


def _details(shown: Object) -> EniDetails | None:
    try:
        found = details(cast("Any", shown))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    named = all(isinstance(each, str) for each in (found.eni_id, found.instance_id, found.subnet_id))
    return found if named else None


def _document(resource: Resource) -> bytes:
    return msgspec.json.encode({"apiVersion": "v1", **resource.body, "kind": resource.kind})


def _decide(pod: Resource, namespace: bytes | None, settings: Settings) -> WorkloadOutcome | None:
    documents = [namespace] if namespace else []
    try:
        manifests = read_manifests([*documents, _document(pod)])
    except ManifestError:
        return None
    return next(iter(decide_workloads(manifests, Defaults(settings, labels={}))), None)
