"""The reporter of what a node's pods have, with an API server that has no NodeAttachments."""

from __future__ import annotations

import threading
from pathlib import Path

from ipagent.node.model.pool_addresses import NO_POOL
from ipagent.node.observe.usage_reporter import UsageReporter
from tests.cluster.waiting import wait_for
from tests.common.kube.fake_api import FakeApi, Reply, Request
from tests.ipagent.fakes import Lines


def test_it_lives_while_both_of_its_threads_do(tmp_path: Path) -> None:
    ended = threading.Event()

    def answer(request: Request) -> Reply:
        if "watch" in request.parameters:
            ended.wait(10)
            return Reply(chunks=[])
        metadata = {"resourceVersion": "1"}
        return Reply(body={"kind": "NodeAttachmentList", "metadata": metadata, "items": []})

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
