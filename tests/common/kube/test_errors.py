"""What an answer of the API server means to its caller."""

from __future__ import annotations

import pytest

from common.kube.errors import ApiError, ClusterError, HangingWrite, KubeError, Unreachable

pytestmark = pytest.mark.pure

MEANINGS = ("transient", "forbidden", "not_found", "conflict", "outdated", "expired", "of_one_object")


@pytest.mark.parametrize(
    ("code", "meanings"),
    [
        (301, set()),
        (400, {"of_one_object"}),
        (401, set()),
        (403, {"forbidden", "of_one_object"}),
        (404, {"not_found", "outdated", "of_one_object"}),
        (409, {"conflict", "outdated", "of_one_object"}),
        (410, {"expired", "of_one_object"}),
        (422, {"of_one_object"}),
        (429, {"transient"}),
        (500, {"transient", "of_one_object"}),
        (503, {"transient"}),
    ],
)
def test_a_code_has_its_meanings(code: int, meanings: set[str]) -> None:
    error = ApiError(code, "Reason", "message", "write it")
    assert {each for each in MEANINGS if getattr(error, each)} == meanings


@pytest.mark.parametrize(
    ("error", "alone"),
    [
        (HangingWrite("it answers reads"), True),
        (Unreachable("silence"), False),
        (ClusterError("no CA"), False),
    ],
)
def test_silence_concerns_one_object_alone_where_reads_are_answered(error: KubeError, alone: bool) -> None:
    assert error.of_one_object is alone
