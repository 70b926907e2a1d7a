"""What the operator asks."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from roamd.backend.idempotency import KEPT_S, MAX_KEPT, MemoryAnswers
from roamd.errors import Conflict, NotFound
from roamd.roaming.operations import Idempotency, Operate
from tests.support.api import Harness, run, run_api
from tests.support.core import operations_of


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "name", "arguments"),
    [
        ("GET", "/v1/status", None, 200, "status", {}),
        ("GET", "/v1/peers", None, 200, "peers", {}),
        ("GET", "/v1/peers/xyz", None, 200, "peer", {"peer": "xyz"}),
        ("POST", "/v1/peers/xyz/confirm", None, 200, "peers.confirm", {"peer": "xyz"}),
        ("POST", "/v1/peers/xyz/suspend", None, 200, "peers.suspend", {"peer": "xyz"}),
        ("POST", "/v1/peers/xyz/resume", None, 200, "peers.resume", {"peer": "xyz"}),
        ("POST", "/v1/peers/xyz/retry", None, 200, "peers.retry", {"peer": "xyz"}),
        ("POST", "/v1/peers/xyz/remove", None, 200, "peers.remove", {"peer": "xyz", "park": False}),
        ("POST", "/v1/peers/xyz/remove", {"park": True}, 200, "peers.remove", {"peer": "xyz", "park": True}),
        (
            "POST",
            "/v1/peers/xyz/introduce",
            {"introduce": True},
            200,
            "peers.introduce",
            {"peer": "xyz", "introduce": True},
        ),
        (
            "POST",
            "/v1/peers/xyz/routes",
            {"calls": ["direct", "hub"], "ledger": ["hub"]},
            200,
            "peers.routes",
            {"peer": "xyz", "routes": {"calls": ["direct", "hub"], "ledger": ["hub"]}},
        ),
        ("GET", "/v1/candidates", None, 200, "candidates", {}),
        ("POST", "/v1/invites", None, 201, "invite", {"auto": False, "hours": 24.0}),
        ("POST", "/v1/invites", {"auto": True, "hours": 1e9}, 201, "invite", {"auto": True, "hours": 720}),
        ("GET", "/v1/invites", None, 200, "invites", {}),
        ("POST", "/v1/pairings", {"line": "L"}, 200, "pair", {"line": "L", "label": None}),
        ("GET", "/v1/pairings/xyz", None, 200, "pairing", {"peer": "xyz"}),
        ("GET", "/v1/queue", None, 200, "queue", {}),
        ("GET", "/v1/queue/shape", None, 200, "queue.shape", {}),
        ("POST", "/v1/reload", None, 200, "reload", {}),
        ("POST", "/v1/backup", {"path": "b.db"}, 200, "backup", {"path": "b.db"}),
        ("GET", "/v1/ledger/chains?peer=xyz", None, 200, "ledger.chains", {"peer": "xyz"}),
    ],
)
def test_each_request_is_one_operation(
    method: str, path: str, body: Any, status: int, name: str, arguments: dict[str, Any]
) -> None:
    async def test(api: Harness) -> None:
        answered = await api.send(method, path, body)
        assert answered.status == status, answered.body
        assert operations_of(api.core, Operate) == [Operate(name, arguments)]
        assert answered.json == {"asked": name, **arguments}

    run_api(test)


def test_ledgers_are_verified_for_all_or_one() -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("GET", "/v1/ledger/verify")).json["peer"] is None
        assert (await api.send("GET", "/v1/ledger/verify?peer=xyz")).json["peer"] == "xyz"

    run_api(test)


def test_an_unknown_peer_is_404_also_when_it_could_never_be_one() -> None:
    async def test(api: Harness) -> None:
        for peer in ("abc", "A_B", "x" * 41):
            assert (await api.send("GET", f"/v1/peers/{peer}")).status == 404
            assert (await api.send("POST", f"/v1/peers/{peer}/confirm")).status == 404

    run_api(test)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"line":5}', b"{}", b'{"line":"a","line":"b"}', b"\xff"])
def test_a_malformed_request_reaches_nobody(body: bytes) -> None:
    async def test(api: Harness) -> None:
        assert (await api.send("POST", "/v1/pairings", body)).status == 422
        assert not api.core.asked

    run_api(test)


def test_the_same_key_is_done_once_even_while_the_first_is_still_done() -> None:
    async def test(api: Harness) -> None:
        api.core.held = []
        key = {"Idempotency-Key": "one"}
        first, again = (asyncio.create_task(api.send("POST", "/v1/invites", headers=key)) for _ in range(2))
        await api.asked(Operate)
        api.core.release()
        assert [(await each).status for each in (first, again)] == [201, 201]
        assert len(operations_of(api.core, Operate)) == 1
        other = await api.send("POST", "/v1/invites", {"auto": True}, headers=key)
        assert (other.status, other.json["code"]) == (409, "idempotency-key-reused")

    run_api(test)


def test_a_refusal_is_not_remembered() -> None:
    async def test(api: Harness) -> None:
        api.core.refuse_with = NotFound("not yet")
        key = {"Idempotency-Key": "one"}
        assert (await api.send("POST", "/v1/reload", headers=key)).status == 404
        api.core.refuse_with = None
        assert (await api.send("POST", "/v1/reload", headers=key)).status == 200

    run_api(test)


def test_answers_are_forgotten_after_48_hours_and_when_there_are_too_many() -> None:
    async def test() -> None:
        answers, done = MemoryAnswers(), list[str]()

        async def ask(key: str, now: float, request_hash: bytes = b"h") -> None:
            async def do() -> web.Response:
                done.append(key)
                return web.Response(body=b"x")

            await answers.once(Idempotency(key, request_hash), now, do)

        await ask("a", 0)
        await ask("a", KEPT_S - 1)
        with pytest.raises(Conflict):
            await ask("a", KEPT_S - 1, b"other")
        assert done == ["a"]
        await ask("a", KEPT_S)
        assert done == ["a", "a"]
        for number in range(MAX_KEPT):
            await ask(str(number), KEPT_S)
        await ask("a", KEPT_S)
        assert done.count("a") == 3

    run(test)
