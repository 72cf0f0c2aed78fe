"""The cluster itself: nodes are ready, pods run on them, and the cloud knows who asks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from tests.cluster.api import SERVICE_ACCOUNT, Kind, Manifest
from tests.cluster.namespaces import Namespace
from tests.cluster.nodes.cluster import Cluster
from tests.cluster.nodes.parts import Parts
from tests.cluster.nodes.plan import EC2_PORT, GATEWAY, IMDS, ROLE, SECONDARY
from tests.cluster.nodes.workloads import app, ipvlan, network, pod, static, template
from tests.cluster.waiting import wait_for

pytestmark = pytest.mark.cluster

NODE = Kind("v1", "Node")
TOKEN = f"""\
printf 'PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n' |
  nc -w 5 {IMDS} 80 | tail -n 1"""
"""Asks for a session token, as a shell script."""


def running(namespace: Namespace, name: str) -> Manifest:
    """Wait until a pod is Ready."""

    def ready() -> Manifest | None:
        found = namespace.pod(name)
        states = {each["type"]: each["status"] for each in found["status"].get("conditions", [])}
        return found if states.get("Ready") == "True" else None

    return wait_for(ready, f"readiness of {name}", 180)


def shell(cluster: Cluster, namespace: Namespace, name: str, script: str) -> str:
    """Run a shell script in a pod."""
    return cluster.exec(namespace.name, name, "app", "sh", "-c", script)


def metadata(path: str) -> str:
    """Write a shell script that prints what IMDS has under a path."""
    request = f"'GET /latest/meta-data/{path} HTTP/1.0\\r\\nX-aws-ec2-metadata-token: %s\\r\\n\\r\\n'"
    read = f"printf {request} \"$token\" | nc -w 5 {IMDS} 80 | sed '1,/^.$/d'"
    return f"token=$({TOKEN}); {read}"


def test_the_nodes_are_instances_of_the_cloud(cluster: Cluster) -> None:
    nodes = {each["metadata"]["name"]: each for each in cluster.api.list(NODE)}
    assert sorted(nodes) == sorted(cluster.nodes) == ["n1", "n2"]
    for name, node in cluster.nodes.items():
        addresses = {each["type"]: each["address"] for each in nodes[name]["status"]["addresses"]}
        assert addresses["InternalIP"] == node.address
        links = json.loads(node.machine.run("ip", "-json", "link"))
        macs = {link["ifname"]: link["address"] for link in links}
        interfaces = {**node.enis, "eth0": node.plan.enis[0].id}
        for interface, eni in interfaces.items():
            found = cluster.cloud.interface(eni)
            assert (found["mac"], found["instance"]) == (macs[interface], node.instance_id)


def test_a_pod_runs_and_is_reached_from_outside(cluster: Cluster, namespace: Namespace) -> None:
    namespace.create(pod("plain", template(node="n1")))
    found = running(namespace, "plain")
    assert found["spec"]["nodeName"] == "n1"
    assert found["status"]["podIP"].startswith("10.244.1.")
    assert cluster.exec(namespace.name, "plain", "app", "echo", "hello") == "hello\n"
    logs = partial(cluster.kubectl, "logs", f"--namespace={namespace.name}", "plain")
    # The container is Running before its shell has written.
    wait_for(lambda: logs() == "Container 1 is Running\n", "line in the pod's log", 60)


def test_imds_knows_the_node_that_asks(cluster: Cluster, namespace: Namespace) -> None:
    for name in cluster.nodes:
        namespace.create(pod(f"on-{name}", template(node=name)))
        namespace.create(pod(f"host-{name}", template(node=name, hostNetwork=True)))
    for name, node in cluster.nodes.items():
        for each in (f"on-{name}", f"host-{name}"):
            running(namespace, each)
            assert shell(cluster, namespace, each, metadata("instance-id")) == node.instance_id
        role = json.loads(
            shell(cluster, namespace, f"on-{name}", metadata(f"iam/security-credentials/{ROLE}"))
        )
        assert role["Code"] == "Success"


def test_ec2_sees_a_pod_by_its_own_address(cluster: Cluster, namespace: Namespace) -> None:
    namespace.create(pod("caller", template(node="n2")))
    address = running(namespace, "caller")["status"]["podIP"]
    request = "GET /?Action=DescribeInstances&Version=2016-11-15 HTTP/1.0\\r\\n\\r\\n"
    answer = shell(cluster, namespace, "caller", f"printf '{request}' | nc -w 5 {GATEWAY} {EC2_PORT}")
    assert "MissingAuthenticationToken" in answer or "AuthFailure" in answer
    assert address in {each["caller"] for each in cluster.cloud.journal("DescribeInstances")}


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
def test_multus_adds_an_interface_on_the_eni(cluster: Cluster, namespace: Namespace, kind: str) -> None:
    ipam = static("10.10.1.60/24", "2001:db8:10:1::60/64")
    made = (
        ipvlan("second", "eth1", ipam)
        if kind == "ipvlan"
        else network("second", kind, ipam, master="eth1", mode="bridge")
    )
    namespace.create(made)
    namespace.create(pod("second", template("second", node="n2")))
    found = running(namespace, "second")
    statuses = json.loads(found["metadata"]["annotations"]["k8s.v1.cni.cncf.io/network-status"])
    (status,) = [each for each in statuses if each["interface"] == "net1"]
    assert status["ips"] == ["10.10.1.60", "2001:db8:10:1::60"]
    if kind == "ipvlan":
        assert status["mac"] == cluster.cloud.interface(cluster.nodes["n2"].enis["eth1"])["mac"]
    for router in ("10.10.1.1", "2001:db8:10:1::1"):
        ping = f"ping -c 1 -W 2 -I net1 {router} || true"
        answered = partial(shell, cluster, namespace, "second", f"{ping} | grep '1 packets received' || true")
        wait_for(answered, f"answer of {router}", 60)


def test_a_static_node_gives_whole_cpus(cluster: Cluster, namespace: Namespace) -> None:
    # On a machine with two CPUs one is reserved for everybody, and this pod gets the other.
    whole = {"cpu": "1", "memory": "64Mi"}
    for node in cluster.nodes:
        named = app(resources={"requests": whole, "limits": whole})
        described = template(node=node)
        described["spec"]["containers"] = [named]
        namespace.create(pod(f"on-{node}", described))
        running(namespace, f"on-{node}")
    listed = "grep Cpus_allowed_list /proc/self/status | cut -f 2"
    anywhere, pinned = (shell(cluster, namespace, f"on-{node}", listed).strip() for node in ("n1", "n2"))
    assert pinned.isdigit()
    assert not anywhere.isdigit()


@pytest.fixture(scope="module")
def strict(parts: Parts) -> Iterator[Cluster]:
    """A second cluster beside the other, of one node with one ENI whose pods are too far away from IMDS."""
    plumbing = dataclasses.replace(parts, images=parts.images[:2])
    with Cluster(plumbing, nodes=1, hop_limit=1, primary_only=True) as running:
        yield running


def test_two_clusters_do_not_know_of_each_other(cluster: Cluster, strict: Cluster) -> None:
    assert sorted(each["metadata"]["name"] for each in strict.api.list(NODE)) == ["n1"]
    assert len(cluster.api.list(NODE)) == 2
    assert cluster.kubeconfig != strict.kubeconfig
    assert strict.cloud.url != cluster.cloud.url
    strict.check()
    cluster.check()


def test_with_a_hop_limit_of_one_only_the_host_gets_tokens(strict: Cluster) -> None:
    strict.kubectl("create", "namespace", "hops")
    hops = Namespace(strict.api, "hops")
    wait_for(lambda: strict.api.list(SERVICE_ACCOUNT, "hops"), "service account", 60)
    hops.create(pod("pod", template()))
    hops.create(pod("host", template(hostNetwork=True)))
    for name in ("pod", "host"):
        running(hops, name)
    assert len(shell(strict, hops, "host", TOKEN)) > 40
    # Nothing comes back, and nc gives up.
    assert shell(strict, hops, "pod", f"{TOKEN} || true") == ""
    expected = {strict.nodes["n1"].address: "200", hops.pod("pod")["status"]["podIP"]: "no answer"}

    def results() -> dict[str, str]:
        calls = strict.cloud.journal("PUT /latest/api/token")
        return {each["caller"]: each["result"] for each in calls}

    wait_for(lambda: results() == expected, "both calls in the journal", 30)


def links_of(cluster: Cluster) -> dict[str, Manifest]:
    """Return the links of the one node's host by MAC."""
    found = json.loads(cluster.nodes["n1"].machine.run("ip", "-json", "link"))
    return {link["address"]: link for link in found if "address" in link}


