"""Sessions as leases between two whole cores: renewed by what is published, stale without, and asked for."""

import json
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from roamd.errors import Conflict
from roamd.model.keys import ObjectKey
from roamd.model.objects import check_object
from roamd.protocol.calls import Service, SessionAnswer, SessionQuestion
from roamd.protocol.messages import Answer, Call
from roamd.roaming import operations as op
from roamd.storage import feeds
from tests.control.commanding import AT, events_at, put, sees, session_body
from tests.support.endpoints import Endpoint, Neighbourhood, until

HOLDS_S = 15 * 60


async def charging(hood: Neighbourhood) -> tuple[Endpoint, Endpoint]:
    """Both see a session that is going on."""
    cso, csp = await hood.linked()
    await put(cso, "sessions", session_body("S1"))
    await until(lambda: sees(csp, cso, "sessions", "S1") and sees(csp, cso, "session-leases", "S1"))
    return cso, csp


def told(endpoint: Endpoint, kind: str) -> list[Any]:
    return [event["session_id"] for event in events_at(endpoint, kind)]


async def test_a_session_without_news_is_stale_and_asked_for_and_lives_again_with_the_next(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        await trio.sleep(HOLDS_S - 5)
        assert not told(csp, "session.stale")
        await until(lambda: told(csp, "session.stale") == ["S1"])
        await until(lambda: told(cso, "session.asked") == ["S1"])
        await put(cso, "sessions", session_body("S1"))
        await until(lambda: told(csp, "session.live") == ["S1"])


async def test_the_very_same_body_keeps_a_session_alive(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        for _ in range(6):
            await trio.sleep(HOLDS_S * 0.6)
            await put(cso, "sessions", session_body("S1"))
        assert not told(csp, "session.stale")
        assert not told(cso, "session.asked")


async def test_an_ended_or_withdrawn_session_needs_no_lease(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        await put(cso, "sessions", session_body("S2"))
        await until(lambda: sees(csp, cso, "session-leases", "S2"))
        await put(cso, "sessions", session_body("S1", status="COMPLETED"))
        await cso.ask(op.DeleteObject("sessions", "S2"))
        await until(lambda: not sees(csp, cso, "session-leases", "S1") and not sees(csp, cso, "session-leases", "S2"))
        await trio.sleep(2 * HOLDS_S)
        assert not told(csp, "session.stale")


async def test_a_lost_operators_sessions_are_stale_though_nobody_can_be_asked_and_asked_for_when_it_is_back(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        cso.crash()
        csp.crash()
        await csp.restart()
        await until(lambda: told(csp, "session.stale") == ["S1"], HOLDS_S * 2)
        await cso.restart()
        await hood.until_linked(cso, csp)
        await until(lambda: told(cso, "session.asked") == ["S1"])


async def test_busy_sessions_make_few_versions_of_their_lease(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, _ = await charging(hood)
        before = cso.store.read(feeds.newest_version)
        for second in range(20):
            await put(cso, "sessions", session_body("S1", kwh=float(second)))
        assert cso.store.read(feeds.newest_version) - before == 19


async def test_an_impossible_change_of_our_own_is_a_conflict_and_nothing_is_published(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        await put(cso, "sessions", session_body("S1", kwh=3.0))
        for wrong in ({"kwh": 2.0}, {"kwh": 3.0, "last_updated": "2026-11-22T09:00:00Z"}):
            with pytest.raises(Conflict, match="cannot have become"):
                await put(cso, "sessions", session_body("S1", **wrong))
        patch = json.dumps({"status": "COMPLETED"}).encode()
        await cso.ask(op.PatchObject("sessions", "S1", patch, "2.3.0"))
        with pytest.raises(Conflict):
            await cso.ask(op.PatchObject("sessions", "S1", b'{"status":"ACTIVE"}', "2.3.0"))
        await until(lambda: mirrored(csp, cso)["status"] == "COMPLETED")


def mirrored(here: Endpoint, there: Endpoint) -> dict[str, Any]:
    seen: list[Any] = []
    here.core.operations.handle(op.GetPeerObject(here.peer(there).label, "sessions", "S1"), seen.append)
    return dict(json.loads(seen[0].body)) if isinstance(seen[0], op.StoredObject) else {}


async def test_a_number_that_no_float_holds_does_not_seem_to_fall(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, _ = await charging(hood)
        text = json.dumps(session_body("S1", kwh=7.7)).replace("7.7", "0.30000000000000000001").encode()
        for _ in range(2):
            checked = check_object("sessions", "2.3.0", text, own_parties=frozenset({"DEABC"}))
            await cso.ask(op.PutObject("sessions", checked))
        text = text.replace(b"0.30000000000000000001", b"0.30000000000000000000")
        checked = check_object("sessions", "2.3.0", text, own_parties=frozenset({"DEABC"}))
        with pytest.raises(Conflict):
            await cso.ask(op.PutObject("sessions", checked))


async def test_a_peer_that_sends_an_impossible_change_is_not_believed(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        await put(cso, "sessions", session_body("S1", kwh=9.0))
        await until(lambda: mirrored(csp, cso)["kwh"] == 9.0)
        audience = cso.store.read(lambda cx: feeds.get_published(cx, "sessions", ObjectKey("DEABC", "S1")).audience)  # type: ignore[union-attr]  # it was just published
        body = json.dumps(session_body("S1", kwh=1.0), separators=(",", ":")).encode()
        key = ObjectKey("DEABC", "S1")
        cso.store.write(lambda cx: feeds.publish_txn(cx, "sessions", key, "2.3.0", body, audience, 1))
        await put(cso, "sessions", session_body("S2", last_updated=AT))
        await until(lambda: sees(csp, cso, "sessions", "S2"))
        assert mirrored(csp, cso)["kwh"] == 9.0


async def test_what_a_restored_publisher_shows_is_taken_even_if_more_was_known(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        key = ObjectKey("DEABC", "S1")
        older = cso.store.read(lambda cx: feeds.get_published(cx, "sessions", key))
        assert older is not None
        await put(cso, "sessions", session_body("S1", kwh=99.0, status="COMPLETED"))
        await until(lambda: mirrored(csp, cso)["kwh"] == 99.0)
        body, audience = older.body or b"", older.audience
        cso.store.write(lambda cx: feeds.publish_txn(cx, "sessions", key, "2.3.0", body, audience, 1))
        peer = cso.peer(csp)
        peer.row = peer.row._replace(rights_version=peer.row.rights_version + 1)
        await put(cso, "sessions", session_body("S2", last_updated=AT))
        await until(lambda: sees(csp, cso, "sessions", "S2"))
        assert mirrored(csp, cso)["kwh"] != 99.0


async def test_only_who_is_shown_a_session_learns_of_it_by_asking(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, _ = await charging(hood)
        other = await hood.endpoint("NL*OTH", "csp")
        await hood.pair(cso, other)
        await hood.until_linked(cso, other)
        answers: list[Answer | None] = []
        call = Call(b"q" * 16, Service.SESSION_QUESTION, 5000, SessionQuestion("DEABC", "S1").pack())
        other.core.outgoing.start(other.peer(cso), call, other.clock.monotonic() + 5, answers.append)
        await until(lambda: bool(answers))
        assert answers[0] is not None
        assert answers[0].body == SessionAnswer("").pack()
        assert not told(cso, "session.asked")


async def test_who_asks_is_answered_when_the_backends_event_is_stored(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        submit, waiting = cso.store._submit, []
        cso.store._submit = waiting.append  # type: ignore[method-assign]  # the disk is slow
        answers: list[Answer | None] = []
        call = Call(b"q" * 16, Service.SESSION_QUESTION, 5000, SessionQuestion("DEABC", "S1").pack())
        csp.core.outgoing.start(csp.peer(cso), call, csp.clock.monotonic() + 5, answers.append)
        await until(lambda: bool(waiting))
        await wait_all_tasks_blocked()
        assert answers == []
        cso.store._submit = submit  # type: ignore[method-assign]
        for job in waiting:
            submit(job)
        await until(lambda: bool(answers))
        assert told(cso, "session.asked") == ["S1"]
