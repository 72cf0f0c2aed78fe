"""The double refuses what EC2 refuses, with EC2's codes, and a refused call changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from tests.doubles_tests import worlds
from tests.doubles_tests.error_cases import CASES, Case, Place

if TYPE_CHECKING:
    from tests.doubles import Doubles
    from tests.doubles_tests.conftest import Connect

PLACE = Place(mine=worlds.A1, other=worlds.B1, full=worlds.A_FULL, crowded=worlds.B_CROWDED)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_as_by_ec2(case: Case, shared: Doubles, connect: Connect) -> None:
    before = shared.state()

    with pytest.raises(ClientError) as refused:
        case.call(connect(shared, case.key), PLACE)

    error = refused.value.response["Error"]
    assert error["Code"] == case.code
    assert re.search(case.message, error["Message"]), error["Message"]
    assert shared.state() == before
    assert shared.journal()[-1].result == case.code


@pytest.mark.parametrize(
    ("code", "status"),
    [("InvalidParameterValue", 400), ("UnauthorizedOperation", 403), ("DryRunOperation", 412)],
)
def test_status_is_that_of_the_code(code: str, status: int, shared: Doubles, connect: Connect) -> None:
    case = next(case for case in CASES if case.code == code)

    with pytest.raises(ClientError) as refused:
        case.call(connect(shared, case.key), PLACE)

    metadata = refused.value.response["ResponseMetadata"]
    assert metadata["HTTPStatusCode"] == status
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata["RequestId"])
