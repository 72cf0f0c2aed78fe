"""Write the part of botocore's data that the agent uses: `python -m ipagent.aws.trim_botocore [DIR]`.

Run once where botocore is installed, as a part of the build of the image or of the set-up. Without DIR the
data goes where the agent looks for it (`trimmed_data_path` in `ipagent/aws/botocore_session.py`). The same
botocore gives the same bytes.

Exit code 0 if it is written; 1, with a sentence, if this botocore's data is not as it is known here, or the
data can't be written. Then nothing has changed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import botocore
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import Loader

from ipagent.aws.botocore_session import SERVICES, new_session, trimmed_data_path

OPERATIONS = (
    "AssignIpv6Addresses",
    "AssignPrivateIpAddresses",
    "AssociateAddress",
    "AttachNetworkInterface",
    "CreateNetworkInterface",
    "CreateTags",
    "DeleteNetworkInterface",
    "DeleteTags",
    "DescribeAddresses",
    "DescribeInstanceTypes",
    "DescribeNetworkInterfaces",
    "DescribeSecurityGroups",
    "DescribeSubnets",
    "DetachNetworkInterface",
    "DisassociateAddress",
    "ModifyNetworkInterfaceAttribute",
    "UnassignIpv6Addresses",
    "UnassignPrivateIpAddresses",
)
"""Those of EC2 that are kept: a client can't call another one. The other services are kept whole."""

COMMON = ("_retry", "partitions", "sdk-default-configuration")
_ABOUT = frozenset({"documentation", "documentationUrl"})

Json = dict[str, Any]


class UnknownDataError(Exception):
    """This botocore's data is not as it is known here."""


def trimmed_model(model: Mapping[str, Any], operations: Collection[str]) -> Json:
    """Return a service's model (service-2) with these operations and the shapes that they use, undocumented.

    Raises UnknownDataError for an operation or a shape that the model lacks.
    """
    kept = {name: _operation(_entry(model, "operations", name)) for name in operations}
    wanted = [reference for operation in kept.values() for reference in _operation_references(operation)]
    shapes: Json = {}
    while wanted:
        name = wanted.pop()
        if name not in shapes:
            shapes[name] = _shape(_entry(model, "shapes", name))
            wanted.extend(_references(shapes[name]))
    return {
        **_undocumented(model),
        "operations": kept,
        "shapes": {name: shapes[name] for name in sorted(shapes)},
    }


def trimmed_endpoints(endpoints: Mapping[str, Any], prefixes: Collection[str]) -> Json:
    """Return botocore's `endpoints`: every partition and region, but only services with these prefixes.

    Raises UnknownDataError where there are no partitions.
    """
    partitions = [
        {
            **partition,
            "services": _only(_part(partition, "services"), prefixes),
        }
        for partition in endpoints.get("partitions", ())
    ]
    if not partitions:
        raise UnknownDataError("`endpoints` has no partitions")
    return {**endpoints, "partitions": partitions}


def build(target: Path, loader: Loader | None = None) -> None:
    """Write the data into the folder `target`; what was there is replaced at once, or not at all.

    Raises UnknownDataError, botocore's own errors for data that can't be read, or OSError.
    """
    files = _files(loader or Loader())
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as folder:
        # In a folder of its own mode: that of a temporary one lets only its owner in.
        made = Path(folder, "data")
        for name, content in files.items():
            file = made / f"{name}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
        _try(made)
        if target.exists():
            target.rename(Path(folder, "old"))
        made.rename(target)


def _files(loader: Loader) -> dict[str, Json]:
    """Return the content of each file by its path below the folder, without `.json`."""
    files: dict[str, Json] = {name: loader.load_data(name) for name in COMMON}
    prefixes = set()
    available = loader.list_available_services("service-2")
    # What a botocore does not have, it does not call.
    for service in (service for service in SERVICES if service in available):
        folder = f"{service}/{loader.determine_latest_version(service, 'service-2')}"
        model = loader.load_service_model(service, "service-2")
        pages = loader.load_service_model(service, "paginators-1")
        operations = OPERATIONS if service == "ec2" else tuple(_part(model, "operations"))
        files[f"{folder}/service-2"] = trimmed_model(model, operations)
        files[f"{folder}/endpoint-rule-set-1"] = loader.load_service_model(service, "endpoint-rule-set-1")
        files[f"{folder}/paginators-1"] = {"pagination": _only(_part(pages, "pagination"), operations)}
        prefixes.add(_entry(model, "metadata", "endpointPrefix"))
    files["endpoints"] = trimmed_endpoints(loader.load_data("endpoints"), prefixes)
    return files


def _try(data: Path) -> None:
    """Let botocore read what was written; raises UnknownDataError if it makes no EC2 client of it."""
    unsigned = Config(signature_version=UNSIGNED)
    client = new_session(str(data)).create_client("ec2", region_name="us-east-1", config=unsigned)
    known = sorted(client.meta.method_to_api_mapping.values())
    client.close()
    if known != sorted(OPERATIONS):
        raise UnknownDataError(f"a client with the trimmed data knows {', '.join(known)}")


def _operation(operation: Mapping[str, Any]) -> Json:
    kept = {key: value for key, value in operation.items() if key not in _ABOUT}
    for end in ("input", "output"):
        if end in kept:
            kept[end] = _undocumented(kept[end])
    if "errors" in kept:
        kept["errors"] = [_undocumented(error) for error in kept["errors"]]
    return kept


def _shape(shape: Mapping[str, Any]) -> Json:
    kept = _undocumented(shape)
    for part in ("member", "key", "value"):
        if part in kept:
            kept[part] = _undocumented(kept[part])
    if "members" in kept:
        # Not by name: a member may be called `documentation`.
        kept["members"] = {name: _undocumented(member) for name, member in kept["members"].items()}
    return kept


def _operation_references(operation: Mapping[str, Any]) -> Iterator[str]:
    for end in ("input", "output"):
        if end in operation:
            yield operation[end]["shape"]
    for error in operation.get("errors", ()):
        yield error["shape"]


def _references(shape: Mapping[str, Any]) -> Iterator[str]:
    for part in ("member", "key", "value"):
        if part in shape:
            yield shape[part]["shape"]
    for member in shape.get("members", {}).values():
        yield member["shape"]


def _undocumented(thing: Mapping[str, Any]) -> Json:
    return {key: value for key, value in thing.items() if key not in _ABOUT}


def _only(entries: Mapping[str, Any], names: Collection[str]) -> Json:
    return {name: entry for name, entry in entries.items() if name in names}


def _part(data: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] | None = data.get(part)
    if found is None:
        raise UnknownDataError(f"its data has no `{part}`")
    return found


def _entry(data: Mapping[str, Any], part: str, name: str) -> Any:
    try:
        return _part(data, part)[name]
    except KeyError:
        raise UnknownDataError(f"`{name}` is not among the `{part}` of its data") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m ipagent.aws.trim_botocore", description=__doc__)
    parser.add_argument("folder", nargs="?", metavar="DIR", type=Path, default=Path(trimmed_data_path()))
    target: Path = parser.parse_args(arguments).folder
    try:
        build(target)
    except (UnknownDataError, BotoCoreError) as error:
        sys.stderr.write(
            f"botocore {botocore.__version__} is not known to this release: {error}. Use the botocore of "
            "uv.lock, or leave this step out: the agent then reads all of botocore's data.\n"
        )
        return 1
    except OSError as error:
        sys.stderr.write(f"The trimmed data can't be written to {target}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
