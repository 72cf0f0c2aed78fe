"""The webhook's entries: what the path of a call says about the pod's namespace.

The process reads nothing from the API. The MutatingWebhookConfiguration selects each pod into at most
one entry by the labels of namespace and pod, and the entry's path carries the namespace's policy here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.contract import Credentials, Injection, Mode


class InvalidLabel(StrEnum):
    """A label with a value outside the contract, found by an entry's selector."""

    NAMESPACE_INJECTION = "namespace-injection"
    NAMESPACE_MODE = "namespace-mode"
    NAMESPACE_CREDENTIALS = "namespace-credentials"
    POD_INJECTION = "pod-injection"


@dataclass(frozen=True, slots=True)
class NamespacePolicy:
    """The labels of the pod's namespace as far as they are known; `invalid` names one with a wrong value."""

    injection: Injection | None = None
    mode: Mode | None = None
    credentials: Credentials | None = None
    invalid: InvalidLabel | None = None


_MODES: dict[str, Mode | None] = {"default": None, **{mode.value: mode for mode in Mode}}
_CREDENTIALS: dict[str, Credentials | None] = {"": None, **{f"/{each.value}": each for each in Credentials}}
_OPTED_IN: dict[str, Injection | None] = {"namespace": Injection.ENABLED, "pod": None}

ROUTES: dict[str, NamespacePolicy] = {
    **{
        f"/mutate/{who}/{name}{end}": NamespacePolicy(injection, mode, credentials)
        for who, injection in _OPTED_IN.items()
        for name, mode in _MODES.items()
        for end, credentials in _CREDENTIALS.items()
    },
    **{f"/mutate/invalid/{label}": NamespacePolicy(invalid=label) for label in InvalidLabel},
}
"""Path -> what it says. `/mutate/pod/…` is called for pods that opt in by their own label."""
