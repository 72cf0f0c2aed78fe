"""Each file in tests/cases/check is a broken cluster; a new one is a new file.

`merge` and `remove` make it from healthy.yaml: objects that are merged (RFC 7396) into those of the same
kind, namespace and name, or added; likewise by node what its node agent answers; `ec2` has answers of EC2 in
place of its own. `now`, `dry_run`, `unserved`
and `scope` are those of the snapshot; `finding` is the one check that does not pass: verdict and sentences.
`UPDATE_CASES=1 pytest tests/check/test_cases.py` writes it into the files, to be read in the diff.
Those in the folder in-order are unusual clusters with which nothing is wrong.
"""

from __future__ import annotations

import copy
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from check.model import DryRun, Scope, Snapshot, Verdict
from check.reader import read_snapshot
from check.render import as_document
from check.results import Result
from check.run import CHECKS, exit_code, run_checks
from tests.examples import aws_cli

pytestmark = pytest.mark.pure

CASES = Path(__file__).parents[1] / "cases" / "check"
NOW = "2026-11-01T00:00:00Z"
HEALTHY = list(yaml.load_all((CASES / "healthy.yaml").read_text(), Loader=yaml.CSafeLoader))
BROKEN = sorted(path for path in CASES.glob("*.yaml") if path.name != "healthy.yaml")
UNUSUAL = sorted((CASES / "in-order").glob("*.yaml"))

Object = dict[str, Any]


def identity(document: Object) -> tuple[str, str, str]:
    """Return kind, namespace and name; of a node agent's answer, the node."""
    if "kind" not in document and "node" not in document:
        return "", "", ",".join(document)
    metadata = document.get("metadata", {})
    return (
        str(document.get("kind")),
        metadata.get("namespace", ""),
        metadata.get("name", document.get("node", "")),
    )


