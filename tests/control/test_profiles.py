"""Charging profiles: each has an end, whoever is there when it comes."""

import json
from typing import Any

import msgspec
import pytest
import trio

from roamd.errors import Malformed
from roamd.protocol.calls import CommandRequest
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.ports import CommandResult, NoAnswer
from tests.control.commanding import command, linked, put, sees, session_body, shown, state_at, until_state
from tests.support.endpoints import Endpoint, Neighbourhood, until

LIMIT = {"charging_rate_unit": "W", "charging_profile_period": [{"start_period": 0, "limit": 3700.5}]}


async def charging(hood: Neighbourhood) -> tuple[Endpoint, Endpoint]:
    """Both see a session that is going on."""
    cso, csp = await linked(hood)
    await put(cso, "sessions", session_body("S1"))
    await until(lambda: sees(csp, cso, "sessions", "S1"))
    return cso, csp


def setting(**changes: Any) -> dict[str, Any]:
    return {"session_id": "S1", "charging_profile": LIMIT, **changes}


async def test_a_profile_without_an_expiry_gets_one_and_is_cleared_when_it_is_over(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        reply = await command(csp, "SET_CHARGING_PROFILE", setting())
        (told,) = cso.backend.told
        assert json.loads(bytes(told.body)) == setting(expires_s=900)
        await trio.sleep(890)
        assert state_at(csp, reply.command_id) == ("ACCEPTED", None)
        await until_state(csp, reply.command_id, "EXPIRED", "CLEARED")
        assert [(one.command, bytes(one.body)) for one in cso.backend.told[1:]] == [
            ("CLEAR_CHARGING_PROFILE", b'{"session_id":"S1"}')
        ]


async def test_a_lost_partner_leaves_no_car_throttled_even_if_the_cso_restarts_and_its_backend_is_down(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        reply = await command(csp, "SET_CHARGING_PROFILE", setting(expires_s=60))
        csp.crash()
        cso.crash()
        await cso.restart()
        cso.backend.carry_out = lambda question: NoAnswer("not reachable", asked=False)
        await until(lambda: state_at(cso, reply.command_id) == ("EXPIRED", "CLEARING"))
        await until(lambda: len(cso.backend.told) == 4)
        cso.backend.carry_out = lambda question: CommandResult("ACCEPTED")
        await until(lambda: state_at(cso, reply.command_id) == ("EXPIRED", "CLEARED"))


async def test_a_profile_whose_outcome_is_not_known_is_cleared_all_the_same(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        cso.backend.carry_out = lambda question: None
        reply = await command(csp, "SET_CHARGING_PROFILE", setting(expires_s=60))
        assert reply.state == "UNKNOWN"
        cso.backend.carry_out = lambda question: CommandResult("ACCEPTED")
        await until_state(csp, reply.command_id, "EXPIRED", "CLEARED")


async def test_a_profile_that_was_cleared_replaced_or_outlived_its_session_is_not_cleared_again(
    autojump_clock: object,
) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        first = await command(csp, "SET_CHARGING_PROFILE", setting(expires_s=60))
        second = await command(csp, "SET_CHARGING_PROFILE", setting(expires_s=60))
        await until_state(csp, first.command_id, "EXPIRED", "REPLACED")
        await command(csp, "CLEAR_CHARGING_PROFILE", {"session_id": "s1"})
        await until_state(csp, second.command_id, "EXPIRED", "CLEARED")
        third = await command(csp, "SET_CHARGING_PROFILE", setting(expires_s=60))
        await put(cso, "sessions", session_body("S1", status="COMPLETED"))
        await until_state(csp, third.command_id, "EXPIRED", "ENDED")
        await trio.sleep(600)
        assert [one.command for one in cso.backend.told].count("CLEAR_CHARGING_PROFILE") == 1


async def test_a_refused_profile_is_not_in_force_and_never_cleared(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        cso.backend.carry_out = lambda question: CommandResult("TOO_OFTEN")
        reply = await command(csp, "SET_CHARGING_PROFILE", setting(expires_s=60))
        assert (reply.state, reply.result) == ("REJECTED", "TOO_OFTEN")
        await trio.sleep(600)
        assert len(cso.backend.told) == 1


async def test_the_active_profile_comes_with_the_answer_byte_for_byte(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        text = b'{"start_date_time":"2026-11-22T10:00:00Z","charging_profile":{"charging_rate_unit":"A"},"x":1.50}'
        cso.backend.carry_out = lambda question: CommandResult("ACCEPTED", None, msgspec.Raw(text))
        reply = await command(csp, "GET_ACTIVE_PROFILE", {"session_id": "S1"})
        assert (reply.state, bytes(reply.profile or b"")) == ("DONE", text)
        assert (await shown(csp, reply.command_id)).state == "DONE"


async def test_a_peer_that_sends_a_profile_without_an_end_is_refused(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        answers: list[Answer | None] = []
        body = CommandRequest("FRXYZ", "2.3.0", 60, "STOP", json.dumps(setting(), separators=(",", ":")).encode())
        call = Call(b"p" * 16, 21, 5000, body.pack())
        csp.core.outgoing.start(csp.peer(cso), call, csp.clock.monotonic() + 20, answers.append)
        await until(lambda: bool(answers))
        assert answers[0] is not None
        assert answers[0].status == AnswerStatus.MALFORMED
        assert not cso.backend.told
        with pytest.raises(Malformed):
            await command(csp, "SET_CHARGING_PROFILE", setting(expires_s=86_401))


async def test_charging_preferences_are_answered_by_the_cso_and_are_done_with_that(autojump_clock: object) -> None:
    async with Neighbourhood() as hood:
        cso, csp = await charging(hood)
        wishes = {"session_id": "S1", "profile_type": "GREEN", "departure_time": "2026-11-22T18:00:00Z"}
        reply = await command(csp, "SET_CHARGING_PREFERENCES", wishes)
        assert json.loads(bytes(cso.backend.told[-1].body)) == wishes
        assert (reply.state, reply.result) == ("DONE", "ACCEPTED")
        cso.backend.carry_out = lambda question: CommandResult("ENERGY_NEED_REQUIRED")
        reply = await command(csp, "SET_CHARGING_PREFERENCES", wishes)
        assert (reply.state, reply.result) == ("REJECTED", "ENERGY_NEED_REQUIRED")
