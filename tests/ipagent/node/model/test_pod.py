"""What is read of a pod."""

from __future__ import annotations

import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.agent_container import CONTAINER_NAME
from common.agent_settings import ENV_BACKEND, AgentSettings, Backend, Takeover
from common.object_fields import MAX_NAME
from common.pod_keys import INTERFACES, NETWORKS, TAKEOVER
from ipagent.assign.addresses import Holding
from ipagent.network_status_origin import NETWORK_STATUS
from ipagent.node.model.network_status import MAX_HOLDINGS, MAX_NAMES, MAX_STATUS
from ipagent.node.model.pod import InjectedAgent, Pod, PodKey, read_pod

pytestmark = pytest.mark.pure

MAC = "02:aa:00:00:00:01"
DEFAULT = {"name": "aws-cni", "interface": "eth0", "ips": ["10.10.0.17"], "default": True, "dns": {}}


def managed(*subresources: str | None) -> list[dict[str, Any]]:
    """Make the managedFields of a pod whose network-status was written through these subresources."""
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {".": {}, f"f:{NETWORK_STATUS}": {}}}}
    owners = (
        {"manager": "m", "fieldsV1": fields, **({"subresource": name} if name else {})}
        for name in subresources
    )
    return [{"manager": "kubelet", "subresource": "status", "fieldsV1": {"f:status": {}}}, *owners]


def entry(*ips: str, interface: str = "net1", mac: str = MAC, **more: Any) -> dict[str, Any]:
    return {"name": "ns/nad", "interface": interface, "ips": list(ips), "mac": mac, "dns": {}, **more}


def pod(
    written: object = None, annotations: dict[str, str] | None = None, **parts: dict[str, Any]
) -> dict[str, Any]:
    """Make a pod as the API server has it; `written` is network-status, as text or data."""
    given = {NETWORKS: "nad", **(annotations or {})}
    if written is not None:
        given[NETWORK_STATUS] = written if isinstance(written, str) else json.dumps(written, indent=4)
    metadata: dict[str, Any] = {
        "namespace": "ns",
        "name": "a",
        "uid": "u-1",
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }
    metadata["managedFields"] = managed("status")
    found: dict[str, Any] = {
        "metadata": {**metadata, "annotations": given},
        "spec": {"nodeName": "node"},
        "status": {"phase": "Pending"},
    }
    for part, change in parts.items():
        found[part] |= change
    return found


def ended() -> dict[str, Any]:
    made = pod()
    made["status"]["phase"] = "Failed"
    return made


def holding(address: str, interface: str = "net1", mac: str = MAC) -> Holding:
    return Holding(interface, mac, ip_address(address))


