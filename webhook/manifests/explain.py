"""Explain decisions: for each workload whether it gets the agent, why, and what to change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from common import pod_keys
from common.agent_container import CONTAINER_NAME
from common.agent_settings import CONTRACT, ENV_BACKEND, ENV_CONTRACT, Backend, Mode
from common.elastic_ips import EipClaim, parse_claims
from common.shorten import shortened
from webhook.core.decision import Decision
from webhook.core.pod import Pod
from webhook.core.reasons import REMEDIES, Reason
from webhook.core.requested_units import CapacityRequest
from webhook.manifests.raw_json import dotted
from webhook.manifests.workload_decision import WorkloadOutcome
from webhook.manifests.workloads import Workload
from webhook.multus.networks import Network, parse_networks

_WITH_AGENT = frozenset({Reason.INJECT_INIT, Reason.INJECT_SIDECAR, Reason.ALREADY_INJECTED})
_DONE = ("Succeeded", "Failed")
"""Phases of a pod that never runs again."""

WARNING_PREFIX = "multus-eni: "
"""What the webhook's warnings start with, to be known among those of others."""
_REPLACE_POD = "replace the pod (kubectl rollout restart, or delete it): the webhook injects at creation only"
_INJECT_AGAIN = "inject the manifest as it was without the agent"


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the webhook does with a workload's pods.

    `is_pod`: the workload is a pod itself. `template` is the path of a pod template found by its shape.
    `elastic_ips` are those that they claim. `injected`: they get the agent, or have it. `mode` is the
    agent's, None without one. `refusal` says why the pods cannot be created. `missing`: this is a pod that
    exists and should have the agent, but has none or an outdated one. `message` is the reason in a sentence,
    `change` what the user can do about it.
    """

    kind: str
    namespace: str
    name: str
    is_pod: bool
    template: str | None
    reason: Reason
    mode: Mode | None
    injected: bool
    networks: tuple[Network, ...]
    capacity: CapacityRequest
    elastic_ips: tuple[EipClaim, ...]
    warnings: tuple[str, ...]
    refusal: str | None
    missing: bool
    message: str
    change: str


def explain(outcome: WorkloadOutcome, image: str | None, backend: Backend | None = None) -> Explanation:
    """Explain an outcome; `image` and `backend` come from the settings, None without settings."""
    workload, decision = outcome.workload, outcome.decision
    counts = decision.reason in _WITH_AGENT or decision.refused
    agent = _agent(workload.pod) if counts else None
    outdated = _outdated(agent, outcome, image, backend) if agent is not None else None
    there = agent is not None and decision.reason is Reason.ALREADY_INJECTED
    return Explanation(
        kind=workload.kind,
        namespace=outcome.namespace,
        name=workload.name,
        is_pod=workload.is_pod,
        template=dotted(workload.path) if workload.found_by_shape else None,
        reason=decision.reason,
        mode=decision.agent.mode if decision.agent else agent.mode if agent is not None and there else None,
        injected=decision.reason in _WITH_AGENT,
        networks=_networks(outcome),
        capacity=decision.agent.capacity if decision.agent else CapacityRequest(),
        elastic_ips=_elastic_ips(outcome) if decision.reason in _WITH_AGENT else (),
        warnings=(*decision.warnings, *([f"multus-eni: the agent is old: {outdated}"] if outdated else [])),
        refusal=decision.message if decision.refused else None,
        # A pod that would be refused counts: nobody opted it out, and it can't come back as it is.
        missing=counts and (agent is None or outdated is not None) and _exists(workload),
        message=decision.message,
        change=_change(workload, decision, outdated=outdated is not None),
    )


def _elastic_ips(outcome: WorkloadOutcome) -> tuple[EipClaim, ...]:
    text = outcome.pod.annotations.get(pod_keys.EIP) if outcome.pod is not None else None
    try:
        return parse_claims(text) if text else ()
    except ValueError:
        # A pod that has the agent already may say whatever came later.
        return ()


def _change(workload: Workload, decision: Decision, *, outdated: bool) -> str:
    if not outdated or decision.refused:
        return REMEDIES[decision.reason]
    return _REPLACE_POD if workload.is_pod else _INJECT_AGAIN


def as_text(explanation: Explanation, *, existing: bool = False) -> str:
    """Format an explanation: one line with the outcome; indented below it, details and what to change.

    With `existing` it is about an existing pod without an agent, otherwise about one that is to be created.
    """
    networks = ", ".join(f"{n.interface} {n.namespace}/{n.name}" for n in explanation.networks)
    template = f" ({explanation.template})" if explanation.template else ""
    head = f"{explanation.kind} {explanation.namespace}/{explanation.name}{template}: {explanation.reason}"
    change = _REPLACE_POD if existing and explanation.refusal is None else explanation.change
    lines = [
        f"{head}: {explanation.message}",
        *([f"networks: {networks}"] if networks else []),
        *_capacity_lines(explanation.capacity),
        *_elastic_ip_lines(explanation.elastic_ips),
        *(f"warning: {warning.removeprefix(WARNING_PREFIX)}" for warning in explanation.warnings),
        f"change: {change}",
    ]
    return "\n    ".join(printable(line) for line in lines) + "\n"


def _capacity_lines(capacity: CapacityRequest) -> list[str]:
    requests = ", ".join(f"{resource}: {number}" for resource, number in capacity.resources.items())
    return [
        *([f"requests: {requests}"] if requests else []),
        *(
            f"without a request: {name} is in no NodeNetwork that nodes advertise: annotate it with "
            f"multus-eni.io/network, or let its master be the network's link.name"
            for name in capacity.unmapped
        ),
    ]


def _elastic_ip_lines(claims: tuple[EipClaim, ...]) -> list[str]:
    listed = ", ".join(f"{each.target} {each.wanted}" for each in claims)
    return [f"Elastic IPs: {listed}, if controller.eips grants them to the namespace"] if claims else []


def printable(line: str) -> str:
    """Replace control characters, so that a manifest cannot send escape sequences to the terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line
    )


