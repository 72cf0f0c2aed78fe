"""Our top-level packages have plain names: nothing that is installed beside them may have the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions

import pytest

pytestmark = pytest.mark.pure

OURS = "multus-eni-injector"
PACKAGES = {"certs", "check", "common", "ipagent", "multus_eni", "webhook"}


def claims_of_others(installed: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Return which of our packages another distribution installs, too; `installed` by package."""
    found = {package: set(installed.get(package, ())) - {OURS} for package in PACKAGES}
    return {package: others for package, others in found.items() if others}


def test_no_other_distribution_installs_a_package_of_our_name() -> None:
    installed = packages_distributions()
    assert "pytest" in installed
    assert claims_of_others(installed) == {}


def test_a_distribution_with_a_package_of_our_name_is_named() -> None:
    installed = {"webhook": [OURS, "webhook-tools"], "common": [OURS], "yaml": ["PyYAML"]}
    assert claims_of_others(installed) == {"webhook": {"webhook-tools"}}
