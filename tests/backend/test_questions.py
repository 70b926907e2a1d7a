"""Questions to the backend by HTTP, against a real server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from roamd.backend.questions import MAX_ANSWER, MAX_OPEN, BackendSettings
from roamd.backend.server import serving
from roamd.roaming.ports import BackendAnswer, NoAnswer
from tests.backend.test_stream import Answers, a_question
from tests.support.api import Harness, make_api, run, run_api
from tests.support.core import FakeCore

CONNECTIONS = BackendSettings().connections

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def a_backend(handler: Handler) -> AsyncIterator[str]:
    """A server that answers every request with `handler`; gives its URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def ask_against(
    handler: Handler, deadline_ms: int = 10_000, times: int = 1, key: str = ""
) -> list[BackendAnswer | NoAnswer]:
    """What a question is answered when the backend is this handler."""
    told: list[BackendAnswer | NoAnswer] = []

    async def test(api: Harness) -> None:
        async with a_backend(handler) as url:
            api.serving.questions.configure(BackendSettings(url + "/roamd/", key))
            for number in range(times):
                answers = Answers()
                api.serving.questions.ask_authorize(a_question(f"q-{number}", deadline_ms), answers)
                told.append(await answers.first())

    run_api(test)
    return told


def test_the_question_is_posted_with_the_key_and_the_answer_is_read() -> None:
    seen: list[tuple[str, str, str | None, dict[str, object]]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path, request.headers.get("Authorization"), await request.json()))
        return web.json_response({"decision": "BLOCKED", "reason": "unpaid", "unknown": 1})

    assert ask_against(handler, key="secret") == [BackendAnswer("BLOCKED", "unpaid")]
    method, path, authorization, body = seen[0]
    assert (method, path, authorization) == ("POST", "/roamd/authorize", "Bearer secret")
    assert body["authorization_id"] == "q-0"
    assert body["deadline_ms"] == 10_000


def test_the_connection_is_used_again() -> None:
    connections: set[object] = set()

    async def handler(request: web.Request) -> web.Response:
        connections.add(request.transport)
        return web.json_response({"decision": "ALLOWED"})

    assert ask_against(handler, times=3) == [BackendAnswer("ALLOWED")] * 3
    assert len(connections) == 1


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (500, b'{"decision":"ALLOWED"}', "status 500"),
        (204, b"", "status 204"),
        (201, b'{"decision":"ALLOWED"}', "status 201"),
        (200, b"", "unreadable answer"),
        (200, b"<html>", "unreadable answer"),
        (200, b'{"decision":null}', "unreadable answer"),
        (200, b'{"decision":"\xff"}', "unreadable answer"),
        (200, b"[" * 60_000, "unreadable answer"),
        (200, b'{"decision":"ALLOWED","x":"' + b"x" * MAX_ANSWER + b'"}', "answer too large"),
    ],
)
def test_anything_but_a_readable_200_is_no_answer(status: int, body: bytes, reason: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    assert ask_against(handler) == [NoAnswer(reason)]


def test_an_answer_of_unknown_length_is_read_to_its_end_and_no_further_than_it_may_go() -> None:
    async def in_pieces(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"decision":', b'"ALLOWED"', b" " * int(request.headers.get("Authorization", "0")[-6:]), b"}"):
            await response.write(piece)
        return response

    assert ask_against(in_pieces, key="000001") == [BackendAnswer("ALLOWED")]
    assert ask_against(in_pieces, key=f"{MAX_ANSWER:06}") == [NoAnswer("answer too large")]


def test_a_backend_that_likes_to_compress_is_not_asked_to() -> None:
    async def handler(request: web.Request) -> web.Response:
        response = web.json_response({"decision": "ALLOWED"})
        response.enable_compression()
        return response

    assert ask_against(handler) == [BackendAnswer("ALLOWED")]


def test_a_redirect_is_not_followed() -> None:
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    assert ask_against(handler) == [NoAnswer("status 307")]
    assert paths == ["/roamd/authorize"]


async def never(request: web.Request) -> web.Response:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


def test_a_late_answer_is_none() -> None:
    assert ask_against(never, deadline_ms=20) == [NoAnswer("late")]


def test_a_closed_connection_is_no_answer() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    (answer,) = ask_against(handler)
    assert isinstance(answer, NoAnswer)
    assert answer.reason.startswith("connection failed")


def test_nobody_there_is_no_answer() -> None:
    async def test(api: Harness) -> None:
        async with a_backend(never) as url:
            pass
        api.serving.questions.configure(BackendSettings(url))
        answers = Answers()
        api.serving.questions.ask_authorize(a_question(), answers)
        assert await answers.first() == NoAnswer("not reachable")

    run_api(test)


def test_without_a_backend_there_is_no_answer() -> None:
    async def test(api: Harness) -> None:
        answers = Answers()
        api.serving.questions.ask_authorize(a_question(), answers)
        assert answers == [NoAnswer("not configured")]

    run_api(test)


def test_a_peer_that_asks_too_much_of_a_slow_backend_does_not_keep_out_another() -> None:
    arrived: asyncio.Queue[str] = asyncio.Queue()
    answering = asyncio.Semaphore(0)

    async def slow(request: web.Request) -> web.Response:
        arrived.put_nowait((await request.json())["peer"])
        await answering.acquire()
        return web.json_response({"decision": "ALLOWED"})

    async def test(api: Harness) -> None:
        async with a_backend(slow) as url:
            api.serving.questions.configure(BackendSettings(url))
            loud = [Answers() for _ in range(MAX_OPEN)]
            for number, answers in enumerate(loud):
                api.serving.questions.ask_authorize(a_question(f"loud-{number}", peer="loud"), answers)
            quiet = Answers()
            api.serving.questions.ask_authorize(a_question("quiet", peer="quiet"), quiet)
            assert not quiet, "there is a place for it"
            refused = [answers for answers in loud if answers]
            assert len(refused) == MAX_OPEN // 2
            assert {answers[0] for answers in refused} == {NoAnswer("too many open questions")}
            first = [await arrived.get() for _ in range(CONNECTIONS)]
            for _ in range(2):
                answering.release()
                first.append(await arrived.get())
            assert first.count("quiet") == 1, "it waits for one turn of the other, not for all of its questions"
            for _ in range(CONNECTIONS):
                answering.release()
            assert await quiet.first() == BackendAnswer("ALLOWED")

    run_api(test)


def test_a_question_that_got_no_turn_was_not_asked() -> None:
    async def test(api: Harness) -> None:
        async with a_backend(never) as url:
            api.serving.questions.configure(BackendSettings(url))
            for number in range(CONNECTIONS):
                api.serving.questions.ask_authorize(a_question(f"q-{number}"), Answers())
            waiting = Answers()
            api.serving.questions.ask_authorize(a_question("waiting", deadline_ms=20), waiting)
            answer = await waiting.first()
            assert answer == NoAnswer("late")
            assert isinstance(answer, NoAnswer)
            assert not answer.asked

    run_api(test)


def test_open_questions_are_given_up_when_the_api_stops() -> None:
    arrived = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        arrived.set()
        return await never(request)

    async def test() -> None:
        answers = Answers()
        async with a_backend(handler) as url:
            async with serving(make_api(FakeCore()), "127.0.0.1:0", backend=BackendSettings(url)) as served:
                served.questions.ask_authorize(a_question(), answers)
                await arrived.wait()
            assert answers == [NoAnswer("the daemon stops")]

    run(test)
