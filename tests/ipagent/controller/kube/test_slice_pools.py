"""A NodeSlicePool is written as it has to be, whatever somebody else has made of it."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from common.kube.client import Answer
from common.kube.errors import ApiError, HangingWrite, KubeError, Unreachable
from ipagent.controller.kube.slice_pools import AGAIN, LOOK, SlicePools
from ipagent.controller.model.node_slice_pools import SlicePool
from ipagent.log import Log
from ipagent.node_network_api import CONTROLLER_MANAGER

pytestmark = pytest.mark.pure

POOL = SlicePool("oam", "uid-oam", "10.20.0.0/16", {"n1": "10.20.7.16/28"})


@dataclass
class ApiServer:
    """Has one object, and takes what is merged into it."""

    found: dict[str, Any]
    merged: list[dict[str, Any]] = field(default_factory=list)

    def get(self, path: str, what: str) -> Answer:
        """Return the object."""
        del path, what
        return Answer(self.found, None)

    def merge(self, path: str, what: str, body: dict[str, Any], *, manager: str) -> Answer:
        """Take a change of the status."""
        del path, what, manager
        self.merged.append(body)
        return Answer(self.found | {"status": body["status"], "spec": body["spec"]}, None)


ODD: dict[str, object] = {
    "no status": None,
    "a text": "10.20.7.16/28",
    "no list": {"allocations": "n1"},
    "no objects": {"allocations": ["n1", 7, None, []]},
    "without a node": {"allocations": [{"sliceRange": "10.20.7.16/28"}]},
    "without a range": {"allocations": [{"nodeName": "n1"}]},
    "no texts": {"allocations": [{"nodeName": ["n1"], "sliceRange": {"a": 1}}]},
    "another node's": {"allocations": [{"nodeName": "n2", "sliceRange": "10.20.7.16/28"}]},
}


@pytest.mark.parametrize("status", ODD.values(), ids=ODD.keys())
def test_what_is_no_slice_is_replaced(status: object) -> None:
    labels = {"app.kubernetes.io/managed-by": CONTROLLER_MANAGER, "multus-eni.io/network": "oam"}
    server = ApiServer({"metadata": {"labels": labels, "resourceVersion": "7"}, "status": status})
    pools = SlicePools(server, "kube-system", Log(stream=io.StringIO()), lambda: True, lambda: 10.0)  # type: ignore[arg-type] # as much as is asked
    pools.write({"oam": POOL}, 10.0)
    (body,) = server.merged
    assert body["status"]["allocations"] == [{"nodeName": "n1", "sliceRange": "10.20.7.16/28"}]
    assert pools.reports["oam"].slices == POOL.slices
    assert not pools.reports["oam"].problem


class Hanging(ApiServer):
    """Fails each write after `took` seconds of its clock."""

    def __init__(self, took: float) -> None:
        super().__init__({})
        self.took = took
        self.now = 10.0
        self.tried: list[str] = []

    def get(self, path: str, what: str) -> Answer:
        del what
        network = path.rpartition("/")[2]
        labels = {"app.kubernetes.io/managed-by": CONTROLLER_MANAGER, "multus-eni.io/network": network}
        return Answer({"metadata": {"labels": labels, "resourceVersion": "7"}}, None)

    def merge(self, path: str, what: str, body: dict[str, Any], *, manager: str) -> Answer:
        del body, manager
        self.now += self.took
        self.tried.append(path.rpartition("/")[2])
        raise ApiError(500, "InternalError", "failed calling webhook", what)

    def pools(self) -> SlicePools:
        log = Log(stream=io.StringIO())
        return SlicePools(self, "kube-system", log, lambda: True, lambda: self.now)  # type: ignore[arg-type] # as much as is asked


@pytest.mark.parametrize(("took", "pause"), [(0.0, AGAIN), (10.0, 100.0)])
def test_a_webhook_that_hangs_takes_a_tenth_of_the_loops_time(took: float, pause: float) -> None:
    server = Hanging(took)
    pools = server.pools()
    assert pools.write({"oam": POOL}, server.now) == 10.0 + pause
    assert pools.write({"oam": POOL}, 10.0 + pause - 0.1) == 10.0 + pause
    assert len(server.tried) == 1
    assert "failed calling webhook" in pools.reports["oam"].problem


def test_so_it_does_with_many_pools_each_of_which_has_its_turn() -> None:
    server = Hanging(10.0)
    pools, wanted = server.pools(), {name: replace(POOL, network=name) for name in ("a", "b", "c")}
    began = server.now
    for _ in range(6):
        server.now = max(server.now, pools.write(wanted, server.now))
    assert len(server.tried) == 6
    assert set(server.tried[:3]) == set(server.tried[3:]) == {"a", "b", "c"}
    assert 10.0 * len(server.tried) <= (server.now - began) / 10 + 10.0


class Failing(ApiServer):
    """Takes what is merged, and fails with `error` once there is one."""

    def __init__(self) -> None:
        labels = {"app.kubernetes.io/managed-by": CONTROLLER_MANAGER, "multus-eni.io/network": "oam"}
        super().__init__({"metadata": {"labels": labels, "resourceVersion": "7"}})
        self.error: Exception | None = None

    def merge(self, path: str, what: str, body: dict[str, Any], *, manager: str) -> Answer:
        """Take a change, which is seen from then on, or fail."""
        if self.error is not None:
            raise self.error
        answer = super().merge(path, what, body, manager=manager)
        self.found = answer.object
        return answer


CHANGED = replace(POOL, slices={**POOL.slices, "n2": "10.20.7.32/28"})


@pytest.mark.parametrize(
    ("error", "keeps"),
    [
        (ApiError(409, "Conflict", "it was modified", "write it"), True),
        (ApiError(503, "ServiceUnavailable", "starting", "write it"), True),
        (Unreachable("timed out"), True),
        (ApiError(403, "Forbidden", "no", "write it"), False),
        (HangingWrite("it answers reads"), False),
    ],
)
def test_what_is_no_word_on_a_pool_leaves_what_is_known_of_it(error: KubeError, keeps: bool) -> None:
    """Else a moment without the API server would have no node of the network ready."""
    server, log = Failing(), io.StringIO()
    pools = SlicePools(server, "kube-system", Log(stream=log), lambda: True, lambda: 10.0)  # type: ignore[arg-type] # as much as is asked
    pools.write({"oam": POOL}, 10.0)
    server.error = error
    assert pools.write({"oam": CHANGED}, 20.0) == 20.0 + AGAIN
    assert (pools.reports["oam"].slices == POOL.slices, pools.reports["oam"].problem == "") == (keeps, keeps)
    # Nor is it asked again before its time, whatever is to be written then.
    server.error = None
    pools.write({"oam": replace(CHANGED, slices={})}, 29.0)
    assert len(server.merged) == 1
    assert pools.write({"oam": CHANGED}, 30.0) == 30.0 + LOOK
    assert pools.reports["oam"].slices == CHANGED.slices
    assert log.getvalue().count("slices-failed") == 1


def test_of_a_pool_that_was_never_read_a_failure_is_reported() -> None:
    server = Failing()
    server.error = Unreachable("timed out")
    pools = SlicePools(server, "kube-system", Log(stream=io.StringIO()), lambda: True, lambda: 10.0)  # type: ignore[arg-type] # as much as is asked
    pools.write({"oam": POOL}, 10.0)
    assert "timed out" in pools.reports["oam"].problem


def test_after_an_api_server_that_did_not_answer_pools_are_looked_at_soon() -> None:
    class Away(Hanging):
        def get(self, path: str, what: str) -> Answer:  # noqa: ARG002 - as the client's
            self.now += 30.0
            self.tried.append(path.rpartition("/")[2])
            raise Unreachable("timed out")

    server = Away(0.0)
    pools = server.pools()
    assert pools.write({"oam": POOL}, 10.0) == 40.0 + AGAIN
    assert pools.write({"oam": POOL}, 40.0) == 40.0 + AGAIN
    assert server.tried == ["oam"]
