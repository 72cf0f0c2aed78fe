"""From the annotations of a pod to the interfaces whose addresses its agent assigns."""

from ipaddress import ip_address

import msgspec
import pytest

from common.agent_settings import AgentSettings
from common.pod_keys import INTERFACES, NETWORKS, Injection
from ipagent.assign.addresses import Link, LinkAddress, Snapshot
from ipagent.assign.selection import Selection, select
from webhook.core.decision import decide
from webhook.core.namespace_policy import NamespacePolicy
from webhook.core.pod import Pod
from webhook.settings_file import parse_settings

pytestmark = pytest.mark.pure

ETH0 = Link(3, "eth0", "0a:00:00:00:00:03")
NET1, NET2 = Link(4, "net1", "02:aa:00:00:00:01"), Link(5, "net2", "02:aa:00:00:00:02")
SIG0 = Link(6, "sig0", "02:aa:00:00:00:03")
HELD = {ETH0: "10.10.0.21", NET1: "10.10.1.80", NET2: "10.10.2.80", SIG0: "10.10.3.80"}


def told(networks: str, **annotations: str) -> AgentSettings:
    """Return what the webhook tells the agent, as the agent reads it from its environment."""
    pod = {
        "metadata": {"name": "web", "annotations": {NETWORKS: networks, **annotations}},
        "spec": {"containers": [{"name": "app"}]},
    }
    settings = parse_settings("agent: {image: 'registry.example/ipagent:1.0'}")
    agent = decide(msgspec.convert(pod, Pod), "apps", NamespacePolicy(Injection.ENABLED), settings).agent
    assert agent is not None
    return AgentSettings.from_env(agent.settings.to_env())


def selected(settings: AgentSettings, *links: Link) -> Selection:
    addresses = tuple(LinkAddress(link.index, ip_address(HELD[link])) for link in links)
    return select(Snapshot(links, addresses), settings.interfaces, (), settings.guessed_interfaces)


def names(selection: Selection) -> list[str]:
    return [holding.interface for holding in selection.holdings]


ANNOTATIONS = ["ipvlan@sig0", '[{"name":"ipvlan","interface":"sig0"}]', "ipvlan"]


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_no_name_of_the_networks_annotation_leaves_an_interface_out(annotation: str) -> None:
    """Multus' defaultNetworks add one, and another network is plugged into the running pod."""
    found = selected(told(annotation), ETH0, NET1, NET2, SIG0)
    assert (names(found), found.missing) == (["net1", "net2", "sig0"], ())


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_an_interface_to_which_a_plugin_gives_another_name_is_the_expected_one(annotation: str) -> None:
    found = selected(told(annotation), ETH0, NET2)
    assert (names(found), found.missing) == (["net2"], ())


@pytest.mark.parametrize("annotation", ANNOTATIONS)
def test_a_pod_with_fewer_interfaces_than_networks_lacks_one(annotation: str) -> None:
    assert len(selected(told(annotation), ETH0).missing) == 1


def test_only_the_users_own_list_leaves_interfaces_out() -> None:
    settings = told("a@sig0,b", **{INTERFACES: "net2"})
    assert names(selected(settings, ETH0, NET1, NET2, SIG0)) == ["net2"]
    assert selected(settings, ETH0, SIG0).missing == ("net2",)
