"""A session's SDRs in the totals of its CDR: exact, and nothing else of the CDR changes."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.model.fold import folded_cdr
from roamd.model.objects import check_record
from tests.model import bodies
from tests.model.bodies import text

OWN = frozenset({"DEABC"})


def cdr(**changes: Any) -> dict[str, Any]:
    plain = {"session_id": "S-1", "total_cost": {"before_taxes": 9.00}, "total_energy": 20.5, "total_time": 1.5}
    return bodies.cdr(**{**plain, **changes})


def sdr(*items: tuple[str, Any, str, Any], **changes: Any) -> dict[str, Any]:
    rows = [{"type": kind, "quantity": many, "unit": unit, "price": price} for kind, many, unit, price in items]
    total = sum(Decimal(str(many)) * Decimal(str(price)) for _, many, _, price in items)
    plain = {"session_id": "s-1", "items": rows, "total_cost": {"before_taxes": float(total)}}
    return bodies.sdr(**{**plain, **changes})


def folded(one: dict[str, Any], *others: dict[str, Any], ocpi: str = "2.3.0") -> dict[str, Any]:
    body = folded_cdr(text(one), [text(other) for other in others], ocpi)
    assert not check_record(ocpi, body, own_parties=OWN).warnings
    return dict(json.loads(body, parse_float=Decimal))


def test_each_item_goes_to_its_total_and_all_to_the_sum() -> None:
    extra = sdr(("reservation", 0.5, "h", 2), ("parking", 90, "min", 0.1), ("idle", 1, "h", 3), ("other", 1, "x", 1))
    result = folded(cdr(), extra)
    costs = {name: value["before_taxes"] for name, value in result.items() if name.endswith("_cost")}
    assert costs == {
        "total_cost": Decimal(23),
        "total_reservation_cost": Decimal(1),
        "total_parking_cost": Decimal(12),
        "total_fixed_cost": Decimal(1),
    }
    assert (result["total_parking_time"], result["total_time"]) == (Decimal("2.5"), Decimal(4))


def test_what_is_not_touched_keeps_its_text_and_no_sdr_changes_nothing() -> None:
    body = text(cdr(x_note="kept")).replace(b"20.5", b"20.500")
    assert folded_cdr(body, [], "2.3.0") == body
    result = folded_cdr(body, [text(sdr(("reservation", 1, "h", 2)))], "2.3.0")
    assert b'"total_energy":20.500' in result
    assert b'"x_note":"kept"' in result


def test_totals_that_are_there_grow() -> None:
    one = cdr(total_parking_cost={"before_taxes": 1.25}, total_parking_time=0.25)
    result = folded(one, sdr(("parking", 1, "h", 2)), sdr(("parking", 2, "h", 2)))
    assert result["total_parking_cost"]["before_taxes"] == Decimal("7.25")
    assert result["total_parking_time"] == Decimal("3.25")


def test_taxes_are_added_by_rate_and_left_out_where_one_does_not_say() -> None:
    def price(net: float, rate: float, amount: float) -> dict[str, Any]:
        return {"before_taxes": net, "taxes": [{"name": "VAT", "percentage": rate, "amount": amount}]}

    one = cdr(total_cost=price(9.0, 21.0, 1.89))
    with_tax = sdr(("parking", 1, "h", 2), total_cost=price(2.0, 21.0, 0.42))
    (tax,) = folded(one, with_tax)["total_cost"]["taxes"]
    assert (tax["percentage"], tax["amount"]) == (Decimal("21.0"), Decimal("2.31"))
    assert "taxes" not in folded(one, sdr(("parking", 1, "h", 2)))["total_cost"]


def test_the_older_version_has_its_own_words() -> None:
    one = cdr(total_cost={"excl_vat": 10.0, "incl_vat": 12.0})
    extra = sdr(("reservation", 1, "h", 2), total_cost={"excl_vat": 2.0, "incl_vat": 2.4})
    result = folded(one, extra, ocpi="2.2.1")
    assert result["total_cost"] == {"excl_vat": Decimal("12.0"), "incl_vat": Decimal("14.4")}
    assert result["total_reservation_cost"] == {"excl_vat": Decimal(2)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"session_id": "S-2"}, "another session"),
        ({"session_id": None}, "another session"),
        ({"currency": "SEK"}, "SEK"),
        ({"credit": True}, "credit"),
    ],
)
def test_what_does_not_belong_to_it_is_not_folded(changes: dict[str, Any], words: str) -> None:
    other = {name: value for name, value in sdr(("parking", 1, "h", 2), **changes).items() if value is not None}
    other.pop("authorization_reference", None)
    with pytest.raises(ValueError, match=words):
        folded_cdr(text(cdr()), [text(other)], "2.3.0")


amounts = st.decimals(0, 1000, places=2)


@given(st.lists(st.tuples(st.sampled_from(["parking", "idle", "reservation", "other"]), amounts, amounts), max_size=6))
def test_the_parts_always_add_up_to_the_sum(rows: list[tuple[str, Decimal, Decimal]]) -> None:
    items = [(kind, float(many), "h", float(price)) for kind, many, price in rows]
    sdrs = [sdr(item) for item in items]
    for one, (_, many, price) in zip(sdrs, rows, strict=True):
        one["total_cost"] = "TOTAL"
        one["_"] = str(many * price)
    texts = [text(one).replace(b'"TOTAL"', one["_"].encode()) for one in sdrs]
    body = json.loads(folded_cdr(text(cdr()), texts, "2.3.0"), parse_float=Decimal)
    parts = [body[name]["before_taxes"] for name in body if name.endswith("_cost") and name != "total_cost"]
    assert body["total_cost"]["before_taxes"] == Decimal("9.0") + sum(parts)
