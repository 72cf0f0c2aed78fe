"""NodeNetworks on a real API server: the CRDs of the chart, its rights, its guard, and the controller.

EC2 is the one of tests/ipagent/controller/world.py, in memory.
"""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.agent_settings import LogFormat
from common.kube.errors import ApiError as Refusal
from ipagent.controller.kube import slice_pools
from ipagent.controller.model.ec2_snapshot import CLUSTER_TAG
from ipagent.links.plan import LinkStatus
from ipagent.log import Log
from ipagent.node.observe.usage_reporter import UsageReporter
from ipagent.node_network_api import FULL_TAINT, READY_PREFIX, STARTUP_TAINT
from multus_eni.convert_node_eni import convert
from tests.chart.conftest import Cluster
from tests.chart.network_rig import ATTACHMENT, DAEMON, NETWORK, NODE, OWN, Rig, client_with, token_of
from tests.cluster.api import Api, ApiError, Kind, Manifest
from tests.cluster.helm import NAMESPACE
from tests.cluster.namespaces import ready_namespace
from tests.cluster.nodes.cni import PluginsMissing, crds, plugins
from tests.cluster.waiting import wait_for
from tests.ipagent.controller.world import RANGE, World, network
from tests.ipagent.node.reconcile.test_usage import pod as node_pod
from tests.multus_eni.test_convert import CASES, node_eni
from tests.skipping import skip

pytestmark = pytest.mark.cluster

CRDS = ("nodeattachments.multus-eni.io", "nodenetworks.multus-eni.io")
WANTED = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
ISSUE = {
    "nodeSelector": {"matchLabels": {"node-group": "multus"}},
    "subnetSelectorTerms": [{"tags": {"multus": "oam"}}],
    "securityGroupSelectorTerms": [{"tags": {"multus": "oam"}}],
}


