"""What a pod requests of networks' resources, as the scheduler counts it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipagent.node.model.requested_units import MAX_UNITS, requested_units

pytestmark = pytest.mark.pure


def container(**units: int) -> dict[str, Any]:
    requests = {"cpu": "50m", **{f"multus-eni.io/{name}": str(number) for name, number in units.items()}}
    return {"resources": {"requests": requests}}


def sidecar(**units: int) -> dict[str, Any]:
    return {**container(**units), "restartPolicy": "Always"}


CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, int]]] = {
    "nothing": ([], [{}], {}),
    "an init container, for the pod's life": ([container(oam=2)], [{}], {"oam": 2}),
    "a native sidecar": ([sidecar(oam=2)], [{}], {"oam": 2}),
    "sidecars add up, init containers do not": (
        [sidecar(oam=1), container(oam=2), container(oam=4), sidecar(oam=1)],
        [{}],
        {"oam": 5},
    ),
    "apps and sidecars together": ([sidecar(oam=1), container(oam=2)], [container(oam=3)], {"oam": 4}),
    "each network by itself": ([container(oam=1, sig=2)], [container(sig=1)], {"oam": 1, "sig": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_units_count_as_the_scheduler_counts(case: str) -> None:
    inits, apps, expected = CASES[case]
    found = requested_units({"initContainers": inits, "containers": apps})
    assert dict(found) == expected
    assert list(found) == sorted(found)


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "initContainers": json
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "resources": json | st.fixed_dictionaries({"requests": json}),
                    "restartPolicy": json,
                },
            ),
            max_size=3,
        ),
        "containers": json,
    },
)


@pytest.mark.parametrize(
    ("value", "units"),
    [
        ("7", 7),
        (7, 7),
        ("1k", 1000),
        ("2Ki", 2048),
        ("1e3", 1000),
        ("1E3", 1000),
        ("3000m", 3),
        ("1M", 1_000_000),
        ("9" * 30, MAX_UNITS),
        ("1E", MAX_UNITS),
    ],
)
def test_a_number_counts_in_each_form_in_which_the_api_server_may_write_it(
    value: str | int, units: int
) -> None:
    requests = {"multus-eni.io/oam": value}
    assert requested_units({"containers": [{"resources": {"requests": requests}}]}) == (("oam", units),)


@given(specs, st.sampled_from(["", "-1", "1.5", "1500m", "9" * 400, "\u0661", " 1", "1 k", True, 1.5, None]))
def test_what_is_malformed_requests_nothing(spec: dict[str, Any], value: object) -> None:
    requested_units(spec)
    requests = {"multus-eni.io/oam": value, "nvidia.com/gpu": "1"}
    assert requested_units({"containers": [{"resources": {"requests": requests}}]}) == ()
