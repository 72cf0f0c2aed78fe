"""The command line, the report, and the port for probes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from certs.metrics import MetricsAndProbes
from certs.rotation import Action, UpdateCaBundle, Wait
from certs.state import State, read_state
from certs.status import report, to_text
from common.probes import ProbeServer
from multus_eni.cli import main
from tests.certs.builders import DAY, NOW, SETTINGS, authority, configuration, in_order, leaf, secret
from tests.cluster.kubeconfig import NOBODY, write_kubeconfig

OLD, NEW = authority(1), authority(2)
SERVED = leaf(OLD)
OBJECTS = ["--namespace=system", "--secret=tls", "--configuration=injector", "--service=injector"]
TRUST = UpdateCaBundle((), "because")
WAIT = Wait(40 * DAY, "until the next renewal")


@pytest.mark.pure
def test_the_report_says_what_is_valid_until_when() -> None:
    found = report(in_order(OLD, SERVED), WAIT, NOW, SETTINGS)
    assert found["inOrder"]
    assert found["certificate"]["notAfter"] == "2027-03-16T08:00:00Z"
    assert found["certificate"]["renewal"] == "2027-02-24T08:00:00Z"
    assert found["signingCA"]["subject"] == OLD.certificate.subject
    assert found["next"] == {
        "action": "Wait",
        "why": "until the next renewal",
        "until": found["certificate"]["renewal"],
    }
    assert "PRIVATE" not in json.dumps(found)


@pytest.mark.pure
@pytest.mark.parametrize(
    ("state", "action", "lines"),
    [
        (
            in_order(OLD, SERVED),
            WAIT,
            [
                "nothing before 2027-02-24T08:00:00Z (until the next renewal)",
                "in order:     yes",
                "for injector.system.svc, issued by CN=",
                "2 of 2 entries trust",
            ],
        ),
        (
            read_state(None, None),
            TRUST,
            ["in order:     no", "certificate:  none that is usable", "there is no configuration"],
        ),
        (
            read_state(secret(authorities=[NEW, OLD], signing=NEW, leaf=SERVED), configuration([OLD], b"")),
            TRUST,
            [
                "in order:     no",
                "trusted beside it: CN=",
                "1 of 2 entries trust",
                "UpdateCaBundle (because)",
            ],
        ),
        (in_order(OLD, leaf(OLD, made=NOW - 61 * DAY)), TRUST, ["in order:     no", "NOT VALID until"]),
    ],
    ids=["in order", "nothing", "half way", "expired"],
)
def test_the_report_for_people(state: State, action: Action, lines: list[str]) -> None:
    text = to_text(report(state, action, NOW, SETTINGS))
    assert [line for line in lines if line not in text] == [], text


@pytest.mark.pure
def test_a_wait_beyond_the_calendar_is_written_too() -> None:
    found = report(in_order(OLD, SERVED), Wait(1e18, "for ever"), NOW, SETTINGS)
    assert found["next"]["until"] == "9999-12-31T23:59:59Z"


@pytest.mark.pure
@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ([], "--secret"),
        (OBJECTS[:2], "--configuration"),
        ([*OBJECTS, "--propagation=5"], "not a time from 1s"),
        ([*OBJECTS, "--propagation=0s"], "not a time from 1s"),
        ([*OBJECTS, "--ca-lifetime=99999d"], "not a time from 1s to 36500d"),
        ([*OBJECTS, "--dns-name=Not.Lower"], "not a DNS name in lower case"),
        ([*OBJECTS, "--dns-name=*.x"], "not a DNS name in lower case"),
        ([*OBJECTS, "--port=70000"], "is not a port"),
        ([*OBJECTS, "--log-level=loud"], "(choose from 'debug', 'info', 'warning', 'error')"),
    ],
)
def test_a_wrong_flag_is_refused(flags: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["certs", "run", *flags])
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.pure
@pytest.mark.parametrize("command", ["run", "status"])
@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (OBJECTS[1:], "give --namespace"),
        (OBJECTS[:3], "give --service or --dns-name"),
        ([*OBJECTS, "--ca-lifetime=100d"], "--ca-lifetime is shorter"),
        (OBJECTS, "KUBECONFIG is not set"),
    ],
)
def test_flags_that_do_not_fit_are_refused(
    command: str,
    flags: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("certs.main.block_stop_signals", lambda: None)
    assert main(["certs", command, *flags]) == 2
    assert text in capsys.readouterr().err


def test_status_without_an_api_server_says_so(tmp_path: Path) -> None:
    config = write_kubeconfig(tmp_path / "kubeconfig", NOBODY)
    program = Path(sys.executable).with_name("multus-eni")
    done = subprocess.run(
        [program, "certs", "status", *OBJECTS],
        env={**os.environ, "KUBECONFIG": str(config)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no answer from the API server at {NOBODY}" in done.stderr


def served(metrics: MetricsAndProbes, host: str) -> ProbeServer:
    return ProbeServer(metrics.registry, metrics.probes, host, 0)


def test_probes_are_answered_by_ipv6_too() -> None:
    metrics = MetricsAndProbes(lambda: 0.0, silence=10.0)
    with (
        served(metrics, "::1") as server,
        httpx.Client(trust_env=False) as http,
    ):
        assert http.get(f"http://[::1]:{server.port}/healthz").status_code == 200


def test_a_secret_label_must_be_key_and_value(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["certs", "run", *OBJECTS, "--secret-label=helm"])
    assert "'helm' is not KEY=VALUE" in capsys.readouterr().err


def test_probes_and_metrics_tell_the_state() -> None:
    time = 0.0
    metrics = MetricsAndProbes(lambda: time, silence=10.0)
    with (
        served(metrics, "127.0.0.1") as server,
        httpx.Client(trust_env=False) as http,
    ):

        def ask(path: str) -> httpx.Response:
            return http.get(f"http://127.0.0.1:{server.port}{path}")

        assert [ask(path).status_code for path in ("/healthz", "/readyz", "/other")] == [200, 503, 404]
        metrics.record_state(in_order(OLD, SERVED), NOW, SETTINGS)
        metrics.record_write("UpdateCaBundle")
        metrics.failures.inc()
        assert ask("/readyz").status_code == 200
        exported = dict(
            line.rsplit(" ", 1) for line in ask("/metrics").text.splitlines() if not line.startswith("#")
        )
        assert exported["multus_eni_certs_in_order"] == "1.0"
        assert float(exported["multus_eni_certs_ca_expiry_timestamp_seconds"]) == OLD.certificate.not_after
        assert (
            float(exported["multus_eni_certs_certificate_expiry_timestamp_seconds"])
            == SERVED.certificate.not_after
        )
        assert exported['multus_eni_certs_actions_total{action="UpdateCaBundle"}'] == "1.0"
        assert exported['multus_eni_certs_actions_total{action="IssueLeaf"}'] == "0.0"
        assert exported["multus_eni_certs_failures_total"] == "1.0"
        metrics.record_state(read_state(None, None), NOW, SETTINGS)
        assert ask("/readyz").status_code == 503
        time = 10.1
        assert ask("/healthz").status_code == 503
        metrics.record_turn()
        assert ask("/healthz").status_code == 200
        metrics.alive = lambda: False
        assert ask("/healthz").status_code == 503