def test_an_eni_appears_as_a_link_that_is_down_and_goes_when_it_is_detached(strict: Cluster) -> None:
    node = strict.nodes["n1"]
    assert node.enis == {}
    with closing(strict.cloud.ec2()) as ec2, strict.plugger(link_delay=0.3) as plugger:
        made = ec2.create_network_interface(SubnetId=SECONDARY[0].id)["NetworkInterface"]
        eni, mac = made["NetworkInterfaceId"], made["MacAddress"]
        attached = ec2.attach_network_interface(
            NetworkInterfaceId=eni, InstanceId=node.instance_id, DeviceIndex=1
        )
        link = wait_for(lambda: links_of(strict).get(mac), "link of the ENI", 30)
        plugged = wait_for(lambda: plugger.links.get(eni), "what the plugger has of it", 30)
        assert link["ifname"] == plugged.name != "eth1"
        assert "UP" not in link["flags"]

        node.machine.run("ip", "link", "set", link["ifname"], "up")
        node.machine.run("ip", "address", "add", f"{made['PrivateIpAddress']}/24", "dev", link["ifname"])
        router = SECONDARY[0].router.partition("/")[0]
        wait_for(lambda: "lladdr" in neighbour(strict, router), "answer of the subnet's router", 30)

        ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
        wait_for(lambda: mac not in links_of(strict), "end of the link", 30)


def test_an_eni_that_stays_attached_is_there_again_after_a_power_cut(strict: Cluster) -> None:
    node = strict.nodes["n1"]
    with closing(strict.cloud.ec2()) as ec2, strict.plugger():
        made = ec2.create_network_interface(SubnetId=SECONDARY[1].id)["NetworkInterface"]
        eni, mac = made["NetworkInterfaceId"], made["MacAddress"]
        ec2.attach_network_interface(NetworkInterfaceId=eni, InstanceId=node.instance_id, DeviceIndex=2)
        wait_for(lambda: mac in links_of(strict), "link of the ENI", 30)
        node.kill()
        node.start()
        wait_for(lambda: mac in links_of(strict), "link of the ENI after the start", 30)


def neighbour(cluster: Cluster, address: str) -> str:
    """Send a packet to an address from the one node's host; returns what the kernel knows of it."""
    script = f"echo > /dev/udp/{address}/9 || true; ip neighbour show {address}"
    return cluster.nodes["n1"].machine.run("bash", "-c", script)
