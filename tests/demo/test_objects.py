"""What the demo's companies publish is whole and right OCPI, by the daemon's own check."""

import json
from collections.abc import Iterator

import pytest

from roamd.demo import objects
from roamd.demo.objects import LISTED_DRIVER, LIVE_DRIVER, Object
from roamd.model.objects import check_object, check_record

AT_MS = 1_795_000_000_000
CSO, CSP = frozenset({"BERMC"}), frozenset({"FRRMD"})


def everything() -> Iterator[tuple[str, frozenset[str], Object]]:
    session = objects.session("S1", LIVE_DRIVER, "AUTH-000001", AT_MS)
    yield "locations", CSO, objects.location(AT_MS)
    yield "tariffs", CSO, objects.tariff(AT_MS)
    yield "user-credentials", CSP, LISTED_DRIVER.user_credential(AT_MS)
    yield "sessions", CSO, session
    yield "sessions", CSO, session | objects.session_news(AT_MS, 20.0, ended=True)


@pytest.mark.parametrize(("feed", "party", "one"), list(everything()))
def test_every_object_is_accepted_without_a_warning(feed: str, party: frozenset[str], one: Object) -> None:
    path_id = one["uid"] if feed == "user-credentials" else one["id"]
    checked = check_object(feed, "2.3.0", json.dumps(one).encode(), own_parties=party, path_id=path_id)
    assert checked.warnings == ()


@pytest.mark.parametrize(
    "bill",
    [
        objects.cdr("C1", LIVE_DRIVER, AT_MS, session_id="S1", reference="AUTH-000001"),
        objects.cdr("C2", LISTED_DRIVER, AT_MS),
    ],
)
def test_every_bill_is_a_cdr_without_a_warning(bill: Object) -> None:
    checked = check_record("2.3.0", json.dumps(bill).encode(), own_parties=CSO)
    assert checked.kind == "CDR"
    assert checked.warnings == ()


def test_the_bill_adds_up() -> None:
    bill = objects.cdr("C1", LIVE_DRIVER, AT_MS)
    price = objects.tariff(AT_MS)["elements"][0]["price_components"][0]
    cost = bill["total_cost"]
    assert cost["before_taxes"] == bill["total_energy"] * price["price"]
    assert cost["taxes"][0]["amount"] == cost["before_taxes"] * price["vat"] / 100
    assert bill["charging_periods"][0]["dimensions"][0]["volume"] == bill["total_energy"]