def test_a_pod_says_who_it_is() -> None:
    found = read_pod(pod())
    assert (found.key, str(found.key)) == (PodKey("ns", "a", "u-1"), "ns/a")
    assert found.created == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ([], []),
        ([DEFAULT], []),
        ([DEFAULT, entry("10.10.1.81")], [holding("10.10.1.81")]),
        ([entry("10.10.1.81/24", "2600:1f14::5/64")], [holding("10.10.1.81"), holding("2600:1f14::5")]),
        (
            [entry("10.10.1.81"), entry("10.10.2.81", interface="net2", mac="02:AA:00:00:00:02")],
            [holding("10.10.1.81"), holding("10.10.2.81", "net2", "02:aa:00:00:00:02")],
        ),
        (
            [entry("10.10.1.81"), entry("10.10.1.82", interface="net2")],
            [holding("10.10.1.81"), holding("10.10.1.82", "net2")],
        ),
        ([entry("10.10.1.81", "10.10.1.81")], [holding("10.10.1.81")]),
        ([{"ips": ["10.10.1.81"]}], [holding("10.10.1.81", "", "")]),
        ([{"interface": "net1", "mac": MAC}, {}], []),
        ([{**entry(), "ips": None, "mac": None}], []),
        ([entry("fe80::1", "169.254.3.4", "127.0.0.1", "ff02::1", "0.0.0.0")], []),
        ([{**DEFAULT, "default": False}], []),
        ([entry("::ffff:10.10.1.81")], [holding("10.10.1.81")]),
        ("null", []),
        (" ", []),
    ], ids=str,
)  # fmt: skip
def test_the_holdings_are_those_of_all_but_the_default_interface(
    status: object, expected: list[Holding]
) -> None:
    found = read_pod(pod(status))
    assert (list(found.holdings), found.problem) == (expected, "")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (entry("10.10.1.300"), "entry 2: '10.10.1.300' is not an IP address"),
        (entry("10.10.1.8/99"), "entry 2: '10.10.1.8/99' is not an IP address"),
        (entry("2600::1%net1"), "is not an IP address"),
        ({**entry(), "ips": [1, None]}, "entry 2: 'int' is not an IP address; entry 2: 'NoneType' is"),
        ({**entry(), "ips": "10.10.1.5"}, "entry 2: ips is not a list: '10.10.1.5'"),
        ("net1", "entry 2 is not an object: 'net1'"),
        (None, "entry 2 is not an object"),
        (entry(*"abcde"), "'c' is not an IP address; and 2 more"),
        (entry("1" * 500), "entry 2: '" + "1" * 64 + "' is"),
    ],
)
def test_one_unreadable_entry_does_not_lose_the_others(broken: object, told: str) -> None:
    found = read_pod(pod([entry("10.10.1.81"), broken, entry("10.10.1.82")]))
    assert found.holdings == (holding("10.10.1.81"), holding("10.10.1.82"))
    assert found.problem.startswith(f"{NETWORK_STATUS}: ")
    assert told in found.problem


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is not JSON: '{'"),
        ("[" * 100_000, "is not JSON"),
        ("[" + "1" * 5000 + "]", "is not JSON"),
        ('{"ips": []}', "is not a list"),
        ("[]" + " " * MAX_STATUS, "has more than 262144 characters"),
    ],
)
def test_a_malformed_network_status_is_reported(text: str, told: str) -> None:
    found = read_pod(pod(text))
    assert found.holdings == ()
    assert told in found.problem
    assert not found.waiting


def test_a_pod_has_a_bounded_number_of_addresses() -> None:
    found = read_pod(pod([entry(*(f"10.10.{n}.{m}" for n in range(2) for m in range(1, 200)))]))
    assert len(found.holdings) == MAX_HOLDINGS
    assert "more than 256 addresses" in found.problem
    assert "and 254 more" in read_pod(pod("[" + "1," * 100_000 + "1]")).problem


@pytest.mark.parametrize(
    ("parts", "alive", "leaving"),
    [
        ({}, True, False),
        ({"status": {"phase": "Running"}}, True, False),
        ({"status": {"phase": None}}, True, False),
        ({"status": {"phase": "Succeeded"}}, False, False),
        ({"status": {"phase": "Failed"}}, False, False),
        ({"metadata": {"deletionTimestamp": "2026-01-02T03:04:05Z"}}, True, True),
    ],
)
def test_a_pod_lives_until_it_has_ended_or_is_gone(
    parts: dict[str, dict[str, Any]], alive: bool, leaving: bool
) -> None:
    found = read_pod(pod([entry("10.10.1.81")], **parts))
    assert (found.alive, found.leaving, len(found.holdings)) == (alive, leaving, 1)


@pytest.mark.parametrize(
    ("made", "waiting"),
    [
        (pod(), True),
        (pod(""), True),
        (pod([DEFAULT]), False),
        (pod(annotations={NETWORKS: ""}), False),
        (pod(spec={"hostNetwork": True}), False),
        (pod(metadata={"deletionTimestamp": "2026-01-02T03:04:05Z"}), True),
        (ended(), False),
        ({}, False),
    ],
)
def test_a_pod_waits_from_its_networks_to_its_network_status(made: dict[str, Any], waiting: bool) -> None:
    assert read_pod(made).waiting is waiting


@pytest.mark.parametrize(
    ("owners", "pod_ip", "counts"),
    [
        (("status",), "", True),
        ((None, "status"), "10.10.0.17", True),
        ((), "10.10.0.17", False),
        ((None,), "", False),
        ((None,), "10.10.0.17", False),
        (("ephemeralcontainers", None), "10.10.0.17", False),
    ],
)
def test_a_network_status_counts_only_if_it_was_written_through_status(
    owners: tuple[str | None, ...], pod_ip: str, counts: bool
) -> None:
    made = pod([entry("10.10.1.81")], metadata={"managedFields": managed(*owners)})
    made["status"]["podIP"] = pod_ip
    found = read_pod(made)
    assert (bool(found.holdings), found.waiting) == (counts, not counts)


