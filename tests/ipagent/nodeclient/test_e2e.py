"""The slim agent as a pod's container against the real server of sessions."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

import ipagent
from common.agent_settings import ENV_HOST_IP, ENV_POD_NAME, ENV_POD_UID, Mode, Takeover
from common.exit_codes import ExitCode
from ipagent.cli import ENV_STARTED_FILE
from ipagent.node.model.claim import AddressState, AddressStatus, Claim, ClaimStatus
from ipagent.node.model.pod import PodKey
from ipagent.node.sessions.auth import NOT_ACCEPTED, OTHER_NODE, OTHER_POD
from tests.ipagent.nodeclient.gate import ENI, POD, assigned, failed, holdings, pending, token_of
from tests.ipagent.nodeclient.rig import MAC, PORT, SlimStage, slim
from tests.netns import Node
from tests.netns_fixtures import node  # noqa: F401 - a fixture

pytestmark = pytest.mark.netns

FLOATING = "10.10.1.200"
AGAIN = "The container starts again by itself, unless the pod has restartPolicy Never."


@pytest.fixture
def stage(node: Node, tmp_path: Path) -> SlimStage:  # noqa: F811 - the fixture
    return SlimStage(node, tmp_path)


def held(claim: Claim) -> list[str]:
    return [str(holding.address) for holding in holdings(claim)]


class TestInit:
    def test_init_ends_when_everything_is_assigned(self, stage: SlimStage) -> None:
        with stage.gate() as gate:
            ended = stage.init(stage.pod("10.10.1.80/24"))
            (claim,) = gate.claims
            gate.wait_for_unclaim()
        assert ended.code == ExitCode.OK
        assert ended.message == f"Assigned: 10.10.1.80 on {ENI}."
        assert ended.events() == ["start", "done"]
        assert (ended.lines[-1]["address"], ended.lines[-1]["eni"]) == ("10.10.1.80", ENI)
        assert {(line["namespace"], line["pod"]) for line in ended.lines} == {("apps", "pod-1")}
        assert (claim.pod, claim.mode, claim.interfaces) == (POD, Mode.INIT, ("net1",))
        assert held(claim) == ["10.10.1.80"]
        assert {link.mac for link in claim.snapshot.links if link.name == "net1"} == {MAC}
        assert claim.snapshot.routes == ()

    def test_every_setting_is_stated(self, stage: SlimStage) -> None:
        settings = slim(
            interfaces=(),
            takeover=Takeover.NEVER,
            release_on_exit=True,
            allowed_cidrs=("10.10.1.0/24",),
            eip_wait=("net1",),
        )
        with stage.gate() as gate:
            assert stage.init(stage.pod("10.10.1.80/24"), settings).code == ExitCode.OK
            (claim,) = gate.claims
        assert claim.takeover is Takeover.NEVER
        assert claim.release_on_exit
        assert claim.eip_wait
        assert [str(network) for network in claim.allowed] == ["10.10.1.0/24"]
        # Without names the routes tell which interface is the default one.
        assert held(claim) == ["10.10.1.80"]
        assert {str(route.destination) for route in claim.snapshot.routes} >= {"0.0.0.0/0", "169.254.1.1/32"}

    def test_names_that_the_webhook_has_counted_leave_no_interface_out(self, stage: SlimStage) -> None:
        pod = stage.pod("10.10.1.80/24")
        pod.add_interface("data0", addresses=["10.10.2.80/24"])
        pod.add_own("tun0")
        pod.add_address("tun0", "10.45.0.1/16")
        with stage.gate() as gate:
            settings = slim(interfaces=("net1",), guessed_interfaces=("net1",))
            assert stage.init(pod, settings).code == ExitCode.OK
            (claim,) = gate.claims
        assert claim.interfaces == ()
        assert held(claim) == ["10.10.1.80", "10.10.2.80"]

    def test_a_pending_status_is_logged_and_waited_for(self, stage: SlimStage) -> None:
        with stage.gate(answer=lambda _: pending("EC2 has been asked.")) as gate:
            running = stage.start("init", stage.pod("10.10.1.80/24"))
            assert running.wait_for_event("waiting")["message"] == "EC2 has been asked."
            gate.publish(assigned(gate.claims[0]))
            assert running.wait().code == ExitCode.OK

    @pytest.mark.parametrize("code", [ExitCode.ENI_FULL, ExitCode.NOT_GRANTED, ExitCode.HELD_ELSEWHERE])
    def test_a_failed_status_sets_exit_code_and_message(self, stage: SlimStage, code: ExitCode) -> None:
        said = failed(
            code,
            "Not assigned: 10.10.1.81.",
            AddressStatus(ip_address("10.10.1.80"), "net1", AddressState.ASSIGNED, ENI),
            AddressStatus(ip_address("10.10.1.81"), "net1", AddressState.FAILED, ENI, "because"),
        )
        with stage.gate(answer=lambda _: said):
            ended = stage.init(stage.pod("10.10.1.80/24", "10.10.1.81/24"))
        # A refused token, which has the code of what is not granted, is not mended by another start.
        again = "" if code is ExitCode.NOT_GRANTED else f" {AGAIN}"
        assert (ended.code, ended.message) == (code, f"Not assigned: 10.10.1.81.{again}")
        assert (ended.lines[-1]["level"], ended.lines[-1]["address"]) == ("error", "10.10.1.80")

    def test_an_address_that_comes_meanwhile_is_stated_too(self, stage: SlimStage) -> None:
        def answer(claim: Claim) -> ClaimStatus:
            return assigned(claim) if len(held(claim)) == 2 else pending("One is missing.")

        with stage.gate(answer=answer) as gate:
            pod = stage.pod("10.10.1.80/24")
            running = stage.start("init", pod)
            gate.wait_for_claims(1)
            pod.add_address("net1", "10.10.1.81/24")
            ended = running.wait()
        assert ended.message == f"Assigned: 10.10.1.80, 10.10.1.81 on {ENI}."

    def test_an_unreachable_node_agent_is_named_at_the_deadline(self, stage: SlimStage) -> None:
        ended = stage.init(stage.pod("10.10.1.80/24"), slim(timeout=5))
        assert ended.code == ExitCode.NODE_AGENT_UNREACHABLE
        assert f"The node agent of node-a at {stage.node.address}:{PORT}" in ended.message
        assert "within 5 s: Connection refused" in ended.message
        assert "DaemonSet" in ended.message
        assert ended.events() == ["start", "unreachable", "failed"]

    def test_a_node_agent_that_never_answers_is_named_at_the_deadline(self, stage: SlimStage) -> None:
        # Nothing answers there, and nothing refuses.
        stage.node.add_address("lo", "10.10.0.99/32")
        with stage.node.listen("10.10.0.99", PORT) as mute:
            mute.listen(0)
            ended = stage.init(stage.pod("10.10.1.80/24"), slim(timeout=5), env={ENV_HOST_IP: "10.10.0.99"})
        assert ended.code == ExitCode.NODE_AGENT_UNREACHABLE
        assert "10.10.0.99:9407 could not be reached within 5 s" in ended.message

    def test_a_node_agent_that_starts_late_is_found(self, stage: SlimStage) -> None:
        running = stage.start("init", stage.pod("10.10.1.80/24"))
        running.wait_for_event("unreachable")
        with stage.gate():
            assert running.wait().code == ExitCode.OK

    def test_after_a_restart_of_the_node_agent_everything_is_stated_again(self, stage: SlimStage) -> None:
        with stage.gate(answer=lambda _: pending("Wait.")) as before:
            running = stage.start("init", stage.pod("10.10.1.80/24"))
            running.wait_for_event("waiting")
        with stage.gate() as after:
            assert running.wait().code == ExitCode.OK
        assert before.claims == after.claims

    def test_the_deadline_names_what_was_pending(self, stage: SlimStage) -> None:
        said = pending("10.10.1.80 (net1): EC2 has not answered.", ExitCode.EC2_UNREACHABLE)
        with stage.gate(answer=lambda _: said):
            ended = stage.init(stage.pod("10.10.1.80/24"), slim(timeout=5))
        assert ended.code == ExitCode.EC2_UNREACHABLE
        assert ended.message == f"Not within 5 s: 10.10.1.80 (net1): EC2 has not answered. {AGAIN}"

    def test_a_pod_that_the_node_never_sees_ends_at_the_deadline(self, stage: SlimStage) -> None:
        with stage.gate(living=()):
            ended = stage.init(stage.pod("10.10.1.80/24"), slim(timeout=5))
        assert ended.code == ExitCode.DEADLINE
        assert "does not see the pod apps/pod-1 on node-a yet" in ended.message

    @pytest.mark.parametrize(
        ("token", "says", "remedy"),
        [
            ("banana", "invalid bearer token", NOT_ACCEPTED),
            (token_of(PodKey("apps", "pod-2", "2")), "presents the token of apps/pod-2", OTHER_POD),
            (token_of(POD, node="node-b"), "runs on node-b", OTHER_NODE),
        ],
    )
    def test_a_refused_token_ends_the_run_with_reason_and_remedy(
        self, stage: SlimStage, token: str, says: str, remedy: str
    ) -> None:
        stage.token.write_text(token)
        with stage.gate() as gate:
            ended = stage.init(stage.pod("10.10.1.80/24"))
        assert ended.code == ExitCode.NOT_GRANTED
        assert says in ended.message
        assert ended.message.endswith(remedy)
        assert gate.taken == []

    def test_an_api_server_that_is_away_is_waited_for(self, stage: SlimStage) -> None:
        calls: list[str] = []

        def ask(token: str) -> dict[str, object]:
            calls.append(token)
            raise TimeoutError("timed out")

        with stage.gate(review=ask):
            ended = stage.init(stage.pod("10.10.1.80/24"), slim(timeout=5))
        assert ended.code == ExitCode.DEADLINE
        assert "has not served this pod within 5 s" in ended.message
        assert "timed out" in ended.message
        assert len(calls) > 1

    @pytest.mark.parametrize("content", [None, "", "two words"])
    def test_a_missing_token_is_named(self, stage: SlimStage, content: str | None) -> None:
        stage.token.unlink()
        if content is not None:
            stage.token.write_text(content)
        ended = stage.init(stage.pod("10.10.1.80/24"))
        assert ended.code == ExitCode.USAGE
        assert str(stage.token) in ended.message

    @pytest.mark.parametrize("name", [ENV_HOST_IP, ENV_POD_UID, ENV_POD_NAME])
    def test_a_missing_downward_api_variable_is_named(self, stage: SlimStage, name: str) -> None:
        ended = stage.init(stage.pod("10.10.1.80/24"), env={name: None})
        assert ended.code == ExitCode.USAGE
        assert f"{name} is missing" in ended.message

    def test_a_host_ip_that_is_not_an_address_is_named(self, stage: SlimStage) -> None:
        ended = stage.init(stage.pod(), env={ENV_HOST_IP: "node-a.local"})
        assert ended.code == ExitCode.USAGE
        assert "'node-a.local' is not an IP address" in ended.message

    def test_sigterm_ends_it(self, stage: SlimStage) -> None:
        with stage.gate(answer=lambda _: pending("It waits.")):
            running = stage.start("init", stage.pod("10.10.1.80/24"))
            running.wait_for_event("waiting")
            ended = running.end()
        assert ended.code == 128 + 15
        assert ended.message == "Ended by SIGTERM before the end. It waits."

    def test_a_tentative_address_is_stated_again_when_it_is_no_longer(self, stage: SlimStage) -> None:
        def answer(claim: Claim) -> ClaimStatus:
            tentative = any(entry.detection.name == "TENTATIVE" for entry in claim.snapshot.addresses)
            return pending("Duplicate address detection goes on.") if tentative else assigned(claim)

        with stage.gate(answer=answer) as gate:
            pod = stage.pod()
            pod.add_address("net1", "2001:db8:1::80/64", detect=True)
            ended = stage.init(pod)
        assert ended.message == f"Assigned: 2001:db8:1::80 on {ENI}."
        assert held(gate.claims[-1]) == ["2001:db8:1::80"]


class TestSidecar:
    def test_it_starts_when_everything_is_assigned_and_stays(self, stage: SlimStage) -> None:
        with stage.gate(answer=lambda _: pending("Not yet.")) as gate:
            running = stage.start("sidecar", stage.pod("10.10.1.80/24"))
            running.wait_for_event("waiting")
            assert not running.started()
            gate.publish(assigned(gate.claims[0]))
            assert running.wait_for_event("started")["address"] == "10.10.1.80"
            assert running.started()
            ended = running.end()
            gate.wait_for_unclaim()
        assert (ended.code, ended.message) == (0, "Ended by SIGTERM. No address was released.")

    def test_after_an_interface_was_unplugged_a_restart_says_so_and_goes_on(self, stage: SlimStage) -> None:
        pod = stage.pod("10.10.1.80/24")
        pod.add_interface("net2", mac="02:aa:00:00:00:02")
        both = slim(interfaces=("net1", "net2"))
        with stage.gate() as gate:
            running = stage.start("sidecar", pod, both)
            running.wait_for_event("started")
            running.process.kill()
            running.process.wait()
            pod.delete_interface("net2")
            again = stage.start("sidecar", pod, both)
            again.wait_for_event("started")
            assert "interface net2" in again.wait_for_event("interface-missing")["message"]
            claims = gate.claims
            assert (claims[0].restarted, claims[-1].restarted) == (False, True)
            assert again.end().code == ExitCode.OK

    def test_a_floating_address_comes_and_goes(self, stage: SlimStage) -> None:
        with stage.gate() as gate:
            pod = stage.pod("10.10.1.80/24")
            running = stage.start("sidecar", pod)
            running.wait_for_event("started")
            pod.add_address("net1", f"{FLOATING}/32")
            line = running.wait_for_event("assigned")
            assert (line["address"], line["eni"], line["message"]) == (
                FLOATING,
                ENI,
                f"{FLOATING} is on {ENI}",
            )
            pod.delete_address("net1", f"{FLOATING}/32")
            assert running.wait_for_event("removed")["address"] == FLOATING
            assert FLOATING in held(gate.claims[-2])
            assert held(gate.claims[-1]) == ["10.10.1.80"]
            assert gate.claims[-1].again == {ip_address(FLOATING)}
            assert running.end().code == ExitCode.OK

    def test_an_address_on_keepaliveds_own_device_is_stated_as_the_interfaces_below(
        self, stage: SlimStage
    ) -> None:
        with stage.gate() as gate:
            pod = stage.pod("10.10.1.80/24")
            running = stage.start("sidecar", pod)
            running.wait_for_event("started")
            pod.add_above("vrrp.51", "net1", mac="00:00:5e:00:01:33")
            pod.add_address("vrrp.51", f"{FLOATING}/32")
            assert running.wait_for_event("assigned")["address"] == FLOATING
            assert {(each.interface, each.mac) for each in holdings(gate.claims[-1])} == {("net1", MAC)}
            assert running.end().code == ExitCode.OK

    def test_an_address_that_is_added_anew_is_stated_so_once(self, stage: SlimStage) -> None:
        with stage.gate() as gate:
            pod = stage.pod("10.10.1.80/24", f"{FLOATING}/32")
            running = stage.start("sidecar", pod)
            running.wait_for_event("started")
            pod.delete_address("net1", f"{FLOATING}/32")
            pod.add_address("net1", f"{FLOATING}/32")
            gate.wait_for(lambda: any(claim.again for claim in gate.claims), "a claim with `again`")
            gate.wait_for(lambda: FLOATING in held(gate.claims[-1]), "the address")
            others = iter(range(81, 130))

            def forgotten() -> bool:
                # It is stated until the answer to it has been read, which may come after the next statement.
                other = f"10.10.1.{next(others)}"
                pod.add_address("net1", f"{other}/32")
                gate.wait_for(lambda: other in held(gate.claims[-1]), "the next address")
                return gate.claims[-1].again == frozenset()

            gate.wait_for(forgotten, "a claim without `again`")
            running.end()

    def test_a_conflict_and_a_failure_are_logged_once_and_the_client_goes_on(self, stage: SlimStage) -> None:
        with stage.gate() as gate:
            running = stage.start("sidecar", stage.pod("10.10.1.80/24", "10.10.1.81/24"))
            running.wait_for_event("started")
            told = (
                AddressStatus(ip_address("10.10.1.80"), "net1", AddressState.CONFLICT, ENI, "eni-b has it."),
                AddressStatus(ip_address("10.10.1.81"), "net1", AddressState.FAILED, ENI, "It is full."),
            )
            gate.publish(failed(ExitCode.HELD_ELSEWHERE, "Two problems.", *told))
            assert running.wait_for_event("conflict")["address"] == "10.10.1.80"
            assert "It is full." in running.wait_for_event("not-assigned")["message"]
            gate.publish(failed(ExitCode.HELD_ELSEWHERE, "Still two problems.", *told))
            gate.publish(assigned(gate.claims[0]))
            running.wait_for_event("assigned", 2)
            assert len(running.events("conflict")) == 1
            assert running.end().code == ExitCode.OK

    def test_after_a_restart_of_the_node_agent_everything_is_stated_again(self, stage: SlimStage) -> None:
        with stage.gate():
            pod = stage.pod("10.10.1.80/24")
            running = stage.start("sidecar", pod)
            running.wait_for_event("started")
        running.wait_for_event("unreachable")
        pod.add_address("net1", f"{FLOATING}/32")
        with stage.gate() as after:
            after.wait_for_claims(1)
            assert held(after.claims[0]) == ["10.10.1.80", FLOATING]
            running.wait_for_event("reached")
            running.wait_for_event("assigned")
            assert running.end().code == ExitCode.OK

    def test_a_token_that_was_replaced_is_read_anew(self, stage: SlimStage) -> None:
        with stage.gate() as gate:
            running = stage.start("sidecar", stage.pod("10.10.1.80/24"))
            running.wait_for_event("started")
            stage.token.write_text("banana")
        with stage.gate() as gate:
            gate.wait_for(lambda: gate.sessions.counts().get("refused_401"), "the refusal")
            assert "invalid bearer token" in running.wait_for_event("refused")["message"]
            assert running.end().code == ExitCode.OK

    def test_a_sidecar_that_the_node_agent_refuses_keeps_running(self, stage: SlimStage) -> None:
        with stage.gate() as gate:
            running = stage.start("sidecar", stage.pod("10.10.1.80/24"))
            running.wait_for_event("started")
            gate.sessions.set_living_pods([])
            assert "is gone from node-a" in running.wait_for_event("refused")["message"]
            gate.sessions.set_living_pods([POD])
            gate.wait_for_claims(2)
            assert running.end().code == ExitCode.OK

    def test_with_release_on_exit_it_waits_for_the_release(self, stage: SlimStage) -> None:
        with stage.gate() as gate:
            running = stage.start("sidecar", stage.pod("10.10.1.80/24"), slim(release_on_exit=True))
            running.wait_for_event("started")
            ended = running.end()
            gate.wait_for_unclaim()
        assert gate.claims[-1].leaving
        assert gate.claims[-1].release_on_exit
        assert (ended.code, ended.message) == (0, "Ended by SIGTERM. Released: everything.")

    def test_an_unconfirmed_release_is_reported_as_such(self, stage: SlimStage) -> None:
        def answer(claim: Claim) -> ClaimStatus:
            return pending("It is being released.") if claim.leaving else assigned(claim)

        with stage.gate(answer=answer):
            running = stage.start("sidecar", stage.pod("10.10.1.80/24"), slim(release_on_exit=True))
            running.wait_for_event("started")
            ended = running.end()
        assert ended.code == ExitCode.OK
        assert "might not have been released" in ended.message

    def test_a_failure_of_the_start_ends_it(self, stage: SlimStage) -> None:
        with stage.gate(answer=lambda _: failed(ExitCode.ENI_FULL, "Full.")):
            running = stage.start("sidecar", stage.pod("10.10.1.80/24"))
            ended = running.wait()
        assert (ended.code, ended.message) == (
            ExitCode.ENI_FULL,
            "Full. The container starts again by itself.",
        )
        assert not running.started()

    def test_sigterm_before_the_start(self, stage: SlimStage) -> None:
        with stage.gate(answer=lambda _: pending("Wait.")):
            running = stage.start("sidecar", stage.pod("10.10.1.80/24"))
            running.wait_for_event("waiting")
            ended = running.end()
        assert ended.code == 128 + 15
        assert ended.message == "Ended by SIGTERM. No address was released."

    def test_a_started_file_that_cannot_be_written_is_named(self, stage: SlimStage) -> None:
        with stage.gate():
            env = {ENV_STARTED_FILE: "/nowhere/started"}
            running = stage.start("sidecar", stage.pod("10.10.1.80/24"), env=env)
            ended = running.wait()
        assert ended.code == ExitCode.USAGE
        assert "/nowhere/started" in ended.message


@contextmanager
def answering(stage: SlimStage, *answers: bytes) -> Iterator[list[bytes]]:
    """Serve on the node's port, each connection with the next of the answers, the last for ever."""
    listener = stage.node.listen(stage.node.address, PORT)
    waiting = list(answers)
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                heard.append(connection.recv(1 << 16))
                answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
                # The client hangs up as soon as it has seen enough of the nonsense.
                with suppress(ConnectionError):
                    connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
