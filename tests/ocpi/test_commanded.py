"""An eMSP backend commands a partner's station: taken on at once, told surely what came of it, and nobody else is."""

import asyncio
from typing import Any

import msgspec
import pytest

from roamd.backend.examples import TOKEN
from roamd.backend.ocpi.commanded import profile_life_s
from roamd.backend.ocpi.results import outcome_of
from roamd.clock import SystemClock
from roamd.errors import Forbidden, NotFound, RoamdError
from roamd.roaming import operations as ops
from roamd.roaming.ports import Reply
from tests.support.api import Answered
from tests.support.core import NOW_MS, FakeCore, operations_of
from tests.support.ocpi import PEER, Desk, OcpiBackend, run_ocpi

STAMP = "2026-11-22T12:00:00Z"
START = {"token": TOKEN, "location_id": "THEIRS-1", "evse_uid": "3256"}
LIMIT = {"charging_rate_unit": "W", "charging_profile_period": [{"start_period": 0, "limit": 11000.0}]}


def reply(command: str = "START_SESSION", state: str = "ACCEPTED", **more: Any) -> ops.CommandReply:
    given: dict[str, Any] = {"result": "ACCEPTED", "asked_at": STAMP, "updated_at": STAMP, **more}
    return ops.CommandReply(f"{1:032x}", command, "out", "xyz", "FRXYZ", state, **given)


class CommandCore(FakeCore):
    """One whose partner answers commands as the test says, and that keeps what is to be told."""

    def __init__(self, answer: ops.CommandReply | RoamdError | None = None) -> None:
        super().__init__()
        self.partners = [PEER]
        self.answer = answer or reply()
        self.pending: dict[str, ops.PendingResult] = {}
        self.told: list[tuple[str, bool]] = []

    def _sendcommand(self, asked: ops.SendCommand) -> ops.CommandReply:
        if isinstance(self.answer, RoamdError):
            raise self.answer
        assert asked.answer_to is None or asked.answer_to.backend == "csms"
        if asked.answer_to is not None:
            self.pending[self.answer.command_id] = ops.PendingResult(
                asked.answer_to.url, "", NOW_MS + 10**12, False, self.answer
            )
        return self.answer

    def _listresults(self, asked: ops.ListResults) -> list[ops.PendingResult]:
        return list(self.pending.values())

    def _marktold(self, asked: ops.MarkTold) -> None:
        self.told.append((asked.told, asked.last))
        if asked.last:
            self.pending.pop(asked.command_id, None)

    def becomes(self, **changes: Any) -> None:
        """How the command stands now; an event says so."""
        ((command_id, kept),) = self.pending.items()
        command = msgspec.structs.replace(kept.command, **changes)
        self.pending[command_id] = ops.PendingResult(kept.url, kept.told, kept.due_ms, False, command)
        self.happen("command.state")


def start_at(desk: Desk, path: str = "/results/1") -> dict[str, Any]:
    return {**START, "response_url": desk.backend.url + path}


async def command(desk: Desk, name: str = "START_SESSION", **more: Any) -> Answered:
    return await desk.send("POST", f"/cpo/2.2.1/commands/{name}", start_at(desk) | more)


def result_of(desk: Desk, path: str = "/results/1") -> list[Any]:
    return [seen.body for seen in desk.backend.requests if seen.path == path]


def test_a_command_is_taken_on_at_once_and_its_result_told_when_the_station_has_spoken() -> None:
    core = CommandCore()

    async def test(desk: Desk) -> None:
        answered = await command(desk)
        assert answered.json["data"] == {"result": "ACCEPTED", "timeout": 120}
        (sent,) = operations_of(core, ops.SendCommand)
        assert (sent.command.command, sent.command.location_id, sent.late) == ("START_SESSION", "THEIRS-1", "KEEP")
        assert b"response_url" not in sent.command.body
        assert not result_of(desk)
        core.becomes(state="AT_STATION")
        await desk.sent(("POST", "/results/1"))
        await desk.harness.asked(ops.MarkTold)
        assert result_of(desk) == [{"result": "ACCEPTED"}]
        assert core.told == [("ACCEPTED", True)]

    run_ocpi(test, core=core, registered=True)


