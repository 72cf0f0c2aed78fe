"""Commands of kubectl and multus-eni in the pages: they parse, and what they name is what the chart makes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from multus_eni.cli import _parser
from multus_eni.completion import complete
from tests.cluster.api import Manifest
from tests.cluster.control_plane import free_ports
from tests.cluster.helm import NAMESPACE, RELEASE
from tests.cluster.processes import LAZY_GC
from tests.examples.pages import ROOT, blocks
from tests.skipping import programs

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
SPAN = re.compile(r"`([^`]+)`")
"""Also one that goes on in the next line."""
COMPONENT = "app.kubernetes.io/component"
RESOURCES = {
    "deploy": "Deployment",
    "deployment": "Deployment",
    "ds": "DaemonSet",
    "daemonset": "DaemonSet",
    "configmap": "ConfigMap",
    "cm": "ConfigMap",
    "secret": "Secret",
}
BY_OTHERS = {
    f"{RELEASE}-networks": "ConfigMap",
    f"{RELEASE}-certificate": "Secret",
    f"{RELEASE}-ca": "Secret",
}
"""The controller writes the ConfigMap, cert-manager the Secrets of its Certificates."""


def texts(page: Path) -> Iterator[str]:
    """Yield what a page has its reader type, in blocks and in sentences."""
    for block in [*blocks(page, "sh"), *blocks(page, "console")]:
        yield from block.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for span in SPAN.findall(prose):
        yield " ".join(span.split())


def commands(program: str) -> dict[str, list[str]]:
    """Return the commands of a program in all pages, by themselves: up to a pipe or the like."""
    found = {}
    for page in PAGES:
        for text in texts(page):
            if "…" in text or "..." in text:
                continue
            lexer = shlex.shlex(text.removeprefix("$ "), posix=True, punctuation_chars="|;()<>&")
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError:
                continue
            for at in (index for index, word in enumerate(words) if word == program):
                own = words[at + 1 :]
                end = next((i for i, word in enumerate(own) if set(word) <= set("|;()<>&")), len(own))
                if own[:end]:
                    found[f"{program} {shlex.join(own[:end])}"] = own[:end]
    return found


NAMED = ("exec -it", "get -o json", "rollout restart")
"""Commands that sentences name without what they are about, beside verbs alone."""
ELSEWHERE = ("krew", "multus-eni")
"""kubectl's plugins."""
KUBECTL = {
    text: words
    for text, words in commands("kubectl").items()
    if len(words) > 1 and " ".join(words) not in NAMED and words[0] not in ELSEWHERE
}
OURS = {
    text: words
    for text, words in commands("multus-eni").items()
    # Neither a word in a name nor a synopsis.
    if "-" not in words[0] and "[" not in text
}


@pytest.fixture(scope="module")
def made(rendered: dict[str, list[Manifest]]) -> dict[str, list[Manifest]]:
    """Everything that the chart makes with one or the other value, by name."""
    found: dict[str, list[Manifest]] = {}
    for each in (manifest for manifests in rendered.values() for manifest in manifests):
        found.setdefault(each["metadata"]["name"], []).append(each)
    return found


@pytest.mark.parametrize("command", KUBECTL)
def test_kubectl_understands_a_command(command: str) -> None:
    """It gets as far as asking the API server, which is not there."""
    (port,) = free_ports("127.0.0.1")
    words = [word.replace("IMAGE", "image") for word in KUBECTL[command]]
    done = subprocess.run(
        [programs(["kubectl"])["kubectl"], f"--server=http://127.0.0.1:{port}", *words],
        cwd=ROOT,
        input='{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}',
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **LAZY_GC},
    )
    assert "refused" in done.stderr, done.stderr


@pytest.mark.parametrize("command", [text for text in KUBECTL if RELEASE in text or NAMESPACE in text])
def test_the_chart_makes_what_a_command_names(command: str, made: dict[str, list[Manifest]]) -> None:
    words = KUBECTL[command]
    for index, word in enumerate(words):
        kind, _, name = word.rpartition("/")
        if name.startswith(RELEASE):
            kind = kind or next((each for each in words[:index] if each in RESOURCES), "")
            kinds = {each["kind"] for each in made.get(name, ())} | {BY_OTHERS.get(name, "")} - {""}
            # An option of ours says by its own name what it is about.
            assert RESOURCES[kind] in kinds if kind else kinds, word
        elif word.startswith(f"{COMPONENT}="):
            assert pods(made, word.partition("=")[2]), word
    if NAMESPACE in words and "-c" in words:
        container = words[words.index("-c") + 1]
        specs = [spec for component in COMPONENTS for spec in pods(made, component)]
        assert container in {each["name"] for spec in specs for each in spec["containers"]}


COMPONENTS = ("webhook", "certs", "controller", "node-agent")


def pods(made: dict[str, list[Manifest]], component: str) -> list[Manifest]:
    """Return the specs of a component's pods."""
    templates = [
        each["spec"]["template"]
        for manifests in made.values()
        for each in manifests
        if each["kind"] in ("Deployment", "DaemonSet")
    ]
    return [each["spec"] for each in templates if each["metadata"]["labels"][COMPONENT] == component]


@pytest.mark.parametrize("command", OURS)
def test_multus_eni_has_the_command_and_its_options(command: str) -> None:
    *before, last = words = OURS[command]
    parser = _parser()
    if all(not word.startswith("-") for word in words):
        assert last in complete(parser, [*before, ""])
    else:
        with pytest.raises(SystemExit, match="0") if last == "--help" else nullcontext():
            assert parser.parse_args(words).command == words[0]
