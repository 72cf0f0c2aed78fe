"""Write the chart's Grafana dashboard: `python -m tests.chart.dashboard`.

It is generated because each of its panels needs the same twenty fields, and each query the same selectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tests.cluster.helm import CHART

DASHBOARD = CHART / "files" / "dashboard.json"
HOME = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["home"]
RUNBOOKS = f"{HOME}/blob/main/docs/operations.md#"
"""The chart puts `metrics.prometheusRule.runbookUrl` in its place."""
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WHERE = 'cluster=~"$cluster",namespace="$namespace"'
NODE = f'{WHERE},node=~"$node"'
WEEK = 7 * 86400

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """A query in PromQL and the name of its series; `table` asks for the last value as a table."""

    expr: str
    legend: str = ""
    table: bool = False


@dataclass(frozen=True)
class Panel:
    """A panel. `steps` are thresholds: from which value, which colour; `alerts` are those with a runbook."""

    title: str
    about: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 12
    height: int = 8
    steps: Sequence[tuple[float | None, str]] = ((None, "green"),)
    alerts: Sequence[str] = ()
    columns: Sequence[str] = ()


def stat(title: str, about: str, expr: str, **more: Any) -> Panel:
    """Return a panel with one number."""
    return Panel(title, about, [Query(expr)], kind="stat", **{"width": 4, "height": 4, **more})


def bad_from(value: float, colour: str = "red") -> tuple[tuple[float | None, str], ...]:
    """Return thresholds: green below a value."""
    return ((None, "green"), (value, colour))


def good_from(value: float, warning: float | None = None) -> tuple[tuple[float | None, str], ...]:
    """Return thresholds: red below a value, and orange below a second one."""
    if warning is None:
        return ((None, "red"), (value, "green"))
    return ((None, "red"), (value, "orange"), (warning, "green"))


def quantiles(metric: str, where: str) -> list[Query]:
    """Return three quantiles of a histogram."""
    return [
        Query(
            f"histogram_quantile({share}, sum by (le) (rate({metric}_bucket{{{where}}}[$__rate_interval])))",
            f"{share * 100:g} %",
        )
        for share in (0.5, 0.9, 0.99)
    ]


def per_second(metric: str, where: str, by: str, legend: str = "") -> Query:
    """Return a counter's rate by some labels."""
    name = legend or " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
    return Query(f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))", name)


def needs_you(expr: str) -> Query:
    """Return a column of the table of nodes: its value where it is a reason to look."""
    return Query(expr, table=True)


