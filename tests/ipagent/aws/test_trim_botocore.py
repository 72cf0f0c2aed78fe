"""The tool that trims botocore's data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader

from ipagent.aws import trim_botocore
from ipagent.aws.trim_botocore import (
    OPERATIONS,
    UnknownDataError,
    build,
    main,
    trimmed_endpoints,
    trimmed_model,
)

pytestmark = pytest.mark.pure

MODEL: dict[str, Any] = {
    "version": "2.0",
    "metadata": {"endpointPrefix": "ec2"},
    "documentation": "long",
    "operations": {
        "Wanted": {
            "name": "Wanted",
            "http": {"method": "POST"},
            "input": {"shape": "Request", "documentation": "long"},
            "output": {"shape": "Tree"},
            "errors": [{"shape": "Broken", "documentation": "long"}],
            "documentation": "long",
            "documentationUrl": "https://docs",
        },
        "Silent": {"name": "Silent"},
        "Other": {"name": "Other", "input": {"shape": "OtherRequest"}},
    },
    "shapes": {
        "Request": {
            "type": "structure",
            "members": {
                "documentation": {"shape": "Text", "documentation": "long", "locationName": "Doc"},
                "Names": {"shape": "Names"},
            },
            "documentation": "long",
        },
        "Names": {"type": "list", "member": {"shape": "Text", "documentation": "long", "locationName": "n"}},
        "Tree": {"type": "structure", "members": {"Children": {"shape": "Trees"}}},
        "Trees": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Tree"}},
        "Broken": {"type": "structure", "exception": True},
        "Text": {"type": "string"},
        "OtherRequest": {"type": "structure"},
    },
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_model_keeps_what_its_operations_use_and_no_documentation() -> None:
    assert trimmed_model(MODEL, ["Wanted", "Silent"]) == {
        "version": "2.0",
        "metadata": {"endpointPrefix": "ec2"},
        "operations": {
            "Wanted": {
                "name": "Wanted",
                "http": {"method": "POST"},
                "input": {"shape": "Request"},
                "output": {"shape": "Tree"},
                "errors": [{"shape": "Broken"}],
            },
            "Silent": {"name": "Silent"},
        },
        "shapes": {
            "Broken": {"type": "structure", "exception": True},
            "Names": {"type": "list", "member": {"shape": "Text", "locationName": "n"}},
            "Request": {
                "type": "structure",
                "members": {
                    "documentation": {"shape": "Text", "locationName": "Doc"},
                    "Names": {"shape": "Names"},
                },
            },
            "Text": {"type": "string"},
            "Tree": {"type": "structure", "members": {"Children": {"shape": "Trees"}}},
            "Trees": {"type": "map", "key": {"shape": "Text"}, "value": {"shape": "Tree"}},
        },
    }


@pytest.mark.parametrize(
    ("model", "operations", "says"),
    [
        (MODEL, ["Gone"], "`Gone` is not among the `operations`"),
        ({**MODEL, "shapes": {}}, ["Wanted"], "is not among the `shapes`"),
        ({"version": "3.0"}, ["Wanted"], "no `operations`"),
    ],
)
def test_a_model_of_another_form_is_refused(model: dict[str, Any], operations: list[str], says: str) -> None:
    with pytest.raises(UnknownDataError, match=says):
        trimmed_model(model, operations)


def test_endpoints_keep_their_partitions_and_the_wanted_services() -> None:
    partition = {"partition": "aws", "regions": {"r": {}}, "services": {"ec2": {"endpoints": {}}, "s3": {}}}
    found = trimmed_endpoints({"version": 3, "partitions": [partition]}, {"ec2", "sts"})
    assert found == {"version": 3, "partitions": [{**partition, "services": {"ec2": {"endpoints": {}}}}]}


@pytest.mark.parametrize("endpoints", [{}, {"partitions": []}, {"partitions": [{"partition": "aws"}]}])
def test_endpoints_of_another_form_are_refused(endpoints: dict[str, Any]) -> None:
    with pytest.raises(UnknownDataError):
        trimmed_endpoints(endpoints, {"ec2"})


def test_the_same_botocore_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build(tmp_path / "deep" / name)
    one = files_of(tmp_path / "deep" / "one")
    assert one == files_of(tmp_path / "deep" / "two")
    assert {name.split("/")[0] for name in one if "/" in name} == {"ec2", "signin", "sso", "sso-oidc", "sts"}
    assert {name for name in one if "/" not in name} == {
        "_retry.json",
        "endpoints.json",
        "partitions.json",
        "sdk-default-configuration.json",
    }
    assert sum(map(len, one.values())) < 300_000
    assert sorted(file.name for file in (tmp_path / "deep").iterdir()) == ["one", "two"]


def test_what_was_there_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "data"
    (target / "s3").mkdir(parents=True)
    (target / "s3" / "old.json").write_text("{}")
    assert main([str(target)]) == 0
    assert not (target / "s3").exists()
    assert (target / "endpoints.json").is_file()


def test_a_service_that_this_botocore_does_not_know_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trim_botocore, "SERVICES", ("ec2", "sts", "not-yet-known"))
    build(tmp_path / "data")
    assert {file.name for file in (tmp_path / "data").iterdir() if file.is_dir()} == {"ec2", "sts"}


def test_an_unknown_botocore_ends_with_1_and_a_sentence_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "data"
    assert main([str(target)]) == 0
    before = files_of(target)
    monkeypatch.setattr(trim_botocore, "OPERATIONS", (*OPERATIONS, "AssignEverything"))
    assert main([str(target)]) == 1
    said = capsys.readouterr().err
    assert "is not known to this release: `AssignEverything` is not among the `operations`" in said
    assert files_of(target) == before
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_data_that_is_not_there_ends_with_1_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Loader, "BUILTIN_DATA_PATH", str(tmp_path / "nothing"))
    assert main([str(tmp_path / "data")]) == 1
    assert "is not known to this release: Unable to load data for: _retry" in capsys.readouterr().err


def test_a_client_that_knows_too_little_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trim_botocore._files(Loader())  # noqa: SLF001 - what the next step is given
    (name,) = (name for name in whole if name.startswith("ec2/") and name.endswith("service-2"))
    del whole[name]["operations"]["DeleteNetworkInterface"]
    monkeypatch.setattr(trim_botocore, "_files", lambda _: whole)
    with pytest.raises(UnknownDataError, match="knows AssignIpv6Addresses"):
        build(tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_written_ends_with_1_and_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file" / "data")]) == 1
    assert "can't be written to" in capsys.readouterr().err