class SlowCore(CommandCore):
    """One whose commands are done before it says that they were taken on."""

    waiting: Reply | None = None

    def handle(self, operation: object, reply: Reply) -> None:
        if not isinstance(operation, ops.SendCommand):
            super().handle(operation, reply)
            return
        self._sendcommand(operation)
        self.waiting = reply
        self.happen("command.state")


def test_nobody_is_told_the_result_before_the_answer() -> None:
    core = SlowCore(reply(state="DONE"))
    other = msgspec.structs.replace(reply(), command_id=f"{9:032x}")  # the poster is awake, for there is another
    core.pending[other.command_id] = ops.PendingResult("http://127.0.0.1/other", "", NOW_MS + 10**12, False, other)

    async def test(desk: Desk) -> None:
        asked = asyncio.ensure_future(command(desk))
        while core.waiting is None:
            await desk.harness.asked(ops.ListResults, len(operations_of(core, ops.ListResults)) + 1)
        for _ in range(3):  # time enough to post it, if it were posted
            async with desk.harness.session.get(f"{desk.backend.url}/anything"):
                pass
        assert not result_of(desk)
        assert core.waiting is not None
        core.waiting(core.answer)
        assert (await asked).json["data"]["result"] == "ACCEPTED"
        await desk.sent(("POST", "/results/1"))

    run_ocpi(test, core=core, registered=True)


def test_what_the_partner_says_at_once_is_the_answer_and_nothing_is_told_later() -> None:
    core = CommandCore(reply(state="REJECTED", result="REJECTED", reason="the EVSE is taken"))

    async def test(desk: Desk) -> None:
        data = (await command(desk)).json["data"]
        assert data["result"] == "REJECTED"
        assert data["message"] == [{"language": "en", "text": "the EVSE is taken"}]
        assert core.pending == {}
        assert not result_of(desk)

    run_ocpi(test, core=core, registered=True)


