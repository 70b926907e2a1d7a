"""A partner's command reaches a CPO backend as OCPI; its result counts before the answer, late, or never."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from roamd.backend.examples import LOCATION, TOKEN
from roamd.errors import Conflict
from roamd.roaming import operations as ops
from roamd.roaming.ports import CommandQuestion, CommandResult, NoAnswer
from tests.support.api import Answered
from tests.support.core import FakeCore
from tests.support.ocpi import PEER, Desk, OcpiBackend, Seen, run_ocpi

ID = "00112233445566778899aabbccddeeff"
MODULES = [("commands", "RECEIVER"), ("chargingprofiles", "RECEIVER"), ("sessions", "SENDER")]
LIMIT = {"charging_rate_unit": "W", "charging_profile_period": [{"start_period": 0, "limit": 11000.0}]}
START = {"token": TOKEN, "location_id": "LOC1", "evse_uid": "3256"}
RESERVE = {"token": TOKEN, "expiry_date": "2026-11-22T14:00:00Z", "reservation_id": "R/1", "location_id": "LOC1"}


def question(command: str, body: dict[str, Any], deadline_ms: int = 5000) -> CommandQuestion:
    raw = msgspec.Raw(msgspec.json.encode(body))
    return CommandQuestion(ID, "xyz", "FRXYZ", command, "2.2.1", raw, deadline_ms, "2026-11-22T12:00:05Z")


async def ask(desk: Desk, asked: CommandQuestion) -> CommandResult | NoAnswer:
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    desk.harness.serving.questions.ask_command(asked, answered.set_result)
    answer: CommandResult | NoAnswer = await answered
    return answer


class ReportingCore(FakeCore):
    """One that takes reports of commands as they come."""

    def __init__(self, refuse: bool = False) -> None:
        super().__init__()
        self.partners = [PEER]
        self.refuse = refuse
        self.reports: list[tuple[str, str, str | None]] = []

    def _reportcommand(self, asked: ops.ReportCommand) -> ops.CommandReply:
        if asked.command_id != ID:
            return super()._reportcommand(asked)
        if self.refuse:
            raise Conflict("it is FAILED already")
        self.reports.append((asked.command_id, asked.state, asked.reason))
        stamp = "2026-11-22T12:00:00Z"
        return ops.CommandReply(ID, "START_SESSION", "in", "xyz", "DEABC", asked.state, "ACCEPTED", stamp, stamp)


def cpo(answer: Any = ("ACCEPTED", 200), **more: Any) -> OcpiBackend:
    result, status = answer
    data = {"result": result, "timeout": 60} if isinstance(result, str) else result
    return OcpiBackend(modules=MODULES, answer=lambda seen: (status, data), **more)


async def tell(desk: Desk, url: str, body: Any) -> Answered:
    """The backend's second answer, at the address that it was given."""
    return await desk.send("POST", url.removeprefix(f"{desk.harness.url}/ocpi"), body)


def asked_of(desk: Desk, method: str = "POST") -> Seen:
    (seen,) = desk.backend.pushed(method)
    return seen


def test_a_start_is_posted_with_an_address_of_ours_and_its_result_goes_into_the_command() -> None:
    core = ReportingCore()

    async def test(desk: Desk) -> None:
        assert await ask(desk, question("START_SESSION", START)) == CommandResult("ACCEPTED")
        seen = asked_of(desk)
        url = seen.body.pop("response_url")
        assert (seen.path, seen.body) == ("/commands/START_SESSION", START)
        assert (seen.headers["OCPI-from-country-code"], seen.headers["OCPI-from-party-id"]) == ("FR", "XYZ")
        assert url == f"{desk.harness.url}/ocpi/emsp/2.2.1/commands/START_SESSION/{ID}"
        answered = await tell(desk, url, {"result": "ACCEPTED"})
        assert (answered.status, answered.json["status_code"]) == (200, 1000)
        assert core.reports == [(ID, "AT_STATION", None)]

    run_ocpi(test, core=core, backend=cpo(), registered=True)


@pytest.mark.parametrize(
    ("command", "result", "report"),
    [
        ("STOP_SESSION", {"result": "accepted"}, ("DONE", None)),
        ("UNLOCK_CONNECTOR", {"result": "ACCEPTED"}, ("DONE", None)),
        ("START_SESSION", {"result": "EVSE_OCCUPIED"}, ("FAILED", "EVSE_OCCUPIED")),
        ("START_SESSION", {"result": "TIMEOUT", "message": []}, ("FAILED", "TIMEOUT")),
        (
            "START_SESSION",
            {"result": "FAILED", "message": [{"language": "de", "text": "kaputt"}, {"language": "en", "text": "off"}]},
            ("FAILED", "FAILED: off"),
        ),
        ("CANCEL_RESERVATION", {"result": "UNKNOWN_RESERVATION"}, ("FAILED", "UNKNOWN_RESERVATION")),
    ],
)
def test_results_before_the_answer_or_long_after_it_are_reports(command: str, result: Any, report: Any) -> None:
    """Field point 17: nothing is waited for, so nothing is too early and nothing too late."""
    core = ReportingCore()

    async def test(desk: Desk) -> None:
        await desk.need("POST", f"/emsp/2.2.1/commands/{command}/{ID}", result)
        assert core.reports == [(ID, *report)]

    run_ocpi(test, core=core, backend=cpo(), registered=True)


