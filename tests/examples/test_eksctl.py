"""The ClusterConfig by eksctl's own schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
import yaml

from ipagent.node_network_api import STARTUP_TAINT
from tests.examples.check_nodegroup import DATA

pytestmark = pytest.mark.pure
FILE = Path(__file__).parents[2] / "examples" / "nodegroup" / "eksctl.yaml"


@pytest.fixture(scope="module")
def validate() -> Callable[[Any], None]:
    compiled: Callable[[Any], None] = fastjsonschema.compile(
        json.loads((DATA / "eksctl-schema.json").read_text(encoding="utf-8")), use_default=False
    )
    return compiled


@pytest.fixture
def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def test_eksctl_takes_it(validate: Callable[[Any], None], config: dict[str, Any]) -> None:
    validate(config)


def test_the_schema_sees_a_wrong_name_and_type(
    validate: Callable[[Any], None], config: dict[str, Any]
) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaException, match="nodeGroups"):
        validate({**config, "nodeGroups": [{**config["nodeGroups"][0], "disablePodIMDs": True}]})
    with pytest.raises(fastjsonschema.JsonSchemaException, match="maxSize"):
        validate({**config, "nodeGroups": [{**config["nodeGroups"][0], "maxSize": "three"}]})


def test_nodes_have_the_startup_taint_and_no_imds_for_pods(config: dict[str, Any]) -> None:
    (group,) = config["nodeGroups"]
    assert group["taints"] == [{"key": STARTUP_TAINT, "effect": "NoSchedule"}]
    # With disablePodIMDS eksctl sets the hop limit to 1, otherwise to 2.
    assert group["disableIMDSv1"] is group["disablePodIMDS"] is True
    assert group["labels"] == {"node-group": "multus"}
