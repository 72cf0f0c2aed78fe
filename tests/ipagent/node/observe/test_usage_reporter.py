"""The reporter of what a node's pods have, with an API server that has no NodeAttachments."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from common.kube.client import Client
from common.kube.errors import ApiError, HangingWrite, KubeError, Unreachable
from ipagent.node.model.pod import Pod, PodKey
from ipagent.node.model.pool_addresses import NO_POOL
from ipagent.node.observe.usage_reporter import UsageReporter
from ipagent.node.reconcile.usage import MAX_ADDRESSES
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request
from tests.ipagent.fakes import Lines, ip


def attachment(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "resourceVersion": "1"},
        "spec": {"network": name.partition(".")[2], "reportPods": True},
        "status": {"eni": f"eni-{name}", "mac": "02:aa:00:00:00:01"},
    }


def watched(request: Request, ended: threading.Event, *names: str) -> Reply:
    """Answer a list of these NodeAttachments; a watch of them tells nothing until the test has ended."""
    if "watch" in request.parameters:
        ended.wait(10)
        return Reply(chunks=[])
    metadata = {"resourceVersion": "1"}
    items = [attachment(name) for name in names]
    return Reply(body={"kind": "NodeAttachmentList", "metadata": metadata, "items": items})


def test_it_lives_while_both_of_its_threads_do(tmp_path: Path) -> None:
    ended = threading.Event()

    def answer(request: Request) -> Reply:
        return watched(request, ended)

    with FakeApi(tmp_path, answer) as api:
        reporter = UsageReporter(api.client(tmp_path), "n1", Lines().log)
        assert not reporter.alive
        reporter.start()
        wait_for(lambda: reporter.alive and reporter.pool() == NO_POOL, "the list")
        # As if its informer had ended by itself.
        reporter._attachments.stop()  # noqa: SLF001
        ended.set()
        wait_for(lambda: not reporter.alive, "the end of the informer")
        assert reporter.is_alive()
        reporter.stop()
        reporter.join(10)
        assert not reporter.is_alive()


def test_a_report_that_is_refused_holds_up_no_other(tmp_path: Path) -> None:
    ended = threading.Event()
    reported: list[str] = []

    def answer(request: Request) -> Reply:
        if request.method == "PATCH":
            name = request.path.split("/")[-2]
            reported.append(name)
            return Reply(422, {"reason": "Invalid", "message": "no"}) if name == "n1.oam" else Reply()
        return watched(request, ended, "n1.oam", "n1.sig")

    with FakeApi(tmp_path, answer) as api:
        lines = Lines()
        reporter = UsageReporter(api.client(tmp_path), "n1", lines.log)
        reporter.start()
        reporter.observe((), {})
        wait_for(lambda: "n1.sig" in reported, "the report of the other one")
        wait_for(lambda: reported.count("n1.oam") >= 2, "another try of the refused one")
        reporter.stop()
        ended.set()
        reporter.join(10)
    assert "usage-failed" in lines.events()


@pytest.mark.parametrize(
    "error",
    [ApiError(422, "Invalid", "no", "report"), HangingWrite("it answers reads")],
    ids=["refused", "hangs"],
)
def test_a_report_that_fails_by_itself_holds_up_no_later_one_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: KubeError
) -> None:
    ended = threading.Event()
    reported: list[tuple[str, int]] = []

    def apply(_: Client, path: str, _what: str, body: dict[str, Any], **_more: object) -> None:
        name = path.split("/")[-2]
        reported.append((name, len(body["status"]["pods"]["others"])))
        if name == "n1.oam":
            raise error

    def answer(request: Request) -> Reply:
        return watched(request, ended, "n1.oam", "n1.sig")

    monkeypatch.setattr(Client, "apply", apply)
    monkeypatch.setattr("ipagent.node.observe.usage_reporter.pause_after_failure", lambda *_: 600.0)
    pod = Pod(PodKey("apps", "web", "u"), alive=True)
    with FakeApi(tmp_path, answer) as api:
        reporter = UsageReporter(api.client(tmp_path), "n1", Lines().log)
        reporter.start()
        reporter.observe((), {})
        wait_for(lambda: ("n1.sig", 0) in reported, "the first reports")
        reporter.observe((pod,), {("eni-n1.sig", ip("10.0.0.1")): pod.key})
        wait_for(lambda: ("n1.sig", 1) in reported, "a report of what has changed")
        reporter.stop()
        ended.set()
        reporter.join(10)


@pytest.mark.parametrize("gone", [False, True])
def test_after_a_conflict_the_object_is_read_and_reported_again_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    ended = threading.Event()
    reported: list[str] = []
    read: list[str] = []

    def answer(request: Request) -> Reply:
        if request.method == "PATCH":
            reported.append(request.body["status"]["pods"]["mac"])
            return Reply(409, {"reason": "Conflict", "message": "it was modified"}) if not read else Reply()
        if request.path.endswith("/n1.sig"):
            read.append(request.path)
            found = attachment("n1.sig")
            found["status"]["mac"] = "02:aa:00:00:00:02"
            return Reply(404) if gone else Reply(body=found)
        return watched(request, ended, "n1.sig")

    monkeypatch.setattr("ipagent.node.observe.usage_reporter.pause_after_failure", lambda *_: 600.0)
    with FakeApi(tmp_path, answer) as api:
        lines = Lines()
        reporter = UsageReporter(api.client(tmp_path), "n1", lines.log)
        reporter.start()
        reporter.observe((), {})
        wait_for(lambda: bool(read), "another look")
        if not gone:
            wait_for(lambda: len(reported) == 2, "another report")
        reporter.stop()
        ended.set()
        reporter.join(10)
    assert reported == ["02:aa:00:00:00:01", *([] if gone else ["02:aa:00:00:00:02"])]
    assert "usage-failed" not in lines.events()


def test_a_report_that_is_never_answered_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An admission webhook may hang for longer than an answer is waited for."""
    ended = threading.Event()
    reported: list[str] = []

    def apply(_: Client, path: str, *_arguments: object, **_more: object) -> None:
        reported.append(path.split("/")[-2])
        if reported[-1] != "n1.x":
            raise Unreachable("timed out")

    def answer(request: Request) -> Reply:
        return watched(request, ended, "n1.oam", "n1.sig", "n1.x")

    monkeypatch.setattr(Client, "apply", apply)
    monkeypatch.setattr("ipagent.node.observe.usage_reporter.pause_after_failure", lambda *_: 0.0)
    with FakeApi(tmp_path, answer) as api:
        reporter = UsageReporter(api.client(tmp_path), "n1", Lines().log)
        reporter.start()
        reporter.observe((), {})
        wait_for(lambda: "n1.x" in reported, "the report that is taken")
        reporter.stop()
        ended.set()
        reporter.join(10)
    assert reported[:3] == ["n1.oam", "n1.sig", "n1.x"]


def test_addresses_that_a_nodeattachment_can_not_name_are_said_once(tmp_path: Path) -> None:
    ended = threading.Event()
    reported: list[int] = []

    def answer(request: Request) -> Reply:
        if request.method == "PATCH":
            reported.append(len(request.body["status"]["pods"]["others"]))
            return Reply()
        return watched(request, ended, "n1.sig")

    pod = Pod(PodKey("apps", "web", "u"), alive=True)
    base = ip("10.0.0.0")
    owners = {("eni-n1.sig", base + number): pod.key for number in range(MAX_ADDRESSES + 3)}
    with FakeApi(tmp_path, answer) as api:
        lines = Lines()
        reporter = UsageReporter(api.client(tmp_path), "n1", lines.log)
        reporter.start()
        reporter.observe((pod,), dict(owners))
        wait_for(lambda: len(reported) == 1, "a report")
        reporter.observe((pod,), dict(owners))
        wait_for(lambda: len(reported) == 2, "another report")
        reporter.stop()
        ended.set()
        reporter.join(10)
    assert set(reported) == {MAX_ADDRESSES}
    (line,) = lines.of("usage-failed")
    assert "3 addresses more than the 1024 that NodeAttachment n1.sig can name" in line["message"]
