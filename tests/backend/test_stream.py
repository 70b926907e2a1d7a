"""GET /v1/stream: the WebSocket."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMessage, WSMsgType, WSServerHandshakeError

from roamd.backend import stream as stream_module
from roamd.backend.examples import LOCATION, SERVICE_RECORD, TARIFF
from roamd.backend.messages import FRAME_BYTES, FRAME_MESSAGES, UnreadableFrame, read_frame, take_frame
from roamd.backend.problems import Problem
from roamd.backend.server import serving
from roamd.backend.stream import Stream
from roamd.roaming.operations import Authorize, ReadEvents, StoredObject
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, NoAnswer
from tests.support.api import KEY, Harness, make_api, run, run_api
from tests.support.core import FakeCore, operations_of

GOOD = {"credential": {"type": "RFID", "uid": "04AB"}}


def a_question(name: str = "q-1", deadline_ms: int = 10_000, peer: str = "xyz") -> AuthorizeQuestion:
    return AuthorizeQuestion(
        authorization_id=name,
        peer=peer,
        party="FR*XYZ",
        credential={"type": "RFID", "uid": "04AB", "contract_id": None},
        service="CHARGING",
        deadline_ms=deadline_ms,
        expires_at="2026-11-22T10:00:00Z",
    )


class Answers(list[BackendAnswer | NoAnswer]):
    """What a question's asker was told, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._told = asyncio.Event()

    def __call__(self, answer: BackendAnswer | NoAnswer) -> None:
        self.append(answer)
        self._told.set()

    async def first(self) -> BackendAnswer | NoAnswer:
        await self._told.wait()
        return self[0]


# --- frames -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"5", b'"x"', b"{", b"[", b"[" * 100_000, b'["\xff', b"null"])
def test_what_is_no_array_of_objects_is_no_frame(data: bytes) -> None:
    with pytest.raises(UnreadableFrame):
        read_frame(data)


def test_a_faulty_message_does_not_spoil_its_frame() -> None:
    first, second, third = read_frame(b'[{"op":"get"},{"op":5},{"op":"get","id":[]}]')
    assert not isinstance(first, Problem)
    assert isinstance(second, Problem)
    assert isinstance(third, Problem)


def test_a_single_message_needs_no_array() -> None:
    (message,) = read_frame(b' {"op":"get"}')
    assert not isinstance(message, Problem)


def test_a_frame_takes_what_waits_up_to_its_bounds() -> None:
    waiting = [b"1"] * (FRAME_MESSAGES + 5)
    assert len(json.loads(take_frame(waiting))) == FRAME_MESSAGES
    assert take_frame(waiting) == b"[1,1,1,1,1]"
    assert waiting == []
    large = [b"x" * FRAME_BYTES, b"y", b"z"]
    assert take_frame(large).startswith(b"[x")
    assert take_frame(large) == b"[y,z]"


# --- requests -----------------------------------------------------------------------------------------------------


def test_the_same_requests_have_the_same_answers_as_over_http() -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        told = await stream.ask({"op": "authorize", "id": 1, "body": GOOD})
        assert (told["op"], told["id"], told["status"], told["body"]["decision"]) == ("reply", 1, 200, "ALLOWED")
        told = await stream.ask({"op": "put", "id": "p", "feed": "locations", "key": "LOC1", "body": LOCATION})
        assert (told["status"], "body" in told, told["ocpi"]) == (201, False, "2.3.0")
        etag = told["etag"]
        got = await stream.ask({"op": "get", "feed": "locations", "key": "loc1"})
        assert got == {"op": "reply", "status": 200, "etag": etag, "ocpi": "2.3.0", "body": LOCATION}
        told = await stream.ask({"op": "put", "feed": "locations", "body": LOCATION, "if_match": '"other"'})
        assert (told["status"], told["body"]["code"]) == (412, "precondition-failed")
        patch = {"last_updated": "2026-11-23T00:00:00Z"}
        told = await stream.ask({"op": "patch", "feed": "locations", "key": "LOC1", "body": patch, "party": "DE*ABC"})
        assert told["body"]["last_updated"] == "2026-11-23T00:00:00Z"
        told = await stream.ask({"op": "patch_evse", "key": "LOC1", "evse": "3256", "body": {"status": "CHARGING"}})
        assert told["body"]["status"] == "CHARGING"
        assert (await stream.ask({"op": "delete", "feed": "locations", "key": "LOC1"})) == {
            "op": "reply",
            "status": 204,
        }
        assert (await stream.ask({"op": "get", "feed": "locations", "key": "LOC1"}))["status"] == 404
        api.core.theirs["xyz", "tariffs", "T"] = StoredObject(b'{"x":1.0}', '"1"', "2.2.1")
        told = await stream.ask({"op": "get", "feed": "tariffs", "key": "T", "peer": "xyz"})
        assert (told["body"], told["ocpi"]) == ({"x": 1.0}, "2.2.1")

    run_api(test)


