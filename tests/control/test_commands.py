"""Commands between two whole cores: done at most once, followed to their end, never an orphan."""

import json
from collections.abc import Callable

import pytest
import trio

from roamd.errors import Conflict, Forbidden, Malformed, NotFound
from roamd.model.commands import check_command
from roamd.protocol.calls import CommandRequest
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming import operations as op
from roamd.roaming.ports import CommandQuestion, CommandResult, NoAnswer
from roamd.storage import commands, erasure
from tests.control.commanding import (
    LOCATION,
    REFERENCE,
    TOKEN,
    command,
    events_at,
    linked,
    put,
    session_body,
    shown,
    start_body,
    state_at,
    until_state,
)
from tests.support.endpoints import Endpoint, Neighbourhood, until


async def test_a_start_is_told_to_the_backend_and_followed_until_it_has_started(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body(), timeout_s=300)
        assert (reply.state, reply.result, reply.authorization_reference) == ("ACCEPTED", "ACCEPTED", REFERENCE)
        (told,) = cso.backend.told
        assert (told.command, told.command_id, told.party, told.timeout_s) == (
            "START_SESSION",
            reply.command_id,
            "FRXYZ",
            300,
        )
        assert json.loads(bytes(told.body)) == start_body()
        for report in ("AT_STATION", "WAITING_FOR_CABLE"):
            await cso.ask(op.ReportCommand(reply.command_id, report))
            await until_state(csp, reply.command_id, report)
        await cso.ask(op.ReportCommand(reply.command_id, "STARTED", session_id="S1"))
        await until_state(csp, reply.command_id, "STARTED")
        assert (await shown(csp, reply.command_id)).session_id == "S1"
        told_csp = [event["state"] for event in events_at(csp)]
        assert told_csp == ["ACCEPTED", "AT_STATION", "WAITING_FOR_CABLE", "STARTED"]
        assert not events_at(cso)


async def test_a_session_with_the_commands_reference_is_the_report_that_it_started(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body(authorization_reference=None))
        assert reply.authorization_reference == reply.command_id
        await put(cso, "sessions", session_body("S7", reply.command_id))
        await until_state(csp, reply.command_id, "STARTED")
        mapped = await csp.ask(op.ListCommands(authorization_reference=reply.command_id))
        assert [(one.command_id, one.session_id) for one in mapped.items] == [(reply.command_id, "S7")]


