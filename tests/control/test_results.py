"""Where an OCPI backend wants to hear of its commands is kept as surely as the commands are, and no longer."""

from roamd.model.commands import check_command
from roamd.roaming import operations as op
from roamd.roaming.control.desk import RESULTS_MS, forget_txn
from tests.control.commanding import TOKEN, command, linked, put, start_body, state_at
from tests.support.endpoints import Endpoint, Neighbourhood, until

URL = "http://emsp.example/results/1"
DAY_MS = 86_400_000


async def pending(endpoint: Endpoint, backend: str = "csms") -> list[op.PendingResult]:
    found: list[op.PendingResult] = await endpoint.ask(op.ListResults(backend))
    return found


async def test_an_address_is_committed_with_its_command_and_survives_a_crash(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        _, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body(), answer_to=op.AnswerTo("csms", URL), timeout_s=60)
        csp.crash()
        await csp.restart()
        (kept,) = await pending(csp)
        assert (kept.url, kept.told, kept.command.command_id) == (URL, "", reply.command_id)
        assert await pending(csp, "another") == []
        await csp.ask(op.MarkTold(reply.command_id, "TIMEOUT", last=False))
        assert [each.told for each in await pending(csp)] == ["TIMEOUT"]
        await csp.ask(op.MarkTold(reply.command_id, "ACCEPTED", last=True))
        assert await pending(csp) == []


async def test_a_command_that_is_not_sent_leaves_no_address(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        _, csp = await linked(hood)
        body = check_command("STOP_SESSION", "2.3.0", b'{"session_id":"NONE"}')
        replies: list[object] = []
        csp.core.operations.handle(op.SendCommand(body, answer_to=op.AnswerTo("csms", URL)), replies.append)
        assert isinstance(replies[0], Exception)
        assert await pending(csp) == []


async def test_a_reservation_that_the_cso_cancels_shows_and_one_that_we_cancel_does_not(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await linked(hood)
        for name in ("R1", "R2"):
            await command(csp, "RESERVE_NOW", reserve(name), answer_to=op.AnswerTo("csms", URL))
            await put(cso, "reservations", reservation(name, "RESERVED"))
        await command(csp, "CANCEL_RESERVATION", {"reservation_id": "R2"})
        for name in ("R1", "R2"):
            await put(cso, "reservations", reservation(name, "CANCELED"))
        await until(lambda: canceled(csp) == [True, False])


def canceled(endpoint: Endpoint) -> list[bool]:
    replies: list[list[op.PendingResult]] = []
    endpoint.core.operations.handle(op.ListResults("csms"), replies.append)
    return [each.canceled for each in replies[0]]


def reserve(name: str) -> dict[str, object]:
    return {"token": TOKEN, "expiry_date": "2026-11-22T12:00:00Z", "reservation_id": name, "location_id": "LOC1"}


def reservation(name: str, status: str) -> dict[str, object]:
    own = ("country_code", "party_id", "uid", "type", "contract_id")
    return {
        "country_code": "DE",
        "party_id": "ABC",
        "id": name,
        "kind": "NOW",
        "status": status,
        "cdr_token": {field: TOKEN[field] for field in own},
        "location_id": "LOC1",
        "start_date_time": "2026-11-22T10:00:00Z",
        "end_date_time": "2026-11-22T12:00:00Z",
        "last_updated": "2026-11-22T10:00:00Z",
    }


async def test_what_nobody_took_for_a_week_is_given_up(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        _, csp = await linked(hood)
        reply = await command(csp, "START_SESSION", start_body(), answer_to=op.AnswerTo("csms", URL))
        now_ms = csp.clock.now_ms()
        csp.store.write(lambda cx: forget_txn(cx, now_ms - 30 * DAY_MS, now_ms + RESULTS_MS - DAY_MS))
        assert len(await pending(csp)) == 1
        csp.store.write(lambda cx: forget_txn(cx, now_ms - 30 * DAY_MS, now_ms + RESULTS_MS + DAY_MS))
        assert await pending(csp) == []
        assert state_at(csp, reply.command_id)[0] == "ACCEPTED"
