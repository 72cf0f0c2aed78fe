"""`multus-eni inject` and `explain`: manifests from a file or standard input, answers to standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from webhook.config import load_settings
from webhook.core.settings import Settings
from webhook.manifests.decide import Answer, Surroundings, answers, operations_of
from webhook.manifests.documents import MAX_INPUT, Document, DocumentError, patched_stream, read_documents
from webhook.manifests.explain import WARNING_PREFIX, Explanation, as_objects, as_text, explain, printable
from webhook.manifests.workloads import ManifestError, Manifests, read_manifests

STDIN = "-"
STDIN_DESCRIPTOR, STDOUT_DESCRIPTOR = 0, 1
OK, WRONG_INPUT, LACKING = 0, 2, 3


class InputError(Exception):
    """The manifests can't be read, or may not be injected; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Input:
    """What both commands are told: the file (`-` is standard input) and what its manifests leave open."""

    file: str
    config: Path | None
    namespace: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Read:
    documents: list[Document]
    manifests: Manifests
    answers: list[Answer]
    settings: Settings


def run_inject(given: Input) -> int:
    """Write the manifests with the agent in them; nothing at all if a workload is refused.

    Raises InputError or ConfigError.
    """
    read = _read(given)
    refused = [answer for answer in read.answers if answer.decision.refused]
    for answer in refused:
        _say("inject", f"refused: {_who(answer, read.documents)}: {answer.decision.message}")
    if refused:
        raise InputError(f"nothing is written: {len(refused)} of {len(read.answers)} workloads are refused")
    for answer in read.answers:
        for warning in _warnings(answer, read.settings):
            _say("inject", f"warning: {_who(answer, read.documents)}: {warning}")
    _write(patched_stream(read.documents, operations_of(read.answers)))
    return OK


def run_explain(given: Input, *, as_json: bool, only_missing: bool) -> int:
    """Write what the webhook would make of each workload. Raises InputError or ConfigError."""
    read = _read(given)
    if all(document.json == b"null" for document in read.documents):
        raise InputError(f"{given.file}: no manifest in it")
    image, backend = (read.settings.image, read.settings.agent.backend) if given.config else (None, None)
    explanations = [explain(answer, image, backend) for answer in read.answers]
    if only_missing:
        pods = sum(explanation.kind == "Pod" for explanation in explanations)
        explanations = [explanation for explanation in explanations if explanation.lacking]
        _say("explain", f"{len(explanations)} of {pods} pods lack the agent or have an old one")
        _say_unknown_namespaces(explanations, read.manifests)
    if as_json:
        _write(msgspec.json.format(msgspec.json.encode(as_objects(explanations))) + b"\n")
    else:
        texts = (as_text(explanation, existing=only_missing) for explanation in explanations)
        _write("".join(texts).encode())
    return LACKING if only_missing and explanations else OK


def _read(given: Input) -> _Read:
    settings = load_settings(given.config) if given.config else Settings(image="")
    name = "standard input" if given.file == STDIN else given.file
    try:
        documents = read_documents(_bytes(given.file))
        manifests = read_manifests(document.json for document in documents)
    except DocumentError as error:
        raise InputError(f"{name}: {error}") from None
    except ManifestError as error:
        document = documents[error.document]
        raise InputError(f"{name}: document {document.number}, line {document.line}: {error}") from None
    surroundings = Surroundings(settings, given.namespace, given.labels)
    return _Read(documents, manifests, answers(manifests, surroundings), settings)


def _bytes(file: str) -> bytes:
    try:
        with open(STDIN_DESCRIPTOR if file == STDIN else file, "rb", closefd=file != STDIN) as stream:
            # One more than allowed tells an input that is too large, without reading all of it.
            return stream.read(MAX_INPUT + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


def _warnings(answer: Answer, settings: Settings) -> list[str]:
    warnings = [warning.removeprefix(WARNING_PREFIX) for warning in answer.decision.warnings]
    if answer.decision.agent is not None and answer.pod is not None:
        there = {secret.name for secret in answer.pod.spec.imagePullSecrets or []}
        missing = [name for name in settings.image_pull_secrets if name not in there]
        if missing:
            warnings.append(
                f"imagePullSecrets are not written into manifests, where they would displace the "
                f"ServiceAccount's: add {', '.join(missing)} to the ServiceAccount or to the manifest"
            )
    return warnings


def _who(answer: Answer, documents: list[Document]) -> str:
    workload, document = answer.workload, documents[answer.workload.document]
    place = f"document {document.number}, line {document.line}"
    return f"{workload.kind} {answer.namespace}/{workload.name} ({place})"


def _say_unknown_namespaces(explanations: list[Explanation], manifests: Manifests) -> None:
    unknown = {explanation.namespace for explanation in explanations} - manifests.namespaces.keys()
    if unknown:
        _say(
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


def _say(command: str, text: str) -> None:
    print(printable(f"multus-eni {command}: {text}"), file=sys.stderr)
