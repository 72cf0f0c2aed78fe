"""The real server of sessions with a simple core: a pod gets what it holds, or what a test says."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from common.agent_container import TOKEN_AUDIENCE
from common.exit_codes import ExitCode
from ipagent.assign.addresses import Holding
from ipagent.assign.selection import select
from ipagent.log import Log
from ipagent.node.model.claim import AddressState, AddressStatus, Claim, ClaimState, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.claim_queue import SessionClosed
from ipagent.node.sessions.limits import Limits
from ipagent.node.sessions.server import PodSessionServer

NODE = "node-a"
ENI = "eni-0a000000000000001"
POD = PodKey("apps", "pod-1", "8d6b6f0e-0000-4000-8000-000000000001")
SECONDS = 60.0

Answer = Callable[[Claim], ClaimStatus | None]


def token_of(pod: PodKey, *, node: str = NODE) -> str:
    return f"{pod.namespace}.{pod.name}.{pod.uid}.{node}"


def review(token: str) -> Mapping[str, Any]:
    """Answer as the API server does about the tokens that `token_of` makes."""
    parts = token.split(".")
    if len(parts) != 4:
        return {"authenticated": False, "error": "[invalid bearer token, token lookup failed]"}
    namespace, name, uid, node = parts
    extra = {"pod-name": [name], "pod-uid": [uid], "node-name": [node]}
    return {
        "authenticated": True,
        "user": {
            "username": f"system:serviceaccount:{namespace}:default",
            "extra": {f"authentication.kubernetes.io/{key}": value for key, value in extra.items()},
        },
        "audiences": [TOKEN_AUDIENCE],
    }


def holdings(claim: Claim) -> tuple[Holding, ...]:
    return select(claim.snapshot, claim.interfaces, claim.allowed).holdings


def assigned(claim: Claim) -> ClaimStatus:
    """Add to the pod all that it holds."""
    if claim.leaving:
        return ClaimStatus(ClaimState.ASSIGNED, ExitCode.OK, "Released: everything.")
    held = holdings(claim)
    listed = ", ".join(str(holding.address) for holding in held)
    return ClaimStatus(
        ClaimState.ASSIGNED,
        ExitCode.OK,
        f"Assigned: {listed} on {ENI}." if held else "Nothing to assign.",
        tuple(AddressStatus(h.address, h.interface, AddressState.ASSIGNED, ENI) for h in held),
    )


def pending(text: str, code: ExitCode = ExitCode.DEADLINE) -> ClaimStatus:
    return ClaimStatus(ClaimState.PENDING, code, text)


def failed(code: ExitCode, text: str, *addresses: AddressStatus) -> ClaimStatus:
    return ClaimStatus(ClaimState.FAILED, code, text, addresses)


class Gate:
    """PodSessionServer on `listener`, and a main loop that answers each claim with `answer`."""

    def __init__(
        self,
        listener: socket.socket,
        answer: Answer = assigned,
        *,
        living: tuple[PodKey, ...] = (POD,),
        review: Callable[[str], Mapping[str, Any]] = review,
        limits: Limits | None = None,
    ) -> None:
        self.answer = answer
        self.taken: list[Claim | SessionClosed] = []
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.sessions = PodSessionServer(
            listener,
            node=NODE,
            review=review,
            notify=lambda: self._calls.put(self._step),
            log=Log(),
            limits=limits,
        )
        self._thread = threading.Thread(target=self._loop)
        self.sessions.set_living_pods(living)

    def __enter__(self) -> Self:
        self.sessions.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sessions.close()
        self._calls.put(None)
        self._thread.join()

    @property
    def claims(self) -> list[Claim]:
        return [each for each in self.taken if isinstance(each, Claim)]

    def publish(self, standing: ClaimStatus, pod: PodKey = POD) -> None:
        """Let the pod be told something else, as the main loop would."""

        def change() -> None:
            self.sessions.publish({pod: standing})

        self._calls.put(change)

    def drain(self) -> None:
        """Wait until the main loop has done all that it was asked."""
        done = threading.Event()
        self._calls.put(done.set)
        assert done.wait(SECONDS)

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited {SECONDS} s for {what}; taken: {self.taken}"
            time.sleep(0.01)

    def wait_for_claims(self, number: int) -> None:
        self.wait_for(lambda: len(self.claims) >= number, f"{number} claims")

    def wait_for_unclaim(self, pod: PodKey = POD) -> None:
        self.wait_for(lambda: SessionClosed(pod) in self.taken, "the end of the session")

    def _loop(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def _step(self) -> None:
        changes: dict[PodKey, ClaimStatus] = {}
        for each in self.sessions.take_claims():
            self.taken.append(each)
            if isinstance(each, SessionClosed):
                changes.pop(each.pod, None)
            elif status := self.answer(each):
                changes[each.pod] = status
        self.sessions.publish(changes)
