"""What we read is what Multus reads: the same values go through our parser and through Multus's own.

Multus's parser comes as the program `networks-oracle.xz` in the folder MULTUS_ENI_CNI_DIR. It reads one JSON
string a line, the annotation's value, and answers one JSON object a line: `networks` and, where Multus
refuses or crashes, `error`. MULTUS_ENI_ORACLE_VALUES sets how many values are tried, MULTUS_ENI_ORACLE_SEED
which.
"""

import json
import lzma
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.skipping import skip
from tests.webhook.multus.network_values import values
from webhook.multus.names import Refused
from webhook.multus.networks import Network, parse_networks, read_networks

SEED = int(os.environ.get("MULTUS_ENI_ORACLE_SEED", "20250301"))
COUNT = int(os.environ.get("MULTUS_ENI_ORACLE_VALUES", "2000"))
POD_NAMESPACE = "pod-ns"
SHOWN = 10


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("MULTUS_ENI_CNI_DIR")
    if not folder:
        skip("set MULTUS_ENI_CNI_DIR to the folder with networks-oracle.xz, Multus's own parser")
    program = tmp_path_factory.mktemp("oracle") / "networks-oracle"
    with lzma.open(Path(folder) / "networks-oracle.xz") as packed, program.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    program.chmod(0o700)
    return program


def ask(oracle: Path, asked: list[str]) -> list[dict[str, Any]]:
    lines = "".join(f"{json.dumps(value)}\n" for value in asked)
    # Multus would log each value to its standard error.
    result = subprocess.run(
        [oracle], input=lines, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8", check=True
    )
    answers = [json.loads(line) for line in result.stdout.removesuffix("\n").split("\n")]
    assert len(answers) == len(asked)
    return answers


def multus(answer: dict[str, Any]) -> list[Network] | None:
    """Networks as Multus reads them, without what the oracle does not tell; None where it refuses."""
    if "error" in answer:
        return None
    return [
        Network(network["namespace"], network["name"], network["interface"] or f"net{index}", False)
        for index, network in enumerate(answer["networks"], 1)
    ]


def ours(value: str) -> list[Network] | None:
    try:
        networks, _ = read_networks(value, POD_NAMESPACE)
    except Refused:
        return None
    return [Network(network.namespace, network.name, network.interface, False) for network in networks]


def test_every_value_is_read_as_multus_reads_it(oracle: Path) -> None:
    print(f"seed {SEED}, {COUNT} values")
    asked = [value for value in values(random.Random(SEED), COUNT) if value]
    answers = ask(oracle, asked)
    differences = []
    for value, answer in zip(asked, answers, strict=True):
        expected, read = multus(answer), ours(value)
        parsed = parse_networks(value, POD_NAMESPACE)
        if read != expected or parsed.refused_by_parser != (expected is None):
            differences.append((value, answer, parsed))
    shown = [
        f"value  {value[:300]!r}\nMultus {str(answer)[:300]}\nwe     {str(parsed)[:300]}"
        for value, answer, parsed in sorted(differences, key=lambda difference: len(difference[0]))[:SHOWN]
    ]
    assert not differences, f"seed {SEED}: {len(differences)} values differ, the shortest:\n" + "\n\n".join(
        shown
    )
    # Values that are nearly all refused, or all accepted, would show little.
    refused = sum("error" in answer for answer in answers)
    assert 0.25 < refused / len(answers) < 0.75


def test_multus_finds_no_networks_in_an_empty_value(oracle: Path) -> None:
    assert ask(oracle, [""]) == [{"error": "no kubernetes network found", "networks": []}]
    assert parse_networks("", POD_NAMESPACE).refusal is None