DONE = OK + b'{"serial":1,"state":"assigned","code":0,"message":"Assigned.","addresses":[]}\n'


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\x00" * 100,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 999999999\r\n\r\n{",
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n",
        OK,
        OK + b"banana\n",
        OK + b"[]\n",
        OK + b"[" * 100_000 + b"\n",
        OK + b"x" * 300_000,
        OK + b'{"state":"assigned","code":17}\n',
        OK + b'{"state":"wonderful","code":0}\n',
        OK + b'{"serial":1,"state":"assigned","code":0,"message":7}\n',
        OK + b'{"serial":1,"state":"assigned","code":0,"addresses":{}}\n',
        OK + b'{"serial":"1","state":"assigned","code":0}\n',
        OK + b'{"serial":2,"state":"assigned","code":0,"message":"of another statement"}\n',
    ],
    ids=range(19),
)
def test_a_malformed_answer_is_followed_by_another_connection(stage: SlimStage, nonsense: bytes) -> None:
    with answering(stage, nonsense, DONE) as heard:
        ended = stage.init(stage.pod("10.10.1.80/24"))
    assert (ended.code, ended.message) == (ExitCode.OK, "Assigned.")
    assert len(heard) == 2


def test_a_statement_that_is_refused_as_such_ends_it(stage: SlimStage) -> None:
    body = b'{"message": "links has 513 entries."}'
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with answering(stage, answer):
        ended = stage.init(stage.pod("10.10.1.80/24"))
    assert ended.code == ExitCode.USAGE
    assert "links has 513 entries" in ended.message


