"""`python -m demo`: options, namespaces, the story, and what it ends with."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo.admission import Via
from demo.failure import DemoError
from demo.isolation import FORBIDDEN, run_isolated
from demo.manifests import EXAMPLES, load
from demo.screen import Screen
from demo.story import Options, Story, Told
from tests.cluster.api import ApiError
from tests.cluster.control_plane import UnsupportedVersion
from tests.cluster.processes import ProcessError
from tests.netns import NamespacesForbidden

WORLD = Path(__file__).with_name("world.yaml")
FAILED = 1

EPILOG = """\
exit codes: 0 EC2 has the pod's address on the right ENI and nothing else changed; 1 a step failed;
3 the system allows no namespaces (the message says what to allow)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the story; returns the exit code."""
    options = _parser().parse_args(arguments)
    machine = options.output == "json"
    try:
        return run_isolated(lambda folder: _tell(options, folder, machine=machine))
    except NamespacesForbidden as forbidden:
        print(f"demo: {forbidden}", file=sys.stderr)
        return FORBIDDEN


def _tell(options: argparse.Namespace, folder: Path, *, machine: bool) -> int:
    screen = Screen(None if machine else sys.stdout)
    screen.line("multus-eni-injector: a Multus pod gets its VPC address", "bold")
    told, failure = Told(), None
    try:
        via = None if options.admission == "auto" else Via(options.admission)
        story = Story(Options(options.world, load(options.manifests), via, options.timeout), folder, screen)
        told = story.told
        story.tell()
    except DemoError as error:
        failure = error
    except (ProcessError, UnsupportedVersion, ApiError, TimeoutError, OSError) as error:
        failure = DemoError(f"{type(error).__name__}: {error}" if isinstance(error, OSError) else str(error))
    if machine:
        print(json.dumps(_document(told, screen, failure), indent=2))
    _end(told, screen, failure)
    return FAILED if failure else 0


def _end(told: Told, screen: Screen, failure: DemoError | None) -> None:
    screen.line()
    if failure is None:
        text = f"{told.address} of pod {told.pod} is a secondary address of {told.eni}"
        screen.line(f"✓ {text} ({screen.summary()})", "green")
        return
    step = screen.steps[-1].name if screen.steps else "start"
    print(f"demo: step '{step}' failed: {failure.what}", file=sys.stderr)
    if failure.remedy:
        print(f"demo: {failure.remedy}", file=sys.stderr)
    if failure.log:
        tail = "\n".join(failure.log.splitlines()[-30:])
        print(f"demo: the end of its log:\n{tail}", file=sys.stderr)


def _document(told: Told, screen: Screen, failure: DemoError | None) -> dict[str, Any]:
    agent = told.agent
    return {
        "ok": failure is None,
        "admission": told.via,
        "pod": told.pod,
        "address": told.address,
        "eni": told.eni,
        "agent": agent
        and {
            "exitCode": agent.returncode,
            "terminationMessage": agent.termination_message,
            "log": agent.stderr,
        },
        "ec2": {"before": told.before, "after": told.after},
        "steps": [{"name": step.name, "seconds": round(step.seconds, 3)} for step in screen.steps],
        "error": failure and {"what": failure.what, "remedy": failure.remedy, "log": failure.log},
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Creates a Multus pod, lets the webhook inject the agent, runs the agent, and shows that "
        "EC2 has the pod's address on the right ENI. Needs no root, no cluster, no AWS account: everything "
        "runs in namespaces of its own, and EC2 and IMDS are strict doubles.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--admission",
        choices=("auto", *Via),
        default="auto",
        help="create the pod through a real API server, or by posting the review that it would send "
        "(auto: the API server if its programs are at hand)",
    )
    parser.add_argument(
        "--output", choices=("text", "json"), default="text", help="json: the result for programs"
    )
    parser.add_argument(
        "--world", type=Path, default=WORLD, metavar="FILE", help="EC2's state at the beginning"
    )
    parser.add_argument(
        "--manifests", type=Path, default=EXAMPLES, metavar="FOLDER", help="where the three manifests are"
    )
    parser.add_argument(
        "--timeout",
        type=int,
        default=20,
        metavar="SECONDS",
        help="how long the agent may try (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
