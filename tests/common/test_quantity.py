from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.quantity import cpu_text, memory_text, parse_quantity

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("0", 0),
        ("+3", 3),
        ("-1", -1),
        (".5", Decimal("0.5")),
        ("5.", 5),
        ("250m", Decimal("0.25")),
        ("100n", Decimal("1e-7")),
        ("7u", Decimal("7e-6")),
        ("2k", 2000),
        ("1.5Gi", 3 * 2**29),
        ("64Mi", 2**26),
        ("12E", 12 * 10**18),
        ("12e3", 12000),
        ("1E2", 100),
        ("1e-3", Decimal("0.001")),
        (2, 2),
        (0.5, Decimal("0.5")),
    ],
)
def test_quantities(text: str | float, value: Decimal) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text", ["", "m", "1 Gi", "1K", "1gi", "one", "1e", "1.2.3", "--1", "1e999", "9" * 100, "٣"]
)
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity"):
        parse_quantity(text)


@given(st.integers(1, 10**6))
def test_cpu_is_written_as_it_is_read(millicores: int) -> None:
    assert parse_quantity(cpu_text(Decimal(millicores) / 1000)) == Decimal(millicores) / 1000


@given(st.integers(1, 2**40))
def test_memory_is_written_as_it_is_read(size: int) -> None:
    assert parse_quantity(memory_text(Decimal(size))) == size