MODULES = """
import os, sys
sys.path.append({root!r})
from ipagent import cli
code = cli.run([{mode!r}], os.environ)
with open({file!r}, "w") as file:
    file.write(" ".join(sys.modules))
os._exit(code)
"""

HEAVY = (
    "argparse asyncio botocore concurrent dataclasses email hashlib http inspect ipaddress logging pathlib "
    "random selectors shutil socket ssl subprocess tempfile threading traceback typing urllib yaml"
)


@pytest.mark.parametrize("mode", ["init", "sidecar"])
def test_a_whole_run_imports_next_to_nothing(stage: SlimStage, mode: str) -> None:
    file = stage.directory / "run" / "modules"
    script = MODULES.format(mode=mode, file=str(file), root=str(Path(ipagent.__file__).parents[1]))
    with stage.gate() as gate:
        pod = stage.pod("10.10.1.80/24")
        # Without site (-S), by which the measurement of coverage begins: it imports much.
        running = stage.start(mode, pod, program=[sys.executable, "-I", "-S", "-c", script])
        if mode == "sidecar":
            running.wait_for_event("started")
            pod.add_address("net1", f"{FLOATING}/32")
            running.wait_for_event("assigned")
            running.process.terminate()
        else:
            gate.wait_for_claims(1)
        assert running.wait().code == ExitCode.OK
    loaded = set(file.read_text().split())
    assert not loaded & set(HEAVY.split())
    ours = {name for name in loaded if name.split(".")[0] in {"common", "ipagent", "webhook", "certs"}}
    assert {name for name in ours if not name.startswith("ipagent.nodeclient")} == {
        "common",
        "common.backoff",
        "common.random_value",
        "common.agent_container",
        "common.agent_settings",
        "common.exit_codes",
        "common.keepalive",
        "common.log",
        "ipagent",
        "ipagent.cli",
        "ipagent.log",
        "ipagent.netlink",
        "ipagent.netlink.rtnetlink",
        "ipagent.netlink.sockets",
        "ipagent.node_protocol",
        "ipagent.startup",
        "ipagent.termination",
        "common.version",
    }
    assert len(loaded) < 100
