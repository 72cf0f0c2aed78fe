"""The commands `multus-eni inject` and `explain`: manifests in, manifests or explanations out."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import msgspec

from webhook.core.reasons import Reason
from webhook.core.settings import Settings
from webhook.manifests.documents import MAX_INPUT, Document, DocumentError, patched_stream, read_documents
from webhook.manifests.explain import WARNING_PREFIX, Explanation, as_objects, as_text, explain, printable
from webhook.manifests.raw_json import dotted
from webhook.manifests.workload_decision import (
    Defaults,
    WorkloadOutcome,
    decide_workloads,
    operations_by_document,
)
from webhook.manifests.workloads import ManifestError, Manifests, read_manifests
from webhook.networks_file import load_networks
from webhook.settings_file import load_settings

STDIN = "-"
STDIN_DESCRIPTOR, STDOUT_DESCRIPTOR = 0, 1
OK, FOUND = 0, 3


class InputError(Exception):
    """The manifests can't be read, or may not be injected; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of both commands: the file (`-` is standard input) and what its manifests leave open.

    `labels` are those of namespaces that are not among the manifests. `content` is what was read elsewhere,
    in place of the file, and `settings` those that were read with it. `networks` is the controller's file.
    """

    file: str
    config: Path | None
    namespace: str
    labels: Mapping[str, str]
    content: bytes | None = None
    settings: Settings | None = None
    networks: Path | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    documents: list[Document]
    manifests: Manifests
    outcomes: list[WorkloadOutcome]
    settings: Settings
    namespace: str


def run_inject(options: Options) -> int:
    """Write the manifests with the agent in them; nothing at all if a workload is refused.

    Raises InputError or ConfigError.
    """
    loaded = _load(options)
    refused = [outcome for outcome in loaded.outcomes if outcome.decision.refused]
    for outcome in refused:
        _print_error("inject", f"refused: {_location(outcome, loaded.documents)}: {outcome.decision.message}")
    if refused:
        raise InputError(
            f"nothing is written: {len(refused)} of {len(loaded.outcomes)} workloads are refused"
        )
    _report_skipped("inject", loaded)
    for outcome in loaded.outcomes:
        for warning in _warnings(outcome, loaded.settings):
            _print_error("inject", f"warning: {_location(outcome, loaded.documents)}: {warning}")
    _write(patched_stream(loaded.documents, operations_by_document(loaded.outcomes)))
    return OK


class FailOn(StrEnum):
    """What makes `explain` end with FOUND, beside a workload that is refused."""

    REFUSED = "refused"
    WARNING = "warning"
    NOT_INJECTED = "not-injected"


def run_explain(
    options: Options, *, as_json: bool, only_missing: bool, fail_on: Collection[FailOn] = ()
) -> int:
    """Write what the webhook would do with each workload. Raises InputError or ConfigError."""
    loaded = _load(options)
    if all(document.json == b"null" for document in loaded.documents):
        raise InputError(f"{options.file}: no manifest in it")
    known = options.config or options.settings
    image, backend = (loaded.settings.image, loaded.settings.agent.backend) if known else (None, None)
    explanations = [explain(outcome, image, backend) for outcome in loaded.outcomes]
    if not only_missing:
        _report_skipped("explain", loaded)
    else:
        pods = sum(explanation.is_pod for explanation in explanations)
        explanations = [explanation for explanation in explanations if explanation.missing]
        _print_error("explain", f"{len(explanations)} of {pods} pods lack the agent or have an old one")
        _report_unknown_namespaces(explanations, loaded.manifests)
    if as_json:
        _write(msgspec.json.format(msgspec.json.encode(as_objects(explanations))) + b"\n")
    else:
        texts = (as_text(explanation, existing=only_missing) for explanation in explanations)
        _write("".join(texts).encode())
    if not (only_missing or loaded.outcomes or loaded.manifests.skipped):
        _print_error("explain", "there is no workload in the input: nothing that has a pod template")
    failed = only_missing or any(_fails(explanation, fail_on) for explanation in explanations)
    return FOUND if explanations and failed else OK


def _fails(explanation: Explanation, fail_on: Collection[FailOn]) -> bool:
    if not fail_on:
        return False
    # A pod without networks is none of the injector's business.
    attached = bool(explanation.networks) and explanation.reason is not Reason.AGENT_PRESENT
    return (
        explanation.refusal is not None
        or (FailOn.WARNING in fail_on and bool(explanation.warnings))
        or (FailOn.NOT_INJECTED in fail_on and attached and not explanation.injected)
    )


def _load(options: Options) -> _Loaded:
    settings = load_settings(options.config) if options.config else options.settings or Settings(image="")
    if options.networks is not None:
        settings = replace(settings, networks=load_networks(options.networks))
    name = "standard input" if options.file == STDIN else options.file
    try:
        documents = read_documents(_bytes(options.file) if options.content is None else options.content)
        manifests = read_manifests(document.json for document in documents)
    except DocumentError as error:
        raise InputError(f"{name}: {error}") from None
    except ManifestError as error:
        document = documents[error.document]
        raise InputError(f"{name}: document {document.number}, line {document.line}: {error}") from None
    defaults = Defaults(settings, options.namespace, options.labels)
    return _Loaded(documents, manifests, decide_workloads(manifests, defaults), settings, options.namespace)


def _bytes(file: str) -> bytes:
    try:
        with open(STDIN_DESCRIPTOR if file == STDIN else file, "rb", closefd=file != STDIN) as stream:
            # One more than allowed tells an input that is too large, without reading all of it.
            return stream.read(MAX_INPUT + 1)
    except IsADirectoryError:
        text = f"{file}: is a folder: give its files on standard input (-f -), each behind a line of ---"
        raise InputError(text) from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


def _warnings(outcome: WorkloadOutcome, settings: Settings) -> list[str]:
    warnings = [warning.removeprefix(WARNING_PREFIX) for warning in outcome.decision.warnings]
    if outcome.decision.agent is not None and outcome.pod is not None:
        there = {secret.name for secret in outcome.pod.spec.imagePullSecrets or []}
        missing = [name for name in settings.image_pull_secrets if name not in there]
        if missing:
            warnings.append(
                f"imagePullSecrets are not written into manifests, where they would displace the "
                f"ServiceAccount's: add {', '.join(missing)} to the ServiceAccount or to the manifest"
            )
        condition = _MANIFEST_CONDITIONS.get(outcome.workload.api_group)
        warnings += [condition] if condition else []
    return warnings


_MANIFEST_CONDITIONS = {
    "serving.knative.dev": (
        "Knative refuses this manifest unless its features kubernetes.podspec-init-containers and "
        "kubernetes.podspec-fieldref are enabled; the webhook injects Knative's pods without them"
    )
}
"""API group -> what its own webhook asks of a manifest with the agent in it."""


def _location(outcome: WorkloadOutcome, documents: list[Document]) -> str:
    workload, document = outcome.workload, documents[outcome.workload.document]
    template = f", {dotted(workload.path)}" if workload.found_by_shape else ""
    place = f"document {document.number}, line {document.line}{template}"
    return f"{workload.kind} {outcome.namespace}/{workload.name} ({place})"


def _report_skipped(command: str, loaded: _Loaded) -> None:
    for each in loaded.manifests.skipped:
        document = loaded.documents[each.document]
        name = f"{each.kind} {each.namespace or loaded.namespace}/{each.name}"
        _print_error(
            command,
            f"note: {name} (document {document.number}, line {document.line}) is left alone: {each.reason}; "
            "the webhook decides about its pods when they are created",
        )


def _report_unknown_namespaces(explanations: list[Explanation], manifests: Manifests) -> None:
    unknown = {explanation.namespace for explanation in explanations} - manifests.namespaces.keys()
    if unknown:
        _print_error(
            "explain",
            f"note: the input has no Namespace {', '.join(sorted(unknown)[:5])}"
            f"{' and others' if len(unknown) > 5 else ''}: its labels are taken from the options "
            "--namespace-…; kubectl get ns,pods -A gives both",
        )


def _write(data: bytes) -> None:
    # With PYTHONUNBUFFERED, usual in containers, sys.stdout.buffer is a raw file, which writes what fits into
    # a pipe and leaves the rest unwritten.
    with open(STDOUT_DESCRIPTOR, "wb", closefd=False) as stream:
        stream.write(data)


def _print_error(command: str, text: str) -> None:
    print(printable(f"multus-eni {command}: {text}"), file=sys.stderr)