BY_NODE = "sum by (cluster, node, pod)"
OVERVIEW = (
    stat(
        "Webhook replicas",
        "Replicas of the webhook that Prometheus scrapes.",
        f"count(multus_eni_webhook_build_info{{{WHERE}}})",
        steps=good_from(1, 2),
        alerts=["MultusEniWebhookDown", "MultusEniWebhookFewReplicas"],
    ),
    stat(
        "Node agents",
        "Node agents that Prometheus scrapes; none with the backend direct alone.",
        f"count(multus_eni_node_build_info{{{NODE}}})",
        alerts=["MultusEniNodeAgentsMissing", "MultusEniNodeAgentDown"],
    ),
    stat(
        "Addresses assigned",
        "Addresses of living pods that EC2 has confirmed on the right ENI, by the node agents.",
        f'sum(multus_eni_node_addresses{{{NODE},state="assigned"}})',
    ),
    stat(
        "Addresses failed",
        "Addresses of living pods that can't be assigned. The pods' Events name the reason.",
        f'sum(multus_eni_node_addresses{{{NODE},state="failed"}})',
        steps=bad_from(1),
        alerts=["MultusEniNodeAddressesFailed"],
    ),
    stat(
        "Conflicts",
        "Addresses that two living pods have, or that another ENI took: one of the pods is not reachable.",
        f"sum(multus_eni_node_conflicts{{{NODE}}})",
        steps=bad_from(1),
        alerts=["MultusEniNodeConflict"],
    ),
    stat(
        "Pods refused in an hour",
        "Pods that the webhook refused for a wrong label or annotation, or by a fault of its own.",
        "sum(increase(multus_eni_webhook_decisions_total"
        f'{{{WHERE},reason=~"invalid_setting|unreadable_pod|internal_error"}}[1h]))',
        steps=bad_from(1, "orange"),
        alerts=["MultusEniPodsRefused", "MultusEniWebhookInternalError"],
    ),
    Panel(
        "Nodes that need you",
        "One line for each node agent with something to look at. An empty table is good.",
        [
            needs_you(f'{BY_NODE} (multus_eni_node_addresses{{{NODE},state="failed"}}) > 0'),
            needs_you(f"{BY_NODE} (multus_eni_node_conflicts{{{NODE}}}) > 0"),
            needs_you(f'{BY_NODE} (multus_eni_node_claims{{{NODE},state="failed"}}) > 0'),
            needs_you(
                f"{BY_NODE} (increase(multus_eni_node_ec2_calls_total"
                f'{{{NODE},result!~"ok|throttled"}}[$__rate_interval])) > 0'
            ),
            needs_you(f"{BY_NODE} (min_over_time(multus_eni_node_gc_candidates{{{NODE}}}[1h])) > 0"),
            needs_you(f"{BY_NODE} (multus_eni_node_watch_age_seconds{{{NODE}}}) > 300"),
        ],
        kind="table",
        width=WIDTH,
        columns=(
            "Addresses failed",
            "Conflicts",
            "Claims failed",
            "EC2 calls refused",
            "Leaked addresses",
            "Seconds without API server",
        ),
        alerts=[
            "MultusEniNodeAddressesFailed",
            "MultusEniNodeConflict",
            "MultusEniNodeClaimsFailed",
            "MultusEniNodeDenied",
            "MultusEniNodeLeftovers",
            "MultusEniNodeWatchStale",
        ],
    ),
)
SERVER = 'cluster=~"$cluster",name=~".+\\\\.multus-eni\\\\.io"'
ADMISSION = (
    Panel(
        "Decisions by reason",
        "Reviews a second. docs/contract.md lists the reasons.",
        [per_second("multus_eni_webhook_decisions_total", WHERE, "reason")],
        unit="reqps",
    ),
    Panel(
        "Pods refused",
        "By reason. Users mend invalid_setting and unreadable_pod; internal_error is a fault of ours.",
        [
            Query(
                "sum by (reason) (increase(multus_eni_webhook_decisions_total"
                f'{{{WHERE},reason=~"invalid_setting|unreadable_pod|internal_error"}}[$__rate_interval]))',
                "{{reason}}",
            )
        ],
        steps=bad_from(1, "orange"),
        alerts=["MultusEniPodsRefused", "MultusEniWebhookInternalError"],
    ),
    Panel(
        "Time for a decision",
        "From a review's last byte to the answer's first; usual is below a millisecond.",
        quantiles("multus_eni_webhook_decision_seconds", WHERE),
        unit="s",
        steps=bad_from(0.1),
        alerts=["MultusEniWebhookSlow"],
    ),
    Panel(
        "As the API server sees it: time for an answer",
        "With network, TLS and queueing.",
        [
            Query(
                "histogram_quantile(0.99, sum by (le) (rate("
                f"apiserver_admission_webhook_admission_duration_seconds_bucket{{{SERVER}}}[$__rate_interval])))",
                "99 %",
            )
        ],
        unit="s",
        steps=bad_from(1),
    ),
    Panel(
        "As the API server sees it: rejections",
        "calling_webhook_error: it could not reach the webhook, and the pod was refused.",
        [per_second("apiserver_admission_webhook_rejection_count", SERVER, "error_type")],
        unit="reqps",
        alerts=["MultusEniWebhookUnreachable"],
    ),
    Panel(
        "Rejected requests and connections",
        "Reviews with an HTTP error by its code, and connections that were refused or closed by the reason.",
        [
            per_second("multus_eni_webhook_rejected_requests_total", WHERE, "code", "code {{code}}"),
            per_second("multus_eni_webhook_refused_connections_total", WHERE, "reason"),
        ],
        unit="reqps",
        alerts=["MultusEniWebhookOverloaded", "MultusEniWebhookConnectionsRefused"],
    ),
    Panel(
        "Reviews in flight and connections",
        "Over all replicas; 256 connections is the limit of each.",
        [
            Query(f"sum(multus_eni_webhook_in_flight_requests{{{WHERE}}})", "reviews in flight"),
            Query(f"sum by (pod) (multus_eni_webhook_connections{{{WHERE}}})", "connections {{pod}}"),
        ],
    ),
    Panel(
        "Refused connections to ports of probes and metrics",
        "By pod and reason. The kubelet's probes or Prometheus may be among them.",
        [per_second("multus_eni_probes_refused_connections_total", WHERE, "pod, reason")],
        unit="reqps",
        alerts=["MultusEniProbeConnectionsRefused"],
    ),
    Panel(
        "Releases",
        "Programs by release. More than one for long: a rollout that does not end.",
        [
            Query(f"count by (version) (multus_eni_{name}_build_info{{{WHERE}}})", f"{name} {{{{version}}}}")
            for name in ("webhook", "certs", "node", "controller")
        ],
    ),
)
CERTIFICATES = (
    stat(
        "Served certificate ends in",
        "The earliest of all replicas. After that every admission of a Multus pod fails.",
        f"min(multus_eni_webhook_certificate_expiry_timestamp_seconds{{{WHERE}}}) - time()",
        unit="s",
        width=6,
        steps=good_from(WEEK, 2 * WEEK),
        alerts=["MultusEniCertificateExpiring"],
    ),
    stat(
        "Certificate in the Secret ends in",
        "Only in certificate mode selfSigned.",
        f"min(multus_eni_certs_certificate_expiry_timestamp_seconds{{{WHERE}}} > 0) - time()",
        unit="s",
        width=6,
        steps=good_from(WEEK, 2 * WEEK),
        alerts=["MultusEniCertsFailing"],
    ),
    stat(
        "CA ends in",
        "Only in certificate mode selfSigned.",
        f"min(multus_eni_certs_ca_expiry_timestamp_seconds{{{WHERE}}} > 0) - time()",
        unit="s",
        width=6,
        steps=good_from(WEEK, 2 * WEEK),
        alerts=["MultusEniCertsFailing"],
    ),
    stat(
        "Secret and caBundle agree",
        "1: yes. Only in certificate mode selfSigned.",
        f"min(multus_eni_certs_in_order{{{WHERE}}})",
        width=6,
        steps=good_from(1),
        alerts=["MultusEniCertsNotInOrder"],
    ),
    Panel(
        "Certificate files and writes",
        "What the replicas made of new files, what certs wrote, and where it failed.",
        [
            Query(
                "sum by (result) (increase(multus_eni_webhook_certificate_reloads_total"
                f"{{{WHERE}}}[$__rate_interval]))",
                "webhook: {{result}}",
            ),
            Query(
                f"sum by (action) (increase(multus_eni_certs_actions_total{{{WHERE}}}[$__rate_interval]))",
                "certs: {{action}}",
            ),
            Query(
                f"sum(increase(multus_eni_certs_failures_total{{{WHERE}}}[$__rate_interval]))",
                "certs: failures",
            ),
        ],
        width=WIDTH,
        alerts=["MultusEniCertificateUnusable", "MultusEniCertsDown", "MultusEniCertsFailing"],
    ),
)
AGENTS = (
    Panel(
        "Addresses of living pods",
        "By how far they are. pending is short; failed needs somebody.",
        [Query(f"sum by (state) (multus_eni_node_addresses{{{NODE}}})", "{{state}}")],
        alerts=["MultusEniNodeAddressesFailed", "MultusEniNodeAddressesPending"],
    ),
    Panel(
        "From network-status to EC2's confirmation",
        "How long an address takes until it is routable.",
        quantiles("multus_eni_node_routable_seconds", NODE),
        unit="s",
        steps=bad_from(10),
        alerts=["MultusEniNodeSlow"],
    ),
    Panel(
        "Claims of injected agents",
        "Containers that are connected to their node agent, by how far they are (backend node).",
        [Query(f"sum by (state) (multus_eni_node_claims{{{NODE}}})", "{{state}}")],
        alerts=["MultusEniNodeClaimsFailed"],
    ),
    Panel(
        "Token reviews and refused sessions",
        "refused: the token does not belong to a pod of the node; failed: the API server did not review it.",
        [
            per_second("multus_eni_node_token_reviews_total", NODE, "result", "review {{result}}"),
            per_second("multus_eni_node_sessions_refused_total", NODE, "status", "HTTP {{status}}"),
        ],
        unit="reqps",
        alerts=["MultusEniNodeTokensRefused"],
    ),
    Panel(
        "Events on pods that were not written",
        "By node. The API server did not take them; addresses are assigned anyway.",
        [per_second("multus_eni_node_events_dropped_total", NODE, "node, pod")],
        unit="reqps",
    ),
    Panel(
        "Time since the API server was heard",
        "By node. An agent that hears nothing sees no new pods.",
        [Query(f"max by (node, pod) (multus_eni_node_watch_age_seconds{{{NODE}}})", "{{node}} {{pod}}")],
        unit="s",
        steps=bad_from(300),
        alerts=["MultusEniNodeWatchStale", "MultusEniNodeNeverSawPods"],
    ),
    Panel(
        "Memory",
        "Of each process; the chart's limits are 256Mi for webhook and controller, 128Mi for certs and node "
        "agents.",
        [
            Query(
                "max by (pod) (process_resident_memory_bytes"
                f'{{{WHERE},container=~"webhook|certs|node-agent|controller"}})',
                "{{pod}}",
            )
        ],
        unit="bytes",
    ),
)
EC2 = (
    Panel(
        "Calls",
        "All nodes of an account and region share EC2's limits: 5 assignments a second after a burst of 100.",
        [per_second("multus_eni_node_ec2_calls_total", NODE, "action, result")],
        unit="reqps",
        alerts=["MultusEniNodeThrottled"],
    ),
    Panel(
        "Calls that failed, by node",
        "Without throttling, which mends itself.",
        [
            per_second(
                "multus_eni_node_ec2_calls_total", f'{NODE},result!~"ok|throttled"', "node, action, result"
            )
        ],
        unit="reqps",
        alerts=["MultusEniNodeDenied", "MultusEniNodeEc2Failing", "MultusEniNodeEniFull"],
    ),
)
NETWORKS = (
    Panel(
        "Nodes of each network",
        "Nodes that a NodeNetwork selects, those whose ENI is ready, and those that can't get one.",
        [
            Query(
                f"max by (network, state) (multus_eni_controller_network_nodes{{{WHERE}}})",
                "{{network}} {{state}}",
            )
        ],
        width=8,
        alerts=["MultusEniNetworkNodesFailed"],
    ),
    Panel(
        "Addresses of each network",
        "What ready nodes still have for pods, what they have in all, and what pods request of it.",
        [
            Query(
                f"max by (network) (multus_eni_controller_network_{kind}_addresses{{{WHERE}}})",
                f"{{{{network}}}} {kind}",
            )
            for kind in ("free", "capacity", "requested")
        ],
        width=8,
        alerts=["MultusEniNetworkFull"],
    ),
    Panel(
        "Writes that failed, and leaked ENIs",
        "ENIs with this cluster's tags that nothing needs, writes that the API server refused, and those of "
        "them that wait for their next try.",
        [
            Query(f"max(multus_eni_controller_leaked_enis{{{WHERE}}})", "leaked ENIs"),
            Query(
                f"sum(increase(multus_eni_controller_write_failures_total{{{WHERE}}}[$__rate_interval]))",
                "failed writes",
            ),
            Query(f"max(multus_eni_controller_failing_writes{{{WHERE}}})", "writes that wait"),
        ],
        width=8,
        steps=bad_from(1, "orange"),
        alerts=["MultusEniEnisLeaked", "MultusEniControllerWritesFailing"],
    ),
    Panel(
        "NodeAttachments",
        "By the reason of their condition Ready, and replicas of the controller that lead: one.",
        [
            Query(f"max by (state) (multus_eni_controller_attachments{{{WHERE}}})", "{{state}}"),
            Query(f"sum(multus_eni_controller_leader{{{WHERE}}})", "leading replicas"),
        ],
        alerts=["MultusEniNetworkNodesFailed", "MultusEniControllerNotLeading"],
    ),
    Panel(
        "The controller's calls to EC2",
        "By result, and those that wait for EC2's request limit or an answer.",
        [
            per_second("multus_eni_controller_ec2_calls_total", WHERE, "action, result"),
            Query(f"max by (action) (multus_eni_controller_ec2_queue{{{WHERE}}})", "waiting {{action}}"),
        ],
    ),
    Panel(
        "Pods that claim Elastic IPs",
        "By the reason of their condition multus-eni.io/ElasticIPsAssociated.",
        [Query(f"max by (state) (multus_eni_controller_elastic_ip_pods{{{WHERE}}})", "{{state}}")],
        alerts=["MultusEniElasticIpsMissing"],
    ),
    Panel(
        "Elastic IPs that pods could have",
        "Free ones of each pool, and associations of pods that are gone.",
        [
            Query(
                f"max by (grantee, pool) (multus_eni_controller_elastic_ips_free{{{WHERE}}})",
                "{{grantee}} {{pool}}",
            ),
            Query(f"max(multus_eni_controller_elastic_ips_leaked{{{WHERE}}})", "to be freed"),
        ],
    ),
    Panel(
        "Calls for node agents that wait",
        "With the backend central: what node agents ask for and have no answer to, and what they gave up.",
        [
            Query(f"max by (action) (multus_eni_controller_relay_waiting{{{WHERE}}})", "{{action}}"),
            Query(
                "sum by (action) (increase("
                f"multus_eni_controller_relay_unanswered_total{{{WHERE}}}[$__rate_interval]))",
                "given up {{action}}",
            ),
        ],
        alerts=["MultusEniCallsUnanswered"],
    ),
    Panel(
        "Time until a node agent has its answer",
        "95 of 100 requests take no longer.",
        [
            Query(
                "histogram_quantile(0.95, sum by (action, le) (rate("
                f"multus_eni_controller_relay_seconds_bucket{{{WHERE}}}[$__rate_interval])))",
                "{{action}}",
            )
        ],
        unit="s",
    ),
)
COLLECTION = (
    Panel(
        "Leaked addresses, by node",
        "Addresses that no pod held at the last sweep. With nodeAgent.gc.mode=on they are reclaimed.",
        [Query(f"sum by (node) (multus_eni_node_gc_candidates{{{NODE}}})", "{{node}}")],
        width=8,
        steps=bad_from(1, "orange"),
        alerts=["MultusEniNodeLeftovers"],
    ),
    Panel(
        "Assigned and reclaimed",
        "Addresses that were confirmed on their ENI, and addresses of dead pods that were unassigned.",
        [
            Query(f"sum(increase(multus_eni_node_assigned_total{{{NODE}}}[$__rate_interval]))", "assigned"),
            Query(f"sum(increase(multus_eni_node_reclaimed_total{{{NODE}}}[$__rate_interval]))", "reclaimed"),
        ],
        width=8,
    ),
    Panel(
        "Kept because of a living pod",
        "Leaked addresses that may be floating addresses of a living pod: the pod and the reason.",
        [
            Query(
                "sum by (exported_namespace, exported_pod, reason) "
                f"(multus_eni_node_gc_blocked_addresses{{{NODE}}})",
                "{{exported_namespace}}/{{exported_pod}} {{reason}}",
            )
        ],
        width=8,
        alerts=["MultusEniNodeLeftovers"],
    ),
)
ROWS = {
    "Overview": OVERVIEW,
    "Admission": ADMISSION,
    "Certificates": CERTIFICATES,
    "Node networks": NETWORKS,
    "Node agents": AGENTS,
    "EC2": EC2,
    "Garbage collection": COLLECTION,
}