@pytest.fixture(scope="module")
def api(cluster: Cluster, rendered: dict[str, list[Manifest]]) -> Iterator[Api]:
    """A client of an API server with what the chart installs of the controller."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.api.apply(namespace)
    ready_namespace(cluster.api, NAMESPACE)
    manifests = [
        each
        for each in rendered["controller"]
        if each["kind"] == "CustomResourceDefinition"
        or (each["kind"] in WANTED and each["metadata"]["name"].endswith(("-controller", "-slices", "-node")))
        or each["metadata"]["name"].endswith("-links")
    ]
    made = []
    for each in manifests:
        cluster.api.apply(each)
        made.append(each)
    with cluster.plane.client() as client:
        wait_for(lambda: served(client, NETWORK) and served(client, ATTACHMENT), "service of the CRDs")
        yield client
    for each in reversed(made):
        kind = Kind(each["apiVersion"], each["kind"])
        cluster.api.delete(kind, each["metadata"]["name"], each["metadata"].get("namespace"))
    wait_for(
        lambda: not is_known(cluster.api, NETWORK) and not is_known(cluster.api, ATTACHMENT), "their end"
    )


def is_known(api: Api, kind: Kind) -> bool:
    try:
        api.list(kind)
    except ApiError:
        return False
    return True


def served(api: Api, kind: Kind) -> bool:
    try:
        return api.list(kind) == []
    except ApiError:
        return False


def manifest(name: str, **spec: Any) -> Manifest:
    """Make the NodeNetwork that the docs show, changed by `spec`; None leaves a key out."""
    found = {key: value for key, value in {**ISSUE, **spec}.items() if value is not None}
    return {
        "apiVersion": "multus-eni.io/v1alpha1",
        "kind": "NodeNetwork",
        "metadata": {"name": name},
        "spec": found,
    }


def prefixes(**fields: Any) -> Manifest:
    """Make a NodeNetwork of prefixes."""
    return manifest("oam", addresses={"mode": "Prefixes", "prefixes": fields})


ADOPT: dict[str, Any] = {
    "source": "Adopt",
    "interfaceSelector": {"tags": {"multus": "true", "Zone": "${zone}"}},
    "subnetSelectorTerms": None,
    "securityGroupSelectorTerms": None,
}

REFUSED: dict[str, tuple[Manifest, str]] = {
    "unknown field": (manifest("oam", mtu=9001), "spec.mtu: field not declared in schema"),
    "no selector": (manifest("oam", nodeSelector=None), "spec.nodeSelector: Required value"),
    "no subnets": (manifest("oam", subnetSelectorTerms=None), "source Create needs subnetSelectorTerms"),
    "id and tags": (
        manifest("oam", subnetSelectorTerms=[{"id": "subnet-0aa00000", "tags": {"a": "b"}}]),
        "a term has either id or tags",
    ),
    "id of something else": (manifest("oam", securityGroupSelectorTerms=[{"id": "subnet-0aa00000"}]), "^sg-"),
    "adopt without selector": (
        manifest("oam", **{**ADOPT, "interfaceSelector": None}),
        "source Adopt needs interfaceSelector",
    ),
    "adopt with subnets": (
        manifest("oam", **{**ADOPT, "subnetSelectorTerms": ISSUE["subnetSelectorTerms"]}),
        "are for source Create",
    ),
    "selector of ENIs to create": (
        manifest("oam", interfaceSelector={"tags": {"a": "b"}}),
        "interfaceSelector is for source Adopt",
    ),
    "prefixes without their mode": (
        manifest("oam", addresses={"prefixes": {"ipv4": 1}}),
        "mode Prefixes needs prefixes, mode Assign has none",
    ),
    "no prefix at all": (prefixes(ipv4=0), "ipv4 and ipv6 can't both be 0"),
    "fewer prefixes at most than at least": (prefixes(ipv4=5), "maxIPv4 is less than ipv4"),
    "several IPv6 prefixes": (prefixes(ipv6=2), "should be less than or equal to 1"),
    "an IPAM that there is not": (prefixes(ipam="Calico"), "ipam: Unsupported value"),
    "both families of whereabouts": (
        prefixes(ipam="Whereabouts", ipv6=1),
        "with ipam Whereabouts either ipv4 or ipv6 is 0",
    ),
    "routes beside those of whereabouts": (
        prefixes(ipam="Whereabouts", routes=[{"dst": "10.0.0.0/8"}]),
        "with ipam Whereabouts the NetworkAttachmentDefinition has the routes",
    ),
    "a route to nowhere": (prefixes(routes=[{"dst": "10.0.0.0"}]), "routes[0].dst"),
    "a route by nothing": (
        prefixes(gateway="None", routes=[{"dst": "10.0.0.0/8"}]),
        "with gateway None each route needs its gw",
    ),
    "an IPv6 route by nothing": (
        prefixes(ipv6=1, routes=[{"dst": "2001:db8::/32"}]),
        "a route of IPv6 needs its gw",
    ),
    "prefixes of ENIs to adopt": (
        manifest("oam", **ADOPT, addresses={"mode": "Prefixes", "prefixes": {}}),
        "addresses.mode Prefixes is for source Create",
    ),
    "In without values": (
        manifest("oam", nodeSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}),
        "In and NotIn need values",
    ),
    "the node's own interface": (
        manifest("oam", placement={"deviceIndex": 0}),
        "device index 0 of network card 0 is the node's own",
    ),
    "MTU too large": (manifest("oam", link={"mtu": 9217}), "should be less than or equal to 9216"),
    "name that is too long for a link": (
        manifest("oam-of-the-mobile-core", link={"rename": "Name"}),
        "an interface's name has at most 15 characters",
    ),
    "name with a dot": (manifest("oam.core"), "with at most 63 characters and no dot"),
    "tag of the VPC CNI": (
        manifest("oam", tags={"node.k8s.amazonaws.com/instance_id": "i-1"}),
        "belong to AWS, the VPC CNI or the controller",
    ),
    "label of Kubernetes": (
        manifest("oam", nodes={"labels": {"topology.kubernetes.io/zone": "x"}}),
        "belong to the controller or to Kubernetes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_networks_are_refused_with_a_sentence(api: Api, case: str) -> None:
    wrong, says = REFUSED[case]
    with pytest.raises(ApiError) as refused:
        api.apply(wrong, dry_run=True)
    assert says in refused.value.message


@pytest.mark.parametrize("spec", [{}, ADOPT], ids=["Create", "Adopt"])
def test_right_networks_are_accepted_with_their_defaults(api: Api, spec: dict[str, Any]) -> None:
    found = api.apply(manifest("oam", **spec), dry_run=True).object["spec"]
    assert found["link"] == {"rename": "Altname"}
    assert (found["deletionPolicy"], found["deleteOnTermination"]) == ("WaitForPods", True)
    assert found["nodes"] == {"startupTaint": True, "fullTaint": False}
    assert found["capacity"] == {"advertise": True, "reserve": 0}
    assert "sourceDestCheck" not in found


def test_whatever_is_converted_from_a_node_eni_is_accepted(api: Api) -> None:
    for spec, _, _ in CASES.values():
        api.apply(convert(node_eni("core.oam", **spec)).network, dry_run=True)


def test_a_networks_source_stays(api: Api) -> None:
    api.create(manifest("stays"))
    with pytest.raises(ApiError, match="source can't be changed"):
        api.apply(manifest("stays", **ADOPT))
    api.delete(NETWORK, "stays")


def test_what_hands_out_a_networks_prefixes_stays(api: Api) -> None:
    api.create(prefixes())
    with pytest.raises(ApiError, match="ipam can't be changed"):
        api.apply(prefixes(ipam="Whereabouts"))
    api.delete(NETWORK, "oam")


@pytest.fixture
def rig(cluster: Cluster, api: Api, tmp_path: Path) -> Iterator[Rig]:
    client = client_with(cluster, token_of(cluster, OWN), tmp_path)
    world = World(links=False)
    # What World knows of subnets goes by the network's name.
    world.add_network(network("oam"))
    rig = Rig(api, client, world, slice_namespace="kube-system")
    rig.start()
    yield rig
    rig.end()
    client.close()


def test_the_story_of_a_node(rig: Rig, api: Api) -> None:
    """A node joins with the taint, gets its ENI, becomes ready when its link is reported, and goes."""
    rig.register("n1", tainted=True)
    api.create(manifest("oam", nodes={"labels": {"attached": "true"}}))
    wait_for(lambda: rig.condition("n1.oam") == "False WaitingForLink", "an attached ENI")
    found = api.get(ATTACHMENT, "n1.oam")
    assert found["metadata"]["labels"] == {"multus-eni.io/node": "n1", "multus-eni.io/network": "oam"}
    assert found["spec"]["link"] == {"name": "oam", "rename": "Altname"}
    (eni,) = (each for each in rig.world.enis.values() if each.tags.get(CLUSTER_TAG) == "prod")
    assert (found["status"]["eni"], found["status"]["device"]) == (eni.id, 1)
    assert found["status"]["slots"] == {"limit": 15, "assigned": 1, "free": 14}
    assert STARTUP_TAINT in str(api.get(NODE, "n1")["spec"]["taints"])
    rig.report_link("n1.oam")
    wait_for(lambda: rig.condition("n1.oam") == "True Ready", "a ready attachment")
    wait_for(lambda: STARTUP_TAINT not in str(api.get(NODE, "n1")["spec"]), "the taint's end")
    labels = api.get(NODE, "n1")["metadata"]["labels"]
    assert (labels["attached"], labels[READY_PREFIX + "oam"]) == ("true", "true")
    assert api.get(ATTACHMENT, "n1.oam")["status"]["link"]["up"] is True
    wait_for(lambda: api.get(NETWORK, "oam")["status"].get("ready") == 1, "the network's status")
    status = api.get(NETWORK, "oam")["status"]
    assert (status["nodes"], status["free"], status["failed"]) == (1, 14, 0)
    wait_for(lambda: "NetworkReady" in rig.events("n1"), "an Event on the node")
    # Another leader finds everything as it is, and ends what it finds deleted.
    rig.end()
    calls = dict(rig.world.calls)
    api.delete(NODE, "n1")
    rig.start()
    wait_for(lambda: not api.list(ATTACHMENT), "the end of the NodeAttachment")
    assert not [each for each in rig.world.enis.values() if CLUSTER_TAG in each.tags]
    assert rig.world.calls["Create"] == calls["Create"] == 1
    api.delete(NETWORK, "oam")
    wait_for(lambda: not api.list(NETWORK), "the end of the NodeNetwork")


DOWN: Manifest = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "down"},
    "webhooks": [
        {
            "name": "down.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:9/"},
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"]}
            ],
            "matchConditions": [{"name": "one", "expression": "object.metadata.name == 'a1'"}],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "timeoutSeconds": 1,
        }
    ],
}
"""Somebody's webhook that nobody answers for, and that is asked about one node."""


