"""The namespaces that other tests stand on: what they promise, seen from inside and outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import netns
from tests.netns import IMDS, Completed, Node, Pod
from tests.netns.rights import explain
from tests.netns_fixtures import node  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[2]
ENI_MAC = "02:10:00:00:01:10"
ENV = {"PATH": "/usr/bin:/bin"}

# Becomes an ordinary user, as far as the kernel is concerned: in this user namespace it is one.
AS_ORDINARY_USER = """
    import os, sys
    from tests.netns import kernel
    kernel.new_user_namespace(1000)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.fixture
def pod(node: Node) -> Pod:  # noqa: F811 - the imported fixture
    return node.pod()


def python(pod: Pod, program: str, *, read_only: bool = False) -> Completed:
    argv = [sys.executable, "-I", "-c", textwrap.dedent(program)]
    return pod.run(argv, env=ENV, read_only=read_only)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"not within 20 s: {what}"
        time.sleep(0.02)


def host_interfaces() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex())


@pytest.mark.netns
def test_a_pod_has_eth0_and_multus_interfaces_as_asked_for(pod: Pod) -> None:
    pod.add_interface("net1", mac=ENI_MAC, addresses=["10.10.1.80/24", "2001:db8::80/64"])
    pod.add_interface("net2")
    found = pod.interfaces()
    assert set(found) == {"lo", "eth0", "net1", "net2"}
    assert "10.10.0.21/32" in found["eth0"]["addresses"]
    assert found["net1"]["mac"] == ENI_MAC
    assert {"10.10.1.80/24", "2001:db8::80/64"} <= set(found["net1"]["addresses"])
    assert found["net2"]["mac"] not in (ENI_MAC, found["eth0"]["mac"])


@pytest.mark.netns
def test_a_pods_interfaces_change_at_run_time(pod: Pod) -> None:
    pod.add_interface("net1", mac=ENI_MAC, addresses=["10.10.1.80/24"])
    pod.add_address("net1", "10.10.2.80/24")
    pod.delete_address("net1", "10.10.1.80/24")
    pod.set_mac("net1", "02:10:00:00:02:10")
    pod.rename("net1", "sig0")
    found = pod.interfaces()["sig0"]
    assert found["mac"] == "02:10:00:00:02:10"
    assert [address for address in found["addresses"] if "." in address] == ["10.10.2.80/24"]
    pod.set_down("sig0")
    pod.delete_interface("sig0")
    assert "sig0" not in pod.interfaces()


@pytest.mark.netns
def test_a_pod_without_eth0_has_loopback_only(node: Node) -> None:  # noqa: F811
    assert set(node.pod(eth0=None).interfaces()) == {"lo"}


@pytest.mark.netns
def test_a_refusal_of_the_kernel_is_raised(pod: Pod) -> None:
    with pytest.raises(OSError, match="there is no interface net9"):
        pod.add_address("net9", "10.10.1.80/24")
    pod.add_address("eth0", "10.10.1.80/24")
    with pytest.raises(OSError, match="File exists"):
        pod.add_address("eth0", "10.10.1.80/24")


@pytest.mark.netns
@pytest.mark.parametrize(
    ("eth0", "server"),
    [("10.10.0.21/32", IMDS), ("10.10.0.77/24", "10.10.0.10"), ("2001:db8::21/128", "2001:db8::10")],
)
def test_a_pod_reaches_the_node_with_its_own_address(node: Node, eth0: str, server: str) -> None:  # noqa: F811
    if ":" in server:
        node.add_address("lo", f"{server}/128")
    pod = node.pod(eth0=eth0)
    with node.listen(server, 80) as listening, pod.connect(server, 80) as connected:
        accepted, peer = listening.accept()
        with accepted:
            assert peer[0] == eth0.partition("/")[0]
            connected.sendall(b"token")
            assert accepted.recv(16) == b"token"


@pytest.mark.netns
def test_two_nodes_with_the_same_addresses_do_not_meet(node: Node) -> None:  # noqa: F811
    with Node() as other, node.listen(IMDS, 80), other.listen(IMDS, 80) as listening:
        listening.settimeout(5)
        with other.pod().connect(IMDS, 80):
            listening.accept()[0].close()


