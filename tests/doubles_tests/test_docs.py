"""The examples of docs/testing.md, run as they stand there, save for the ports."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.doubles import Doubles
from tests.skipping import skip

ROOT = Path(__file__).parents[2]
MARK = "=== next command ==="


def blocks(language: str) -> list[str]:
    """Return the examples in a language, of the section on the double."""
    page = (ROOT / "docs/testing.md").read_text(encoding="utf-8")
    section = page.split("## The EC2 and IMDS double")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.fixture
def doubles() -> Iterator[Doubles]:
    (example,) = blocks("yaml")
    with Doubles(yaml.safe_load(example)) as doubles:
        yield doubles


def local(text: str, doubles: Doubles) -> str:
    """Return an example with the double's own addresses."""
    return text.replace("http://127.0.0.1:8080", doubles.ec2_url).replace(
        "http://127.0.0.1:8081", doubles.imds_url
    )


def environment(doubles: Doubles) -> dict[str, str]:
    exports = next(block for block in blocks("sh") if block.startswith("export"))
    given = dict(re.findall(r"^export (\w+)=(.*)$", local(exports, doubles), re.MULTILINE))
    assert {"AWS_ENDPOINT_URL_EC2", "AWS_SECRET_ACCESS_KEY"} <= given.keys()
    return os.environ | given | {"no_proxy": "*"}


def test_the_program_starts_as_shown(tmp_path: Path) -> None:
    command, answer = blocks("console")[0].removeprefix("$ ").splitlines()
    world = tmp_path / "world.yaml"
    world.write_text(blocks("yaml")[0], encoding="utf-8")
    words = command.replace("world.yaml", str(world)).split()
    assert words[0] == ".venv/bin/python"
    free = ["127.0.0.1:0" if word.startswith("127.0.0.1:") else word for word in words]

    with subprocess.Popen([sys.executable, *free[1:]], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        process.terminate()
        process.communicate(timeout=20)

    assert process.returncode == 0
    assert said.keys() == json.loads(answer).keys()


def test_the_python_example_runs(doubles: Doubles) -> None:
    (example,) = blocks("python")

    done = subprocess.run(
        [sys.executable, "-c", example],
        env=environment(doubles),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stderr == ""
    assert done.stdout == "eni-0a000000000000001 ['10.0.1.10', '10.0.1.50', '10.0.1.60']\n"


def test_the_curl_examples_answer_as_shown(doubles: Doubles) -> None:
    if not shutil.which("curl"):
        skip("curl is not installed: the examples of docs/testing.md are not run")
    shown = "".join(blocks("console")[1:])
    steps = [step.partition("\n") for step in re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]]
    script = "set -eu\n" + "".join(f"{command}\necho; echo '{MARK}'\n" for command, _, _ in steps)

    done = subprocess.run(
        ["bash", "-c", local(script, doubles)],
        env=environment(doubles),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    answers = [answer.strip() for answer in done.stdout.split(MARK)][:-1]
    assert len(answers) == len(steps) > 8
    for (command, _, expected), answer in zip(steps, answers, strict=True):
        assert expected.strip() in ("", answer), command
    assert doubles.journal() == ()