def dashboard() -> Json:
    """Return the dashboard."""
    return {
        "title": "multus-eni-injector",
        "uid": "multus-eni-injector",
        "description": "Addresses of Multus pods: admission, certificates, node agents, EC2.",
        "tags": ["multus-eni-injector"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "timezone": "browser",
        "refresh": "1m",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": list(_variables())},
        "annotations": {"list": []},
        "links": [{**_link("Runbooks", RUNBOOKS + "monitoring"), "type": "link"}],
        "panels": list(_panels()),
    }


def _variables() -> Iterator[Json]:
    yield {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    info = '{__name__=~"multus_eni_(webhook|node)_build_info"}'
    yield _variable("cluster", "Cluster", f"label_values({info}, cluster)", many=True)
    yield _variable("namespace", "Namespace", f"label_values({info}, namespace)")
    known = f"multus_eni_node_build_info{{{WHERE}}}"
    yield _variable("node", "Node", f"label_values({known}, node)", many=True)


def _variable(name: str, label: str, query: str, *, many: bool = False) -> Json:
    # All clusters, or nodes, are also those of a Prometheus that sets no such label.
    everything = {"multi": True, "includeAll": True, "allValue": ".*"} if many else {}
    return {
        "name": name,
        "type": "query",
        "label": label,
        "datasource": SOURCE,
        "query": query,
        "refresh": 2,
        "sort": 1,
        **everything,
    }


def _panels() -> Iterator[Json]:
    number, top = 0, 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
            "panels": [],
        }
        top += 1
        left = height = 0
        for panel in panels:
            if left + panel.width > WIDTH:
                left, top = 0, top + height
            number += 1
            yield {"id": number, **_panel(panel), "gridPos": _place(panel, left, top)}
            left, height = left + panel.width, panel.height
        top += height


def _place(panel: Panel, left: int, top: int) -> Json:
    return {"x": left, "y": top, "w": panel.width, "h": panel.height}


def _panel(panel: Panel) -> Json:
    steps = [{"color": colour, "value": value} for value, colour in panel.steps]
    defaults: Json = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "noValue": "none" if panel.kind == "table" else "-",
    }
    if panel.kind == "timeseries":
        defaults["custom"] = _lines(shown=len(steps) > 1)
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "targets": [_target(number, each) for number, each in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": OPTIONS[panel.kind],
        "links": [_link(f"Runbook: {name}", RUNBOOKS + name.lower()) for name in panel.alerts],
        **({"transformations": _columns(panel.columns)} if panel.columns else {}),
    }


