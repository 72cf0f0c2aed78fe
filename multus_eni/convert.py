"""`multus-eni convert`: the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from multus_eni.convert_node_eni import Converted, convert, is_node_eni

CONVERT = """\
Writes NodeNetworks for the NodeENI objects of aws-multi-eni-controller, and says on standard error what is
not as it was; no cluster is asked and nothing is changed. docs/migrate-controllers.md has the steps.

  kubectl get nodeenis -o yaml | multus-eni convert -f - > networks.yaml"""


def add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `convert`."""
    parser = commands.add_parser(
        "convert",
        help="write NodeNetworks for NodeENIs of aws-multi-eni-controller",
        description=CONVERT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-f", "--filename", required=True, metavar="FILE", help="NodeENIs, YAML or JSON; - is standard input"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    """Convert all NodeENIs of a file; returns the exit code: 2 where one of them can't be read."""
    # Imported late: `--help` does not need it.
    import yaml  # noqa: PLC0415

    try:
        text = sys.stdin.read() if options.filename == "-" else Path(options.filename).read_text("utf-8")
        found = [_converted(each) for each in _objects(yaml.safe_load_all(text))]
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        sys.stderr.write(f"multus-eni convert: {options.filename}: {error}\n")
        return 2
    if not found:
        sys.stderr.write(f"multus-eni convert: there is no NodeENI in {options.filename}\n")
        return 2
    for each in found:
        sys.stdout.write(f"---\n{yaml.safe_dump(each.network, sort_keys=False)}")
        name = each.network["metadata"]["name"]
        for warning in each.warnings:
            sys.stderr.write(f"{name}: {warning}\n")
    return 0


def _objects(documents: Iterator[Any]) -> Iterator[Any]:
    """Yield the objects of documents and of lists in them."""
    for document in documents:
        items = document.get("items") if isinstance(document, dict) else None
        yield from items if isinstance(items, list) else [document]


def _converted(found: Any) -> Converted:
    if not is_node_eni(found):
        kind = found.get("kind") if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{kind or 'an object without a kind'} is not a NodeENI")
    return convert(found)
