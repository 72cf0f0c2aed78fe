"""`python -m demo`, run as users run it."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.exit_codes import ExitCode
from tests import netns
from tests.skipping import programs

ROOT = Path(__file__).resolve().parents[1]
WORLD: dict[str, Any] = yaml.safe_load((ROOT / "demo/world.yaml").read_text(encoding="utf-8"))
ADDRESS, ENI = "10.10.1.80", "eni-0e000000000000001"
NETWORKS = "k8s.v1.cni.cncf.io/networks: ipvlan-multus"
MODE = "multus-eni.io/mode"
STEPS = ["node", "webhook", "pod", "container", "network", "agent", "check"]

# In a user namespace that stands for an ordinary account; what it may not do, an ordinary account may not.
AS_ORDINARY_USER = """
    import os, pathlib, sys
    from tests.netns import kernel
    kernel.new_user_namespace(1000)
    if sys.argv[1]:
        pathlib.Path("/proc/sys/user/max_user_namespaces").write_text(sys.argv[1])
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""

# As container runtimes do; the kernel then lets no ordinary user mount /proc again.
WITH_MASKED_PROC = """
    import os, sys
    from tests.netns import kernel
    kernel.new_user_namespace(0, also=kernel.CLONE_NEWNS)
    kernel.mount("tmpfs", "/proc/bus", "tmpfs")
    kernel.new_user_namespace(1000)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclass(frozen=True)
class Run:
    """What a run of the demo ended with."""

    code: int
    result: dict[str, Any]
    stderr: str


@pytest.fixture(autouse=True)
def _namespaces(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("netns"):
        netns.require()


def demo(*options: str, prefix: tuple[str, ...] = (), env: Mapping[str, str] | None = None) -> Run:
    argv = [sys.executable, *prefix, "-m", "demo", "--output", "json", *options]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    return Run(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)


def ordinary(max_user_namespaces: str = "") -> tuple[str, ...]:
    return ("-c", textwrap.dedent(AS_ORDINARY_USER), max_user_namespaces)


def secondaries(state: Mapping[str, Any]) -> dict[str, list[str]]:
    return {eni["id"]: eni["secondaries"] for eni in state["interfaces"]}


def assert_told(run: Run, via: str) -> None:
    assert run.code == 0, (run.stderr, run.result)
    result = run.result
    assert (result["ok"], result["admission"]) == (True, via)
    assert (result["address"], result["eni"], result["agent"]["exitCode"]) == (ADDRESS, ENI, 0)
    before, after = (secondaries(result["ec2"][when]) for when in ("before", "after"))
    assert before == {eni["id"]: eni.get("secondaries", []) for eni in WORLD["instances"][0]["interfaces"]}
    assert after == {**before, ENI: [ADDRESS]}
    assert [step["name"] for step in result["steps"]] == STEPS


@pytest.mark.netns
@pytest.mark.cluster
def test_the_address_of_a_pod_of_a_real_api_server_ends_on_the_right_eni() -> None:
    programs()
    assert_told(demo("--admission", "api-server"), "api-server")


@pytest.mark.netns
def test_an_ordinary_user_needs_no_rights() -> None:
    assert_told(demo("--admission", "review", prefix=ordinary()), "review")


@pytest.mark.netns
def test_a_container_that_hides_parts_of_proc_is_enough() -> None:
    assert_told(demo("--admission", "review", prefix=("-c", textwrap.dedent(WITH_MASKED_PROC))), "review")


@pytest.mark.netns
def test_without_an_api_server_at_hand_its_request_is_sent(tmp_path: Path) -> None:
    bare = {"KUBEBUILDER_ASSETS": "", "XDG_CACHE_HOME": str(tmp_path), "PATH": "/nowhere"}
    assert_told(demo(env=bare), "review")
    refused = demo("--admission", "api-server", env=bare)
    assert refused.code == 1
    assert "make tools" in refused.stderr


@pytest.mark.netns
def test_a_system_that_forbids_namespaces_is_told_what_to_allow() -> None:
    run = demo("--admission", "review", prefix=ordinary("0"))
    assert run.code == 3
    assert run.result == {}
    assert "sysctl -w user.max_user_namespaces=" in run.stderr


def full(world: dict[str, Any]) -> None:
    eni = world["instances"][0]["interfaces"][1]
    eni["secondaries"] = [f"10.10.1.{last}" for last in range(100, 114)]


def hop_limit_1(world: dict[str, Any]) -> None:
    world["instances"][0]["hop_limit"] = 1


def no_right_to_assign(world: dict[str, Any]) -> None:
    world["roles"][0]["actions"] = ["Describe*"]


@pytest.mark.netns
@pytest.mark.parametrize(
    ("break_it", "code", "remedy"),
    [
        (full, ExitCode.ENI_FULL, "unassign-private-ip-addresses"),
        (hop_limit_1, ExitCode.NO_IMDS, "--http-put-response-hop-limit 2"),
        (no_right_to_assign, ExitCode.NO_PERMISSION, "ec2:AssignPrivateIpAddresses"),
    ],
)
def test_a_broken_world_fails_with_the_remedy(
    tmp_path: Path, break_it: Callable[[dict[str, Any]], None], code: ExitCode, remedy: str
) -> None:
    world = copy.deepcopy(WORLD)
    break_it(world)
    path = tmp_path / "world.yaml"
    path.write_text(yaml.safe_dump(world), encoding="utf-8")
    run = demo("--admission", "review", "--world", str(path), "--timeout", "15")
    assert run.code == 1
    assert (run.result["ok"], run.result["agent"]["exitCode"]) == (False, code)
    assert f"step 'agent' failed: the agent ended with {code.value} ({code.name})" in run.stderr
    assert remedy in run.result["error"]["remedy"]
    assert remedy in run.stderr


@pytest.mark.netns
@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "busybox-deployment.yaml",
            NETWORKS,
            f"{NETWORKS}\n        {MODE}: sidecr",
            "the webhook refused the pod: ",
        ),
        (
            "nad-ipvlan.yaml",
            '"eth1"',
            '"eth7"',
            "master eth7 is not one of the node's interfaces eth0, eth1, eth2",
        ),
        ("nad-ipvlan.yaml", '"eth1"', '"eth0"', "the agent ended with 13 (NO_ENI)"),
    ],
)
def test_broken_manifests_fail_with_the_reason(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    for path in (ROOT / "examples").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        assert path.name != file or old in text
        (tmp_path / path.name).write_text(text.replace(old, new) if path.name == file else text)
    run = demo("--admission", "review", "--manifests", str(tmp_path), "--timeout", "5")
    assert run.code == 1
    assert message in run.stderr


@pytest.mark.netns
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    before = socket.if_nameindex()
    argv = [sys.executable, "-m", "demo", "--admission", "review"]
    with subprocess.Popen(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        while b"3. " not in (line := process.stdout.readline()):
            assert line, process.communicate()
        process.send_signal(number)
        # Whatever were left would hold the pipes open.
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert b"demo: interrupted" in stderr
    assert list(tmp_path.iterdir()) == []
    assert socket.if_nameindex() == before


@pytest.mark.netns
def test_the_story_ends_with_one_line_that_names_address_eni_and_times(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "demo", "--admission", "review"]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert f"{ADDRESS} of pod multus/busybox-deployment-" in last
    assert f"is a secondary address of {ENI}" in last
    assert all(f"{step} " in last for step in STEPS)
    assert "+  - name: multus-eni-agent" in done.stdout
    assert "\x1b" not in done.stdout
    assert list(tmp_path.iterdir()) == []
    printed = {timeless(line) for line in done.stdout.splitlines()}
    assert [line for line in shown_in_the_readme() if timeless(line) not in printed] == []


def timeless(line: str) -> str:
    """Return a line of the demo without what differs from run to run."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", line)


def shown_in_the_readme() -> list[str]:
    """Return the lines of the demo that the README shows."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shell = r"^```console\n(?:\$ git clone .*?\n)?\$ make demo\n(.*?)^```$"
    (block,) = re.findall(shell, readme, re.DOTALL | re.MULTILINE)
    lines = [line for line in block.splitlines() if line not in ("", "…")]
    assert len(lines) > 10
    return lines


def test_help_needs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "exit codes: 0 EC2 has the pod's address" in done.stdout