def _lines(*, shown: bool) -> Json:
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 10,
        "showPoints": "never",
        "spanNulls": False,
        "thresholdsStyle": {"mode": "line" if shown else "off"},
    }


OPTIONS: dict[str, Json] = {
    "stat": {
        "graphMode": "area",
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "values": False},
    },
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"frameIndex": 0, "showHeader": True, "cellHeight": "sm"},
}


def _target(number: int, query: Query) -> Json:
    target: Json = {
        "refId": chr(ord("A") + number),
        "expr": query.expr,
        "legendFormat": query.legend,
        "datasource": SOURCE,
        "range": not query.table,
    }
    return {**target, "instant": True, "format": "table"} if query.table else target


def _columns(names: Sequence[str]) -> list[Json]:
    renamed = {f"Value #{chr(ord('A') + number)}": name for number, name in enumerate(names)}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": renamed}},
    ]


def _link(title: str, url: str) -> Json:
    return {
        "title": title,
        "type": "link",
        "icon": "doc",
        "tooltip": "",
        "url": url,
        "tags": [],
        "asDropdown": False,
        "targetBlank": True,
        "includeVars": False,
        "keepTime": False,
    }


def text() -> str:
    """Return the file's content."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DASHBOARD.write_text(text(), encoding="utf-8")