def test_records_go_one_by_one_or_as_an_array() -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        one = await stream.ask({"op": "record", "id": 1, "body": SERVICE_RECORD, "peer": "abc", "idempotency_key": "k"})
        assert (one["status"], one["body"]["state"], one["body"]["peer"]) == (202, "QUEUED", "abc")
        many = await stream.ask({"op": "record", "id": 2, "body": [SERVICE_RECORD, {**SERVICE_RECORD, "id": "PARKED"}]})
        assert [each["state"] for each in many["body"]] == ["QUEUED", "PARKED"]
        assert (await stream.ask({"op": "record", "body": []})) == {"op": "reply", "status": 202, "body": []}
        refused = await stream.ask({"op": "record", "id": 3, "body": [SERVICE_RECORD, {}]})
        assert refused["status"] == 422
        assert all(fault["path"].startswith("$[1]") for fault in refused["body"]["faults"])
        conflict = await stream.ask({"op": "record", "body": SERVICE_RECORD, "peer": "xyz", "idempotency_key": "k"})
        assert conflict["status"] == 409

    run_api(test)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ({"op": "nonsense"}, 404),
        ({"op": "authorize"}, 422),
        ({"op": "authorize", "body": {}}, 422),
        ({"op": "put", "feed": "evse-status", "body": {}}, 404),
        ({"op": "put", "feed": "tariffs", "key": "T2", "body": TARIFF}, 422),
        ({"op": "put", "feed": "tariffs", "ocpi": "9", "body": TARIFF}, 422),
        ({"op": "patch", "feed": "tariffs", "key": "T1", "body": 5}, 422),
        ({"op": "get", "feed": "tariffs", "key": "T1", "party": "x"}, 422),
        ({"op": "get", "feed": "tariffs", "key": "T1", "peer": "X"}, 422),
        ({"op": "record", "body": SERVICE_RECORD, "idempotency_key": ""}, 422),
        ({"op": "authorize", "id": "x" * 65, "body": GOOD}, 422),
        ({"op": 5}, 422),
        ({}, 422),
        ({"op": "answer", "id": "none", "body": {"decision": "ALLOWED"}}, 410),
    ],
)
def test_what_is_wrong_is_answered_with_a_problem(message: dict[str, Any], status: int) -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        told = await stream.ask(message)
        assert told["status"] == told["body"]["status"] == status
        assert told["body"]["code"]
        assert (await stream.ask({"op": "authorize", "id": 7, "body": GOOD}))["id"] == 7

    run_api(test)


def test_a_frame_of_many_is_answered_in_few_frames() -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        await stream.send(*({"op": "authorize", "id": number, "body": GOOD} for number in range(500)))
        told = [await stream.next() for _ in range(500)]
        assert sorted(each["id"] for each in told) == list(range(500))
        assert len(stream.frames) <= 3

    run_api(test)


def test_a_flood_of_open_requests_is_read_in_bounds_and_answered_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_OPEN", 10)

    async def test(api: Harness) -> None:
        stream = await api.stream()
        api.core.held = []
        for number in range(30):
            await stream.send({"op": "authorize", "id": number, "body": GOOD})
        await api.asked(Authorize, 10)
        assert (await api.send("GET", "/livez")).status == 200  # the loop has turned; the reader could have read on
        assert len(operations_of(api.core, Authorize)) == 10
        api.core.release()
        assert sorted([(await stream.next())["id"] for _ in range(30)]) == list(range(30))

    run_api(test)


@pytest.mark.parametrize(("send", "code"), [("text", 1007), ("bytes", 1003)])
def test_what_is_no_frame_ends_the_connection(send: str, code: int) -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        if send == "text":
            await stream.socket.send_str("not json")
        else:
            await stream.socket.send_bytes(b"[]")
        assert (await stream.socket.receive()).type is WSMsgType.CLOSE
        assert stream.socket.close_code == code

    run_api(test)