@pytest.mark.parametrize("fields", [None, [], [{}], "x", [{"subresource": "status", "fieldsV1": None}]])
def test_without_managed_fields_nobody_says_who_wrote_it(fields: object) -> None:
    found = read_pod(pod([entry("10.10.1.81")], metadata={"managedFields": fields}))
    assert (found.holdings, found.problem, found.waiting) == ((), "", True)


def test_nonsense_of_the_pods_author_is_not_a_problem() -> None:
    found = read_pod(pod("{", metadata={"managedFields": managed(None)}))
    assert (found.problem, found.attached) == ("", False)


@pytest.mark.parametrize(
    "more",
    [
        {"name": "aws-cni", "interface": "v6if0", "ips": ["fd00::ac:5"], "dns": {}},
        {"name": "aws-cni", "interface": "mNicIf1", "ips": ["10.10.1.77"], "mac": MAC, "dns": {}},
    ],
    ids=["IPv6 egress", "multi-NIC"],
)
def test_every_entry_of_the_default_network_is_left_alone(more: dict[str, Any]) -> None:
    for status in ([DEFAULT, more, entry("10.10.1.81")], [more, entry("10.10.1.81"), DEFAULT]):
        found = read_pod(pod(status))
        assert found.holdings == (holding("10.10.1.81"),)
        assert set(found.default_interfaces) == {"eth0", more["interface"]}


NET1 = {"name": "ns/pods", "interface": "net1", "mac": MAC, "ips": ["10.10.1.81"]}
UNMARKED = {key: value for key, value in DEFAULT.items() if key != "default"}
OF_A_NAD = {**DEFAULT, "name": "kube-system/pods"}


@pytest.mark.parametrize(
    "status",
    [
        [UNMARKED, NET1],
        [{**DEFAULT, "default": "true"}, NET1],
        [UNMARKED, {"name": "aws-cni", "interface": "dummy0", "ips": ["10.10.1.77"]}, NET1],
        [DEFAULT, {"name": "egress", "interface": "v6if0", "ips": ["fd00::ac:5"]}, NET1],
        [DEFAULT, {"interface": "mNicIf1", "ips": ["10.10.1.77"]}, NET1],
        [DEFAULT, {**NET1, "default": True}],
        [UNMARKED, {**NET1, "default": True}],
        [OF_A_NAD, {**NET1, "name": "kube-system/pods"}],
    ],
    ids=[
        "no mark at all",
        "a mark that is no boolean",
        "another interface of eth0's network",
        "an interface of the VPC CNI's of another network",
        "one without network",
        "both marked",
        "only net1 marked",
        "the default network of the pod attached once more",
    ],
)
def test_eth0_is_the_clusters_and_net1_is_multus_however_they_are_marked(
    status: list[dict[str, Any]],
) -> None:
    found = read_pod(pod(status))
    assert found.holdings == (holding("10.10.1.81"),)
    assert "eth0" in found.default_interfaces


def test_whatever_else_an_entry_has_does_not_matter() -> None:
    more = {
        "mtu": 9001,
        "dns": {"nameservers": ["10.10.0.2"], "search": ["x"]},
        "gateway": ["10.10.1.1", "2001:db8:1::1"],
        "device-info": {"type": "pci", "version": "1.1.0", "pci": {"pci-address": "0000:00:06.0"}},
        "some-later-field": {"x": [1, None]},
    }
    addresses = ["10.10.1.81", "10.10.1.82", "2600:1f14::5"]
    full = {**NET1, **more, "mac": MAC.upper(), "ips": addresses}
    found = read_pod(pod([{**DEFAULT, **more}, full]))
    assert found.problem == ""
    assert found.holdings == tuple(map(holding, addresses))


def test_a_default_network_without_a_name_is_told_by_its_flag_alone() -> None:
    nameless = {key: value for key, value in DEFAULT.items() if key != "name"}
    found = read_pod(pod([nameless, {"interface": "net1", "mac": MAC, "ips": ["10.10.1.81"]}]))
    assert found.holdings == (holding("10.10.1.81"),)


@pytest.mark.parametrize(
    ("status", "attached"),
    [
        (None, False),
        ([DEFAULT], False),
        ([DEFAULT, entry()], True),
        ([DEFAULT, entry("10.10.1.81")], True),
        ("{", True),
    ],
)
def test_a_pod_is_attached_if_multus_has_given_it_an_interface(status: object, attached: bool) -> None:
    assert read_pod(pod(status)).attached is attached


