"""Cache of responses: the pods of one template come in bursts and get the same response.

They differ in one name that the response holds: that of the volume with the ServiceAccount's token, which the
API server makes up for each pod. It is put into the cached response.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from webhook.core.container import API_TOKEN_VOLUME
from webhook.core.decision import Decision
from webhook.core.inject import Outcome, token_volume
from webhook.core.namespace_policy import NamespacePolicy
from webhook.core.pod import Pod
from webhook.server.review import AFTER_PATCH, BEFORE_PATCH, PodRequest, cache_key, cache_view, encode_outcome

MAX_ENTRIES = 256
MAX_KEY = 8 << 10
"""Bytes. A pod with a longer key is not cached. Both limits together bound the cache to a few megabytes."""

Decide = Callable[[Pod, str, NamespacePolicy], Outcome]

_ANY_VOLUME = API_TOKEN_VOLUME + secrets.token_hex(16)
"""Stands for the name of the token's volume. It is in no pod and in no setting, since nobody can guess it."""


@dataclass(frozen=True, slots=True)
class Response:
    """A decision, and its encoded response without the request's uid."""

    decision: Decision
    encoded: bytes


@dataclass(frozen=True, slots=True)
class _Template:
    """What the pods of one template get.

    Where the patch has the name of the token's volume, `patch` is what is between its occurrences, and
    `before` ends where the patch begins.
    """

    response: Response
    before: bytes = b""
    patch: tuple[bytes, ...] = ()

    def response_for(self, volume: str | None) -> Response:
        """Return the response for the pod whose token is in this volume."""
        if volume is None or not self.patch:
            return self.response
        # As it stands between the quotes: a pod that is not valid yet may have quotes in its names.
        name = msgspec.json.encode(volume)[1:-1]
        patch = base64.b64encode(name.join(self.patch))
        return Response(self.response.decision, b"".join((self.before, patch, AFTER_PATCH)))


@dataclass(frozen=True, slots=True)
class ResponseCache:
    """Keeps the responses that were used last.

    `decide` gets only the part of the pod that the key is made of, so a response cannot depend on anything
    else. `added` are names of volumes that it looks for in a pod.
    """

    decide: Decide
    added: frozenset[str] = frozenset()
    _entries: dict[tuple[bytes, str, NamespacePolicy], _Template] = field(default_factory=dict)

    def get(self, pod: Pod, request: PodRequest, namespace: NamespacePolicy) -> Response:
        """Return the cached response for a pod, or compute and cache it. Raises what `decide` raises."""
        view, volume = cache_view(pod), token_volume(pod)
        if volume is not None and volume not in self.added:
            view = _renamed(view, volume)
        key = (cache_key(view), request.namespace, namespace)
        # Popped and added again: a dict keeps its order of insertion, so the first entry is the least used.
        template = self._entries.pop(key, None) or _template(self.compute(view, request, namespace))
        if len(key[0]) <= MAX_KEY:
            self._entries[key] = template
            if len(self._entries) > MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
        return template.response_for(volume)

    def compute(self, pod: Pod, request: PodRequest, namespace: NamespacePolicy) -> Response:
        """Compute the response for a pod without the cache."""
        outcome = self.decide(pod, request.namespace, namespace)
        return Response(outcome.decision, encode_outcome(outcome))


def _renamed(pod: Pod, volume: str) -> Pod:
    volumes = [
        replace(each, name=_ANY_VOLUME) if each.name == volume else each for each in pod.spec.volumes or ()
    ]
    return Pod(pod.metadata, replace(pod.spec, volumes=volumes))


def _template(response: Response) -> _Template:
    before, found, rest = response.encoded.rpartition(BEFORE_PATCH)
    if not found:
        return _Template(response)
    patch = base64.b64decode(rest.removesuffix(AFTER_PATCH)).split(_ANY_VOLUME.encode())
    return _Template(response, before + found, tuple(patch)) if len(patch) > 1 else _Template(response)