def test_a_webhook_that_is_down_for_one_node_holds_up_no_other(rig: Rig, api: Api) -> None:
    nodes = ("a1", "a2")
    for node in nodes:
        rig.register(node, tainted=True)
    api.create(DOWN)

    def all_say(condition: str) -> bool:
        return all(rig.condition(f"{node}.oam") == condition for node in nodes)

    def refused() -> bool:
        try:
            api.label(NODE, "a1", {"tried": "true"})
        except ApiError as error:
            return error.code == 500
        return False

    wait_for(refused, "the API server's refusal")
    api.create(manifest("oam"))
    wait_for(lambda: all_say("False WaitingForLink"), "attached ENIs")
    for node in nodes:
        rig.report_link(f"{node}.oam")
    wait_for(lambda: all_say("True Ready"), "ready attachments")
    wait_for(
        lambda: STARTUP_TAINT not in str(api.get(NODE, "a2")["spec"]), "the end of the other one's taint"
    )
    wait_for(lambda: "label node a1: 500 InternalError" in rig.log.getvalue(), "the node in the log")
    assert STARTUP_TAINT in str(api.get(NODE, "a1")["spec"])
    api.delete(Kind(DOWN["apiVersion"], DOWN["kind"]), "down")
    wait_for(lambda: STARTUP_TAINT not in str(api.get(NODE, "a1")["spec"]), "the taint's end", 120)
    for node in nodes:
        api.delete(NODE, node)
    api.delete(NETWORK, "oam")
    wait_for(lambda: not api.list(NETWORK), "the end of the NodeNetwork")


