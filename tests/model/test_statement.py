"""Accounts of single records, and the statement that adds them up: pure."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.model.statement import (
    UNREADABLE,
    Account,
    Line,
    Statement,
    account_of,
    exact_sum,
    list_root,
    make_statement,
    money,
    plain,
)
from tests.model import bodies

A, B = "A" * 56, "B" * 56


def account(kind: str = "CDR", **changes: Any) -> Account:
    return account_of(kind, bodies.text(bodies.cdr(**changes)))


def line(record_id: str = "C-1", state: str = "DELIVERED", author: str = A, **changes: Any) -> Line:
    values: dict[str, Any] = {"day": "2026-10-02", "currency": "EUR", "energy": Decimal(1), "before": Decimal(10)}
    values |= {"taxes": (("VAT 19%", Decimal("1.90")),), **changes}
    kind = values.pop("kind", "CDR")
    return Line(author, "DEABC", record_id, kind, record_id.encode().ljust(32, b"\0"), state, Account(**values))


# --- one record -------------------------------------------------------------------------------------------------


def test_a_record_belongs_to_the_utc_day_on_which_it_ended() -> None:
    assert account(end_date_time="2026-10-31T23:59:59Z").month == "2026-10"
    assert account(end_date_time="2026-11-01T00:30:00+01:00").day == "2026-10-31"


def test_taxes_are_named_as_the_record_names_them() -> None:
    both = [{"name": "VAT", "percentage": 19.0, "amount": 1.9}, {"name": "City tax", "amount": 0.5}]
    found = account(total_cost={"before_taxes": 10, "taxes": both})
    assert found.taxes == (("VAT 19%", Decimal("1.9")), ("City tax", Decimal("0.5")))
    assert found.after == Decimal("12.4")
    assert account(total_cost={"before_taxes": 10}).taxes is None


def test_the_older_version_knows_vat_as_a_difference() -> None:
    text = bodies.text(bodies.cdr(total_cost={"excl_vat": 10, "incl_vat": 11.9}))
    assert account_of("CDR", text).taxes == (("VAT", Decimal("1.9")),)
    assert account_of("CDR", bodies.text(bodies.cdr(total_cost={"excl_vat": 10}))).taxes is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_credit_counts_below_zero_whatever_its_sign(sign: int) -> None:
    cost = {"before_taxes": 10 * sign, "taxes": [{"name": "VAT", "amount": 1.9 * sign}]}
    found = account("CREDIT", total_cost=cost, total_energy=20 * sign)
    assert (found.before, found.energy, found.taxes) == (Decimal(-10), Decimal(-20), (("VAT", Decimal("-1.9")),))


def test_an_sdr_counts_its_items_of_energy_and_a_bare_amount() -> None:
    items = [
        {"type": "energy", "quantity": 12.5, "unit": "kWh", "price": 1},
        {"type": "parking", "quantity": 2, "unit": "h", "price": 1},
    ]
    text = bodies.text({"end_date_time": "2026-10-02T10:00:00Z", "currency": "EUR", "items": items, "total_cost": 14.5})
    found = account_of("SDR", text)
    assert (found.energy, found.before, found.taxes) == (Decimal("12.5"), Decimal("14.5"), None)


@pytest.mark.parametrize("amount", ["1e300", "-1e15", "1e-300", "1e999999"])
def test_amounts_that_nobody_owes_are_seen_and_not_added(amount: str) -> None:
    text = bodies.text(bodies.cdr(total_cost={"before_taxes": 77})).replace(b":77", b":" + amount.encode())
    found = account_of("CDR", text)
    assert (found.currency, found.before, found.day) == (UNREADABLE, 0, account().day)


# --- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "text"),
    [("10", "10.00"), ("1E+3", "1000.00"), ("0.1234", "0.1234"), ("-0", "0.00"), ("2.50", "2.50"), ("-1.5", "-1.50")],
)
def test_money_has_at_least_two_decimals_and_no_exponent(amount: str, text: str) -> None:
    assert money(Decimal(amount)) == text


@given(st.lists(st.decimals(min_value=-(10**14), max_value=10**14, places=12), max_size=50))
def test_sums_are_exact_in_any_order(amounts: list[Decimal]) -> None:
    total = exact_sum(amounts)
    assert total == exact_sum(reversed(amounts))
    assert exact_sum([total, *(-amount for amount in amounts)]) == 0
    assert Decimal(plain(total)) == total


# --- a month ----------------------------------------------------------------------------------------------------


def test_the_statement_is_the_same_bytes_in_whatever_order_the_records_come() -> None:
    lines = [
        line("C-2"),
        line("C-1", "DISPUTED"),
        line("c-3", author=B, currency="CHF"),
        line("C-4", kind="CREDIT", before=Decimal(-4)),
    ]
    made = make_statement("2026-10", (B, A), lines)
    assert made.pack() == make_statement("2026-10", (A, B), lines[::-1]).pack()
    assert Statement.unpack(made.pack()) == made
    assert [(each.author, each.currency) for each in made.sections] == [(A, "EUR"), (B, "CHF")]
    first = made.sections[0]
    assert [(each.kind, each.records) for each in first.kinds] == [("CDR", 1), ("CREDIT", 1)]
    assert (first.before_taxes, [each.records for each in first.disputed]) == ("6.00", [1])


def test_an_empty_month_has_a_statement_and_each_month_its_own_root() -> None:
    october, november = (make_statement(month, (A, B), []) for month in ("2026-10", "2026-11"))
    assert (october.records, october.sections) == (0, [])
    assert october.root != november.root


def test_the_root_changes_with_each_record_and_not_with_states_that_count_alike() -> None:
    lines = [line("C-1"), line("C-2")]
    root = list_root("2026-10", lines)
    assert root == list_root("2026-10", [line("C-2", "FINAL"), line("C-1", "CREDITED")])
    for other in (
        [line("C-1")],
        [line("C-1"), line("C-3")],
        [line("C-1", "DISPUTED"), line("C-2")],
        [line("C-1", author=B), line("C-2")],
    ):
        assert list_root("2026-10", other) != root


def test_taxes_are_summed_by_name_over_the_records_that_bear_them() -> None:
    lines = [line("C-1"), line("C-2"), line("C-3", taxes=None), line("C-4", taxes=())]
    (section,) = make_statement("2026-10", (A, B), lines).sections
    taxes = [(tax.tax, tax.records, tax.before_taxes, tax.amount) for tax in section.kinds[0].taxes]
    assert taxes == [("", 2, "20.00", "0.00"), ("VAT 19%", 2, "20.00", "3.80")]
    assert section.after_taxes == "43.80"