def merged(target: Any, patch: Any) -> Any:
    """Apply a JSON Merge Patch (RFC 7396)."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def documents(case: Object) -> list[Object]:
    """Make the dump of a case."""
    removed = {identity(each) for each in case.get("remove", [])}
    found = {identity(each): each for each in copy.deepcopy(HEALTHY) if identity(each) not in removed}
    assert len(found) == len(HEALTHY) - len(removed), "what is removed is there"
    answers = [each for each in found.values() if "kind" not in each]
    for key, answer in case.get("ec2", {}).items():
        next(each for each in answers if key in each)[key] = answer
    for patch in case.get("merge", []):
        found[identity(patch)] = merged(found.get(identity(patch), {}), patch)
    return list(found.values())


def snapshot_of(case: Object) -> Snapshot:
    """Make the snapshot of a case."""
    now = datetime.fromisoformat(case.get("now", NOW)).timestamp()
    snapshot = read_snapshot(documents(case), now)
    probe = case.get("dry_run", {"namespace": "apps", "injected": True})
    return replace(snapshot, dry_run=DryRun(**probe), unserved=frozenset(case.get("unserved", ())))


def run(case: Object) -> tuple[Result, ...]:
    return run_checks(snapshot_of(case), Scope(**case.get("scope", {})))


def wrong(results: tuple[Result, ...]) -> Iterator[Object]:
    for result in results:
        if result.verdict in (Verdict.WARNING, Verdict.ERROR):
            (shown,) = as_document([result])
            commands = {"commands": shown["commands"]} if shown["commands"] else {}
            yield {"check": shown["id"], "verdict": shown["verdict"], "details": shown["details"], **commands}


def test_nothing_is_wrong_with_a_healthy_cluster() -> None:
    results = run({})
    assert list(wrong(results)) == []
    assert exit_code(results) == 0
    skipped = {result.check.id for result in results if result.verdict is Verdict.SKIPPED}
    assert skipped == {"cluster-master", "namespaces-opted-in", "nodes-hop-limit"}


@pytest.mark.parametrize("path", UNUSUAL, ids=[path.stem for path in UNUSUAL])
def test_nothing_is_wrong_with_an_unusual_cluster(path: Path) -> None:
    assert list(wrong(run(yaml.safe_load(path.read_text())))) == []


@pytest.mark.parametrize("path", BROKEN, ids=[path.stem for path in BROKEN])
def test_a_broken_cluster_yields_exactly_its_finding(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    results = run(case)
    if os.environ.get("UPDATE_CASES") == "1":
        (case["finding"],) = wrong(results)
        path.write_text(yaml.safe_dump(case, sort_keys=False, allow_unicode=True, width=110))
    assert list(wrong(results)) == [case["finding"]]
    assert exit_code(results) == (1 if case["finding"]["verdict"] == "error" else 3)


@pytest.mark.parametrize(
    ("last", "counts"),
    [
        ({"lastTimestamp": "2026-10-31T23:40:01Z"}, True),
        ({"lastTimestamp": "2026-10-31T23:39:59Z"}, False),
        ({"lastTimestamp": None, "eventTime": "2026-10-31T23:39:59.000000Z"}, False),
        (
            {
                "lastTimestamp": None,
                "eventTime": "2026-10-31T22:00:00.000000Z",
                "series": {"count": 9, "lastObservedTime": "2026-10-31T23:55:00.000000Z"},
            },
            True,
        ),
        ({"lastTimestamp": "unreadable"}, True),
    ],
)
def test_events_count_for_twenty_minutes_after_they_were_last_seen(last: Object, counts: bool) -> None:
    case = yaml.safe_load((CASES / "workload-refused.yaml").read_text())
    case["merge"] = [merged(each, last) for each in case["merge"]]
    assert list(wrong(run(case))) == ([case["finding"]] if counts else [])


def test_agents_with_a_region_need_imds_where_their_credentials_come_from_the_node() -> None:
    case = yaml.safe_load((CASES / "hop-limit-one.yaml").read_text())
    settings = case["merge"][0]["data"]
    region = "env: [{name: AWS_REGION, value: eu-central-1}]"
    settings["settings.yaml"] = settings["settings.yaml"].replace("env: []", region)
    assert list(wrong(run(case))) == []
    settings["settings.yaml"] = settings["settings.yaml"].replace("credentials: chain", "credentials: node")
    assert list(wrong(run(case))) == [case["finding"]]


READ = [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in BROKEN]
COMMANDS = sorted({each for case in READ for each in case.get("finding", {}).get("commands", ())})


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_finding_can_be_pasted(command: str) -> None:
    assert not set(command) & set("<>…")
    for each in command.split(" && "):
        check_pasted(each)


def check_pasted(command: str) -> None:
    first, *rest = command.split(" | ")
    program, *words = shlex.split(first)
    if rest:
        changes, writes = rest
        assert (shlex.split(changes)[0], writes) in (
            ("tee", "kubectl replace --force -f -"),
            ("sed", "kubectl create -f -"),
        )
    if program == "aws":
        aws_cli.check(words)
        assert words[1].startswith(READS) or words[1] in NARROW
    elif program == "helm":
        assert words[0] in ("history", "upgrade")
    else:
        assert program == "kubectl"
        assert words[0] in VERBS


READS = ("describe-", "get-", "list-")
NARROW = (
    "authorize-security-group-ingress",
    "create-subnet-cidr-reservation",
    "create-tags",
    "modify-instance-metadata-options",
)
"""Calls that change something, and take nothing from anybody."""
VERBS = ("annotate", "delete", "describe", "edit", "exec", "get", "label", "logs")


@pytest.mark.parametrize(("namespace", "name"), [("apps", "--all"), ("--all-namespaces", "sip")])
def test_no_name_in_a_dump_is_an_option_of_a_command(namespace: str, name: str) -> None:
    pod = {"kind": "Pod", "metadata": {"namespace": namespace, "name": name}}
    assert read_snapshot([{"kind": "List", "items": [pod, pod]}], 0.0).all("Pod") == ()


SPREAD = "one-replica.yaml"


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": None},
        {"annotations": {"meta.helm.sh/release-name": "--all"}},
        {"annotations": {"meta.helm.sh/release-namespace": None}},
        {"labels": {"helm.toolkit.fluxcd.io/name": "multus-eni-injector"}},
    ],
)
def test_a_release_that_nobody_upgrades_by_hand_gets_no_command_of_helm(metadata: Object) -> None:
    case = yaml.safe_load((CASES / SPREAD).read_text())
    names = ("", "-certs", "-controller", "-node")
    for name in names:
        kind = "DaemonSet" if name == "-node" else "Deployment"
        ours = {"name": f"multus-eni-injector{name}", "namespace": "multus-eni-system"}
        case["merge"].append({"kind": kind, "metadata": {**ours, **metadata}})
    (found,) = wrong(run(case))
    assert found == {key: case["finding"][key] for key in ("check", "verdict", "details")}


def test_a_copied_object_has_nothing_that_the_api_server_refuses_to_create() -> None:
    (command,) = yaml.safe_load((CASES / "pull-secret-missing.yaml").read_text())["finding"]["commands"]
    _, changes, _ = command.split(" | ")
    shown = """\
apiVersion: v1
data:
  .dockerconfigjson: e30=
kind: Secret
metadata:
  annotations:
    team: "network"
  creationTimestamp: "2026-10-01T00:00:00Z"
  labels:
    app.kubernetes.io/instance: base
    name: registry
  name: registry
  namespace: multus-eni-system
  resourceVersion: "1234"
  uid: 6d0fdd24-2f6c-4e31-9f6e-0d9b1d7b5f0a
type: kubernetes.io/dockerconfigjson
"""
    made = subprocess.run(
        shlex.split(changes), input=shown, capture_output=True, text=True, check=True
    ).stdout
    document = yaml.safe_load(made)
    wanted = {"name": "registry", "namespace": "apps", "annotations": {"team": "network"}}
    assert document.pop("metadata") == wanted
    assert document == {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": "e30="},
    }


def test_every_check_has_a_case() -> None:
    found = {yaml.safe_load(path.read_text())["finding"]["check"] for path in BROKEN}
    assert found == {check.id for check in CHECKS}


def test_a_network_of_whereabouts_needs_no_configuration_of_the_nodes() -> None:
    case = yaml.safe_load((CASES / "prefixes-not-enabled.yaml").read_text())
    case["merge"][0]["spec"]["addresses"]["prefixes"]["ipam"] = "Whereabouts"
    assert exit_code(run_checks(snapshot_of(case), Scope())) == 0
