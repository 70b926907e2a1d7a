"""/v1/commands, and commands as questions to the backend."""

import json
from typing import Any

import msgspec
import pytest
from aiohttp import web

from roamd.backend.examples import COMMANDS as EXAMPLES
from roamd.backend.questions import BackendSettings, read_result
from roamd.model.roles import COMMANDS
from roamd.roaming.operations import ReportCommand, SendCommand
from roamd.roaming.ports import CommandQuestion, CommandResult, NoAnswer
from tests.backend.test_questions import a_backend
from tests.backend.test_stream import Answers
from tests.support.api import Harness, run_api
from tests.support.core import operations_of

START = EXAMPLES["START_SESSION"]


def a_question() -> CommandQuestion:
    return CommandQuestion(
        command_id="c" * 32,
        peer="xyz",
        party="FRXYZ",
        command="STOP_SESSION",
        ocpi="2.3.0",
        body=msgspec.Raw(b'{"session_id":"S1"}'),
        deadline_ms=10_000,
        expires_at="2026-11-22T10:00:00Z",
    )


def test_every_command_has_an_example_and_goes_to_the_core_with_its_options() -> None:
    assert EXAMPLES.keys() == COMMANDS.keys()

    async def test(api: Harness) -> None:
        for name, body in EXAMPLES.items():
            path = f"/v1/commands/{name}?peer=xyz&party=DE*ABC&deadline_ms=700&timeout_s=30&late=KEEP"
            answered = await api.send("POST", path, body, headers={"OCPI-Version": "2.2.1"})
            assert (answered.status, answered.json["command"]) == (200, name)
        for asked in operations_of(api.core, SendCommand):
            assert (asked.peer, asked.party, asked.deadline_ms, asked.timeout_s) == ("xyz", "DEABC", 700, 30)
            assert (asked.late, asked.command.ocpi) == ("KEEP", "2.2.1")

    run_api(test)


@pytest.mark.parametrize(
    ("query", "body", "paths"),
    [
        ("", {"location_id": 5}, {"$.token", "$.location_id"}),
        ("?late=NEVER", START, {"late"}),
        ("?timeout_s=1", START, {"timeout_s"}),
        ("?timeout_s=901", START, {"timeout_s"}),
        ("?deadline_ms=99", START, {"deadline_ms"}),
        ("?deadline_ms=x", START, {"deadline_ms"}),
        ("?peer=NO/PEER", START, {"peer"}),
    ],
)
def test_a_malformed_command_is_refused_with_every_fault_and_asks_nobody(
    query: str, body: Any, paths: set[str]
) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send("POST", "/v1/commands/START_SESSION" + query, body)
        assert (answered.status, set(answered.paths)) == (422, paths)
        assert not operations_of(api.core, SendCommand)

    run_api(test)


def test_a_report_is_checked_and_told_to_the_core() -> None:
    async def test(api: Harness) -> None:
        sent = await api.send("POST", "/v1/commands/START_SESSION", START)
        path = f"/v1/commands/{sent.json['command_id']}/state"
        for wrong in ({}, {"state": "SOON"}, {"state": "STARTED", "session_id": "x" * 37}, {"state": 5}):
            assert (await api.send("POST", path, wrong)).status == 422
        answered = await api.send("POST", path, {"state": "STARTED", "session_id": "S1"})
        assert answered.json["state"] == "STARTED"
        assert operations_of(api.core, ReportCommand) == [ReportCommand(sent.json["command_id"], "STARTED", None, "S1")]
        assert (await api.send("GET", "/v1/commands/nothing")).status == 404

    run_api(test)


def test_the_stream_takes_the_same_commands_and_reports() -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        sent = await stream.ask(
            {"op": "command", "id": 1, "command": "START_SESSION", "body": START, "timeout_s": 60, "late": "KEEP"}
        )
        assert (sent["status"], sent["body"]["state"]) == (200, "ACCEPTED")
        name = sent["body"]["command_id"]
        told = await stream.ask({"op": "command.state", "id": 2, "key": name, "body": {"state": "AT_STATION"}})
        assert told["body"]["state"] == "AT_STATION"
        assert (await stream.ask({"op": "command.get", "id": 3, "key": name}))["body"]["state"] == "AT_STATION"
        refused = await stream.ask({"op": "command", "id": 4, "command": "START_WAR", "body": {}})
        assert refused["status"] == 404
        (asked,) = operations_of(api.core, SendCommand)
        assert (asked.timeout_s, asked.late) == (60, "KEEP")

    run_api(test)


def test_a_key_over_the_stream_is_the_same_as_by_http_and_another_request_is_not() -> None:
    async def test(api: Harness) -> None:
        path, key = "/v1/commands/START_SESSION?peer=xyz&timeout_s=60", {"Idempotency-Key": "k-1"}
        text = json.dumps(START, separators=(",", ":")).encode()
        first = await api.send("POST", path, text, headers=key)
        stream = await api.stream()
        message = {"op": "command", "id": 1, "command": "START_SESSION", "peer": "xyz", "idempotency_key": "k-1"}
        raw = json.dumps([{**message, "timeout_s": 60, "body": "BODY"}]).replace('"BODY"', text.decode())
        await stream.socket.send_str(raw)
        assert (await stream.next())["body"]["command_id"] == first.json["command_id"]
        await stream.socket.send_str(raw.replace('"timeout_s": 60', '"timeout_s": 61'))
        assert (await stream.next())["status"] == 409

    run_api(test)


def test_a_command_is_posted_to_the_backend_and_its_result_read() -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path, await request.json()))
        return web.json_response({"result": "REJECTED", "reason": "occupied", "unknown": 1})

    async def test(api: Harness) -> None:
        async with a_backend(handler) as url:
            api.serving.questions.configure(BackendSettings(url + "/roamd"))
            answers: Any = Answers()
            api.serving.questions.ask_command(a_question(), answers)
            assert await answers.first() == CommandResult("REJECTED", "occupied")

    run_api(test)
    (path, body), *rest = seen
    assert (path, body["command_id"], body["body"], rest) == ("/roamd/command", "c" * 32, {"session_id": "S1"}, [])


def test_a_command_goes_over_the_stream_that_takes_questions() -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        await stream.ask({"op": "questions.subscribe"})
        answers: Any = Answers()
        api.serving.questions.ask_command(a_question(), answers)
        asked = await stream.next()
        assert (asked["kind"], asked["id"], asked["body"]["command"]) == ("command", "c" * 32, "STOP_SESSION")
        await stream.send({"op": "answer", "id": asked["id"], "body": {"result": "ACCEPTED"}})
        assert await answers.first() == CommandResult("ACCEPTED")

    run_api(test)


def test_what_surely_never_reached_the_backend_says_so() -> None:
    async def test(api: Harness) -> None:
        answers: Any = Answers()
        api.serving.questions.ask_command(a_question(), answers)
        nobody = await answers.first()
        assert (nobody, nobody.asked) == (NoAnswer("not configured"), False)
        api.serving.questions.configure(BackendSettings("http://127.0.0.1:1"))
        closed: Any = Answers()
        api.serving.questions.ask_command(a_question(), closed)
        assert (await closed.first()).asked is False

    run_api(test)


def test_what_is_no_result_counts_as_none() -> None:
    assert read_result(b'{"decision":"ALLOWED"}') == NoAnswer("unreadable answer")
    assert read_result(b'{"result":"ACCEPTED","profile":{"a":1.50}}') == CommandResult(
        "ACCEPTED", None, msgspec.Raw(b'{"a":1.50}')
    )