def test_a_network_waits_for_its_pods(rig: Rig, api: Api) -> None:
    rig.register("n2")
    api.create(manifest("oam"))
    wait_for(lambda: rig.condition("n2.oam") == "False WaitingForLink", "an attached ENI")
    wait_for(lambda: STARTUP_TAINT in str(api.get(NODE, "n2")["spec"]), "the taint that the controller sets")
    rig.report_link("n2.oam")
    wait_for(lambda: rig.condition("n2.oam") == "True Ready", "a ready attachment")
    mac = api.get(ATTACHMENT, "n2.oam")["status"]["mac"]
    pod = rig.pod("smf-0", "n2", mac=mac)
    rig.pod("posing", "n2", mac=mac, posing=True)
    api.delete(NETWORK, "oam")
    wait_for(lambda: rig.condition("n2.oam") == "False InUse", "the pod's name")

    def message() -> str:
        conditions = api.get(NETWORK, "oam")["status"]["conditions"]
        return str(next(each["message"] for each in conditions if each["type"] == "Ready"))

    wait_for(lambda: f"{NAMESPACE}/smf-0" in message(), "the pod's name in the NodeNetwork")
    assert f"{NAMESPACE}/posing" not in message()
    api.delete(Kind("v1", "Pod"), pod["metadata"]["name"], NAMESPACE)
    wait_for(lambda: not api.list(NETWORK), "the end of the NodeNetwork")
    assert not api.list(ATTACHMENT)
    wait_for(lambda: READY_PREFIX + "oam" not in api.get(NODE, "n2")["metadata"]["labels"], "the label's end")
    api.delete(NODE, "n2")