def test_the_key_and_the_origin_are_checked_before_the_upgrade() -> None:
    async def test(api: Harness) -> None:
        for headers in ({}, {"Authorization": f"Bearer {KEY}", "Origin": "http://evil.example"}):
            with pytest.raises(WSServerHandshakeError) as caught:
                await api.session.ws_connect(api.url + "/v1/stream", headers=headers)
            assert caught.value.status in (401, 403)
        assert (await api.send("GET", "/v1/stream")).status == 426

    run_api(test)


def test_it_is_closed_when_the_daemon_stops() -> None:
    async def test() -> None:
        core = FakeCore()
        api = make_api(core)
        async with aiohttp.ClientSession() as session:
            async with serving(api, "127.0.0.1:0") as served:
                stream = await Harness(core, api, served, session).stream()
                await stream.ask({"op": "questions.subscribe"})
                last = asyncio.create_task(stream.socket.receive())
            assert (await last).type is WSMsgType.CLOSE
            assert stream.socket.close_code == 1001
            assert api.takers.newest() is None

    run(test)


# --- events -------------------------------------------------------------------------------------------------------


def test_events_come_by_themselves_after_a_subscription() -> None:
    async def test(api: Harness) -> None:
        api.core.happen("peer.state")
        api.core.happen("record.received", b'{"price":1.50}')
        stream = await api.stream()
        assert (await stream.ask({"op": "events.subscribe", "id": 1, "after": "1"}))["status"] == 204
        told = await stream.next()
        assert (told["op"], told["next"], [each["cursor"] for each in told["items"]]) == ("events", "2", ["2"])
        api.core.happen("peer.state")
        assert [each["cursor"] for each in (await stream.next())["items"]] == ["3"]
        assert (await stream.ask({"op": "events.ack", "cursor": "3"}))["status"] == 204
        assert api.core.acknowledged == ["3"]
        assert (await stream.ask({"op": "events.unsubscribe"}))["status"] == 204
        api.core.happen("peer.state")
        assert (await stream.ask({"op": "get", "feed": "tariffs", "key": "x"}))["status"] == 404

    run_api(test)


def test_a_subscription_that_cannot_be_read_says_so() -> None:
    async def test(api: Harness) -> None:
        stream = await api.stream()
        await stream.ask({"op": "events.subscribe", "after": "bogus"})
        told = await stream.next()
        assert (told["op"], told["problem"]["status"]) == ("events.ended", 404)

    run_api(test)


def test_all_events_come_in_pages() -> None:
    async def test(api: Harness) -> None:
        for _ in range(450):
            api.core.happen("peer.state")
        stream = await api.stream()
        await stream.ask({"op": "events.subscribe"})
        pages = [await stream.next() for _ in range(3)]
        assert [len(page["items"]) for page in pages] == [200, 200, 50]

    run_api(test)


