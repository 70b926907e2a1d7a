"""What a session costs: worked cases, every sample tariff, and what holds for all tariffs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.model.body import compact, tree
from roamd.model.pricing.check import Rounding, as_stated, check_cdr, rounded
from roamd.model.pricing.cuts import cut
from roamd.model.pricing.engine import Priced, price
from roamd.model.pricing.tariff import (
    Component,
    Element,
    Money,
    Restrictions,
    Tariff,
    UnreadableTariffError,
    read_tariff,
)
from roamd.model.pricing.usage import Stretch, Usage, read_usage
from tests.model.samples import FOLDER, REASON

VECTORS = json.loads(Path(__file__).parents[2].joinpath("vectors/pricing.json").read_text(), parse_float=Decimal)
START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def priced(case: Mapping[str, Any]) -> Priced:
    tariff = read_tariff(case["tariff"])
    return price(read_usage(case), {tariff.id: tariff}, ZoneInfo(case["time_zone"]))


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_a_session_costs_what_was_worked_out_by_hand(case: Mapping[str, Any]) -> None:
    outcome = priced(case)
    for side, wanted in ((outcome.total.before, case["before_taxes"]), (outcome.total.after, case["after_taxes"])):
        assert (None if side is None else str(rounded(side, 2))) == wanted
    if case["lines"] is not None:
        assert [[line.kind, str(rounded(line.cost.before or Fraction(0), 2))] for line in outcome.lines] == case[
            "lines"
        ]
    assert len(outcome.doubts) == case["doubts"]


@pytest.mark.skipif(not FOLDER.is_dir(), reason=REASON)
def test_every_sample_tariff_can_be_priced() -> None:
    files = [file for file in FOLDER.rglob("tariff_*.json") if "put" not in file.name]
    assert len(files) > 30
    for file in files:
        tariff = read_tariff(tree(compact(file.read_bytes())))  # type: ignore[arg-type]
        usage = Usage((Stretch(0, START, START + timedelta(hours=2), tariff.id, Fraction(20), Fraction(7200)),), False)
        total = price(usage, {tariff.id: tariff}, UTC).total
        assert (total.before if total.before is not None else total.after) is not None
        assert (total.before or Fraction(0)) >= 0


# --- what holds for all tariffs ---------------------------------------------------------------------------------

amounts = st.integers(0, 10_000).map(lambda cents: Fraction(cents, 100))
bounds = st.tuples(st.none() | amounts, st.none() | amounts)
restrictions = st.builds(
    Restrictions,
    start_time=st.none() | st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    end_time=st.none() | st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    days=st.frozensets(st.integers(0, 6), max_size=3),
    kwh=bounds,
    duration=bounds,
)


def components(steps: st.SearchStrategy[int]) -> st.SearchStrategy[dict[str, Component]]:
    def one(name: str) -> st.SearchStrategy[Component]:
        return st.builds(Component, st.just(name), amounts, st.none() | amounts, steps)

    return st.fixed_dictionaries({}, optional={name: one(name) for name in ("FLAT", "ENERGY", "TIME", "PARKING_TIME")})


def tariffs(steps: st.SearchStrategy[int]) -> st.SearchStrategy[Tariff]:
    elements = st.lists(st.tuples(components(steps), restrictions), min_size=1, max_size=4).map(
        lambda given: tuple(Element(place, prices, limits) for place, (prices, limits) in enumerate(given))
    )
    nothing = Money(None, None)
    return st.builds(
        Tariff, st.just("T1"), st.just("EUR"), st.just("ADDED"), elements, st.just(nothing), st.just(nothing)
    )


stretches = st.builds(
    lambda minutes, kwh, charging, parking: Stretch(
        0, START, START + timedelta(minutes=minutes), "T1", kwh, charging * 60, parking * 60
    ),
    st.integers(1, 3000),
    amounts,
    amounts,
    amounts,
)


@given(tariffs(st.integers(1, 3600)), stretches)
def test_a_price_is_never_negative_and_the_lines_add_up_to_it(tariff: Tariff, stretch: Stretch) -> None:
    outcome = price(Usage((stretch,), False), {"T1": tariff}, UTC)
    assert outcome.total.before is not None
    assert outcome.total.before >= 0
    assert outcome.total.before == sum((line.cost.before or Fraction(0) for line in outcome.lines), Fraction(0))
    assert all(line.rounded_up >= 0 for line in outcome.lines)


@given(tariffs(st.just(1)), stretches, st.lists(st.integers(1, 99), max_size=4, unique=True).map(sorted))
def test_more_charging_periods_for_the_same_use_do_not_change_the_price(
    tariff: Tariff, stretch: Stretch, cuts: list[int]
) -> None:
    """Additive over periods; but for steps, of which the last part decides, so the exact quantities are compared."""
    whole = price(Usage((stretch,), False), {"T1": tariff}, UTC)
    shares = [Fraction(place, 100) for place in (0, *cuts, 100)]
    length = stretch.end - stretch.start
    parts = tuple(
        replace(
            stretch,
            period=place,
            start=stretch.start + length * float(begin) if begin else stretch.start,
            end=stretch.start + length * float(end),
            kwh=stretch.kwh * (end - begin),
            charging_s=stretch.charging_s * (end - begin),
            parking_s=stretch.parking_s * (end - begin),
        )
        for place, (begin, end) in enumerate(pairwise(shares))
    )
    by_parts = price(Usage(parts, False), {"T1": tariff}, UTC)

    def quantities(outcome: Priced) -> dict[tuple[int, str], float]:
        return {(line.element, line.kind): float(line.quantity) for line in outcome.lines if line.kind != "fixed"}

    one, other = quantities(whole), quantities(by_parts)
    for key in one.keys() | other.keys():
        assert one.get(key, 0.0) == pytest.approx(other.get(key, 0.0), abs=1e-3)


@given(tariffs(st.just(1)), stretches)
def test_cutting_loses_nothing(tariff: Tariff, stretch: Stretch) -> None:
    parts = cut(stretch, tariff, kwh=Fraction(0), elapsed_s=Fraction(0), zone=UTC)
    assert sum((part.kwh for part in parts), Fraction(0)) == stretch.kwh
    assert sum((part.parking_s for part in parts), Fraction(0)) == stretch.parking_s
    assert parts[0].start == stretch.start
    assert parts[-1].end == stretch.end


# --- what cannot be priced --------------------------------------------------------------------------------------


def cdr(**fields: Any) -> dict[str, Any]:
    case = VECTORS["cases"][0]
    body = {"currency": "EUR", "tariffs": [case["tariff"]], "total_cost": {"excl_vat": Decimal("5.5")}}
    body |= {"charging_periods": case["charging_periods"], "end_date_time": case["end_date_time"]}
    return body | fields


def test_a_record_that_agrees_says_how() -> None:
    outcome = check_cdr(cdr(total_cost={"excl_vat": Decimal("5.5"), "incl_vat": Decimal("6.10")}))
    assert (outcome.verdict, outcome.total, outcome.differences) == ("AGREES", Decimal("5.50"), ())
    assert outcome.lines == (
        "tariff T1 element 0: 1 time x 0.5 = 0.50 EUR before taxes",
        "tariff T1 element 0: 20 kWh x 0.25 = 5.00 EUR before taxes",
    )


def test_a_record_that_asks_for_too_much_says_where_and_how_much() -> None:
    outcome = check_cdr(
        cdr(total_cost={"excl_vat": 6}, total_energy_cost={"excl_vat": Decimal("5.5")}, total_energy=21)
    )
    assert outcome.verdict == "DIFFERS"
    assert {d.field: d.amount for d in outcome.differences} == {
        "total_cost.before_taxes": Decimal("0.5"),
        "total_energy_cost.before_taxes": Decimal("0.5"),
        "total_energy": 1,
    }


def test_a_cent_is_within_the_tolerance_and_two_are_not() -> None:
    assert check_cdr(cdr(total_cost={"excl_vat": Decimal("5.51")})).verdict == "AGREES"
    assert check_cdr(cdr(total_cost={"excl_vat": Decimal("5.52")})).verdict == "DIFFERS"
    assert check_cdr(cdr(total_cost={"excl_vat": Decimal("5.52")}), tolerance=Decimal("0.02")).verdict == "AGREES"


def test_a_credit_is_the_same_below_zero() -> None:
    assert check_cdr(cdr(credit=True, total_cost={"excl_vat": Decimal("-5.5")})).verdict == "AGREES"
    assert check_cdr(cdr(credit=True, total_cost={"excl_vat": Decimal("5.5")})).verdict == "DIFFERS"


def test_a_price_with_doubts_is_no_proof_of_a_difference() -> None:
    case = next(case for case in VECTORS["cases"] if "nobody says" in case["name"])
    body = cdr(tariffs=[case["tariff"]], charging_periods=case["charging_periods"], total_cost={"excl_vat": 1})
    outcome = check_cdr(body | {"end_date_time": case["end_date_time"]})
    assert (outcome.verdict, outcome.doubts) == ("UNSURE", ("charging period 0 does not say its current",))


def test_the_published_tariff_goes_before_the_one_that_the_record_brings() -> None:
    tariff = read_tariff(VECTORS["cases"][0]["tariff"] | {"elements": [{"price_components": [
        {"type": "ENERGY", "price": Decimal("0.20"), "step_size": 1}]}]})  # fmt: skip
    assert check_cdr(cdr(), published={"T1": tariff}).verdict == "DIFFERS"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tariffs": []}, "its tariff T1 is not known"),
        ({"currency": "SEK"}, "the record is in SEK, its tariff in EUR"),
        ({"end_date_time": "2026-03-01T00:00:00Z"}, "the charging periods are not in the order of time"),
    ],
)
def test_what_cannot_be_priced_says_why(fields: dict[str, Any], reason: str) -> None:
    outcome = check_cdr(cdr(**fields))
    assert (outcome.verdict, outcome.reason) == ("UNPRICED", reason)


@pytest.mark.parametrize(
    "change",
    [
        {"elements": [{"price_components": [{"type": "SMILES", "price": 1, "step_size": 1}]}]},
        {"tax_included": "MAYBE"},
        {"elements": [{"price_components": [], "restrictions": {"min_smiles": 3}}]},
        {"elements": [{"price_components": [], "restrictions": {"start_time": "25:00"}}]},
        {"elements": [{"price_components": [], "restrictions": {"day_of_week": ["CATURDAY"]}}]},
        {"elements": [{"price_components": [], "restrictions": {"reservation": "PERHAPS"}}]},
    ],
)
def test_a_tariff_with_words_that_nobody_here_knows_is_not_guessed_at(change: dict[str, Any]) -> None:
    with pytest.raises(UnreadableTariffError):
        read_tariff(VECTORS["cases"][0]["tariff"] | change)


def test_a_record_made_to_be_costly_is_not_priced() -> None:
    case = VECTORS["cases"][0]
    many = [case["tariff"]["elements"][0]] * 1000
    body = cdr(tariffs=[case["tariff"] | {"elements": many}], charging_periods=case["charging_periods"] * 300)
    assert check_cdr(body).reason == "it has more periods and elements than are looked at"


# --- rounding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "mode", "wanted"),
    [
        (Fraction(5, 1000), "HALF_UP", "0.01"),
        (Fraction(5, 1000), "HALF_EVEN", "0.00"),
        (Fraction(-5, 1000), "HALF_UP", "-0.01"),
        (Fraction(1, 3000), "UP", "0.01"),
        (Fraction(29, 3000), "DOWN", "0.00"),
        (Fraction(2, 3), "HALF_UP", "0.67"),
    ],
)
def test_money_is_rounded_as_agreed(value: Fraction, mode: str, wanted: str) -> None:
    assert str(rounded(value, 2, mode)) == wanted


@pytest.mark.parametrize(
    ("value", "decimals", "wanted"),
    [
        (Fraction(12), 2, "12.00"),
        (Fraction(120), 0, "120"),
        (Fraction(11, 2), 2, "5.50"),
        (Fraction(-11, 2), 0, "-5.5"),
        (Fraction("5.503"), 2, "5.503"),
        (Fraction(1, 3), 2, "0.333333"),
        (Fraction(0), 3, "0.000"),
    ],
)
def test_what_a_record_states_is_shown_with_the_decimals_of_money_and_its_own_odd_cents(
    value: Fraction, decimals: int, wanted: str
) -> None:
    assert str(as_stated(value, decimals)) == wanted


def test_rounding_by_line_adds_up_the_lines_cents() -> None:
    components = [{"type": kind, "price": Decimal("0.105"), "step_size": 1} for kind in ("ENERGY", "FLAT")]
    tariff = VECTORS["cases"][0]["tariff"] | {"elements": [{"price_components": components}]}
    dimensions = [{"type": "ENERGY", "volume": 1}]
    periods = [{"start_date_time": "2026-03-02T08:00:00Z", "tariff_id": "T1", "dimensions": dimensions}]
    body = cdr(tariffs=[tariff], charging_periods=periods, total_cost={"excl_vat": Decimal("0.22")})
    exact = Decimal(0)
    assert check_cdr(body, rounding=Rounding(level="LINE"), tolerance=exact).verdict == "AGREES"
    assert check_cdr(body, rounding=Rounding(level="TOTAL"), tolerance=exact).verdict == "DIFFERS"


@pytest.mark.parametrize("days", [1, 40])
def test_a_record_that_would_take_long_to_price_is_not_priced(days: int) -> None:
    """Each of 2,000 elements cuts the session at a minute of its own, on each of its days."""
    limits = [Restrictions(start_time=time(minute // 60 % 24, minute % 60)) for minute in range(2000)]
    component = Component("ENERGY", Fraction(1), None, 1)
    elements = tuple(Element(place, {"ENERGY": component}, each) for place, each in enumerate(limits))
    tariff = Tariff("T-1", "EUR", "NO", elements, Money(None, None), Money(None, None))
    usage = Usage((Stretch(0, START, START + timedelta(days=days), tariff.id, kwh=Fraction(9)),), expired=False)
    with pytest.raises(ValueError, match="more periods and elements"):
        price(usage, {tariff.id: tariff}, None)
    few = replace(tariff, elements=elements[:8])
    assert price(usage, {tariff.id: few}, None).total.before == 9
