"""Everything that the images install comes as wheels for both of their architectures."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.pure

LOCK = tomllib.loads(Path(__file__).parents[2].joinpath("uv.lock").read_text(encoding="utf-8"))
PROJECT = "multus-eni-injector"


def _package(name: str) -> dict[str, Any]:
    (found,) = (package for package in LOCK["package"] if package["name"] == name)
    return dict(found)


def _locked(extra: str) -> Iterator[str]:
    """Name what an extra brings in; markers are not evaluated, so it may be more than the images have."""
    wanted = [(entry["name"], *entry.get("extra", ())) for entry in _dependencies(PROJECT, extra)]
    seen = set()
    while wanted:
        name, *extras = wanted.pop()
        for part in ("", *extras):
            if (name, part) not in seen:
                seen.add((name, part))
                found = _dependencies(name, part)
                wanted.extend((entry["name"], *entry.get("extra", ())) for entry in found)
    yield from sorted({name for name, _ in seen})


def _dependencies(name: str, extra: str) -> list[dict[str, Any]]:
    package = _package(name)
    found = package["optional-dependencies"][extra] if extra else package.get("dependencies", [])
    return [entry for entry in found if "sys_platform == 'win32'" not in entry.get("marker", "")]


def _fits(wheel: str, machine: str) -> bool:
    """Whether pip on glibc 2.28 and CPython 3.13 would take it: by its name, PEP 425 and PEP 600."""
    python, abi, platforms = wheel.removesuffix(".whl").split("-")[-3:]
    of_python = any(
        version in {"py3", "py2.py3", "cp313"} or (abi == "abi3" and int(version.removeprefix("cp3")) <= 13)
        for version in python.split(".")
        if abi in {"none", "abi3", "cp313"} and (abi != "abi3" or version.startswith("cp3"))
    )
    return of_python and any(_platform_fits(platform, machine) for platform in platforms.split("."))


def _platform_fits(platform: str, machine: str) -> bool:
    if platform == "any" or platform in {f"manylinux1_{machine}", f"manylinux2014_{machine}"}:
        return True
    if not platform.startswith("manylinux_") or not platform.endswith(f"_{machine}"):
        return False
    major, minor = platform.removeprefix("manylinux_").split("_")[:2]
    return (int(major), int(minor)) <= (2, 28)


CASES = [(extra, name) for extra in ("agent", "webhook") for name in _locked(extra)]


@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
@pytest.mark.parametrize(("extra", "name"), CASES, ids=[f"{extra}-{name}" for extra, name in CASES])
def test_a_locked_dependency_has_a_wheel_for_the_machine(extra: str, name: str, machine: str) -> None:
    wheels = [wheel["url"].rpartition("/")[2] for wheel in _package(name).get("wheels", [])]

    assert any(_fits(wheel, machine) for wheel in wheels), (extra, name, wheels)


def test_each_extra_is_looked_through_to_the_end() -> None:
    assert {"botocore", "urllib3", "six"} <= set(_locked("agent"))
    assert {"uvloop", "pydantic-core", "cryptography", "cffi", "starlette"} <= set(_locked("webhook"))


@pytest.mark.parametrize(
    ("wheel", "fits"),
    [
        ("six-1.17.0-py2.py3-none-any.whl", True),
        ("a-1-cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64.whl", True),
        ("a-1-cp39-abi3-manylinux_2_28_aarch64.whl", True),
        ("a-1-cp314-abi3-manylinux_2_28_aarch64.whl", False),
        ("a-1-cp313-cp313t-manylinux_2_28_aarch64.whl", False),
        ("a-1-cp312-cp312-manylinux_2_28_aarch64.whl", False),
        ("a-1-cp313-cp313-manylinux_2_34_aarch64.whl", False),
        ("a-1-cp313-cp313-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp313-cp313-musllinux_1_2_aarch64.whl", False),
        ("a-1-cp313-cp313-macosx_11_0_arm64.whl", False),
    ],
)
def test_a_wheel_fits_by_its_name(wheel: str, *, fits: bool) -> None:
    assert _fits(wheel, "aarch64") is fits