def test_a_result_that_contradicts_the_end_is_taken_without_effect() -> None:
    async def test(desk: Desk) -> None:
        answered = await desk.need("POST", f"/emsp/2.2.1/commands/START_SESSION/{ID}", {"result": "ACCEPTED"})
        assert "changes nothing" in answered.json["status_message"]

    run_ocpi(test, core=ReportingCore(refuse=True), backend=cpo(), registered=True)


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (f"START_SESSION/{'f' * 32}", {"result": "ACCEPTED"}, (404, 2003)),
        (f"START_SESSION/{ID}", {"result": "PERHAPS"}, (400, 2001)),
        (f"START_SESSION/{ID}", {"result": 7}, (400, 2001)),
        (f"START_SESSION/{ID}", [], (400, 2001)),
        (f"START_SESSION/{ID}", b"{", (400, 2001)),
        ("START_SESSION", {"result": "ACCEPTED"}, (404, 2003)),
    ],
)
def test_a_result_that_is_none_is_refused_with_the_field(path: str, body: Any, expected: tuple[int, int]) -> None:
    core = ReportingCore()

    async def test(desk: Desk) -> None:
        answered = await desk.send("POST", f"/emsp/2.2.1/commands/{path}", body)
        assert (answered.status, answered.json["status_code"]) == expected
        assert core.reports == []

    run_ocpi(test, core=core, backend=cpo(), registered=True)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (("ACCEPTED", 200), CommandResult("ACCEPTED")),
        (("not_supported", 200), CommandResult("NOT_SUPPORTED")),
        (([{"result": "UNKNOWN_SESSION"}], 200), CommandResult("UNKNOWN_SESSION")),
        (({"result": "REJECTED", "message": [{"text": "no"}]}, 200), CommandResult("REJECTED", "no")),
        ((None, 404), CommandResult("REJECTED", "HTTP 404 with OCPI status 2000")),
        (("PERHAPS", 200), NoAnswer("unknown result")),
        (({"timeout": 3}, 200), NoAnswer("unreadable answer")),
        ((None, 200), NoAnswer("unreadable answer")),
        ((None, 500), NoAnswer("HTTP 500 with OCPI status 2000")),
        ((None, 401), NoAnswer("HTTP 401 with OCPI status 2000")),
    ],
)
def test_the_first_answer_is_read_with_patience(answer: Any, expected: object) -> None:
    async def test(desk: Desk) -> None:
        assert await ask(desk, question("STOP_SESSION", {"session_id": "S1"})) == expected

    run_ocpi(test, core=ReportingCore(), backend=cpo(answer), registered=True)


def test_a_backend_that_is_not_there_was_surely_not_asked() -> None:
    async def test(desk: Desk) -> None:
        await desk.backend.stop()
        answer = await ask(desk, question("STOP_SESSION", {"session_id": "S1"}))
        assert isinstance(answer, NoAnswer)
        assert not answer.asked

    run_ocpi(test, core=ReportingCore(), backend=cpo(), registered=True)


def test_profiles_and_preferences_have_addresses_and_methods_of_their_own() -> None:
    async def test(desk: Desk) -> None:
        profile = {"session_id": "S/1", "charging_profile": LIMIT, "expires_s": 900}
        assert await ask(desk, question("SET_CHARGING_PROFILE", profile)) == CommandResult("ACCEPTED")
        put = asked_of(desk, "PUT")
        url = put.body.pop("response_url")
        assert (put.path, put.body) == ("/chargingprofiles/S%2F1", {"charging_profile": LIMIT})
        assert url.endswith(f"/emsp/2.2.1/chargingprofiles/SET_CHARGING_PROFILE/{ID}")
        assert await ask(desk, question("CLEAR_CHARGING_PROFILE", {"session_id": "S/1"})) == CommandResult("ACCEPTED")
        assert asked_of(desk, "DELETE").path.startswith("/chargingprofiles/S%2F1?response_url=http")
        desk.backend.requests.clear()
        wishes = {"profile_type": "FAST", "energy_need": 20}
        asked = question("SET_CHARGING_PREFERENCES", {"session_id": "S/1", **wishes})
        assert await ask(desk, asked) == CommandResult("ACCEPTED")
        put = asked_of(desk, "PUT")
        assert (put.path, put.body) == ("/sessions/S%2F1/charging_preferences", wishes)

    run_ocpi(test, core=ReportingCore(), backend=cpo(), registered=True)


