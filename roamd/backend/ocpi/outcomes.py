"""The second answers of a CPO backend: what became of the commands that `carried` brought it.

They come to addresses of ours that hold the command and its id. A result counts whenever it comes; one that says what
is known already, or contradicts how the command ended, is taken without effect: to say it again would not help.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.carried import CommandQuestions, words_of
from roamd.backend.ocpi.envelope import Answer, invalid, not_allowed, not_found
from roamd.backend.ocpi.reserved import Reserved
from roamd.backend.ocpi.results import RESULTS
from roamd.backend.ocpi.texts import member_text, object_text
from roamd.errors import Conflict
from roamd.model.commands import AT_STATION, CANCEL, CLEAR_PROFILE, DONE, FAILED, GET_PROFILE, SET_PROFILE, START
from roamd.roaming.operations import ReportCommand
from roamd.roaming.ports import CommandResult

PROFILE_RESULTS: Final = frozenset({"ACCEPTED", "REJECTED", "UNKNOWN"})
PROFILE_COMMANDS: Final = (SET_PROFILE, CLEAR_PROFILE, GET_PROFILE)
NOTED: Final = "noted; it changes nothing"


@dataclass(slots=True)
class Outcomes:
    """The SENDER interfaces of commands and charging profiles."""

    api: Api
    questions: CommandQuestions
    reserved: Reserved

    async def commands(self, asked: Asked) -> Answer:
        """`POST commands/{COMMAND}/{id}[/{reservation}]` with a CommandResult."""
        if asked.method != "POST":
            raise not_allowed("The result of a command takes POST.")
        if len(asked.path) not in (2, 3):
            raise not_found("Results belong to the response_url that came with the command.")
        _, value = object_text(await asked.body())
        result, reason = _word(value, RESULTS), words_of(msgspec.json.encode(value.get("message")))
        command, command_id = asked.path[0].upper(), asked.path[1].lower()
        if len(asked.path) == 3:
            await self._reserved(command, asked.path[2], result)
        if result == "CANCELED_RESERVATION":
            return Answer()
        return await self._report(command, command_id, result, reason)

    async def profiles(self, asked: Asked) -> Answer:
        """`POST chargingprofiles/{COMMAND}/{id}` with a result; `PUT {session}` when a profile has changed."""
        if asked.method == "PUT" and len(asked.path) == 1:
            object_text(await asked.body())
            return Answer(message="noted; changes of a profile are not passed on")
        if asked.method != "POST":
            raise not_allowed("The result of a charging profile takes POST, and a change of it PUT.")
        if len(asked.path) != 2 or asked.path[0].upper() not in PROFILE_COMMANDS:
            raise not_found("Results belong to the response_url that came with the request.")
        text, value = object_text(await asked.body())
        result, command, command_id = _word(value, PROFILE_RESULTS), asked.path[0].upper(), asked.path[1].lower()
        if command == GET_PROFILE:
            told = _active_profile(result, member_text(text, "profile"))
            return Answer(message=None if self.questions.profile_came(command_id, told) else NOTED)
        return await self._report(command, command_id, result, None)

    async def _reserved(self, command: str, reservation_id: str, result: str) -> None:
        if command != CANCEL:
            await self.reserved.came(reservation_id, result)
        elif result == "ACCEPTED":
            await self.reserved.canceled(reservation_id)

    async def _report(self, command: str, command_id: str, result: str, reason: str | None) -> Answer:
        """Into the command's life; NotFound (404, 2003) when there is no such command."""
        state = (AT_STATION if command == START else DONE) if result == "ACCEPTED" else FAILED
        words = reason if result == "ACCEPTED" else f"{result}: {reason}" if reason else result
        try:
            await self.api.core.ask(ReportCommand(command_id, state, words))
        except Conflict:
            return Answer(message=NOTED)
        return Answer()


def _active_profile(result: str, profile: bytes | None) -> CommandResult:
    if result != "ACCEPTED":
        return CommandResult("REJECTED", f"its station: {result}")
    return CommandResult("ACCEPTED", None, None if profile is None else msgspec.Raw(profile))


def _word(value: Mapping[str, Any], known: frozenset[str]) -> str:
    told = value.get("result")
    word = told.strip().upper() if isinstance(told, str) else ""
    if word not in known:
        raise invalid(f"$.result: expected one of {', '.join(sorted(known))}")
    return word
