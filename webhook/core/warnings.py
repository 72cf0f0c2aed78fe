"""Warnings about a pod that is injected: `kubectl` prints them, `explain` lists them."""

from __future__ import annotations

from common import pod_keys
from common.agent_settings import Backend, Mode, Takeover
from common.shorten import shortened
from webhook.core.agent_plan import AgentPlan
from webhook.core.annotations import KNOWN, PodSettings
from webhook.core.meshes import mesh_warnings
from webhook.core.pod import Pod
from webhook.multus.networks import Networks, expected_interfaces

MAX_KEYS = 5
"""How many keys of a kind are named."""
_LABELS = frozenset({pod_keys.INJECTION, pod_keys.EIP_LABEL})
"""Labels with our prefix that pods may have."""


def warnings_of(pod: Pod, networks: Networks, overrides: PodSettings, agent: AgentPlan) -> tuple[str, ...]:
    """Return a sentence for each setting that is admitted and will hardly do what its user expects."""
    warnings = []
    if networks.refusal is not None:
        warnings.append(f"multus-eni: Multus will not start this pod: {networks.refusal}")
    warnings += _interface_warnings(pod, networks, overrides)
    # A node agent calls EC2 from the node: the pod's default route does not matter.
    if agent.settings.backend is Backend.DIRECT:
        warnings += [
            f"multus-eni: network {shortened(network.name)} sets default-route: calls to EC2 then leave "
            "from an address that EC2 has not assigned yet; remove it, or set agent.backend=node"
            for network in networks.networks
            if network.default_route
        ]
    elif overrides.credentials:
        warnings.append(
            f"multus-eni: {pod_keys.CREDENTIALS} has no effect: the node agent calls EC2, not the pod"
        )
    if overrides.release_on_exit and agent.mode is Mode.INIT:
        warnings.append(
            f"multus-eni: {pod_keys.RELEASE_ON_EXIT} has no effect in init mode: "
            f"set {pod_keys.MODE}={Mode.SIDECAR}, or remove it"
        )
    released = overrides.release_on_exit and agent.mode is Mode.SIDECAR
    if agent.settings.takeover is Takeover.NEVER and not released:
        also_released = ", and so does nodeAgent.gc.mode=on" if agent.settings.backend is Backend.NODE else ""
        warnings.append(
            f"multus-eni: {pod_keys.TAKEOVER}={Takeover.NEVER}: an address that this pod leaves on its ENI "
            f"cannot be assigned to a pod on another ENI; sidecar mode with {pod_keys.RELEASE_ON_EXIT}=true "
            f"releases it{also_released}"
        )
    warnings += mesh_warnings(pod, agent.settings)
    warnings += agent.capacity.warnings
    warnings += _key_warnings(pod, overrides)
    return tuple(warnings)


def _key_warnings(pod: Pod, overrides: PodSettings) -> list[str]:
    """Name keys of ours that nobody reads: misspelt, or a label in place of an annotation."""
    labels = [key for key in pod.labels if key.startswith(pod_keys.PREFIX) and key not in _LABELS]
    return [
        *(
            f"multus-eni: {key} is an annotation, and has an effect only as a label"
            if key in _LABELS
            else f"multus-eni: unknown annotation {shortened(key)} has no effect: correct or remove it"
            for key in overrides.unknown[:MAX_KEYS]
        ),
        *(
            f"multus-eni: {key} is a label, and has an effect only as an annotation"
            if key in KNOWN
            else f"multus-eni: unknown label {shortened(key)} has no effect: correct or remove it"
            for key in labels[:MAX_KEYS]
        ),
    ]


def _interface_warnings(pod: Pod, networks: Networks, overrides: PodSettings) -> list[str]:
    warnings = []
    expected = expected_interfaces(networks)
    others = [name for name in overrides.interfaces or () if name not in expected]
    if overrides.eip_wait and not overrides.awaited:
        warnings.append(
            f"multus-eni: {pod_keys.EIP_WAIT} has no effect: {pod_keys.EIP} names no interface to wait for"
        )
    known = {*expected, *(overrides.interfaces or ())}
    without = [claim.target for claim in overrides.eips if not claim.address and claim.target not in known]
    if expected and without:
        warnings.append(
            f"multus-eni: {pod_keys.EIP} names {shortened(', '.join(without))}, but {pod_keys.NETWORKS} "
            f"makes {shortened(', '.join(expected))}: correct the name, unless Multus chooses another one"
        )
    if expected and others:
        warnings.append(
            f"multus-eni: {pod_keys.INTERFACES} names {shortened(', '.join(others))}, but "
            f"{pod_keys.NETWORKS} makes {shortened(', '.join(expected))}: this is right "
            "only if Multus has defaultNetworks or a plugin chooses the name"
        )
    if pod_keys.DEFAULT_NETWORK in pod.annotations:
        warnings.append(
            f"multus-eni: {pod_keys.DEFAULT_NETWORK} replaces the network of eth0: the agent does not assign "
            "the addresses of eth0, and needs a working eth0 to do anything"
        )
    return warnings