def test_a_partner_that_takes_long_is_waited_for_behind_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Field point 17: the truth comes when it comes."""
    monkeypatch.setattr("roamd.backend.ocpi.commanded.ANSWER_S", 0.05)
    core = CommandCore(reply(state="REJECTED", result="REJECTED", reason="EVSE_OCCUPIED: in use"))

    async def test(desk: Desk) -> None:
        await desk.need("GET", "/2.2.1/credentials")
        core.held = []
        answered = await command(desk)
        assert answered.json["data"]["result"] == "ACCEPTED"
        core.release()
        core.happen("command.state")
        await desk.sent(("POST", "/results/1"))
        assert result_of(desk)[0]["result"] == "EVSE_OCCUPIED"

    run_ocpi(test, core=core, registered=True)


@pytest.mark.parametrize(
    ("name", "more", "error", "expected"),
    [
        ("STOP_SESSION", {"session_id": "S-9"}, NotFound("none"), (200, 1000, "UNKNOWN_SESSION")),
        ("CANCEL_RESERVATION", {"reservation_id": "R-9"}, NotFound("none"), (200, 1000, "REJECTED")),
        ("START_SESSION", {}, NotFound("none"), (404, 2003, None)),
        ("START_SESSION", {}, Forbidden("not agreed"), (200, 1000, "NOT_SUPPORTED")),
        ("START_SESSION", {}, reply(state="FAILED", result="NO_ANSWER", reason="no link"), (200, 4003, None)),
        ("START_SESSION", {}, reply(state="FAILED", result="REFUSED", reason="no"), (200, 1000, "REJECTED")),
        ("STOP_SESSION", {"session_id": "S"}, reply(result="UNKNOWN_SESSION"), (200, 1000, "UNKNOWN_SESSION")),
        ("START_SESSION", {}, reply(state="UNKNOWN", result="OUTCOME_UNKNOWN"), (200, 1000, "ACCEPTED")),
    ],
)
def test_every_first_answer_has_its_word_in_ocpi(name: str, more: Any, error: Any, expected: Any) -> None:
    async def test(desk: Desk) -> None:
        answered = await command(desk, name, **more)
        data = answered.json.get("data")
        assert (answered.status, answered.json["status_code"], data and data["result"]) == expected

    run_ocpi(test, core=CommandCore(error), registered=True)


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "/results/1",
        "ftp://127.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost:1/x",
        "http://user:pass@127.0.0.1/x",
        "http://127.0.0.1.evil.example/x",
        "http://[::1]/x",
        "http://" + "x" * 2000,
        "http://127.0.0.1/\n",
    ],
)
def test_an_address_for_results_at_another_host_is_refused_and_nothing_is_sent(url: Any) -> None:
    core = CommandCore()

    async def test(desk: Desk) -> None:
        answered = await command(desk, response_url=url)
        assert (answered.status, answered.json["status_code"]) == (400, 2001)
        assert "$.response_url" in answered.json["status_message"]
        assert not operations_of(core, ops.SendCommand)

    run_ocpi(test, core=core, registered=True)


@pytest.mark.parametrize(
    ("to", "expected"), [(("FR", "XYZ"), "FRXYZ"), (("DE", "ABC"), None), (("fr", "xyz"), "FRXYZ"), (None, None)]
)
def test_the_routing_headers_name_the_station_s_party(to: tuple[str, str] | None, expected: str | None) -> None:
    """Field point 6."""
    core = CommandCore()

    async def test(desk: Desk) -> None:
        headers = {} if to is None else {"OCPI-to-country-code": to[0], "OCPI-to-party-id": to[1]}
        await desk.need("POST", "/cpo/2.2.1/commands/START_SESSION", start_at(desk), headers)
        (sent,) = operations_of(core, ops.SendCommand)
        assert sent.party == expected

    run_ocpi(test, core=core, registered=True)


def test_an_unknown_party_and_one_that_is_away_have_their_statuses() -> None:
    core = CommandCore()
    core.partners = [PEER, ops.Partner("away", "Away", ("NLAWY",), ("cso",), "PAIRED", False, 0)]

    async def test(desk: Desk) -> None:
        for party, status, code in (("QQQ", 404, 4001), ("AWY", 200, 4003)):
            headers = {"OCPI-to-country-code": "NL", "OCPI-to-party-id": party}
            answered = await desk.send("POST", "/cpo/2.2.1/commands/START_SESSION", start_at(desk), headers=headers)
            assert (answered.status, answered.json["status_code"]) == (status, code)
        assert not operations_of(core, ops.SendCommand)

    run_ocpi(test, core=core, registered=True)


def test_a_result_that_is_not_taken_is_told_again_after_a_restart_and_until_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roamd.backend.ocpi.results.backoff_s", lambda failures, random: 0.001)
    core, answers = CommandCore(), iter([(500, None), (503, None)])
    backend = OcpiBackend()

    async def before(desk: Desk) -> None:
        await desk.register()
        await command(desk)
        backend.answer = lambda seen: next(answers)
        core.becomes(state="AT_STATION")
        while len(result_of(desk)) < 2:
            await desk.harness.asked(ops.ListResults, len(operations_of(core, ops.ListResults)) + 1)
        assert core.told == []
        backend.answer = lambda seen: (404, None)

    async def after(desk: Desk) -> None:
        await desk.harness.asked(ops.MarkTold)
        assert core.told == [("ACCEPTED", True)]

    run_ocpi(before, core=core, backend=backend)
    backend.answer = lambda seen: (200, None)
    run_ocpi(after, core=core, backend=backend)


def test_a_dead_address_holds_no_other_up(monkeypatch: pytest.MonkeyPatch) -> None:
    core = CommandCore()

    async def test(desk: Desk) -> None:
        for n, url in enumerate(("http://127.0.0.1:1/dead", desk.backend.url + "/results/2")):
            command_reply = msgspec.structs.replace(reply(state="DONE"), command_id=f"{n + 7:032x}")
            core.pending[command_reply.command_id] = ops.PendingResult(url, "", NOW_MS, False, command_reply)
        core.answer = reply()
        await command(desk)
        await desk.sent(("POST", "/results/2"))

    run_ocpi(test, core=core, registered=True)


def pending(told: str = "", due_ms: int = NOW_MS + 1, canceled: bool = False, **state: Any) -> ops.PendingResult:
    return ops.PendingResult("http://x/", told, due_ms, canceled, reply(**state))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pending(), None),
        (pending(state="UNKNOWN"), None),
        (pending(state="WAITING_FOR_CABLE"), ("ACCEPTED", True)),
        (pending(state="STARTED"), ("ACCEPTED", True)),
        (pending(state="FAILED", reason="EVSE_INOPERATIVE"), ("EVSE_INOPERATIVE", True)),
        (pending(state="FAILED", reason="EVSE_OCCUPIED: a car"), ("EVSE_OCCUPIED", True)),
        (pending(state="FAILED", reason="out of cable"), ("FAILED", True)),
        (pending(state="REJECTED", reason="no", result="NOT_SUPPORTED"), ("NOT_SUPPORTED", True)),
        (pending(state="FAILED", reason="TIMEOUT"), ("TIMEOUT", False)),
        (pending(state="LATE", late="KEEP"), ("ACCEPTED", True)),
        (pending(state="LATE", late="STOP"), ("TIMEOUT", True)),
        (pending(due_ms=NOW_MS), ("TIMEOUT", False)),
        (pending("TIMEOUT", due_ms=NOW_MS), None),
        (pending("TIMEOUT", state="FAILED", reason="TIMEOUT"), None),
        (pending("TIMEOUT", command="STOP_SESSION", state="DONE"), ("ACCEPTED", True)),
        (pending("TIMEOUT", state="LATE", late="KEEP"), ("ACCEPTED", True)),
        (pending(command="RESERVE_NOW", state="DONE"), ("ACCEPTED", False)),
        (pending("ACCEPTED", command="RESERVE_NOW", state="DONE"), None),
        (pending("ACCEPTED", command="RESERVE_NOW", state="DONE", canceled=True), ("CANCELED_RESERVATION", True)),
    ],
)
def test_results_are_told_once_and_late_ones_count(given: ops.PendingResult, expected: Any) -> None:
    """Field point 17: a result long after its time-out, and one that never comes."""
    found = outcome_of(given, NOW_MS)
    assert (found and (found.result, found.last)) == expected


@pytest.mark.parametrize(
    ("method", "path", "name", "body"),
    [
        ("PUT", "", "SET_CHARGING_PROFILE", {"session_id": "S-1", "charging_profile": LIMIT, "expires_s": 86400}),
        ("GET", "&duration=900", "GET_ACTIVE_PROFILE", {"session_id": "S-1", "duration_s": 900}),
        ("DELETE", "", "CLEAR_CHARGING_PROFILE", {"session_id": "S-1"}),
    ],
)
def test_charging_profiles_are_set_asked_for_and_cleared(method: str, path: str, name: str, body: Any) -> None:
    profile = {"start_date_time": STAMP, "charging_profile": LIMIT}
    raw = msgspec.Raw(msgspec.json.encode(profile))
    core = CommandCore(reply(name, "DONE", profile=raw if name == "GET_ACTIVE_PROFILE" else None))

    async def test(desk: Desk) -> None:
        url = desk.backend.url + "/results/1"
        sent = {"charging_profile": LIMIT, "response_url": url} if method == "PUT" else None
        query = "" if sent else f"?response_url={url}{path}"
        answered = await desk.need(method, f"/cpo/2.3.0/chargingprofiles/S-1{query}", sent)
        assert answered.json["data"] == {"result": "ACCEPTED", "timeout": 120}
        (asked,) = operations_of(core, ops.SendCommand)
        assert (asked.command.command, msgspec.json.decode(asked.command.body)) == (name, body)
        await desk.sent(("POST", "/results/1"))
        told = {"result": "ACCEPTED"} | ({"profile": profile} if method == "GET" else {})
        assert result_of(desk) == [told]

    run_ocpi(test, core=core, registered=True)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ({}, 86_400),
        ({"duration": 1800}, 1800),
        ({"duration": 5}, 60),
        ({"duration": 10**9}, 86_400),
        ({"duration": "x"}, 86_400),
        ({"duration": True}, 86_400),
        (7, 86_400),
    ],
)
def test_a_profile_is_in_force_as_long_as_it_says_and_a_day_at_most(profile: Any, expected: int) -> None:
    assert profile_life_s({"charging_profile": profile}, SystemClock()) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply(state="DONE"), (200, 1000, "ACCEPTED")),
        (reply(state="REJECTED", result="DEPARTURE_REQUIRED"), (200, 1000, "DEPARTURE_REQUIRED")),
        (reply(state="REJECTED", result="REJECTED"), (200, 1000, "NOT_POSSIBLE")),
        (reply(state="REJECTED", result="NOT_SUPPORTED"), (404, 2001, None)),
        (reply(state="REJECTED", result="UNKNOWN_SESSION"), (404, 2003, None)),
        (reply(state="UNKNOWN", result="OUTCOME_UNKNOWN"), (200, 4002, None)),
        (reply(state="FAILED", result="NO_ANSWER", reason="no link"), (200, 4003, None)),
        (NotFound("none"), (404, 2003, None)),
        (Forbidden("not agreed"), (404, 2001, None)),
    ],
)
def test_charging_preferences_are_answered_in_ocpi_s_words(answer: Any, expected: Any) -> None:
    core = CommandCore(answer)

    async def test(desk: Desk) -> None:
        wishes = {"profile_type": "GREEN", "departure_time": STAMP}
        answered = await desk.send("PUT", "/cpo/2.2.1/sessions/S-1/charging_preferences", wishes)
        assert (answered.status, answered.json["status_code"], answered.json.get("data")) == expected
        (sent,) = operations_of(core, ops.SendCommand)
        assert msgspec.json.decode(sent.command.body) == {**wishes, "session_id": "S-1"}

    run_ocpi(test, core=core, registered=True)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/cpo/2.2.1/commands/DANCE", 404),
        ("POST", "/cpo/2.2.1/commands", 404),
        ("GET", "/cpo/2.2.1/commands/START_SESSION", 405),
        ("POST", "/cpo/2.2.1/chargingprofiles/S-1", 400),
        ("PUT", "/cpo/2.2.1/chargingprofiles/S-1", 400),
        ("PUT", "/cpo/2.2.1/chargingprofiles", 404),
        ("GET", "/cpo/2.2.1/sessions/S-1/charging_preferences", 405),
        ("POST", "/cpo/2.2.1/sessions/S-1/charging_preferences", 405),
    ],
)
def test_what_is_no_command_is_refused(method: str, path: str, status: int) -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.send(method, path, {})
        assert answered.status == status
        assert answered.json["status_code"] >= 2000

    run_ocpi(test, core=CommandCore(), registered=True)


def test_two_commands_at_a_time_do_not_wait_for_each_other() -> None:
    core = CommandCore()

    async def test(desk: Desk) -> None:
        answers = await asyncio.gather(*(command(desk, response_url=f"{desk.backend.url}/r/{n}") for n in range(8)))
        assert {each.json["data"]["result"] for each in answers} == {"ACCEPTED"}

    run_ocpi(test, core=core, registered=True)