def as_objects(explanations: Iterable[Explanation]) -> list[dict[str, Any]]:
    """Return explanations as the objects of `--output json`."""
    return [
        {
            "kind": explanation.kind,
            "namespace": explanation.namespace,
            "name": explanation.name,
            **({"template": explanation.template} if explanation.template else {}),
            "reason": explanation.reason.value,
            "mode": explanation.mode.value if explanation.mode else None,
            "injected": explanation.injected,
            "networks": [
                {"namespace": network.namespace, "name": network.name, "interface": network.interface}
                for network in explanation.networks
            ],
            **({"requests": explanation.capacity.resources} if explanation.capacity.units else {}),
            **(
                {"withoutRequest": list(explanation.capacity.unmapped)}
                if explanation.capacity.unmapped
                else {}
            ),
            **(
                {"elasticIPs": {each.target: each.wanted for each in explanation.elastic_ips}}
                if explanation.elastic_ips
                else {}
            ),
            "warnings": list(explanation.warnings),
            "refusal": explanation.refusal,
        }
        for explanation in explanations
    ]


class _Variable(msgspec.Struct, frozen=True):
    name: str = ""
    value: str | None = None


class _Agent(msgspec.Struct, frozen=True):
    """The injected container, as far as it tells its version."""

    name: str = ""
    image: str | None = None
    restartPolicy: str | None = None  # noqa: N815 - the API's name
    env: list[_Variable] | None = None

    @property
    def contract(self) -> str | None:
        """The contract number as written, None in any other container."""
        return self._variable(ENV_CONTRACT) if self.name == CONTAINER_NAME else None

    @property
    def backend(self) -> str:
        """Who calls EC2 for the pod, as written."""
        return self._variable(ENV_BACKEND) or Backend.DIRECT.value

    def _variable(self, name: str) -> str | None:
        values = (variable.value or "" for variable in self.env or [] if variable.name == name)
        return next(values, None)

    @property
    def mode(self) -> Mode:
        """Sidecar for a container that is always restarted, which is a native sidecar."""
        return Mode.SIDECAR if self.restartPolicy == "Always" else Mode.INIT


class _Spec(msgspec.Struct, frozen=True):
    initContainers: list[_Agent] | None = None  # noqa: N815 - the API's name


class _WithAgent(msgspec.Struct, frozen=True):
    spec: _Spec = _Spec()


class _Deletion(msgspec.Struct, frozen=True):
    deletionTimestamp: Any = None  # noqa: N815 - the API's name


class _Status(msgspec.Struct, frozen=True):
    phase: Any = None


class _Life(msgspec.Struct, frozen=True):
    metadata: _Deletion | None = None
    status: _Status | None = None


def _agent(pod: bytes | None) -> _Agent | None:
    try:
        containers = msgspec.json.decode(pod or b"{}", type=_WithAgent).spec.initContainers or []
    except msgspec.DecodeError:
        return None
    return next((container for container in containers if container.contract is not None), None)


def _outdated(
    agent: _Agent, outcome: WorkloadOutcome, image: str | None, backend: Backend | None
) -> str | None:
    """Return why an agent is outdated: a lower contract number, another image or another backend."""
    if (number := _number(agent.contract)) < CONTRACT:
        return f"it follows contract {number}, the injector {CONTRACT}"
    asked = outcome.pod.annotations.get(pod_keys.AGENT_IMAGE) if outcome.pod else None
    wanted = asked or image
    if wanted is not None and wanted not in (agent.image, _given_image(outcome.pod)):
        return f"its image is {shortened(str(agent.image), 256)}, the injector gives {shortened(wanted, 256)}"
    if backend is not None and agent.backend != backend:
        return f"its backend is {shortened(agent.backend)}, the injector gives {backend}"
    return None


class _Given(msgspec.Struct, frozen=True):
    image: Any = None


def _given_image(pod: Pod | None) -> Any:
    """Return the image that the webhook gave the agent: others may have written a digest or mirror."""
    try:
        status = msgspec.json.decode(pod.annotations.get(pod_keys.STATUS, "") if pod else "", type=_Given)
    except (msgspec.DecodeError, RecursionError):
        return None
    return status.image


def _number(text: str | None) -> int:
    return int(text) if text and len(text) <= 9 and text.isascii() and text.isdigit() else 0


def _exists(workload: Workload) -> bool:
    """Return whether this is an existing pod that has neither ended nor is being deleted."""
    if not workload.is_pod or workload.pod is None:
        return False
    try:
        life = msgspec.json.decode(workload.pod, type=_Life)
    except msgspec.ValidationError:
        return True  # the API server writes no such status: nothing says that the pod has ended
    deleted = life.metadata is not None and bool(life.metadata.deletionTimestamp)
    return not deleted and not (life.status is not None and life.status.phase in _DONE)


def _networks(outcome: WorkloadOutcome) -> tuple[Network, ...]:
    if outcome.pod is None:
        return ()
    return parse_networks(outcome.pod.annotations.get(pod_keys.NETWORKS, ""), outcome.namespace).networks
