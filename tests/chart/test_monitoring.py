"""Alerts and dashboard: they parse, they ask for what is really exported, and the alerts fire."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from certs.metrics import MetricsAndProbes
from common.metrics import process_registry
from common.probes import ProbeServer
from ipagent.assign.ec2_error_codes import Fault
from ipagent.controller.model.actions import Plan, ReadLimits
from ipagent.controller.model.condition import no
from ipagent.controller.model.eip_calls import EipPlan
from ipagent.controller.model.node_attachment import AttachmentStatus
from ipagent.controller.model.relay import Histogram
from ipagent.controller.model.writes import NetworkStatus
from ipagent.controller.observe import metrics as controller
from ipagent.node.gc.verdict import Decision, Verdict, VerdictReason
from ipagent.node.model.pod import PodKey
from ipagent.node.observe.metrics import Metrics as NodeMetrics
from ipagent.node.observe.metrics import Snapshot
from tests.chart import dashboard as source
from tests.chart.live_objects import API_SERVER_METRICS
from tests.chart.values import REQUIRED
from tests.cluster.api import Manifest
from tests.cluster.helm import CHART, Helm, HelmError, merged, only
from tests.cluster.waiting import SCENARIO_SECONDS
from tests.skipping import programs
from webhook.server.metrics import Metrics

DASHBOARD = "multus-eni-injector.json"
NODE_BACKEND = {"agent": {"backend": "node"}}
RUNBOOKS = Path(__file__).parents[2] / "docs" / "operations.md"
SELECTOR = re.compile(r"\b((?:multus_eni|apiserver)_\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)")
SCRAPED = frozenset({"cluster", "namespace", "node", "pod", "le"})
"""Labels that Prometheus adds, or that a histogram has."""


@pytest.fixture(scope="module")
def promtool() -> Path:
    return programs(["promtool"])["promtool"]


@pytest.fixture(scope="module")
def alerts(rendered: dict[str, list[Manifest]]) -> dict[str, Manifest]:
    rule = only(rendered["backend node"], "PrometheusRule")
    return {each["alert"]: each for group in rule["spec"]["groups"] for each in group["rules"]}


@pytest.fixture(scope="module")
def dashboard(rendered: dict[str, list[Manifest]]) -> dict[str, Any]:
    found = only(rendered["monitoring"], "ConfigMap", "multus-eni-injector-dashboard")
    read: dict[str, Any] = json.loads(found["data"][DASHBOARD])
    return read


def queries(dashboard: dict[str, Any]) -> list[str]:
    """Return the dashboard's queries, with Grafana's variables filled in."""
    found = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    values = {"$__rate_interval": "5m", "$namespace": "system", "$cluster": ".*", "$node": ".*"}
    for name, value in values.items():
        found = [text.replace(name, value) for text in found]
    return found


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels between the rows' titles."""
    return [each for each in dashboard["panels"] if each["type"] != "row"]


def check(promtool: Path, *arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [promtool, *arguments], capture_output=True, text=True, check=False, cwd=cwd, timeout=SCENARIO_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules_file(folder: Path, rules: list[Manifest]) -> Path:
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "tested", "rules": rules}]}), encoding="utf-8")
    return path


def test_promtool_accepts_the_alerts(promtool: Path, alerts: dict[str, Manifest], tmp_path: Path) -> None:
    said = check(promtool, "check", "rules", rules_file(tmp_path, list(alerts.values())), cwd=tmp_path)
    assert f"{len(alerts)} rules found" in said


def test_promtool_accepts_the_dashboards_queries(
    promtool: Path, dashboard: dict[str, Any], tmp_path: Path
) -> None:
    rules = [{"record": f"q{index}", "expr": text} for index, text in enumerate(queries(dashboard))]
    assert f"{len(rules)} rules found" in check(
        promtool, "check", "rules", rules_file(tmp_path, rules), cwd=tmp_path
    )


def test_the_dashboard_is_what_its_source_makes() -> None:
    assert source.DASHBOARD.read_text(encoding="utf-8") == source.text(), (
        "run python -m tests.chart.dashboard"
    )


