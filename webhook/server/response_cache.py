"""Cache of responses by the shape of the pod: the pods of one template come in bursts and get one answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from webhook.core.inject import Outcome
from webhook.core.namespace_policy import NamespacePolicy
from webhook.core.pod import Pod
from webhook.core.policy import Decision
from webhook.server.review import PodRequest, cache_key, cache_view, encode_outcome

KEPT = 256
LARGEST_SHAPE = 8 << 10
"""Bytes; larger ones are answered anew each time. Both together bound the memory to a few megabytes."""

Decide = Callable[[Pod, str, NamespacePolicy], Outcome]


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision and its answer, which lacks the request's uid."""

    decision: Decision
    encoded: bytes


@dataclass(frozen=True, slots=True)
class ResponseCache:
    """Remembers the answers that were used last.

    `decide` sees of a pod just what its shape has, so that an answer can depend on nothing else.
    """

    decide: Decide
    _known: dict[tuple[bytes, str, NamespacePolicy], Answer] = field(default_factory=dict)

    def to(self, pod: Pod, request: PodRequest, namespace: NamespacePolicy) -> Answer:
        """Answer for a pod; what `decide` raises is not remembered."""
        read = cache_view(pod)
        key = (cache_key(read), request.namespace, namespace)
        found = self._known.pop(key, None) or self.anew(read, request, namespace)
        if len(key[0]) <= LARGEST_SHAPE:
            self._known[key] = found
            if len(self._known) > KEPT:
                del self._known[next(iter(self._known))]
        return found

    def anew(self, pod: Pod, request: PodRequest, namespace: NamespacePolicy) -> Answer:
        """Answer for a pod without looking at or remembering anything."""
        outcome = self.decide(pod, request.namespace, namespace)
        return Answer(outcome.decision, encode_outcome(outcome))
