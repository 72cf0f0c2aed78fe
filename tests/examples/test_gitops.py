"""The examples for Flux and Argo CD by the schemas of their CRDs."""

from __future__ import annotations

import copy
from typing import Any

import fastjsonschema
import pytest
import yaml

from tests.examples.check_nodegroup import DATA
from tests.examples.pages import ROOT

pytestmark = pytest.mark.pure
PRESERVED = "x-kubernetes-preserve-unknown-fields"


def strict(schema: Any) -> Any:
    """Refuse fields that a schema does not have, as server-side apply does."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object" and PRESERVED not in found:
        found["additionalProperties"] = False
    return found


def validator(kind: str) -> Any:
    crds = yaml.safe_load_all((DATA / "gitops-crds.yaml").read_text(encoding="utf-8"))
    (crd,) = (each for each in crds if each["spec"]["names"]["kind"] == kind)
    (version,) = crd["spec"]["versions"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["apiVersion"] = {"const": f"{crd['spec']['group']}/{version['name']}"}
    schema["properties"]["kind"] = {"const": kind}
    schema["properties"]["metadata"] = {"type": "object"}
    return fastjsonschema.compile(schema, use_default=False)


@pytest.mark.parametrize(
    ("name", "kind", "wrong"),
    [
        ("flux-helmrelease.yaml", "OCIRepository", ("layerSelector", "mediatype")),
        ("flux-helmrelease.yaml", "HelmRelease", ("chartRef", "Kind")),
        ("argocd-application.yaml", "Application", ("syncPolicy", "automatic")),
    ],
)
def test_the_example_is_one_that_the_crd_takes(name: str, kind: str, wrong: tuple[str, str]) -> None:
    found = yaml.safe_load_all((ROOT / "examples" / name).read_text(encoding="utf-8"))
    document: dict[str, Any] = next(each for each in found if each["kind"] == kind)
    validate = validator(kind)
    validate(document)
    spoilt = copy.deepcopy(document)
    spoilt["spec"][wrong[0]][wrong[1]] = "x"
    with pytest.raises(fastjsonschema.JsonSchemaException, match=f"must not contain.*{wrong[1]}"):
        validate(spoilt)