def test_a_static_pods_mirror_is_known_by_its_annotation() -> None:
    assert read_pod(pod(annotations={"kubernetes.io/config.mirror": "3f2a"})).mirror
    assert not read_pod(pod()).mirror


def test_a_pod_of_the_host_network_holds_nothing() -> None:
    found = read_pod(pod([entry("10.10.1.81")], spec={"hostNetwork": True}))
    assert (found.holdings, found.problem) == ((), "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, "always"), ("always", "always"), ("never", "never"), ("Always", "never"), ("", "never")],
)
def test_the_annotation_narrows_takeover(text: str | None, expected: str) -> None:
    found = read_pod(pod(annotations={} if text is None else {TAKEOVER: text}))
    assert found.takeover is Takeover(expected)


@pytest.mark.parametrize(
    ("text", "interfaces", "counting"),
    [
        ("", (), ["", "net1", "net2"]),
        ("net2", ("net2",), ["", "net2"]),
        (" net1, net2 ,", ("net1", "net2"), ["", "net1", "net2"]),
        ("net9", ("net9",), [""]),
    ],
)
def test_the_annotation_names_the_interfaces_that_count(
    text: str, interfaces: tuple[str, ...], counting: list[str]
) -> None:
    status = [{"ips": ["10.10.1.1"]}, entry("10.10.1.81"), entry("10.10.2.81", interface="net2")]
    found = read_pod(pod(status, {INTERFACES: text}))
    assert found.interfaces == interfaces
    assert [each.interface for each in found.counting] == counting
    assert len(found.holdings) == 3


def container(mode: str, backend: Backend | None, **more: Any) -> dict[str, Any]:
    env = [] if backend is None else AgentSettings(backend=backend).to_env().items()
    variables = [{"name": name, "value": value} for name, value in env]
    return {"name": CONTAINER_NAME, "command": ["ipagent", mode], "env": variables, **more}


TWICE = [{"name": ENV_BACKEND, "value": value} for value in ("direct", "node")]


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        (None, InjectedAgent.NONE),
        ([{"name": "other"}], InjectedAgent.NONE),
        ([{"name": "other"}, container("init", Backend.DIRECT)], InjectedAgent.DIRECT_INIT),
        ([container("init", None)], InjectedAgent.DIRECT_INIT),
        ([container("init", Backend.NODE)], InjectedAgent.NODE_INIT),
        ([container("sidecar", Backend.DIRECT, restartPolicy="Always")], InjectedAgent.DIRECT_SIDECAR),
        ([container("sidecar", Backend.NODE, restartPolicy="Always")], InjectedAgent.NODE_SIDECAR),
        ([{"name": CONTAINER_NAME, "restartPolicy": "Always"}], InjectedAgent.DIRECT_SIDECAR),
        (
            [
                {
                    "name": CONTAINER_NAME,
                    "env": [{"name": ENV_BACKEND, "value": v} for v in ("direct", "node")],
                }
            ],
            InjectedAgent.NODE_INIT,
        ),
    ],
)
def test_the_injected_agent_is_told_by_its_container(containers: object, expected: InjectedAgent) -> None:
    assert read_pod(pod(spec={"initContainers": containers})).agent is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)
IPS = st.sampled_from(["10.10.1.81", "10.10.1.82/24", "2600::1/64", "fe80::1", "x", ""]) | st.text(max_size=9)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "default": st.booleans() | JSON,
        "interface": st.sampled_from(["net1", "net2"]) | JSON,
        "mac": st.sampled_from([MAC, MAC.upper()]) | JSON,
        "ips": st.lists(IPS | JSON, max_size=4) | JSON,
    },
)
STATUSES = st.lists(ENTRIES | JSON, max_size=6).map(json.dumps) | st.text(max_size=50)


