"""The annotation `k8s.v1.cni.cncf.io/networks`, read exactly as Multus reads it.

Sources: the Kubernetes Network Custom Resource Definition De-facto Standard, version 1.3, section 4.1;
multus-cni pkg/k8sclient/k8sclient.go (`parsePodNetworkAnnotation`, `getKubernetesDelegate`),
pkg/types/conf.go (`CheckGatewayConfig`) and pkg/multus/multus.go (`getIfname`, `validateIfName`). Where the
standard and Multus differ, Multus is followed: the standard has invalid values ignored, Multus fails the pod.
Checked against multus-cni 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from common.pod_keys import NETWORKS
from webhook.multus.go_json import read_elements
from webhook.multus.names import (
    FORM,
    INTERFACES_OF_EVERY_POD,
    MAX_INTERFACE_BYTES,
    Refused,
    is_interface,
    is_namespace,
    is_object_name,
    quote,
    read_list_item,
)

MAX_ANNOTATIONS = 256 << 10
"""Bytes of all keys and values of an object's annotations; the API server refuses more, after admission
(k8s.io/apimachinery, api/validation, TotalAnnotationSizeLimitB)."""


@dataclass(frozen=True, slots=True)
class Network:
    """One attachment. `interface` is the name asked for, or `net<index>`.

    The index counts the annotation's elements from 1; the default network, eth0, is 0. Multus counts the
    networks of its own setting `defaultNetworks` (empty unless configured) before them. The pod does not show
    those: with them, the indices that Multus uses are higher. `default_route` is whether the element has a
    `default-route` with at least one entry.
    """

    namespace: str
    name: str
    interface: str
    default_route: bool


@dataclass(frozen=True, slots=True)
class Networks:
    """The attachments in the order of the annotation, or why Multus will fail the pod's sandbox.

    `refusal` is one sentence of at most 200 characters; if it is set, `networks` is empty.
    `refused_by_parser` is whether Multus cannot parse the value; otherwise it parses the value and fails
    afterwards.
    """

    networks: tuple[Network, ...]
    refusal: str | None = None
    refused_by_parser: bool = False


def parse_networks(value: str, pod_namespace: str) -> Networks:
    """Parse the annotation's value for a pod of this namespace; never raises. An empty value has no networks.

    The time is linear in the length. A lone surrogate counts as U+FFFD, which is what Go's decoder makes
    of it before Multus sees the pod.

    Two attachments to one NetworkAttachmentDefinition are legal; two with one interface name are refused,
    though not by the parser: Multus adds the first, fails the sandbox at the second, and removes them all.
    """
    if not value:
        return Networks(())
    if len(value) > MAX_ANNOTATIONS:
        refusal = f"{NETWORKS} is longer than the {MAX_ANNOTATIONS} bytes that Kubernetes allows"
        return Networks((), refusal, refused_by_parser=True)
    try:
        networks, gateways = read_networks(value, pod_namespace)
    except Refused as refused:
        return Networks((), f"{NETWORKS} cannot be read: {refused}", refused_by_parser=True)
    failure = (
        _object_failure(networks, pod_namespace) or _gateway_failure(gateways) or _interface_failure(networks)
    )
    if failure:
        return Networks((), f"{NETWORKS} cannot be applied: {failure}")
    return Networks(tuple(networks))


def read_networks(value: str, pod_namespace: str) -> tuple[list[Network], list[str]]:
    """Do exactly what Multus's parser does with a value that is not empty.

    Returns the networks and the gateways of all their default routes, `""` for one without an address; raises
    Refused.
    """
    if not value.isascii():
        value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if "[" in value or "{" in value or '"' in value:
        return _json_form(value, pod_namespace)
    return _list_form(value, pod_namespace), []


def expected_interfaces(networks: Networks) -> tuple[str, ...]:
    """Return the names of the pod's Multus interfaces in order, each once."""
    return tuple(dict.fromkeys(network.interface for network in networks.networks))


def _list_form(value: str, pod_namespace: str) -> list[Network]:
    networks = []
    for index, item in enumerate(value.split(","), 1):
        namespace, name, interface = read_list_item(item)
        networks.append(
            Network(
                namespace=namespace or pod_namespace,
                name=name,
                interface=interface or f"net{index}",
                default_route=False,
            )
        )
    return networks


def _json_form(value: str, pod_namespace: str) -> tuple[list[Network], list[str]]:
    networks: list[Network] = []
    gateways: list[str] = []
    for index, fields in enumerate(read_elements(value), 1):
        routes = fields.get("default-route") or []
        asked = fields.get("interface") or fields.get("interfacerequest")
        gateways += routes
        networks.append(
            Network(
                namespace=fields.get("namespace") or pod_namespace,
                name=fields.get("name", ""),
                interface=asked or f"net{index}",
                default_route=bool(routes),
            )
        )
    return networks, gateways


def _object_failure(networks: Sequence[Network], pod_namespace: str) -> str | None:
    """Return why Multus cannot find one of the NetworkAttachmentDefinitions in any cluster; None if it may.

    Multus asks the API server for each before it makes the first interface, and fails where one is missing
    (`getKubernetesDelegate`). The pod's own namespace is not checked.
    """
    for index, network in enumerate(networks, 1):
        name, namespace = network.name, network.namespace
        if not name:
            return f"element {index} has no name ({FORM})"
        if not is_object_name(name):
            return f"element {index} names {quote(name)}, which cannot name a NetworkAttachmentDefinition"
        if namespace != pod_namespace and not is_namespace(namespace):
            return f"element {index} names the namespace {quote(namespace)}, which cannot name one"
    return None


def _interface_failure(networks: Sequence[Network]) -> str | None:
    """Return why an interface cannot be created: its name is invalid or taken; None if all can.

    Multus adds the interfaces in order and fails at the first name that exists (`validateIfName`): `lo`,
    `eth0` and those of earlier elements. `net<index>` is not moved out of the way of a name that was asked
    for: `a@net2,b` fails.
    """
    taken = set(INTERFACES_OF_EVERY_POD)
    for index, network in enumerate(networks, 1):
        name = network.interface
        if not is_interface(name):
            rule = f"at most {MAX_INTERFACE_BYTES} bytes, no '/', ':' or space"
            return f"element {index}: interface name {quote(name)}: {rule}"
        if name in taken:
            return f"element {index}: interface name {quote(name)} already exists in the pod"
        taken.add(name)
    return None


def _gateway_failure(gateways: Sequence[str]) -> str | None:
    """Return why Multus refuses or cannot set the default routes (`CheckGatewayConfig`), if it does."""
    if "" in gateways:
        return "a default-route has an entry without an address"
    version_4 = sum(_is_version_4(ip_address(gateway)) for gateway in gateways) if len(gateways) > 1 else 0
    if version_4 > 1 or len(gateways) - version_4 > 1:
        return "more than one default-route of an address family (Multus does not support ECMP)"
    return None


def _is_version_4(address: IPv4Address | IPv6Address) -> bool:
    return address.version == 4 or address.ipv4_mapped is not None
