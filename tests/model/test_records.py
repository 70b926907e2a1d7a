"""Items: what a record sold, exactly as it states it."""

from decimal import Decimal
from typing import Any

import pytest

from roamd.model.records import Item, cdr_items, sdr_items
from tests.model import bodies
from tests.model.bodies import STAMP, text


def items_of(**changes: Any) -> list[tuple[str, str, str, str | None]]:
    return [_row(item) for item in cdr_items(text(bodies.cdr(**changes)))]


def _row(item: Item) -> tuple[str, str, str, str | None]:
    row = item.as_json()
    assert isinstance(item.quantity, Decimal)
    return str(row["type"]), str(row["quantity"]), str(row["unit"]), row["price"]


def test_a_cdr_always_has_an_energy_item() -> None:
    assert items_of(total_energy=0) == [("energy", "0", "kWh", None)]
    assert items_of(total_energy_cost={"before_taxes": 6.1}) == [("energy", "15.25", "kWh", "6.1")]


def test_every_total_of_a_cdr_becomes_an_item() -> None:
    found = items_of(
        total_time=2.5,
        total_time_cost={"before_taxes": 1},
        total_parking_time=0.5,
        total_parking_cost={"before_taxes": 2},
        total_reservation_cost={"before_taxes": 3},
        total_fixed_cost={"before_taxes": 0.50, "taxes": [{"name": "VAT", "amount": 0.1}]},
    )
    assert found == [
        ("energy", "15.25", "kWh", None),
        ("other", "2.0", "h", "1"),
        ("parking", "0.5", "h", "2"),
        ("reservation", "0", "h", "3"),
        ("other", "1", "session", "0.5"),
    ]


def test_a_time_without_a_price_is_an_item_only_where_it_is_not_zero() -> None:
    assert items_of(total_parking_time=0) == items_of() == [("energy", "15.25", "kWh", None)]
    assert items_of(total_parking_time=1)[1:] == [("parking", "1", "h", None)]


def test_reserved_hours_are_summed_over_the_periods() -> None:
    reserved = [{"type": "RESERVATION_TIME", "volume": 0.1}, {"type": "TIME", "volume": 7}]
    periods = [{"start_date_time": STAMP, "dimensions": reserved}] * 3
    assert items_of(charging_periods=periods)[1:] == [("reservation", "0.3", "h", None)]


@pytest.mark.parametrize("price", ["excl_vat", "before_taxes"])
def test_prices_of_both_versions_are_before_taxes(price: str) -> None:
    assert items_of(total_energy_cost={price: 6.10, "incl_vat": 7.3})[0] == ("energy", "15.25", "kWh", "6.1")


def test_sums_are_exact_where_binary_floats_are_not() -> None:
    row = [{"type": "RESERVATION_TIME", "volume": 0.1}] * 10
    assert items_of(charging_periods=[{"start_date_time": STAMP, "dimensions": row}])[1][1] == "1.0"


def test_a_credits_negative_amounts_stay_negative() -> None:
    assert items_of(total_energy_cost={"before_taxes": -6.6})[0][3] == "-6.6"


def test_an_sdrs_items_are_the_given_ones() -> None:
    rows = [
        {"type": "parking", "quantity": 1.5, "unit": "h", "price": {"before_taxes": 3.00}},
        {"type": "idle", "quantity": 20, "unit": "min", "price": 0.10},
    ]
    found = [_row(item) for item in sdr_items(text(bodies.sdr(items=rows)))]
    assert found == [("parking", "1.5", "h", "3.0"), ("idle", "20", "min", "0.1")]