def mutated(draw: Callable[[st.SearchStrategy[Any]], Any], value: Any) -> Any:
    """Replace parts of a pod by anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    if isinstance(value, dict):
        return {key: mutated(draw, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [mutated(draw, inner) for inner in value]
    return value


@st.composite
def anything_like_a_pod(draw: Callable[[st.SearchStrategy[Any]], Any]) -> dict[str, Any]:
    whole = pod(
        draw(STATUSES),
        {TAKEOVER: "never", INTERFACES: draw(st.text(max_size=30))},
        spec={"initContainers": [container("init", Backend.NODE)], "hostNetwork": False},
        metadata={"managedFields": managed(None, "status")},
    )
    found = mutated(draw, whole)
    return found if isinstance(found, dict) else {}


def assert_bounded(found: Pod) -> None:
    texts = (found.key.namespace, found.key.name, found.key.uid, found.created, *found.interfaces)
    assert all(len(text) <= MAX_NAME * MAX_NAMES for text in texts)
    assert len(found.problem) < 1000
    assert len(found.interfaces) <= MAX_NAMES
    for each in found.holdings:
        assert each.mac == each.mac.lower()
        f"{each.interface}{each.mac}".encode()
    for text in (*texts, found.problem):
        assert text.isprintable()


@given(anything_like_a_pod())
def test_no_object_stops_the_reader(made: dict[str, Any]) -> None:
    assert_bounded(read_pod(made))


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), JSON))
def test_no_json_stops_the_reader(made: dict[str, Any]) -> None:
    assert_bounded(read_pod(made))


@given(st.lists(ENTRIES | JSON, max_size=5), st.lists(ENTRIES | JSON, max_size=5))
def test_entries_are_read_each_for_itself(some: list[Any], others: list[Any]) -> None:
    together = read_pod(pod(some + others)).holdings
    apart = read_pod(pod(some)).holdings + read_pod(pod(others)).holdings
    assert together == tuple(dict.fromkeys(apart))


@pytest.mark.parametrize(
    ("annotations", "conditions", "says"),
    [
        ({}, [], ""),
        ({"multus-eni.io/eip": "net1=pool/sip"}, [], "is controller.eips set?"),
        (
            {"multus-eni.io/eip": "net1=pool/sip"},
            [
                {
                    "type": "multus-eni.io/ElasticIPsAssociated",
                    "status": "False",
                    "message": "PoolEmpty: add one",
                }
            ],
            "PoolEmpty: add one",
        ),
        (
            {"multus-eni.io/eip": "net1=pool/sip"},
            [
                {"type": "Ready", "status": "True"},
                {"type": "multus-eni.io/ElasticIPsAssociated", "status": "True"},
            ],
            "",
        ),
    ],
)
def test_why_elastic_ips_are_missing(annotations: Any, conditions: Any, says: str) -> None:
    metadata = {"namespace": "apps", "name": "web", "uid": "u", "annotations": annotations}
    found = read_pod({"metadata": metadata, "status": {"conditions": conditions}}).without_eips
    assert found.endswith(says)
    assert bool(found) is bool(says)


SANDBOX = {"type": "PodReadyToStartContainers", "status": "False"}
ENDED = {"name": "app", "state": {"terminated": {"exitCode": 255}}}
NEW = {"name": "app", "state": {"waiting": {"reason": "PodInitializing"}}, "restartCount": 0, "lastState": {}}


@pytest.mark.parametrize(
    ("condition", "statuses", "remade"),
    [
        pytest.param(SANDBOX, {"containerStatuses": [NEW, ENDED]}, True, id="after a reboot"),
        pytest.param(SANDBOX, {"initContainerStatuses": [{**NEW, "restartCount": 3}]}, True, id="again"),
        pytest.param(
            SANDBOX, {"containerStatuses": [{**NEW, "lastState": {"terminated": {}}}]}, True, id="had run"
        ),
        pytest.param(SANDBOX, {"containerStatuses": [NEW]}, False, id="its first sandbox"),
        pytest.param(SANDBOX, {}, False, id="nothing said of its containers"),
        pytest.param(
            {**SANDBOX, "status": "True"}, {"containerStatuses": [ENDED]}, False, id="a container that ended"
        ),
        pytest.param({}, {"containerStatuses": [ENDED]}, False, id="Kubernetes before 1.29"),
        pytest.param(SANDBOX, {"containerStatuses": {"a": 1}, "initContainerStatuses": [3]}, False, id="odd"),
    ],
)
def test_whether_its_sandbox_is_made_anew(condition: Any, statuses: dict[str, Any], remade: bool) -> None:
    status = {"phase": "Running", "conditions": [condition], **statuses}
    assert read_pod(pod([entry("10.1.1.1")], status=status)).remade is remade
    # Whatever has no address of its own has nothing to yield.
    assert not read_pod(pod(status=status)).remade