class StuckSocket:
    """A client that has stopped reading."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.stuck = True

    async def send_frame(self, frame: bytes, kind: WSMsgType) -> None:
        self.frames.append(frame)
        if self.stuck:
            await asyncio.get_running_loop().create_future()


def test_events_are_not_read_ahead_of_a_client() -> None:
    async def test() -> None:
        core, socket = FakeCore(), StuckSocket()
        for _ in range(2000):
            core.happen("peer.state")
        stream = Stream(make_api(core), socket)  # type: ignore[arg-type]  # all that the writer needs
        tasks = [asyncio.create_task(stream._write()), asyncio.create_task(stream._pump_events(None))]
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(socket.frames) == 1
        assert len(operations_of(core, ReadEvents)) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(test)


class LostSocket:
    """A client that asks, does not read, and is gone when the first frame is written to it."""

    def __init__(self, asked: bytes) -> None:
        self._asked = [WSMessage(WSMsgType.TEXT, asked, None)]

    def __aiter__(self) -> "LostSocket":
        return self

    async def __anext__(self) -> WSMessage:
        if self._asked:
            return self._asked.pop()
        raise StopAsyncIteration

    async def send_frame(self, frame: bytes, kind: WSMsgType) -> None:
        raise ConnectionResetError


def test_a_client_that_is_gone_while_answers_wait_for_it_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_WAITING_OUT", 3)

    async def test() -> None:
        api = make_api(FakeCore())
        asked = [{"op": "questions.subscribe", "id": 0}, *({"op": "no-such", "id": number} for number in range(5))]
        stream = Stream(api, LostSocket(json.dumps(asked).encode()))  # type: ignore[arg-type]  # all that it needs
        await stream.run()
        assert api.takers.newest() is None, "it would be asked every question from now on"

    run(test)


def test_what_comes_alone_is_read_once() -> None:
    async def test() -> None:
        core, socket = FakeCore(), StuckSocket()
        socket.stuck = False
        stream = Stream(make_api(core), socket)  # type: ignore[arg-type]  # all that the writer needs
        tasks = [asyncio.create_task(stream._write()), asyncio.create_task(stream._pump_events(None))]
        core.happen("peer.state")
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(socket.frames) == 1
        assert len(operations_of(core, ReadEvents)) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(test)


# --- questions ----------------------------------------------------------------------------------------------------


def test_a_question_goes_to_the_stream_and_its_answer_back() -> None:
    async def test(api: Harness) -> None:
        stream, answers = await api.stream(), Answers()
        await stream.ask({"op": "questions.subscribe"})
        api.serving.questions.ask_authorize(a_question(), answers)
        asked = await stream.next()
        assert (asked["op"], asked["kind"], asked["id"]) == ("question", "authorize", "q-1")
        assert asked["body"]["credential"]["uid"] == "04AB"
        assert "location" not in asked["body"]
        answer = {"decision": "ALLOWED", "valid_until": "x", "info": {"price": 1}, "unknown": []}
        await stream.send({"op": "answer", "id": "q-1", "body": answer})
        told = await answers.first()
        assert isinstance(told, BackendAnswer)
        assert (told.decision, told.valid_until, told.info and bytes(told.info)) == ("ALLOWED", "x", b'{"price": 1}')

    run_api(test)


def test_an_unreadable_answer_counts_as_none() -> None:
    async def test(api: Harness) -> None:
        stream, answers = await api.stream(), Answers()
        await stream.ask({"op": "questions.subscribe"})
        api.serving.questions.ask_authorize(a_question(), answers)
        await stream.next()
        told = await stream.ask({"op": "answer", "id": "q-1", "body": {"decision": 5}})
        assert told["status"] == 422
        assert answers == [NoAnswer("unreadable answer")]
        assert (await stream.ask({"op": "answer", "id": "q-1", "body": {"decision": "ALLOWED"}}))["status"] == 410
        assert len(answers) == 1

    run_api(test)


def test_a_late_answer_is_410_and_its_asker_was_told_before() -> None:
    async def test(api: Harness) -> None:
        stream, answers = await api.stream(), Answers()
        await stream.ask({"op": "questions.subscribe"})
        api.serving.questions.ask_authorize(a_question(deadline_ms=1), answers)
        assert await answers.first() == NoAnswer("late")
        await stream.next()
        assert (await stream.ask({"op": "answer", "id": "q-1", "body": {"decision": "ALLOWED"}}))["status"] == 410

    run_api(test)


def test_questions_go_to_the_newest_stream_and_back_to_the_older_when_it_ends() -> None:
    async def test(api: Harness) -> None:
        older, newer = await api.stream(), await api.stream()
        await older.ask({"op": "questions.subscribe"})
        await newer.ask({"op": "questions.subscribe"})
        answers = Answers()
        api.serving.questions.ask_authorize(a_question("q-1"), answers)
        assert (await newer.next())["id"] == "q-1"
        await newer.socket.close()
        assert await answers.first() == NoAnswer("the stream ended")
        api.serving.questions.ask_authorize(a_question("q-2"), Answers())
        assert (await older.next())["id"] == "q-2"
        await older.ask({"op": "questions.unsubscribe"})
        last = Answers()
        api.serving.questions.ask_authorize(a_question("q-3"), last)
        assert last == [NoAnswer("not configured")]

    run_api(test)


def test_a_client_that_does_not_read_gets_no_more_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MAX_WAITING_OUT", 3)

    async def test(api: Harness) -> None:
        stream = await api.stream()
        await stream.ask({"op": "questions.subscribe"})
        asked = [Answers() for _ in range(5)]
        for number, answers in enumerate(asked):
            api.serving.questions.ask_authorize(a_question(f"q-{number}"), answers)
        assert [list(answers) for answers in asked] == [[], [], []] + [[NoAnswer("the stream is not read")]] * 2

    run_api(test)