def test_preferences_are_answered_by_a_word() -> None:
    async def test(desk: Desk) -> None:
        desk.backend.answer = lambda seen: (200, "DEPARTURE_REQUIRED")
        asked = question("SET_CHARGING_PREFERENCES", {"session_id": "S1", "profile_type": "FAST"})
        assert await ask(desk, asked) == CommandResult("DEPARTURE_REQUIRED")

    run_ocpi(test, core=ReportingCore(), backend=cpo(), registered=True)


@pytest.mark.parametrize("early", [True, False])
def test_the_active_profile_is_the_second_answer_even_if_it_comes_first(early: bool) -> None:
    """Field point 17."""
    active = {"start_date_time": "2026-11-22T12:00:00Z", "charging_profile": LIMIT}
    path = f"/emsp/2.2.1/chargingprofiles/GET_ACTIVE_PROFILE/{ID}"

    async def test(desk: Desk) -> None:
        async def told() -> None:
            await desk.need("POST", path, {"result": "ACCEPTED", "profile": active})

        async def slow(seen: Seen) -> None:
            if early and "/chargingprofiles/" in seen.path:
                await told()

        desk.backend.before = slow
        pending = asyncio.ensure_future(ask(desk, question("GET_ACTIVE_PROFILE", {"session_id": "S1"})))
        if not early:
            while not any("/chargingprofiles/" in seen.path for seen in desk.backend.requests):
                came = asyncio.Event()
                desk.backend.on_request = came.set
                await came.wait()
            await told()
        answer = await pending
        assert isinstance(answer, CommandResult)
        assert json.loads(bytes(answer.profile or b"")) == active

    run_ocpi(test, core=ReportingCore(), backend=cpo(), registered=True)


def test_a_profile_that_never_comes_is_no_answer() -> None:
    """Field point 17: never."""

    async def test(desk: Desk) -> None:
        asked = question("GET_ACTIVE_PROFILE", {"session_id": "S1"}, deadline_ms=100)
        assert await ask(desk, asked) == NoAnswer("late")
        body = {"result": "ACCEPTED"}
        answered = await desk.need("POST", f"/emsp/2.2.1/chargingprofiles/GET_ACTIVE_PROFILE/{ID}", body)
        assert "changes nothing" in answered.json["status_message"]

    run_ocpi(test, core=ReportingCore(), backend=cpo(), registered=True)


def reservation(core: FakeCore) -> dict[str, Any] | None:
    found = [json.loads(body) for key, (body, *_) in core.objects.items() if key[0] == "reservations"]
    return found[0] if found else None


def test_a_reservation_is_an_object_that_follows_the_results() -> None:
    core = ReportingCore()

    async def test(desk: Desk) -> None:
        await desk.need("PUT", "/emsp/2.2.1/locations/DE/ABC/LOC1", LOCATION)
        assert await ask(desk, question("RESERVE_NOW", RESERVE)) == CommandResult("ACCEPTED")
        shown = reservation(core)
        assert shown is not None
        assert (shown["id"], shown["status"], shown["end_date_time"]) == ("R/1", "PENDING", RESERVE["expiry_date"])
        url = asked_of(desk).body["response_url"]
        assert url.endswith(f"/RESERVE_NOW/{ID}/R%2F1")
        for result, status in (("ACCEPTED", "RESERVED"), ("CANCELED_RESERVATION", "CANCELED")):
            assert (await tell(desk, url, {"result": result})).json["status_code"] == 1000
            shown = reservation(core)
            assert shown is not None
            assert shown["status"] == status
        assert core.reports == [(ID, "DONE", None)]

    run_ocpi(test, core=core, backend=cpo(), registered=True)


@pytest.mark.parametrize(("answer", "left"), [(("REJECTED", 200), False), ((None, 500), True)])
def test_a_reservation_that_is_refused_is_shown_no_more(answer: Any, left: bool) -> None:
    core = ReportingCore()

    async def test(desk: Desk) -> None:
        await ask(desk, question("RESERVE_NOW", RESERVE))
        assert (reservation(core) is not None) == left

    run_ocpi(test, core=core, backend=cpo(answer), registered=True)


def test_without_the_module_the_backend_is_not_asked() -> None:
    async def test(desk: Desk) -> None:
        asked = question("STOP_SESSION", {"session_id": "S1"})
        assert await ask(desk, asked) == NoAnswer("not configured", asked=False)

    run_ocpi(test, core=ReportingCore(), registered=True)


def test_changes_of_a_profile_are_taken_and_not_passed_on() -> None:
    async def test(desk: Desk) -> None:
        body = {"start_date_time": "2026-11-22T12:00:00Z", "charging_profile": LIMIT}
        answered = await desk.need("PUT", "/emsp/2.2.1/chargingprofiles/S1", body)
        assert "not passed on" in answered.json["status_message"]

    run_ocpi(test, core=ReportingCore(), backend=cpo(), registered=True)
