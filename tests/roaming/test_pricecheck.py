"""Received records are held against their tariffs behind the receipt, each once, and disputed by that where agreed."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from roamd.errors import StoreFull
from roamd.model.agreement import Agreement
from roamd.model.terms import Terms
from roamd.roaming.operations import GetRecord
from roamd.roaming.pricecheck import AT_ONCE, RETRY_S, PriceChecks
from tests.model import bodies
from tests.support.roaming import Company, FeedLine, LogLines, answer_of, carry

PERIOD = {"start_date_time": bodies.STAMP, "tariff_id": "T1", "dimensions": [{"type": "ENERGY", "volume": 10}]}


def tariff(price: str = "0.50", **changes: Any) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": float(price), "step_size": 1}
    elements = [{"price_components": [component], **changes}]
    return bodies.tariff(id="T1", elements=elements, tax_included="N/A", last_updated="2026-01-01T00:00:00Z")


def cdr(total: float = 5.0, **changes: Any) -> dict[str, Any]:
    return bodies.cdr(**{
        "id": "C-1", "tariffs": [tariff()], "charging_periods": [PERIOD], "total_energy": 10,
        "total_cost": {"before_taxes": total}, **changes})  # fmt: skip


def checks_of(csp: Company, terms: Terms | None = None) -> PriceChecks:
    return PriceChecks(csp.clock, csp.store, csp.random, lambda peer: terms or Terms(), csp.queued.append)


async def _until(done: Callable[[], object]) -> None:
    while not done():
        await trio.lowlevel.checkpoint()


async def run(checks: PriceChecks, done: Callable[[], object]) -> None:
    """Let the checks run until something is so."""
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checks.run)
            await _until(done)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()


def price_of(csp: Company, record_id: str = "C-1") -> dict[str, Any]:
    found: dict[str, Any] = answer_of(csp.records.get, GetRecord(record_id, direction="in")).price or {}
    return found


async def checked(csp: Company, terms: Terms | None = None) -> dict[str, Any]:
    await run(checks_of(csp, terms), lambda: bool(price_of(csp)))
    return price_of(csp)


async def test_a_record_that_costs_what_its_tariff_says_agrees(cso: Company, csp: Company) -> None:
    cso.hand_in(cdr())
    carry(cso, csp)
    price = await checked(csp)
    assert (price["verdict"], price["total"]) == ("AGREES", "5.00")
    assert price["lines"] == ["tariff T1 element 0: 10 kWh x 0.5 = 5.00 EUR before taxes"]


async def test_a_difference_is_shown_and_logged_and_disputed_only_where_that_is_agreed(
    cso: Company, csp: Company, log: LogLines
) -> None:
    cso.hand_in(cdr(5.5))
    carry(cso, csp)
    price = await checked(csp)
    assert price["verdict"] == "DIFFERS"
    assert price["differences"] == [{"field": "total_cost.before_taxes", "stated": "5.50", "priced": "5.00"}]
    assert len(log.of("record_price_differs")) == 1
    assert csp.states("in") == {"C-1": "DELIVERED"}
    assert csp.queued == []


async def test_above_the_agreed_difference_it_is_disputed_by_itself_and_the_author_sees_why(
    cso: Company, csp: Company
) -> None:
    cso.hand_in(cdr(5.5))
    carry(cso, csp)
    await checked(csp, Terms(dispute_above=Decimal("0.25")))
    assert csp.states("in") == {"C-1": "DISPUTED"}
    assert csp.queued == ["abc"]
    carry(csp, cso)
    told = answer_of(cso.records.get, GetRecord("C-1", direction="out"))
    assert told.state == "DISPUTED"
    assert told.history[0]["detail"] == "total_cost.before_taxes is 5.50, priced 5.00"
    assert told.history[0]["evidence"] == ["tariff T1 element 0: 10 kWh x 0.5 = 5.00 EUR before taxes"]


async def test_a_smaller_difference_than_agreed_is_not_disputed(cso: Company, csp: Company) -> None:
    cso.hand_in(cdr(5.5))
    carry(cso, csp)
    await checked(csp, Terms(dispute_above=Decimal("0.5")))
    assert csp.states("in") == {"C-1": "DELIVERED"}


async def test_the_published_tariff_counts_where_the_record_brings_a_dearer_one(cso: Company, csp: Company) -> None:
    cso.publish("tariffs", tariff("0.40"))
    FeedLine(cso, csp).pump()
    cso.hand_in(cdr(5.0))
    carry(cso, csp)
    price = await checked(csp)
    assert (price["verdict"], price["total"]) == ("DIFFERS", "4.00")


async def test_a_tariff_that_is_published_anew_counts_from_then_on(cso: Company, csp: Company) -> None:
    line = FeedLine(cso, csp)
    for name, each in (("C-1", "0.40"), ("C-2", "0.50")):
        cso.publish("tariffs", tariff(each))
        line.publisher.wake("tariffs")
        line.pump()
        cso.hand_in(cdr(5.0, id=name, tariffs=None))
        carry(cso, csp)
        await run(checks_of(csp), partial(price_of, csp, name))
    assert [price_of(csp, name)["total"] for name in ("C-1", "C-2")] == ["4.00", "5.00"]


async def test_records_that_are_checked_together_each_get_their_own_outcome(cso: Company, csp: Company) -> None:
    cso.hand_in(cdr(5.5, id="DEAR"))
    cso.hand_in(cdr(id="UNKNOWN", tariffs=None))
    cso.hand_in(cdr(id="UNNAMED", tariffs=[], charging_periods=[{**PERIOD, "tariff_id": None}]))
    cso.hand_in(cdr(5.0, id="RIGHT"))
    carry(cso, csp)
    await run(checks_of(csp), lambda: bool(price_of(csp, "RIGHT")))
    prices = {name: price_of(csp, name) for name in ("DEAR", "UNKNOWN", "UNNAMED", "RIGHT")}
    assert [price["verdict"] for price in prices.values()] == ["DIFFERS", "UNPRICED", "UNPRICED", "AGREES"]
    assert prices["UNKNOWN"]["reason"] == "its tariff T1 is not known"
    assert prices["UNNAMED"]["reason"] == "it comes with no tariff, and none is known"


async def test_hours_are_those_of_the_stations_own_time_zone(cso: Company, csp: Company) -> None:
    cso.publish("locations", bodies.location(id="Loc-1", time_zone="Asia/Tokyo"))
    FeedLine(cso, csp).pump()
    local = tariff(restrictions={"start_time": "00:00", "end_time": "23:59"})
    cso.hand_in(cdr(tariffs=[local]))
    carry(cso, csp)
    assert "doubts" not in await checked(csp)


async def test_an_sdr_must_add_up(cso: Company, csp: Company) -> None:
    items = [{"type": "parking", "quantity": 1.5, "unit": "h", "price": 2.0}]
    cso.hand_in(bodies.sdr(id="C-1", items=items, total_cost={"before_taxes": 3.5}))
    carry(cso, csp)
    price = await checked(csp)
    assert (price["verdict"], price["total"]) == ("DIFFERS", "3.00")


@pytest.mark.parametrize(("amount", "verdict"), [(-5.5, "AGREES"), (-5.0, "DIFFERS")])
async def test_a_credit_takes_back_what_the_record_asked_for_and_not_what_it_should_have(
    cso: Company, csp: Company, amount: float, verdict: str
) -> None:
    cso.hand_in(cdr(5.5))
    cso.hand_in(cdr(amount, id="C-1-C", credit=True, credit_reference_id="C-1"))
    carry(cso, csp)
    await run(checks_of(csp), lambda: bool(price_of(csp, "C-1-C")))
    assert price_of(csp, "C-1-C")["verdict"] == verdict


async def test_a_credit_of_what_is_not_here_is_not_judged(cso: Company, csp: Company) -> None:
    cso.hand_in(cdr(-5.0, id="C-9-C", credit=True, credit_reference_id="C-9"))
    carry(cso, csp)
    await run(checks_of(csp), lambda: bool(price_of(csp, "C-9-C")))
    assert price_of(csp, "C-9-C")["reason"] == "the record that it credits is not here"


async def test_each_record_is_checked_once_and_none_is_passed_over(cso: Company, csp: Company) -> None:
    names = [f"C-{number}" for number in range(AT_ONCE * 2 + 3)]
    for name in names:
        cso.hand_in(cdr(id=name))
    carry(cso, csp)
    await run(checks_of(csp), lambda: bool(price_of(csp, names[-1])))
    assert all(price_of(csp, name)["verdict"] == "AGREES" for name in names)
    csp.clock.pass_by(60)
    cso.hand_in(cdr(id="LATER"))
    carry(cso, csp)
    await run(checks_of(csp), lambda: bool(price_of(csp, "LATER")))
    assert price_of(csp, names[0])["at"] < price_of(csp, "LATER")["at"], "what was checked is not checked again"


async def test_a_full_disk_puts_it_off(
    cso: Company, csp: Company, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    cso.hand_in(cdr())
    carry(cso, csp)
    submit, refused = csp.store.submit, []

    def full(fn: Any, done: Any, **more: Any) -> None:
        if refused:
            submit(fn, done, **more)
            return
        refused.append(fn)
        done(StoreFull("full"))

    monkeypatch.setattr(type(csp.store), "submit", lambda store, fn, done, **more: full(fn, done, **more))
    checks = checks_of(csp)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(checks.run)
        await _until(lambda: bool(refused))
        await trio.testing.wait_all_tasks_blocked()
        assert not price_of(csp)
        mock_clock.jump(RETRY_S)
        await _until(lambda: bool(price_of(csp)))
        nursery.cancel_scope.cancel()


def test_terms_stand_in_the_agreement_and_survive_it() -> None:
    terms = Terms(dispute_above=Decimal("0.25"))
    agreement = Agreement((), (), (), (), (), terms=terms)
    assert Agreement.from_json(agreement.to_json()).terms == terms