@pytest.mark.netns
def test_a_server_process_on_the_node_is_asked_over_http(node: Node, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "hello").write_text("from the node")
    argv = [sys.executable, "-m", "http.server", "--bind", node.address, "80"]
    server = node.popen(argv, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pod = node.pod()
    url = f"http://{node.address}"

    def listens() -> bool:
        assert server.poll() is None
        try:
            return node.http("GET", f"{url}/hello").status == 200
        except OSError:
            return False

    until(listens, "an answer of the server")
    assert pod.http("GET", f"{url}/hello").body == b"from the node"
    assert pod.http("GET", f"{url}/nothing").status == 404


@pytest.mark.netns
def test_a_process_in_a_pod_has_no_rights(pod: Pod) -> None:
    done = python(
        pod,
        """
        import json, os, socket
        status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
            raw = "allowed"
        except PermissionError:
            raw = "refused"
        names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
        print(json.dumps({"ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid()], "raw": raw,
                          "status": {name: int(status[name], 16) for name in names}}))
        """,
    )
    assert json.loads(done.stdout) == {
        "ids": [65534] * 4,
        "raw": "refused",
        "status": {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0, "NoNewPrivs": 1},
    }, done.stderr


@pytest.mark.netns
def test_a_process_in_a_pod_sees_the_pods_interfaces_and_its_own_environment(pod: Pod) -> None:
    pod.add_interface("net1")
    done = python(
        pod,
        """
        import json, os, socket
        print(json.dumps([sorted(name for _, name in socket.if_nameindex()), dict(os.environ)]))
        """,
    )
    interfaces, env = json.loads(done.stdout)
    assert interfaces == ["eth0", "lo", "net1"]
    own = {name: value for name, value in env.items() if not name.startswith(("COVERAGE_", "LC_"))}
    assert own == ENV


@pytest.mark.netns
@pytest.mark.parametrize("read_only", [False, True])
def test_the_termination_log_is_returned(pod: Pod, read_only: bool) -> None:
    done = python(
        pod,
        """
        import sys
        open("/dev/termination-log", "w").write("no ENI for 10.10.1.80")
        open("/dev/null", "w").write("x")
        assert open("/dev/urandom", "rb").read(1)
        print("out"); print("err", file=sys.stderr); sys.exit(13)
        """,
        read_only=read_only,
    )
    assert done == Completed(13, "out\n", "err\n", "no ENI for 10.10.1.80")


@pytest.mark.netns
def test_a_read_only_root_is_read_only(pod: Pod, tmp_path: Path) -> None:
    written = tmp_path / "written"
    program = f"open({str(written)!r}, 'w')"
    assert python(pod, program).returncode == 0
    assert written.exists()
    assert "Read-only file system" in python(pod, program, read_only=True).stderr


@pytest.mark.netns
def test_a_program_that_does_not_exist_is_named(pod: Pod) -> None:
    done = pod.run(["ipagent", "init"], env={"PATH": "/nowhere"})
    assert done.returncode == 125
    assert "ipagent was not started" in done.stderr
    assert "PATH is /nowhere" in done.stderr


@pytest.mark.netns
def test_a_process_that_takes_too_long_is_ended(pod: Pod) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        pod.run(["sleep", "600"], env=ENV, timeout=0.2)


@pytest.mark.netns
def test_the_node_runs_processes_with_the_rights_of_root_there(node: Node) -> None:  # noqa: F811
    program = "import os, socket; socket.create_server(('', 1)).close(); print(os.geteuid())"
    assert node.run([sys.executable, "-c", program]).stdout == "0\n"


@pytest.mark.netns
def test_closing_a_node_ends_its_processes_and_leaves_the_host_as_it_was() -> None:
    netns.require()
    before = host_interfaces()
    with Node() as made:
        pod = made.pod()
        pod.add_interface("net1")
        processes = [made.popen(["sleep", "600"]), pod.popen(["sleep", "600"], env=ENV)]
        assert host_interfaces() == before
    assert [process.returncode for process in processes] == [-signal.SIGTERM] * 2
    assert host_interfaces() == before
    made.close()


@pytest.mark.netns
@pytest.mark.parametrize("ordinary", [False, True], ids=["same user", "ordinary user"])
def test_nothing_outlives_a_process_that_is_killed(ordinary: bool) -> None:
    netns.require()
    program = """
        import subprocess, time
        from tests.netns import Node
        node = Node()
        pod = node.pod()
        pod.add_interface("net1", addresses=["10.10.1.80/24"])
        started = [node.popen(["sleep", "600"]), pod.popen(["sleep", "600"], env={"PATH": "/usr/bin:/bin"})]
        print(*[process.pid for process in started], node._holder.pid, flush=True)
        time.sleep(600)
    """
    with script(program, ordinary=ordinary) as process:
        assert process.stdout is not None
        line = process.stdout.readline().split()
        assert len(line) == 3, process.communicate()[1]
        pids = [int(pid) for pid in line]
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        process.kill()
        process.wait()
        until(lambda: not any(alive(pid) for pid in pids), f"the end of {pids}")


@pytest.mark.netns
def test_an_ordinary_user_has_nodes_and_pods_too() -> None:
    netns.require()
    program = """
        import os, sys
        from tests.netns import IMDS, Node
        assert os.geteuid() == 1000
        with Node() as node, node.listen(IMDS, 80) as server:
            pod = node.pod()
            pod.add_interface("net1", mac="02:10:00:00:01:10", addresses=["10.10.1.80/24"])
            code = "import os, socket; socket.create_connection(('169.254.169.254', 80)); print(os.getuid())"
            done = pod.run([sys.executable, "-I", "-c", code], env={})
            print(done.stdout.strip(), server.accept()[1][0], pod.interfaces()["net1"]["mac"])
            assert done.returncode == 0, done.stderr
    """
    with script(program, ordinary=True) as process:
        out, err = process.communicate(timeout=60)
    assert out.split() == ["65534", "10.10.0.21", ENI_MAC], err


@pytest.mark.pure
@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ],
)
def test_a_refusal_names_the_sysctl_to_change(tmp_path: Path, name: str, value: str, remedy: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{value}\n")
    assert remedy in explain(PermissionError(1, "Operation not permitted"), tmp_path)


@pytest.mark.pure
@pytest.mark.parametrize(("uid", "remedy"), [(0, "--privileged"), (1000, "seccomp")])
def test_a_refusal_without_such_a_sysctl_says_what_else_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, remedy: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert remedy in explain(PermissionError(1, "Operation not permitted"), tmp_path)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("no_skip", "outcome"),
    [("", pytest.skip.Exception), ("1", pytest.fail.Exception)],  # noqa: TID251 - what it raises
    ids=["skip", "fail"],
)
def test_missing_rights_skip_or_fail_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, no_skip: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr("tests.netns.node.available", lambda: "allow it as root with: sysctl …")
    monkeypatch.setenv("MULTUS_ENI_NO_SKIP", no_skip)
    with pytest.raises(outcome, match="allow it as root"):
        netns.require()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def script(program: str, *, ordinary: bool) -> subprocess.Popen[str]:
    argv = ["-c", textwrap.dedent(program)]
    if ordinary:
        argv = ["-c", textwrap.dedent(AS_ORDINARY_USER), *argv]
    return subprocess.Popen(
        [sys.executable, *argv], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
