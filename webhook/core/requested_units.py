"""What a pod requests of its nodes' networks: the resource `multus-eni.io/<network>`, one unit an address.

One unit for each attachment that the agent manages, and as many more as `multus-eni.io/units` says, for
floating addresses. Requests stand on the agent's container alone. The scheduler counts an init container's
for the pod's life, since it takes the larger one of init containers and of all containers together
(k8s.io/component-helpers, resource/helpers.go, AggregateContainerRequests).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from common.pod_keys import PREFIX, UNITS
from webhook.multus.networks import Network

_NAME = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NUMBER = r"[1-9][0-9]{0,2}"
_FORM = re.compile(rf"{_NUMBER}|{_NAME}={_NUMBER}(,{_NAME}={_NUMBER}){{0,15}}")
UNITS_ALLOWED = "a number from 1 to 999, or numbers by network, as in 2 or oam=2,sig=1"


@dataclass(frozen=True, slots=True)
class Units:
    """The annotation: units on top for the pod's only network, or by network."""

    number: int = 0
    by_network: tuple[tuple[str, int], ...] = ()


def parse_units(text: str) -> Units:
    """Parse the annotation. Raises ValueError."""
    if not _FORM.fullmatch(text):
        raise ValueError(text)
    if "=" not in text:
        return Units(int(text))
    parts = (part.partition("=") for part in text.split(","))
    return Units(by_network=tuple((name, int(number)) for name, _, number in parts))


@dataclass(frozen=True, slots=True)
class CapacityRequest:
    """What is requested, by network; `unmapped` are NetworkAttachmentDefinitions that are in no network.

    `problem` is a mistake of the annotation that only shows beside the pod's networks: the pod is refused.
    """

    units: tuple[tuple[str, int], ...] = ()
    unmapped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: str = ""

    @property
    def resources(self) -> dict[str, str]:
        """The container's requests, which are its limits, too."""
        return {PREFIX + network: str(units) for network, units in self.units}


def request_capacity(
    attachments: Sequence[Network],
    managed: Collection[str],
    units: Units | None,
    networks: Mapping[str, str] | None,
) -> CapacityRequest:
    """Return what a pod requests.

    `managed` are the interfaces that the agent manages; `networks` says which network a
    NetworkAttachmentDefinition (`namespace/name`) belongs to, None where capacity is not in use.
    """
    if networks is None:
        return CapacityRequest(warnings=(_OFF,) if units else ())
    counts: Counter[str] = Counter()
    unmapped: dict[str, None] = {}
    # If the user names an interface that is not expected, Multus gives other names (defaultNetworks).
    # Which attachment has which is not known: all count, since a unit too few would overfill an ENI.
    expected = {attachment.interface for attachment in attachments}
    counted = managed if expected.issuperset(managed) else expected
    for attachment in attachments:
        name = f"{attachment.namespace}/{attachment.name}"
        if attachment.interface not in counted:
            continue
        if network := networks.get(name):
            counts[network] += 1
        else:
            unmapped[name] = None
    attached, warnings = sorted(counts), []
    if units is not None and units.number:
        if len(attached) > 1:
            return CapacityRequest(
                problem=f"{UNITS}: the pod attaches to the networks {', '.join(attached)}: say how many of "
                f"which, as in {attached[0]}={units.number}"
            )
        counts.update(dict.fromkeys(attached, units.number))
    for network, number in units.by_network if units else ():
        if network in attached:
            counts[network] += number
        else:
            warnings.append(
                f"multus-eni: {UNITS}: no attachment of this pod belongs to the network {network}"
            )
    if units is not None and units.number and not attached:
        warnings.append(f"multus-eni: {UNITS}: no attachment of this pod belongs to a node network")
    return CapacityRequest(tuple(sorted(counts.items())), tuple(unmapped), tuple(warnings))


_OFF = f"multus-eni: {UNITS} has no effect: capacity.enabled is off"
