"""Two whole cores agree: over real TLS, by their ledgers, and what they agreed on is in effect on both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from roamd.clock import rfc3339
from roamd.errors import Forbidden
from roamd.model.commands import check_command
from roamd.model.objects import Checked, CheckedRecord, check_object, check_record
from roamd.roaming import operations as op
from roamd.storage import feeds, records
from roamd.storage.cx import Cx
from roamd.storage.records import RecordRow
from tests.model import bodies
from tests.support.endpoints import Endpoint, Neighbourhood, until


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    async with Neighbourhood() as hood:
        with trio.fail_after(600):
            cso, csp = await hood.endpoint("DE*ABC", "cso"), await hood.endpoint("FR*XYZ", "csp")
            await hood.pair(cso, csp)
            await hood.until_linked(cso, csp)
            yield cso, csp


async def propose(here: Endpoint, there: Endpoint, **more: Any) -> int:
    """Propose, until the other side has it; the number."""
    said = await here.ask(op.ProposeAgreement(there.name, **more))
    await until(lambda: state(there, here, said["number"]) is not None)
    number: int = said["number"]
    return number


def state(here: Endpoint, there: Endpoint, number: int) -> str | None:
    told: list[Any] = []
    here.core.operations.handle(op.ListAgreements(there.name), told.append)
    return next((one["state"] for one in told[0].items if one["number"] == number), None)


async def agree(here: Endpoint, there: Endpoint, **more: Any) -> int:
    """`here` proposes, `there` accepts, until both have it in use."""
    number = await propose(here, there, **more)
    await there.ask(op.AnswerAgreement(here.name, number, accept=True))
    await until(lambda: here.peer(there).agreement.number == there.peer(here).agreement.number == number)
    return number


async def test_what_both_sign_is_in_effect_on_both_and_every_refusal_names_it(autojump_clock: MockClock) -> None:
    async with pair() as (cso, csp):
        number = await agree(
            cso, csp, remove={"us.services": "authorization", "them.services": "stop-session"},
            clauses={"dispute_days": 45, "currencies": "CHF"},
        )  # fmt: skip
        for here, there in ((cso, csp), (csp, cso)):
            assert here.peer(there).agreement.terms.dispute_days == 45
            assert state(here, there, number) == "IN_FORCE"
            shown = await here.ask(op.GetAgreement(there.name))
            assert (shown["source"], shown["number"], shown["proposals"]) == ("agreement", number, [])
        assert cso.peer(csp).agreement.services_out == csp.peer(cso).agreement.services_in == ()
        stop = check_command("STOP_SESSION", "2.3.0", b'{"session_id":"S1"}')
        with pytest.raises(Forbidden, match=rf"not agreed: services.stop-session \(agreement {number}\)"):
            await csp.ask(op.SendCommand(stop, peer=cso.name))
        (posted,) = await cso.ask(op.PostRecords((a_record("R-1", cso),), csp.name))
        assert posted.state == "PARKED"
        assert posted.reason == f"{csp.name}: not agreed: currencies (agreement {number})"


async def test_a_peer_that_ignores_what_it_signed_is_refused_with_the_clause(autojump_clock: MockClock) -> None:
    async with pair() as (cso, csp):
        before = cso.peer(csp).agreement
        number = await agree(cso, csp, clauses={"currencies": "CHF"})
        row = cso.peer(csp).row._replace(agreement_json=before.to_json())
        cso.core.directory.put(row)  # it goes on as if nothing had been signed
        (posted,) = await cso.ask(op.PostRecords((a_record("R-1", cso),), csp.name))
        assert posted.state == "QUEUED"
        await until(lambda: record_of(cso, "R-1").state == "PARKED")
        reason = f"refused by {csp.name}: not-agreed (not agreed: currencies (agreement {number}))"
        assert record_of(cso, "R-1").reason == reason


async def test_feeds_come_and_go_over_the_link_that_is_up(autojump_clock: MockClock) -> None:
    async with pair() as (cso, csp):
        link = cso.links_to(csp)
        await publish(cso, tariff("T-1"))
        await until(lambda: tariffs(csp) == {"T-1"})
        await agree(csp, cso, remove={"them.feeds": "tariffs"})
        await publish(cso, tariff("T-2"))
        await trio.sleep(10)
        assert "T-2" not in tariffs(csp)
        await agree(cso, csp, add={"us.feeds": "tariffs"})
        await until(lambda: tariffs(csp) == {"T-1", "T-2"})
        await agree(cso, csp, remove={"us.feeds": "tariffs"})
        await agree(csp, cso, add={"them.feeds": "tariffs"})
        await publish(cso, tariff("T-3"))
        await until(lambda: tariffs(csp) == {"T-1", "T-2", "T-3"})
        assert cso.links_to(csp) == link, "no link fell for it"


async def test_a_feed_that_is_new_on_the_link_begins_whichever_side_signs_last(autojump_clock: MockClock) -> None:
    """The follower may ask before the publisher has heard that it may."""
    async with pair() as (cso, csp):
        await publish(cso, tariff("T-1"))
        await agree(cso, csp, remove={"us.feeds": "tariffs"})
        for endpoint in (cso, csp):
            endpoint.crash()
        for endpoint in (cso, csp):
            await endpoint.restart()
        await cso.hood.until_linked(cso, csp)
        link = cso.links_to(csp)
        await agree(cso, csp, add={"us.feeds": "tariffs"})  # the follower signs last, and asks at once
        await publish(cso, tariff("T-2"))
        await until(lambda: tariffs(csp) == {"T-1", "T-2"})
        assert cso.links_to(csp) == link


async def test_a_peer_that_is_away_finds_the_proposal_when_it_comes_back(autojump_clock: MockClock) -> None:
    async with pair() as (cso, csp):
        csp.crash()
        await until(lambda: not cso.is_up(csp))
        number = (await cso.ask(op.ProposeAgreement(csp.name)))["number"]
        await csp.restart()
        await until(lambda: state(csp, cso, number) == "PROPOSED")
        await csp.ask(op.AnswerAgreement(cso.name, number, accept=True))
        cso.crash()
        await cso.restart()
        await until(lambda: cso.peer(csp).agreement.number == number)


async def test_what_begins_while_the_daemon_is_down_is_in_effect_when_it_starts_without_a_word_of_the_partner(
    autojump_clock: MockClock,
) -> None:
    async with pair() as (cso, csp):
        begins = rfc3339(cso.clock.now_ms() + 120_000)[:19] + "Z"
        number = await propose(cso, csp, clauses={"dispute_days": 45, "valid_from": begins})
        await csp.ask(op.AnswerAgreement(cso.name, number, accept=True))
        await until(lambda: state(cso, csp, number) == "UPCOMING")
        for endpoint in (cso, csp):
            endpoint.crash()
        await trio.sleep(240)
        await cso.restart()
        await until(lambda: cso.peer(csp).agreement.number == number)
        assert not cso.is_up(csp)
        assert cso.peer(csp).agreement.terms.dispute_days == 45


async def test_an_agreement_survives_the_end_of_the_relation_as_evidence_and_holds_when_it_begins_again(
    autojump_clock: MockClock,
) -> None:
    async with pair() as (cso, csp):
        number = await agree(cso, csp, clauses={"dispute_days": 45})
        await cso.core.book.remove(cso.peer(csp), park=True)
        await cso.hood.pair_one_way(cso, csp)
        await until(lambda: cso.is_up(csp))
        await until(lambda: cso.peer(csp).agreement.number == number)
        assert cso.peer(csp).agreement.terms.dispute_days == 45


# --- what the companies say -------------------------------------------------------------------------------------


def a_record(record_id: str, endpoint: Endpoint) -> CheckedRecord:
    body = bodies.text(bodies.cdr(id=record_id))
    return check_record("2.3.0", body, own_parties=frozenset({endpoint.party}))


def record_of(endpoint: Endpoint, record_id: str) -> RecordRow:
    (row,) = endpoint.store.read(lambda cx: records.find(cx, record_id))
    return row


def tariff(tariff_id: str) -> Checked:
    return check_object("tariffs", "2.3.0", bodies.text(bodies.tariff(id=tariff_id)), own_parties=frozenset({"DEABC"}))


async def publish(endpoint: Endpoint, checked: Checked) -> None:
    await endpoint.ask(op.PutObject("tariffs", checked))


def tariffs(endpoint: Endpoint) -> set[str]:
    def read(cx: Cx) -> set[str]:
        peers = [peer.label for peer in endpoint.core.directory]
        return {row.key.id for label in peers for row in feeds.list_mirrored(cx, label, "tariffs", None, 100)}

    return endpoint.store.read(read)