async def test_a_session_of_one_csp_is_never_told_to_another_that_carried_the_same_reference(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        other = await hood.endpoint("NL*OTH", "csp")
        await hood.pair(cso, other)
        await hood.until_linked(cso, other)
        its_own = {"country_code": "NL", "party_id": "OTH", "contract_id": "NL-OTH-C00000042"}
        reply = await command(csp, "START_SESSION", start_body(authorization_reference="1001"))
        guessed = start_body(authorization_reference="1001", token={**TOKEN, **its_own})
        theirs = await command(other, "START_SESSION", guessed, peer=other.peer(cso).label)
        assert theirs.state == "ACCEPTED"
        await put(cso, "sessions", session_body("S7", "1001"))
        await until_state(csp, reply.command_id, "STARTED")
        assert (await shown(other, theirs.command_id)).session_id is None
        stop = await command(other, "STOP_SESSION", {"session_id": "S7"}, peer=other.peer(cso).label)
        assert stop.result == "REFUSED"


async def test_a_start_that_has_no_effect_in_time_has_failed_on_both_sides(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body(), timeout_s=60)
        await trio.sleep(59)
        assert state_at(cso, reply.command_id) == ("ACCEPTED", None)
        await until_state(csp, reply.command_id, "FAILED", "TIMEOUT")
        assert state_at(cso, reply.command_id) == ("FAILED", "TIMEOUT")


async def test_a_session_that_begins_too_late_is_stopped_again_and_again_until_that_is_accepted(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body(), timeout_s=60)
        await until_state(csp, reply.command_id, "FAILED")
        cso.backend.carry_out = lambda question: NoAnswer("status 500")
        await put(cso, "sessions", session_body("S1"))
        await until_state(csp, reply.command_id, "LATE", "STOPPING")
        await until(lambda: len(cso.backend.told) == 4)
        cso.backend.carry_out = lambda question: CommandResult("ACCEPTED")
        await until_state(csp, reply.command_id, "LATE", "STOPPED")
        stops = cso.backend.told[1:]
        assert {(one.command, bytes(one.body)) for one in stops} == {("STOP_SESSION", b'{"session_id":"S1"}')}
        assert len({one.command_id for one in stops}) == 1
        times = len(cso.backend.told)
        await trio.sleep(600)
        assert len(cso.backend.told) == times
        assert [event["reason"] for event in events_at(cso)] == ["TIMEOUT", "STOPPING", "STOPPED"]


async def test_a_late_session_is_stopped_after_a_restart_too_and_never_once_it_has_ended(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body(), timeout_s=10)
        await until_state(cso, reply.command_id, "FAILED")
        cso.backend.carry_out = lambda question: None
        await put(cso, "sessions", session_body("S1"))
        await until(lambda: len(cso.backend.told) == 2)
        cso.crash()
        await cso.restart()
        await until(lambda: len(cso.backend.told) == 3)
        await put(cso, "sessions", session_body("S1", status="COMPLETED", kwh=1.0))
        assert state_at(cso, reply.command_id) == ("LATE", "STOPPED")
        await trio.sleep(600)
        assert len(cso.backend.told) == 3


async def test_the_asker_may_have_late_sessions_kept(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body(), timeout_s=10, late="KEEP")
        await until_state(csp, reply.command_id, "FAILED")
        await cso.ask(op.ReportCommand(reply.command_id, "STARTED", session_id="S1"))
        await until_state(csp, reply.command_id, "LATE", "KEPT")
        assert (await shown(csp, reply.command_id)).session_id == "S1"
        assert len(cso.backend.told) == 1


async def test_what_was_started_after_all_although_refused_is_stopped(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        cso.backend.carry_out = lambda question: CommandResult("REJECTED", "occupied")
        reply = await command(csp, "START_SESSION", start_body())
        assert (reply.state, reply.result, reply.reason) == ("REJECTED", "REJECTED", "occupied")
        cso.backend.carry_out = lambda question: CommandResult("ACCEPTED")
        await put(cso, "sessions", session_body("S1"))
        await until_state(csp, reply.command_id, "LATE", "STOPPED")


async def test_a_repeated_key_gets_the_same_command_and_the_backend_is_told_once(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        cso.backend.carry_out = lambda question: None
        key, replies = op.Idempotency("k-1", b"h" * 32), []
        checked = check_command("START_SESSION", "2.3.0", json.dumps(start_body()).encode())
        for _ in range(2):
            csp.core.operations.handle(op.SendCommand(checked, idempotency=key), replies.append)
        await until(lambda: len(replies) == 2)
        assert replies[0].command_id == replies[1].command_id
        assert (await command(csp, "START_SESSION", start_body(), idempotency=key)).command_id == replies[0].command_id


async def test_a_repeated_key_of_a_command_whose_driver_was_erased_is_refused_and_nobody_is_asked(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        key = op.Idempotency("k-1", b"h" * 32)
        reply = await command(csp, "START_SESSION", start_body(), idempotency=key)
        store = csp.core.book.store
        (row,) = store.read(lambda cx: commands.find(cx, reply.command_id))
        store.write(lambda cx: erasure.delete_txn(cx, "commands", [row.id]))
        with pytest.raises(NotFound, match="was forgotten"):
            await command(csp, "START_SESSION", start_body(), idempotency=key)
        assert len(cso.backend.told) == 1
        assert len(cso.backend.told) == 1
        with pytest.raises(Conflict):
            await command(csp, "START_SESSION", start_body(), idempotency=op.Idempotency("k-1", b"i" * 32))


async def call(csp: Endpoint, cso: Endpoint, call_id: bytes, body: bytes, deadline_ms: int = 5000) -> Answer | None:
    """A raw call of service start-session, as any implementation could send it."""
    answers: list[Answer | None] = []
    peer = csp.peer(cso)
    deadline_at = csp.clock.monotonic() + 20
    csp.core.outgoing.start(peer, Call(call_id, 16, deadline_ms, body), deadline_at, answers.append)
    await until(lambda: bool(answers))
    return answers[0]


def a_request(only_outcome: bool = False, **changes: object) -> bytes:
    body = b"" if only_outcome else json.dumps(start_body(**changes), separators=(",", ":")).encode()
    return CommandRequest("FRXYZ", "2.3.0", 60, "STOP", body, only_outcome).pack()


async def test_a_repeated_id_gets_the_stored_answer_after_a_restart(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        cso.backend.carry_out = lambda question: CommandResult("REJECTED", "no power")
        first = await call(csp, cso, b"i" * 16, a_request())
        cso.crash()
        await cso.restart()
        await hood.until_linked(cso, csp)
        cso.backend.carry_out = lambda question: CommandResult("ACCEPTED")
        assert await call(csp, cso, b"i" * 16, a_request()) == first
        assert len(cso.backend.told) == 1
        other = await call(csp, cso, b"i" * 16, a_request(evse_uid="E2"))
        assert other == first  # within the memory of calls the id alone counts
        await trio.sleep(100)
        refused = await call(csp, cso, b"i" * 16, a_request(evse_uid="E2"))
        assert refused is not None
        assert refused.status == AnswerStatus.REFUSED


async def test_a_crash_while_the_backend_works_hides_the_outcome_and_it_is_never_told_again(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        cso.backend.carry_out = lambda question: None
        replies: list[op.CommandReply] = []
        checked = check_command("START_SESSION", "2.3.0", json.dumps(start_body()).encode())
        csp.core.operations.handle(op.SendCommand(checked, deadline_ms=30_000), replies.append)
        await until(lambda: len(cso.backend.told) == 1)
        cso.crash()
        await cso.restart()
        await until(lambda: bool(replies))
        assert (replies[0].state, replies[0].result) == ("UNKNOWN", "OUTCOME_UNKNOWN")
        await trio.sleep(600)
        assert len(cso.backend.told) == 1
        await until_state(csp, replies[0].command_id, "FAILED", "TIMEOUT")


@pytest.mark.parametrize(
    ("silence", "state", "result"),
    [
        (NoAnswer("not reachable", asked=False), "FAILED", "NO_ANSWER"),
        (NoAnswer("status 500"), "UNKNOWN", "OUTCOME_UNKNOWN"),
        (CommandResult("MAYBE"), "UNKNOWN", "OUTCOME_UNKNOWN"),
        (None, "UNKNOWN", "OUTCOME_UNKNOWN"),
    ],
)
async def test_a_backend_that_was_reached_may_have_acted_and_one_that_was_not_has_not(
    silence: CommandResult | NoAnswer | None, state: str, result: str, autojump_clock: object
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        cso.backend.carry_out = lambda question: silence
        reply = await command(csp, "START_SESSION", start_body())
        assert (reply.state, reply.result) == (state, result)
        await until(lambda: state_at(cso, reply.command_id)[0] == state)


async def test_without_a_link_nothing_is_asked_then_or_later(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        await cso.stop()
        await until(lambda: not csp.is_up(cso))
        reply = await command(csp, "START_SESSION", start_body())
        assert (reply.state, reply.result, reply.reason) == ("FAILED", "NO_ANSWER", "no link")
        await cso.restart()
        await hood.until_linked(cso, csp)
        await trio.sleep(60)
        assert not cso.backend.told


async def test_a_call_that_comes_when_its_time_is_over_is_not_carried_out(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        answer = await call(csp, cso, b"l" * 16, a_request(), deadline_ms=0)
        assert answer is not None
        assert answer.status == AnswerStatus.NO_ANSWER
        await trio.sleep(100)
        assert (await call(csp, cso, b"l" * 16, a_request())) == answer
        assert not cso.backend.told


async def test_who_asks_for_the_outcome_of_an_unknown_id_forbids_it_for_ever(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        answer = await call(csp, cso, b"o" * 16, a_request(only_outcome=True))
        assert answer is not None
        assert answer.status == AnswerStatus.NO_ANSWER
        await trio.sleep(100)
        assert (await call(csp, cso, b"o" * 16, a_request())) == answer
        assert not cso.backend.told


async def test_a_start_whose_answer_was_lost_is_matched_when_the_link_is_back(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)

        def cut(question: CommandQuestion) -> CommandResult:
            csp.crash()
            return CommandResult("ACCEPTED")

        cso.backend.carry_out = cut
        checked = check_command("START_SESSION", "2.3.0", json.dumps(start_body()).encode())
        csp.core.operations.handle(op.SendCommand(checked, timeout_s=900), lambda reply: None)
        await until(lambda: len(cso.backend.told) == 1)
        await csp.restart()
        command_id = cso.backend.told[0].command_id
        assert state_at(csp, command_id)[0] == "UNKNOWN"
        await until_state(csp, command_id, "ACCEPTED")
        await until(lambda: result_at(csp, command_id) == "ACCEPTED")
        assert len(cso.backend.told) == 1


def result_at(endpoint: Endpoint, command_id: str) -> str | None:
    seen: list[op.CommandReply] = []
    endpoint.core.operations.handle(op.GetCommand(command_id), seen.append)
    return seen[0].result


async def test_a_stop_is_done_when_its_session_has_ended(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        await put(cso, "sessions", session_body("S1"))
        await until(lambda: csp_sees_session(csp, cso))
        reply = await command(csp, "STOP_SESSION", {"session_id": "s1"})
        assert reply.state == "ACCEPTED"
        await put(cso, "sessions", session_body("S1", status="COMPLETED"))
        await until_state(csp, reply.command_id, "DONE")


def csp_sees_session(csp: Endpoint, cso: Endpoint) -> bool:
    seen: list[object] = []
    csp.core.operations.handle(op.GetPeerObject(csp.peer(cso).label, "sessions", "S1"), seen.append)
    return isinstance(seen[0], op.StoredObject)


async def test_a_connector_is_unlocked(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        body = {"location_id": "LOC1", "evse_uid": "E1", "connector_id": "1"}
        reply = await command(csp, "UNLOCK_CONNECTOR", body)
        await cso.ask(op.ReportCommand(reply.command_id, "DONE"))
        await until_state(csp, reply.command_id, "DONE")
        with pytest.raises(Malformed):
            await cso.ask(op.ReportCommand(reply.command_id, "STARTED", session_id="S1"))
        with pytest.raises(Conflict):
            await cso.ask(op.ReportCommand(reply.command_id, "FAILED"))


RESERVATION = {"token": TOKEN, "expiry_date": "2026-11-22T11:00:00Z", "reservation_id": "R-1", "location_id": "LOC1"}


async def test_a_reservation_is_made_and_cancelled_at_whom_it_was_asked_for(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        made = await command(csp, "RESERVE_NOW", RESERVATION)
        assert (made.state, made.authorization_reference) == ("ACCEPTED", made.command_id)
        await cso.ask(op.ReportCommand(made.command_id, "DONE"))
        await until_state(csp, made.command_id, "DONE")
        cancelled = await command(csp, "CANCEL_RESERVATION", {"reservation_id": "r-1"})
        assert (cancelled.state, cancelled.peer) == ("ACCEPTED", made.peer)
        assert [one.command for one in cso.backend.told] == ["RESERVE_NOW", "CANCEL_RESERVATION"]
        with pytest.raises(NotFound):
            await command(csp, "CANCEL_RESERVATION", {"reservation_id": "R-2"})


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("CANCEL_RESERVATION", {"reservation_id": "R-OF-ANOTHER"}),
        ("START_SESSION", start_body(token=TOKEN | {"party_id": "OTH", "contract_id": "FR-OTH-C00000042-W"})),
        ("STOP_SESSION", {"session_id": "FOREIGN"}),
    ],
)
async def test_what_is_not_the_askers_own_is_refused_without_a_word_to_the_backend(
    name: str, body: dict[str, object], autojump_clock: object
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        foreign = session_body("FOREIGN", None, cdr_token={**session_body()["cdr_token"], "party_id": "OTH",
                                                           "contract_id": "FR-OTH-C00000042-W"})  # fmt: skip
        await put(cso, "sessions", foreign)
        reply = await command(csp, name, body, peer=csp.peer(cso).label)
        assert (reply.state, reply.result) == ("FAILED", "REFUSED")
        assert not cso.backend.told


async def test_a_third_company_sees_nothing_of_it(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        other = await hood.endpoint("NL*OTH", "csp")
        await hood.pair(cso, other)
        await hood.until_linked(cso, other)
        reply = await command(csp, "START_SESSION", start_body())
        await until_state(csp, reply.command_id, "ACCEPTED")
        await put(cso, "locations", {**LOCATION, "city": "Elsewhere"})
        await until(lambda: has_location(other, cso))
        page = await other.ask(op.ListPeerObjects(other.peer(cso).label, "commands"))
        assert page.items == []
        assert not events_at(other)


def has_location(here: Endpoint, there: Endpoint) -> bool:
    pages: list[op.Page] = []
    here.core.operations.handle(op.ListPeerObjects(here.peer(there).label, "locations"), pages.append)
    return any(b"Elsewhere" in item.body for item in pages[0].items)


async def test_a_command_goes_to_who_shows_the_location_or_to_whom_it_is_said(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        with pytest.raises(NotFound):
            await command(csp, "START_SESSION", start_body(location_id="NOWHERE"))
        reply = await command(csp, "START_SESSION", start_body(location_id="NOWHERE"), party="DEABC")
        assert reply.peer == csp.peer(cso).label
        with pytest.raises(Forbidden):
            await command(cso, "START_SESSION", start_body(), peer=cso.peer(csp).label)


async def test_two_reports_of_the_same_say_it_once(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body())
        report: Callable[[], op.ReportCommand] = lambda: op.ReportCommand(reply.command_id, "STARTED", None, "S1")  # noqa: E731
        await cso.ask(report())
        await cso.ask(report())
        await until_state(csp, reply.command_id, "STARTED")
        assert [event["state"] for event in events_at(csp)] == ["ACCEPTED", "STARTED"]
