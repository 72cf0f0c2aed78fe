"""All replicas of the webhook are gone: who has to wait, and who does not."""

from __future__ import annotations

import pytest

from common.pod_keys import INJECTION
from tests.cluster.api import DEPLOYMENT, ApiError
from tests.cluster.nodes.story import Story
from tests.cluster.nodes.story_release import WEBHOOK, Release
from tests.cluster.nodes.workloads import (
    REPLICA_SET,
    deployment,
    ipvlan,
    pod,
    template,
    whereabouts,
)

pytestmark = pytest.mark.cluster


def test_only_pods_that_need_the_webhook_wait_for_it(story: Story, release: Release) -> None:
    story.apply(ipvlan("net", "eth1", whereabouts(story.subnet().span(100, 179))))
    system = release.story
    cluster = story.cluster
    cluster.kubectl("scale", "deployment", WEBHOOK, "--replicas=0", "-n", system.namespace)
    try:
        owner = system.get(DEPLOYMENT, WEBHOOK)
        system.wait(lambda: not system.pods_of(owner), "end of the replicas")
        story.apply(deployment("app", 2, template("net")))
        story.wait(lambda: refusals(story, "app"), "refusal of the pods")
        assert story.pods_of(story.get(DEPLOYMENT, "app")) == []
        story.apply(
            pod("plain", template()),
            pod("opted-out", template("net", labels={INJECTION: "disabled"})),
        )
        story.wait_ready("plain", "opted-out")
        with pytest.raises(ApiError, match="failed calling webhook"):
            story.api.create(pod("needs-it", template("net")), story.namespace)
    finally:
        cluster.kubectl("scale", "deployment", WEBHOOK, "--replicas=2", "-n", system.namespace)
    system.wait_rolled_out(DEPLOYMENT, WEBHOOK)
    pods = story.wait_rolled_out(DEPLOYMENT, "app")
    assert {each.mode for each in pods} == {release.mode}
    assert story.ledger.held() >= story.expected(pods)


def refusals(story: Story, deployment_name: str) -> list[str]:
    """Return what the events of a Deployment's ReplicaSets say of pods that could not be made."""
    sets = story.api.list(REPLICA_SET, story.namespace, f"app={deployment_name}")
    return [
        event
        for each in sets
        for event in story.events(each["metadata"]["name"])
        if event.startswith("FailedCreate:") and "failed calling webhook" in event
    ]
