"""The policy of the pod's namespace, which arrives as the URL path of the call.

This process reads nothing from the API server. The MutatingWebhookConfiguration has one entry for each
combination of labels; its selectors send each pod to at most one entry, and the entry's path names the
combination.

The entries multiply with each namespace label that is read: 2 (who opts in) x 3 modes x 3 credentials, and
one for each label with an invalid value. Do not add a fourth label: it would take the 22 entries to about 60.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from common.agent_settings import Credentials, Mode
from common.pod_keys import Injection


class InvalidLabel(StrEnum):
    """A label whose value is not one of the contract's, found by an entry's selector."""

    NAMESPACE_INJECTION = "namespace-injection"
    NAMESPACE_MODE = "namespace-mode"
    NAMESPACE_CREDENTIALS = "namespace-credentials"
    POD_INJECTION = "pod-injection"


@dataclass(frozen=True, slots=True)
class NamespacePolicy:
    """The labels of the pod's namespace, None if absent. `invalid` names a label with an invalid value."""

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
"""URL path -> policy. `/mutate/pod/…` is called for pods that opt in by their own label."""