def test_a_node_advertises_what_its_pods_leave(rig: Rig, api: Api, cluster: Cluster, tmp_path: Path) -> None:
    """The node agent reports, the controller patches the Node's status, and repairs what a kubelet resets."""
    rig.register("n6")
    api.create(manifest("oam", nodes={"fullTaint": True}, capacity={"reserve": 2}))
    wait_for(lambda: rig.condition("n6.oam") == "False WaitingForLink", "an attached ENI")
    rig.report_link("n6.oam")
    agent = rig.pod("agent-n6", "n6", account=DAEMON)
    client = client_with(cluster, token_of(cluster, DAEMON, agent), tmp_path)
    log = io.StringIO()
    reporter = UsageReporter(client, "n6", Log(form=LogFormat.JSON, stream=log))
    reporter.start()
    mac = api.get(ATTACHMENT, "n6.oam")["status"]["mac"]
    old = node_pod("old", "10.0.0.5", mac=mac)
    asking = node_pod("new", "10.0.0.6", mac=mac, units=(("oam", 4),))
    reporter.observe([old, asking], {})
    wait_for(lambda: advertised(api, "n6") == ("11", "11"), "the node's capacity")
    pods = api.get(ATTACHMENT, "n6.oam")["status"]["pods"]
    assert pods == {"mac": mac, "requested": 4, "addresses": ["10.0.0.6"], "others": ["10.0.0.5"]}
    wait_for(lambda: api.get(NETWORK, "oam")["status"].get("free") == 7, "the network's free addresses")
    slots = {"limit": 15, "assigned": 1, "capacity": 11, "requested": 4, "free": 7}
    wait_for(lambda: api.get(ATTACHMENT, "n6.oam")["status"]["slots"] == slots, "the node's free addresses")
    for reset in ("0", None):
        status = {"capacity": {RESOURCE: reset}, "allocatable": {RESOURCE: reset}}
        api.patch_status(NODE, "n6", status)
        wait_for(lambda: advertised(api, "n6") == ("11", "11"), "the capacity that the kubelet has reset")
    full = node_pod("full", mac=mac, units=(("oam", 7),))
    reporter.observe([old, asking, full], {})
    wait_for(lambda: FULL_TAINT in str(api.get(NODE, "n6")["spec"]), "the taint of a full node")
    reporter.observe([asking], {})
    wait_for(lambda: FULL_TAINT not in str(api.get(NODE, "n6")["spec"]), "its end")
    wait_for(lambda: advertised(api, "n6") == ("12", "12"), "the address that the old pod has left")
    reporter.stop()
    reporter.join(10)
    client.close()
    assert log.getvalue() == ""
    api.delete(Kind("v1", "Pod"), "agent-n6", NAMESPACE)
    api.delete(NETWORK, "oam")
    wait_for(lambda: not api.list(NETWORK), "the end of the NodeNetwork")
    wait_for(lambda: advertised(api, "n6") == (None, None), "the capacity's end")
    api.delete(NODE, "n6")


SLICES = Kind("whereabouts.cni.cncf.io/v1alpha1", "NodeSlicePool")
FOREIGN_POOL: Manifest = {
    "apiVersion": SLICES.api_version,
    "kind": SLICES.kind,
    "metadata": {"name": "oam", "namespace": "kube-system"},
    "spec": {"range": "10.10.1.0/24", "sliceSize": "/28"},
    "status": {"allocations": [{"nodeName": "n7", "sliceRange": "10.10.1.0/28"}]},
}


@pytest.fixture
def whereabouts(cluster: Cluster, api: Api) -> Iterator[Path]:
    """The CRDs and the program of whereabouts."""
    try:
        program, found = plugins()["whereabouts"], crds()
    except PluginsMissing as error:
        skip(error)
    files = [path.read_text(encoding="utf-8") for path in found if "whereabouts" in path.name]
    made = [each for text in files for each in yaml.safe_load_all(text) if each]
    for each in made:
        cluster.api.apply(each)
    wait_for(lambda: served(api, SLICES), "service of NodeSlicePools")
    yield program
    for each in made:
        cluster.api.delete(Kind(each["apiVersion"], each["kind"]), each["metadata"]["name"])
    wait_for(lambda: not is_known(cluster.api, SLICES), "their end")


