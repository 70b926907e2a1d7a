"""The simulated backend answers as told, and keeps what it was asked."""

import http.client
import json

import pytest

from roamd.demo.client import Api, NotAnsweredError
from roamd.demo.processes import Children
from tests.support.backend import SimulatedBackend, running_backend

QUESTION = {"authorization_id": "a1", "credential": {"type": "RFID", "uid": "04AABBCC"}, "deadline_ms": 3000}


def api(url: str) -> Api:
    return Api(url.removeprefix("http://").removesuffix("/roamd"))


def test_it_allows_with_a_new_reference_each_time_and_keeps_the_questions() -> None:
    with running_backend() as (backend, url):
        first, second = (api(url).need("POST", "/roamd/authorize", QUESTION) for _ in range(2))
        assert first["decision"] == second["decision"] == "ALLOWED"
        assert first["authorization_reference"] != second["authorization_reference"]
        assert [asked.body for asked in backend.asked] == [QUESTION, QUESTION]
        assert [one["path"] for one in api(url).get("/asked")] == ["authorize", "authorize"]


def test_it_keeps_the_key_that_it_was_shown() -> None:
    with running_backend() as (backend, url):
        api(url).request("POST", "/authorize", QUESTION, headers={"Authorization": "Bearer abc"})
        assert backend.asked[0].authorization == "Bearer abc"


def test_it_blocks_the_credential_that_it_was_told_to() -> None:
    with running_backend() as (_backend, url):
        api(url).need("PUT", "/decisions/04AABBCC", {"decision": "BLOCKED"})
        assert api(url).need("POST", "/roamd/authorize", QUESTION)["decision"] == "BLOCKED"


def test_it_takes_commands() -> None:
    with running_backend() as (backend, url):
        answer = api(url).need("POST", "/roamd/command", {"command_id": "c1", "command": "UNLOCK_CONNECTOR"})
        assert answer == {"result": "ACCEPTED"}
        assert backend.asked[0].path == "command"


def test_broken_it_answers_500_and_garbled_it_answers_what_nobody_can_read() -> None:
    with running_backend(SimulatedBackend(mood="broken")) as (backend, url):
        assert api(url).request("POST", "/roamd/authorize", QUESTION).status == 500
        backend.mood = "garbled"
        reply = api(url).request("POST", "/roamd/authorize", QUESTION)
        assert reply.status == 200
        assert isinstance(reply.body, str), "not JSON"


def test_silent_it_keeps_the_question_and_never_answers() -> None:
    with running_backend(SimulatedBackend(mood="silent")) as (backend, url):
        connection = http.client.HTTPConnection(api(url).address, timeout=0.2)
        connection.request("POST", "/roamd/authorize", json.dumps(QUESTION), {"Content-Type": "application/json"})
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        assert len(backend.asked) == 1


def test_slow_it_answers_late_but_answers() -> None:
    with running_backend(SimulatedBackend(mood="slow", delay_ms=50)) as (_backend, url):
        assert api(url).need("POST", "/roamd/authorize", QUESTION)["decision"] == "ALLOWED"


def test_a_mood_that_there_is_not_is_refused() -> None:
    with running_backend() as (backend, url):
        assert api(url).request("PUT", "/mood", {"mood": "sulky"}).status == 422
        assert backend.mood == "well"


def test_as_a_process_it_ends_with_its_owner() -> None:
    with Children() as children:
        backend = children.backend()
        assert backend.control.need("POST", "/roamd/authorize", QUESTION)["decision"] == "ALLOWED"
        assert backend.asked() == [QUESTION]
    assert backend.process.returncode == 0
    with pytest.raises(NotAnsweredError):
        backend.control.get("/asked")
