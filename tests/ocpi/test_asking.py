"""A partner that asks an OCPI backend without end costs the others no answer."""

import asyncio
from typing import Any

from roamd.backend.ocpi.asking import MAX_OPEN
from roamd.backend.ocpi.cards import AT_ONCE
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, NoAnswer
from tests.support.ocpi import Desk, OcpiBackend, Seen, run_ocpi

TOKENS = [("tokens", "SENDER")]


def a_card(peer: str, deadline_ms: int = 15_000) -> AuthorizeQuestion:
    uid = {"type": "RFID", "uid": peer.upper(), "contract_id": None}
    return AuthorizeQuestion("A1", peer, "FRXYZ", uid, "CHARGING", deadline_ms, "2026-11-22T12:00:05Z")


def asked(desk: Desk, peer: str, times: int = 1, deadline_ms: int = 15_000) -> "list[asyncio.Future[Any]]":
    answers: list[asyncio.Future[Any]] = [asyncio.get_running_loop().create_future() for _ in range(times)]
    for answer in answers:
        desk.harness.serving.questions.ask_authorize(a_card(peer, deadline_ms), answer.set_result)
    return answers


def test_a_loud_partner_gets_its_share_and_a_quiet_one_waits_for_one_turn() -> None:
    arrived: asyncio.Queue[str] = asyncio.Queue()
    answering = asyncio.Semaphore(0)

    async def slow(seen: Seen) -> None:
        if "/authorize" in seen.path:
            arrived.put_nowait(seen.path.split("/")[2])
            await answering.acquire()

    backend = OcpiBackend(modules=TOKENS, before=slow, answer=lambda seen: (200, {"allowed": "ALLOWED"}))

    async def test(desk: Desk) -> None:
        loud = asked(desk, "loud", MAX_OPEN)
        refused = [answer.result() for answer in loud if answer.done()]
        assert refused == [NoAnswer("too many open questions", asked=False)] * (MAX_OPEN // 2)
        (quiet,) = asked(desk, "quiet")
        assert [await arrived.get() for _ in range(AT_ONCE)] == ["LOUD"] * AT_ONCE
        answering.release()
        answering.release()
        assert sorted([await arrived.get(), await arrived.get()]) == ["LOUD", "QUIET"]
        for _ in range(MAX_OPEN):
            answering.release()
        assert await quiet == BackendAnswer("ALLOWED")
        answered = await asyncio.gather(*(answer for answer in loud if not answer.done()))
        assert set(answered) == {BackendAnswer("ALLOWED")}
        assert await asked(desk, "loud")[0] == BackendAnswer("ALLOWED"), "its share is free again"

    run_ocpi(test, backend=backend, registered=True)


def test_who_never_gets_a_turn_is_told_so_in_time_and_was_not_asked() -> None:
    forever = asyncio.Event()

    async def hang(seen: Seen) -> None:
        if "/authorize" in seen.path:
            await forever.wait()

    async def test(desk: Desk) -> None:
        hanging = asked(desk, "loud", AT_ONCE)
        (answer,) = await asyncio.gather(*asked(desk, "loud", deadline_ms=50))
        assert (answer.reason, answer.asked) == ("late", False)
        forever.set()
        await asyncio.gather(*hanging)

    run_ocpi(test, backend=OcpiBackend(modules=TOKENS, before=hang), registered=True)