def test_whereabouts_hands_out_a_nodes_prefix(
    rig: Rig, api: Api, cluster: Cluster, whereabouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller leaves a foreign pool alone, writes its own, and the plugin allocates from it."""
    monkeypatch.setattr(slice_pools, "AGAIN", 0.2)
    api.create(FOREIGN_POOL)
    rig.register("n7")
    api.create(prefixes(ipam="Whereabouts"))
    wait_for(lambda: rig.condition("n7.oam", "PrefixesReady") == "False SliceRefused", "the refusal")
    assert api.get(SLICES, "oam", "kube-system")["status"] == FOREIGN_POOL["status"]
    api.delete(SLICES, "oam", "kube-system")
    wait_for(lambda: rig.condition("n7.oam", "PrefixesReady") == "True Sliced", "the slice")
    rig.report_link("n7.oam")
    wait_for(lambda: rig.condition("n7.oam") == "True Ready", "a ready attachment")
    found, status = api.get(SLICES, "oam", "kube-system"), api.get(ATTACHMENT, "n7.oam")["status"]
    assert found["status"] == {"allocations": [{"nodeName": "n7", "sliceRange": status["slice"]}]}
    assert [each["state"] for each in status["prefixes"]] == ["Lent"]
    assert found["metadata"]["ownerReferences"][0]["uid"] == api.get(NETWORK, "oam")["metadata"]["uid"]
    config = {
        "cniVersion": "0.3.1",
        "name": "oam",
        "type": "ipvlan",
        "master": "oam",
        "ipam": {
            "type": "whereabouts",
            "range": RANGE,
            "node_slice_size": "/28",
            "kubernetes": {"kubeconfig": str(cluster.plane.kubeconfig(cluster.plane.admin))},
            "configuration_path": str(tmp_path / "whereabouts.conf"),
        },
    }
    (tmp_path / "whereabouts.conf").write_text("{}")
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "abc",
        "CNI_NETNS": "/x",
        "CNI_IFNAME": "net1",
        "CNI_PATH": "/x",
        "CNI_ARGS": "K8S_POD_NAME=smf-0;K8S_POD_NAMESPACE=default;IgnoreUnknown=1",
        "NODENAME": "n7",
    }
    ended = subprocess.run(
        [str(whereabouts)], input=json.dumps(config), env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (given,) = json.loads(ended.stdout)["ips"]
    assert ip_interface(given["address"]).ip in ip_network(status["slice"])
    assert given["address"].endswith(RANGE[RANGE.index("/") :])
    api.delete(NETWORK, "oam")
    wait_for(lambda: not api.list(NETWORK), "the end of the NodeNetwork")
    api.delete(NODE, "n7")


RESOURCE = "multus-eni.io/oam"


def advertised(api: Api, node: str) -> tuple[str | None, str | None]:
    status = api.get(NODE, node).get("status") or {}
    return tuple((status.get(each) or {}).get(RESOURCE) for each in ("capacity", "allocatable"))  # type: ignore[return-value] # two


def test_a_daemonset_reports_its_own_node_alone(rig: Rig, api: Api, cluster: Cluster, tmp_path: Path) -> None:
    rig.register("n3")
    rig.register("n4")
    api.create(manifest("oam"))
    for name in ("n3.oam", "n4.oam"):
        wait_for(lambda name=name: rig.condition(name) == "False WaitingForLink", "an attached ENI")  # type: ignore[misc] # bound now
    pod = rig.pod("links-n3", "n3", account=DAEMON)
    links = client_with(cluster, token_of(cluster, DAEMON, pod), tmp_path)
    mac = api.get(ATTACHMENT, "n3.oam")["status"]["mac"]
    rig.report("n3.oam", LinkStatus(mac, "ens7", up=True, mtu=9001, name_owner="ens6"), client=links)
    wait_for(lambda: rig.condition("n3.oam") == "False NameTaken", "the name that another interface has")
    rig.report_link("n3.oam", client=links)
    wait_for(lambda: rig.condition("n3.oam") == "True Ready", "a ready attachment")
    with pytest.raises(Refusal, match=r"its token is for n3, and this one is of n4"):
        rig.report_link("n4.oam", client=links)
    with pytest.raises(Refusal, match=r"writes only status\.link"):
        rig.report_link("n3.oam", client=links, eni="eni-0123456789")
    # Only with the backend central a node may ask for calls, and it never answers itself.
    asked = {"session": "s1", "time": "2026-01-01T00:00:00Z", "calls": []}
    for field, value in (("requests", asked), ("responses", {"session": "s1", "calls": []})):
        with pytest.raises(Refusal, match=r"writes only status\.link"):
            rig.report_link("n3.oam", client=links, **{field: value})
    unbound = client_with(cluster, token_of(cluster, DAEMON), tmp_path)
    with pytest.raises(Refusal, match="its token is for no node"):
        rig.report_link("n3.oam", client=unbound)
    for each in (links, unbound):
        each.close()
    api.delete(NETWORK, "oam")
    api.delete(Kind("v1", "Pod"), "links-n3", NAMESPACE)
    wait_for(lambda: not api.list(NETWORK), "the end of the NodeNetwork")
    for name in ("n3", "n4"):
        api.delete(NODE, name)


def test_the_story_of_a_network_of_prefixes(rig: Rig, api: Api, cluster: Cluster, tmp_path: Path) -> None:
    """A node waits for its configuration, a second prefix comes as pods become more, and a leader goes on."""
    rig.register("n5")
    api.create(prefixes(maxIPv4=2))
    wait_for(lambda: rig.condition("n5.oam") == "False WaitingForLink", "an attached ENI")
    pod = rig.pod("links-n5", "n5", account=DAEMON)
    links = client_with(cluster, token_of(cluster, DAEMON, pod), tmp_path)
    rig.report_link("n5.oam", client=links)
    wait_for(lambda: rig.condition("n5.oam", "PrefixesReady") == "Unknown WaitingForNode", "a prefix")
    found = api.get(ATTACHMENT, "n5.oam")
    assert found["spec"]["addresses"] == {"families": ["IPv4"], "gateway": "Subnet"}
    assert found["status"]["cidrs"] == [RANGE]
    assert [each["state"] for each in found["status"]["prefixes"]] == ["Active"]
    wait_for(lambda: rig.condition("n5.oam") == "False WaitingForNode", "an attachment that waits")
    rig.report_pool("n5.oam", 0, client=links)
    wait_for(lambda: rig.condition("n5.oam") == "True Ready", "a ready attachment")
    wait_for(lambda: api.get(NETWORK, "oam")["status"].get("free") == 32, "the addresses that may come")
    assert "assigning" not in api.get(ATTACHMENT, "n5.oam")["status"]
    rig.report_pool("n5.oam", 10, client=links)
    wait_for(lambda: len(api.get(ATTACHMENT, "n5.oam")["status"]["prefixes"]) == 2, "another prefix")
    with pytest.raises(Refusal, match=r"writes only status\.link, status\.pool and status\.pods"):
        rig.report_link("n5.oam", client=links, assigning="IPv4")
    # Another leader finds all of it, and asks EC2 for no more.
    rig.end()
    rig.start()
    rig.report_pool("n5.oam", 30, client=links)
    wait_for(lambda: api.get(NETWORK, "oam")["status"].get("free") == 2, "what is left")
    assert rig.world.calls["AssignPrefixes"] == 2
    links.close()
    api.delete(Kind("v1", "Pod"), "links-n5", NAMESPACE)
    api.delete(NETWORK, "oam")
    wait_for(lambda: not api.list(NETWORK), "the end of the NodeNetwork")
    api.delete(NODE, "n5")
