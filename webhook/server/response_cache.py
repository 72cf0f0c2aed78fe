"""Cache of responses: the pods of one template come in bursts and get the same response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from webhook.core.decision import Decision
from webhook.core.inject import Outcome
from webhook.core.namespace_policy import NamespacePolicy
from webhook.core.pod import Pod
from webhook.server.review import PodRequest, cache_key, cache_view, encode_outcome

MAX_ENTRIES = 256
MAX_KEY = 8 << 10
"""Bytes. A pod with a longer key is not cached. Both limits together bound the cache to a few megabytes."""

Decide = Callable[[Pod, str, NamespacePolicy], Outcome]


@dataclass(frozen=True, slots=True)
class Response:
    """A decision, and its encoded response without the request's uid."""

    decision: Decision
    encoded: bytes


@dataclass(frozen=True, slots=True)
class ResponseCache:
    """Keeps the responses that were used last.

    `decide` gets only the part of the pod that the key is made of, so a response cannot depend on anything
    else.
    """

    decide: Decide
    _entries: dict[tuple[bytes, str, NamespacePolicy], Response] = field(default_factory=dict)

    def get(self, pod: Pod, request: PodRequest, namespace: NamespacePolicy) -> Response:
        """Return the cached response for a pod, or compute and cache it. Raises what `decide` raises."""
        view = cache_view(pod)
        key = (cache_key(view), request.namespace, namespace)
        # Popped and added again: a dict keeps its order of insertion, so the first entry is the least used.
        response = self._entries.pop(key, None) or self.compute(view, request, namespace)
        if len(key[0]) <= MAX_KEY:
            self._entries[key] = response
            if len(self._entries) > MAX_ENTRIES:
                del self._entries[next(iter(self._entries))]
        return response

    def compute(self, pod: Pod, request: PodRequest, namespace: NamespacePolicy) -> Response:
        """Compute the response for a pod without the cache."""
        outcome = self.decide(pod, request.namespace, namespace)
        return Response(outcome.decision, encode_outcome(outcome))