def test_grafanas_own_types_accept_the_dashboard(dashboard: dict[str, Any], tmp_path: Path) -> None:
    def verdict(content: dict[str, Any]) -> str:
        path = tmp_path / "dashboard.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        argv = [programs(["check-dashboard"])["check-dashboard"], path]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stderr

    assert verdict(dashboard) == ""
    broken = copy.deepcopy(dashboard)
    panels(broken)[0]["targets"][0]["exprr"] = "1"
    assert "unexpected field 'exprr'" in verdict(broken)


def test_the_dashboard_has_a_row_for_each_part(dashboard: dict[str, Any]) -> None:
    rows = [each["title"] for each in dashboard["panels"] if each["type"] == "row"]
    assert rows[:4] == ["Overview", "Admission", "Certificates", "Node networks"]
    assert rows[4:] == ["Node agents", "EC2", "Garbage collection"]
    names = [each["name"] for each in dashboard["templating"]["list"]]
    assert names == ["datasource", "cluster", "namespace", "node"]
    assert {each["type"] for each in panels(dashboard)} <= {"stat", "table", "timeseries"}


def test_every_panel_is_described_and_has_a_place_of_its_own(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for each in dashboard["panels"]:
        place = each["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, each["title"]
        assert max(x for x, _ in cells) < source.WIDTH
        taken |= cells
    ids = [each["id"] for each in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for each in panels(dashboard):
        assert each["description"].endswith("."), each["title"]
        assert each["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] is None


def test_the_dashboard_leads_to_every_runbook(
    dashboard: dict[str, Any], alerts: dict[str, Manifest], rendered: dict[str, list[Manifest]]
) -> None:
    links = {link["url"] for each in panels(dashboard) for link in each["links"]}
    (group,) = only(rendered["controller"], "PrometheusRule")["spec"]["groups"]
    every = [*alerts.values(), *group["rules"]]
    assert links == {each["annotations"]["runbook_url"] for each in every}


def test_the_controller_is_scraped(helm: Helm) -> None:
    own = {"controller": {"enabled": True, "clusterName": "prod"}}
    monitor = {"metrics": {"serviceMonitor": {"enabled": True}}}
    manifests = helm.render(merged(REQUIRED, own, monitor))
    service = only(manifests, "Service", "multus-eni-injector-controller")
    selected = only(manifests, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert selected.items() <= service["metadata"]["labels"].items()
    deployment = only(manifests, "Deployment", "multus-eni-injector-controller")
    template = deployment["spec"]["template"]
    assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    (container,) = template["spec"]["containers"]
    assert (port["name"], port["targetPort"]) == ("metrics", container["ports"][0]["name"])


def labels_of(registry: CollectorRegistry) -> Iterator[tuple[str, frozenset[str]]]:
    """Return each sample that a process exports, with the names of its labels."""
    for family in registry.collect():
        for sample in family.samples:
            yield sample.name, frozenset(sample.labels)


@pytest.fixture(scope="module")
def exported() -> dict[str, frozenset[str]]:
    """What webhook, certs and a node agent export before much has happened."""
    certs_metrics = MetricsAndProbes(time.monotonic, 60.0)
    blocked = Verdict(
        "eni-1",
        ip_address("10.0.0.9"),
        Decision.KEEP,
        VerdictReason.UNSTATED,
        "",
        blocker=PodKey("apps", "web", "u"),
    )
    snapshot = Snapshot(
        calls={("AssignPrivateIpAddresses", "ok"): 1},
        counts={"refused_429": 1},
        watch_age=0.0,
        verdicts=(blocked,),
    )
    node = NodeMetrics(lambda: snapshot)
    plan = Plan(networks={"sig": NetworkStatus({}, 1)}, attachments={"n1.sig": AttachmentStatus(capacity=14)})
    eips = EipPlan(conditions={"voice/sip-0": no("PoolEmpty", "")}, free={("voice", "sip"): 1})
    action = "AssignPrivateIpAddresses"
    took = {action: Histogram((0,) * 8 + (1,), 30.0)}
    relayed = controller.Relayed({action: 1}, {action: 1}, took)
    calls = {("CreateNetworkInterface", "ok"): 1}
    busy = (ReadLimits(("m5.large",)),)
    networks = controller.registry(
        lambda: controller.Snapshot(plan=plan, busy=busy, calls=calls, eips=eips, relayed=relayed)
    )
    probes = process_registry()
    with ProbeServer(probes, {}, "127.0.0.1", 0):
        registries = (Metrics().registry, certs_metrics.registry, node.registry, networks, probes)
    return {name: labels for registry in registries for name, labels in labels_of(registry)}


def asked(queries: list[str]) -> Iterator[tuple[str, set[str]]]:
    """Return each metric that queries ask for, with the labels that they select by."""
    for query in queries:
        for name, selected in SELECTOR.findall(query):
            yield name, set(LABEL.findall(selected))


def test_every_metric_of_ours_is_exported_with_its_labels(
    alerts: dict[str, Manifest], dashboard: dict[str, Any], exported: Mapping[str, frozenset[str]]
) -> None:
    every = [*(each["expr"] for each in alerts.values()), *queries(dashboard)]
    ours = [found for found in asked(every) if found[0].startswith("multus_eni_")]
    assert len(ours) > 45
    node = {name for name in exported if name.startswith("multus_eni_node_")}
    assert len(node & {name for name, _ in ours}) > 10
    for name, labels in ours:
        assert name in exported
        assert labels <= exported[name] | SCRAPED, name


NOT_SHOWN = frozenset[str]()
"""Metrics that the dashboard leaves out."""


def test_every_metric_is_documented_and_on_the_dashboard(
    dashboard: dict[str, Any], exported: Mapping[str, frozenset[str]]
) -> None:
    pages = " ".join(page.read_text(encoding="utf-8") for page in RUNBOOKS.parent.glob("*.md"))
    shown = {name for name, _ in asked(queries(dashboard))}
    families = {
        re.sub("_(bucket|sum|count|created)$", "", name)
        for name in exported
        if name.startswith("multus_eni_")
    }
    assert len(families) > 40
    for name in families:
        assert re.search(rf"`{name}(\{{[\w,]+\}})?`", pages), f"no page names {name}"
    assert {name for name in families if not shown & {name, f"{name}_bucket"}} == NOT_SHOWN


VALUES = re.compile(r'(\w+)=~?"([^"]*)"')


def test_every_label_value_that_an_alert_of_the_webhook_asks_for_is_exported(
    alerts: dict[str, Manifest],
) -> None:
    """That the webhook emits each of them is shown by tests/webhook/server (test_app, test_limits)."""
    exported: dict[tuple[str, str], set[str]] = {}
    for family in Metrics().registry.collect():
        for sample in family.samples:
            for label, value in sample.labels.items():
                exported.setdefault((sample.name, label), set()).add(value)
    asked_for = [
        (name, label, value)
        for each in alerts.values()
        for name, selected in SELECTOR.findall(each["expr"])
        if name.startswith("multus_eni_webhook_")
        for label, values in VALUES.findall(selected)
        if label not in SCRAPED
        for value in values.split("|")
    ]
    assert len(asked_for) > 7
    for name, label, value in asked_for:
        assert value in exported[name, label], (name, label, value)


def test_alerts_ask_for_results_that_calls_of_ec2_can_have(alerts: dict[str, Manifest]) -> None:
    asked_for = {
        result
        for each in alerts.values()
        for pattern in re.findall(r'ec2_calls_total\{[^}]*result=~?"([^"]+)"', each["expr"])
        for result in pattern.split("|")
    }
    assert len(asked_for) > 5
    assert asked_for <= {fault.name.lower() for fault in Fault}


def test_every_metric_of_the_api_server_is_one_that_a_test_has_seen(
    alerts: dict[str, Manifest], dashboard: dict[str, Any]
) -> None:
    every = [*(each["expr"] for each in alerts.values()), *queries(dashboard)]
    theirs = {name: labels for name, labels in asked(every) if name.startswith("apiserver_")}
    assert set(theirs) == set(API_SERVER_METRICS)
    for name, labels in theirs.items():
        assert labels - SCRAPED <= set(API_SERVER_METRICS[name])


def test_each_alert_has_a_runbook(alerts: dict[str, Manifest]) -> None:
    headings = re.findall(r"^### (\w+)$", RUNBOOKS.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) >= set(alerts)
    for name, each in alerts.items():
        assert each["annotations"]["runbook_url"] == f"https://runbooks.example/#{name.lower()}"
        assert each["labels"]["severity"] in ("warning", "critical")
        assert each["labels"]["team"] == "network"


@pytest.mark.parametrize(
    ("case", "groups", "gate"),
    [
        ("monitoring", {"Webhook", "Cert", "Pods"}, None),
        ("backend node", {"Webhook", "Cert", "Pods", "Node"}, "critical"),
        ("watch only", {"Node"}, "critical"),
        ("everything", {"Webhook", "Cert", "Pods", "Node"}, "warning"),
    ],
)
def test_there_are_alerts_for_what_is_installed(
    rendered: dict[str, list[Manifest]], case: str, groups: set[str], gate: str | None
) -> None:
    (group,) = only(rendered[case], "PrometheusRule")["spec"]["groups"]
    found = {each["alert"]: each["labels"]["severity"] for each in group["rules"]}
    kinds = {re.match(r"MultusEni(Webhook|Cert|Pods|Node)", name) for name in found}
    assert {kind[1] for kind in kinds if kind} == groups
    assert found.get("MultusEniNodeAgentDown") == gate


WHERE = {"cluster": "east", "namespace": "multus-eni-system"}
REPLICA = {**WHERE, "pod": "a"}
AGENT = {**WHERE, "node": "node-1", "pod": "multus-eni-injector-node-x7k2p"}


def selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}='{value}'" for name, value in labels.items())


NS = selector(WHERE)
WEBHOOK = selector(REPLICA)
NODE = selector(AGENT)
ASSIGN = "action='AssignPrivateIpAddresses'"
QUIET = {
    f"multus_eni_webhook_build_info{{{WEBHOOK}}}": "1x120",
    f"multus_eni_webhook_build_info{{{NS},pod='b'}}": "1x120",
    f"multus_eni_webhook_certificate_expiry_timestamp_seconds{{{WEBHOOK}}}": "7776000x120",
    f"multus_eni_webhook_decisions_total{{{WEBHOOK},reason='internal_error'}}": "0x120",
    f"multus_eni_webhook_decisions_total{{{WEBHOOK},reason='invalid_setting'}}": "0x120",
    f"multus_eni_webhook_refused_connections_total{{{WEBHOOK},reason='too_many'}}": "0x120",
    f"multus_eni_webhook_rejected_requests_total{{{WEBHOOK},code='503'}}": "0x120",
    f"multus_eni_webhook_decision_seconds_bucket{{{WEBHOOK},le='0.001'}}": "0+60x120",
    f"multus_eni_webhook_decision_seconds_bucket{{{WEBHOOK},le='1.0'}}": "0+60x120",
    f"multus_eni_webhook_decision_seconds_bucket{{{WEBHOOK},le='+Inf'}}": "0+60x120",
    f"multus_eni_webhook_certificate_reloads_total{{{WEBHOOK},result='unusable'}}": "0x120",
    f"multus_eni_probes_refused_connections_total{{{NODE},reason='too_many'}}": "0x120",
    f"multus_eni_certs_build_info{{{NS}}}": "1x120",
    f"multus_eni_certs_in_order{{{NS}}}": "1x120",
    f"multus_eni_certs_failures_total{{{WEBHOOK}}}": "0x120",
    f"up{{{NODE},instance='10.0.0.1:9408'}}": "1x120",
    f"multus_eni_node_build_info{{{NODE}}}": "1x120",
    f"multus_eni_node_watch_age_seconds{{{NODE}}}": "30x120",
    f"multus_eni_node_addresses{{{NODE},state='failed'}}": "0x120",
    # One pod after the other: each address waits for a moment.
    f"multus_eni_node_addresses{{{NODE},state='pending'}}": " ".join(["3", "0"] * 60),
    f"multus_eni_node_conflicts{{{NODE}}}": "0x120",
    f"multus_eni_node_ec2_calls_total{{{NODE},{ASSIGN},result='ok'}}": "0+60x120",
    f"multus_eni_node_ec2_calls_total{{{NODE},{ASSIGN},result='no_permission'}}": "0x120",
    f"multus_eni_node_ec2_calls_total{{{NODE},{ASSIGN},result='unreachable'}}": "0x120",
    f"multus_eni_node_ec2_calls_total{{{NODE},{ASSIGN},result='eni_full'}}": "0x120",
    # A burst now and then is throttled; that mends itself.
    f"multus_eni_node_ec2_calls_total{{{NODE},{ASSIGN},result='throttled'}}": "0+1x120",
    f"multus_eni_node_routable_seconds_bucket{{{NODE},le='1.0'}}": "0+60x120",
    f"multus_eni_node_routable_seconds_bucket{{{NODE},le='30.0'}}": "0+60x120",
    f"multus_eni_node_routable_seconds_bucket{{{NODE},le='+Inf'}}": "0+60x120",
    f"multus_eni_node_claims{{{NODE},state='failed'}}": "0x120",
    f"multus_eni_node_token_reviews_total{{{NODE},result='ok'}}": "0+1x120",
    f"multus_eni_node_token_reviews_total{{{NODE},result='refused'}}": "0x120",
    f"multus_eni_node_gc_candidates{{{NODE}}}": "0x120",
    "apiserver_admission_webhook_rejection_count"
    "{cluster='east',name='namespace-init.multus-eni.io',error_type='calling_webhook_error'}": "0x120",
}
"""Series, one sample a minute for two hours, in which nothing is wrong."""


def series(name: str) -> str:
    """Return the one quiet series whose text begins so."""
    (found,) = [each for each in QUIET if each.startswith(name)]
    return found


def series_with(name: str, label: str) -> str:
    """Return the one quiet series whose text begins so and has a label's value."""
    (found,) = [each for each in QUIET if each.startswith(name) and label in each]
    return found


WRONG: dict[str, dict[str, str | None]] = {
    "MultusEniWebhookUnreachable": {series("apiserver"): "0+1x120"},
    "MultusEniWebhookDown": {each: None for each in QUIET if "webhook_build_info" in each},
    "MultusEniWebhookFewReplicas": {
        next(each for each in QUIET if "webhook_build_info" in each and "pod='b'" in each): None
    },
    "MultusEniWebhookInternalError": {
        next(each for each in QUIET if "internal_error" in each): "0x100 1x20",
    },
    "MultusEniPodsRefused": {next(each for each in QUIET if "invalid_setting" in each): "0+1x120"},
    "MultusEniWebhookOverloaded": {next(each for each in QUIET if "503" in each): "0+1x120"},
    "MultusEniWebhookConnectionsRefused": {series("multus_eni_webhook_refused_connections"): "0+1x120"},
    "MultusEniProbeConnectionsRefused": {series("multus_eni_probes_refused_connections"): "0+1x120"},
    "MultusEniWebhookSlow": {next(each for each in QUIET if "le='0.001'" in each): "0+1x120"},
    "MultusEniCertificateExpiring": {
        next(each for each in QUIET if "expiry" in each): "600000x120",
    },
    "MultusEniCertificateUnusable": {next(each for each in QUIET if "unusable" in each): "0+1x120"},
    "MultusEniCertsDown": {series("multus_eni_certs_build_info"): None},
    "MultusEniCertsNotInOrder": {series("multus_eni_certs_in_order"): "0x120"},
    "MultusEniCertsFailing": {series("multus_eni_certs_failures_total"): "0+1x120"},
    "MultusEniNodeAgentsMissing": {series("multus_eni_node_build_info"): None},
    "MultusEniNodeAgentDown": {series("up{"): "1x90 0x30"},
    "MultusEniNodeWatchStale": {series("multus_eni_node_watch_age"): "0x60 0+60x60"},
    "MultusEniNodeNeverSawPods": {series("multus_eni_node_watch_age"): None},
    "MultusEniNodeAddressesFailed": {series_with("multus_eni_node_addresses", "failed"): "0x100 2x20"},
    "MultusEniNodeAddressesPending": {series_with("multus_eni_node_addresses", "pending"): "3x120"},
    "MultusEniNodeConflict": {series("multus_eni_node_conflicts"): "0x100 1x20"},
    "MultusEniNodeDenied": {series_with("multus_eni_node_ec2_calls", "no_permission"): "0x100 0+1x20"},
    "MultusEniNodeEc2Failing": {series_with("multus_eni_node_ec2_calls", "unreachable"): "0+1x120"},
    "MultusEniNodeEniFull": {series_with("multus_eni_node_ec2_calls", "eni_full"): "0+1x120"},
    "MultusEniNodeThrottled": {series_with("multus_eni_node_ec2_calls", "throttled"): "0+30x120"},
    "MultusEniNodeSlow": {series_with("multus_eni_node_routable", "le='1.0'"): "0+1x120"},
    "MultusEniNodeClaimsFailed": {series("multus_eni_node_claims"): "1x120"},
    "MultusEniNodeTokensRefused": {series_with("multus_eni_node_token_reviews", "refused"): "0+1x120"},
    "MultusEniNodeLeftovers": {series("multus_eni_node_gc_candidates"): "4x120"},
}

CALLS = {"action": "AssignPrivateIpAddresses"}
ABSENT = {"namespace": "multus-eni-system"}
"""What `absent` returns has the labels of its selector alone; the cluster is an external label there."""
LABELS: dict[str, dict[str, str]] = {
    "MultusEniWebhookUnreachable": {"cluster": "east"},
    "MultusEniWebhookDown": ABSENT,
    "MultusEniWebhookFewReplicas": WHERE,
    "MultusEniWebhookInternalError": REPLICA,
    "MultusEniPodsRefused": {**WHERE, "reason": "invalid_setting"},
    "MultusEniWebhookOverloaded": {**WHERE, "code": "503"},
    "MultusEniWebhookConnectionsRefused": {**WHERE, "reason": "too_many"},
    "MultusEniProbeConnectionsRefused": {**AGENT, "reason": "too_many"},
    "MultusEniWebhookSlow": WHERE,
    "MultusEniCertificateExpiring": REPLICA,
    "MultusEniCertificateUnusable": REPLICA,
    "MultusEniCertsDown": ABSENT,
    "MultusEniCertsNotInOrder": WHERE,
    "MultusEniCertsFailing": REPLICA,
    "MultusEniNodeAgentsMissing": ABSENT,
    "MultusEniNodeAgentDown": {**AGENT, "instance": "10.0.0.1:9408"},
    "MultusEniNodeWatchStale": AGENT,
    "MultusEniNodeNeverSawPods": AGENT,
    "MultusEniNodeAddressesFailed": {**AGENT, "state": "failed"},
    "MultusEniNodeAddressesPending": {**AGENT, "state": "pending"},
    "MultusEniNodeConflict": AGENT,
    "MultusEniNodeDenied": {**AGENT, **CALLS},
    "MultusEniNodeEc2Failing": {**AGENT, **CALLS},
    "MultusEniNodeThrottled": {**WHERE, **CALLS},
    "MultusEniNodeEniFull": {**AGENT, **CALLS},
    "MultusEniNodeSlow": WHERE,
    "MultusEniNodeClaimsFailed": {**AGENT, "state": "failed"},
    "MultusEniNodeTokensRefused": {**AGENT, "result": "refused"},
    "MultusEniNodeLeftovers": AGENT,
}
"""The labels of each alert beside its own: which process it is about, and what of it."""


def test_each_alert_fires_when_it_should_and_only_it(
    promtool: Path, alerts: dict[str, Manifest], tmp_path: Path
) -> None:
    assert set(WRONG) == set(LABELS) == set(alerts)
    alerts = {name: without_values(each) for name, each in alerts.items()}
    rules = rules_file(tmp_path, list(alerts.values()))
    tests = [unit_test("nothing", QUIET, alerts, set())]
    for name, changed in WRONG.items():
        told = {each: value for each, value in {**QUIET, **changed}.items() if value is not None}
        tests.append(unit_test(name, told, alerts, {name}))
    path = tmp_path / "tests.json"
    # Every minute would take four times as long, and show no more.
    unit = {"rule_files": [rules.name], "evaluation_interval": "5m", "tests": tests}
    path.write_text(json.dumps(unit), encoding="utf-8")
    check(promtool, "test", "rules", path, cwd=tmp_path)


def unit_test(
    name: str, told: Mapping[str, str], alerts: dict[str, Manifest], firing: set[str]
) -> dict[str, Any]:
    """Write a unit test of promtool: which alerts fire after 110 minutes."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": each, "values": value} for each, value in told.items()],
        "alert_rule_test": [
            {
                "eval_time": "110m",
                "alertname": each,
                "exp_alerts": [
                    {
                        "exp_labels": {**alerts[each]["labels"], **LABELS[each]},
                        "exp_annotations": expanded(alerts[each]["annotations"], LABELS[each]),
                    }
                ]
                if each in firing
                else [],
            }
            for each in alerts
        ],
    }


def without_values(alert: Manifest) -> Manifest:
    """Return an alert whose description has a word in place of its value, which differs from test to test."""
    annotations = dict(alert["annotations"])
    annotations["description"] = re.sub(r"\{\{ \$value[^}]*\}\}", "VALUE", annotations["description"])
    return {**alert, "annotations": annotations}


def expanded(annotations: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, str]:
    """Return annotations as Prometheus writes them. Raises KeyError for a label that the alert lacks."""
    return {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)
        for name, text in annotations.items()
    }


AGGREGATIONS = re.compile(r"\b(?:sum|min|max|count|avg)\b(?! by \(cluster\b)")


def test_aggregations_keep_the_cluster(alerts: dict[str, Manifest]) -> None:
    every = {name: each["expr"] for name, each in alerts.items()}
    assert {name for name, expr in every.items() if AGGREGATIONS.search(expr)} == set()


def test_alerts_about_a_node_name_it(alerts: dict[str, Manifest]) -> None:
    for name, labels in LABELS.items():
        description = alerts[name]["annotations"]["description"]
        assert ("node" in labels) == ("{{ $labels.node }}" in description), name
        assert ("pod" in labels) == ("{{ $labels.pod }}" in description), name


def test_the_runbooks_are_those_of_the_charts_repository_by_default(helm: Helm) -> None:
    values = merged(REQUIRED, {"metrics": {"prometheusRule": {"enabled": True}}})
    (group,) = only(helm.render(values), "PrometheusRule")["spec"]["groups"]
    home = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["home"]
    for each in group["rules"]:
        url = each["annotations"]["runbook_url"]
        assert url == f"{home}/blob/main/docs/operations.md#{each['alert'].lower()}"


def test_alerts_can_be_left_out_by_name(helm: Helm, alerts: dict[str, Manifest]) -> None:
    def names(disabled: list[str]) -> set[str]:
        rule = {"prometheusRule": {"enabled": True, "disabled": disabled, "namespace": "monitoring"}}
        manifest = only(helm.render(merged(REQUIRED, NODE_BACKEND, {"metrics": rule})), "PrometheusRule")
        assert manifest["metadata"]["namespace"] == "monitoring"
        return {each["alert"] for group in manifest["spec"]["groups"] for each in group["rules"]}

    left_out = {"MultusEniNodeThrottled", "MultusEniPodsRefused"}
    assert names(sorted(left_out)) == set(alerts) - left_out
    with pytest.raises(HelmError, match="there is no alert MultusEniNodeThrotled"):
        names(["MultusEniNodeThrotled"])


@pytest.mark.parametrize(
    ("monitor", "kind", "endpoints", "ports"),
    [
        ("serviceMonitor", "ServiceMonitor", "endpoints", {"metrics"}),
        ("podMonitor", "PodMonitor", "podMetricsEndpoints", {"metrics", "http", "health"}),
    ],
)
def test_targets_say_which_node_they_are_on(
    helm: Helm, monitor: str, kind: str, endpoints: str, ports: set[str]
) -> None:
    own = {"targetLabel": "zone", "replacement": "a"}
    settings = {
        "enabled": True,
        "namespace": "monitoring",
        "scrapeTimeout": "9s",
        "relabelings": [own],
        "metricRelabelings": [{"action": "labeldrop", "regex": "x"}],
    }
    manifests = helm.render(merged(REQUIRED, NODE_BACKEND, {"metrics": {monitor: settings}}))
    found = only(manifests, kind)
    assert found["metadata"]["namespace"] == "monitoring"
    assert found["spec"]["namespaceSelector"] == {"matchNames": ["multus-eni-system"]}
    assert {each["port"] for each in found["spec"][endpoints]} == ports
    for each in found["spec"][endpoints]:
        assert each["scrapeTimeout"] == "9s"
        assert each["relabelings"][0] == {
            "sourceLabels": ["__meta_kubernetes_pod_node_name"],
            "targetLabel": "node",
        }
        assert each["relabelings"][1:] == [own]
        assert each["metricRelabelings"] == settings["metricRelabelings"]
    if kind == "PodMonitor":
        named = {
            port["name"]
            for each in manifests
            if each["kind"] in ("Deployment", "DaemonSet")
            for container in each["spec"]["template"]["spec"]["containers"]
            for port in container["ports"]
        }
        assert ports <= named


def test_nothing_is_scraped_twice(helm: Helm) -> None:
    both = {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
    with pytest.raises(HelmError, match="would scrape each process twice"):
        helm.render(merged(REQUIRED, {"metrics": both}))
