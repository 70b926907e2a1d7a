"""A partner's command becomes a request to a CPO backend: commands, charging profiles and charging preferences.

The backend's first answer (CommandResponse) is our answer to the partner. Its second one comes as a POST to an address
of ours that holds the command's id, and goes into the command's life as a report (`outcomes`): before the first answer,
long after its time-out, or never, as it may be. Only the question for the active profile waits for the second answer,
because the profile stands in it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.asking import MAX_OPEN, Asking
from roamd.backend.ocpi.backends import Backend, Backends
from roamd.backend.ocpi.caller import Caller, Reply
from roamd.backend.ocpi.commanded import OCPI_COMMANDS
from roamd.backend.ocpi.envelope import encode
from roamd.backend.ocpi.face import routing_headers
from roamd.backend.ocpi.reserved import Reserved
from roamd.backend.ocpi.uids import with_turned
from roamd.model.body import merge_patch, with_fields
from roamd.model.commands import (
    CANCEL,
    CLEAR_PROFILE,
    GET_PROFILE,
    RESERVE,
    RESULTS,
    SET_PREFERENCES,
    SET_PROFILE,
)
from roamd.roaming.ports import CommandQuestion, CommandResult, NoAnswer, Question, Told

_NOTHING: Final = msgspec.Raw(b"")

MODULE_OF: Final = {
    **dict.fromkeys(OCPI_COMMANDS, ("commands", "RECEIVER")),
    **dict.fromkeys((SET_PROFILE, CLEAR_PROFILE, GET_PROFILE), ("chargingprofiles", "RECEIVER")),
    SET_PREFERENCES: ("sessions", "SENDER"),
}
"""Which of the backend's modules carries a command out."""


class _Subject(msgspec.Struct):
    session_id: str = ""
    reservation_id: str = ""
    duration_s: int | None = None


class _ResponseIn(msgspec.Struct):
    result: str
    message: msgspec.Raw = _NOTHING


_subject: Final = msgspec.json.Decoder(_Subject).decode
_response: Final = msgspec.json.Decoder(_ResponseIn).decode


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to the backend."""

    method: str
    url: str
    body: bytes | None = field(repr=False)


@dataclass(slots=True)
class CommandQuestions:
    """Takes commands for the first registered backend that serves the module."""

    api: Api
    backends: Backends
    callers: Mapping[str, Caller]
    reserved: Reserved
    _asking: Asking = field(default_factory=partial(Asking, MAX_OPEN))
    _wanted: dict[str, "asyncio.Future[CommandResult]"] = field(default_factory=dict)

    def takes(self, question: Question) -> bool:
        """Commands, while there is such a backend."""
        return isinstance(question, CommandQuestion) and self._backend(question) is not None

    def take_question(self, question: Question, done: Told) -> None:
        """Ask; `done` is called once, by the deadline."""
        backend = self._backend(question) if isinstance(question, CommandQuestion) else None
        if backend is None or not isinstance(question, CommandQuestion):
            done(NoAnswer("not configured", asked=False))
        elif not backend.base:
            done(NoAnswer("its own address is not known: set ocpi.url", asked=False))
        else:
            self._asking.begin(question, partial(self._answer, backend, question), done)

    async def aclose(self) -> None:
        """Give up what is open; its askers get NoAnswer."""
        await self._asking.aclose()

    def profile_came(self, command_id: str, result: CommandResult) -> bool:
        """The second answer to a question for the active profile; whether somebody waits for it."""
        future = self._wanted.get(command_id)
        if future is None or future.done():
            return False
        future.set_result(result)
        return True

    def _backend(self, question: CommandQuestion) -> Backend | None:
        module = MODULE_OF.get(question.command)
        return next((each for each in self.backends if module is not None and each.endpoint(*module)), None)

    async def _answer(self, backend: Backend, question: CommandQuestion) -> CommandResult | NoAnswer:
        request = request_of(backend, question)
        if request is None:
            return CommandResult("NOT_SUPPORTED")
        async with self.reserved.while_asking(question) as taken:
            if question.command != GET_PROFILE:
                result = read_result(await self._call(backend, question, request))
            else:
                result = await self._profile(backend, question, request)
            taken.result = result
        return result

    async def _call(self, backend: Backend, question: CommandQuestion, request: Request) -> Reply:
        own = min(self.api.own_parties)
        return await self.callers[backend.settings.name].call(
            request.method,
            request.url,
            request.body,
            routing=routing_headers(own, question.party or own),
            timeout_s=question.deadline_ms / 1000,
        )

    async def _profile(self, backend: Backend, question: CommandQuestion, request: Request) -> CommandResult | NoAnswer:
        future: asyncio.Future[CommandResult] = asyncio.get_running_loop().create_future()
        self._wanted[question.command_id] = future
        try:
            async with asyncio.timeout(question.deadline_ms / 1000):
                first = read_result(await self._call(backend, question, request))
                if isinstance(first, NoAnswer) or first.result != "ACCEPTED":
                    return first
                return await future
        except TimeoutError:
            return NoAnswer("late")
        finally:
            del self._wanted[question.command_id]


def request_of(backend: Backend, question: CommandQuestion) -> Request | None:
    """The command as OCPI has it, with an address of ours for its outcome; None when it has it not."""
    module = MODULE_OF.get(question.command)
    endpoint = backend.endpoint(*module) if module is not None else None
    if endpoint is None or module is None:
        return None
    subject = _subject(question.body)
    version = backend.registration.version if backend.registration is not None else "2.2.1"
    name = module[0]
    response_url = f"{backend.base}/emsp/{version}/{name}/{question.command}/{question.command_id}"
    if question.command in OCPI_COMMANDS:
        if question.command in (RESERVE, "RESERVE_NOW", CANCEL):
            response_url += f"/{quote(subject.reservation_id, safe='')}"
        body = with_turned(backend.settings, "commands", bytes(question.body))
        body = with_fields(body, {"response_url": encode(response_url)})
        return Request("POST", f"{endpoint}/{question.command}", body)
    where = f"{endpoint}/{quote(subject.session_id, safe='')}"
    rest = merge_patch(bytes(question.body), b'{"session_id":null,"expires_s":null,"duration_s":null}')
    if question.command == SET_PREFERENCES:
        return Request("PUT", f"{where}/charging_preferences", rest)
    if question.command == SET_PROFILE:
        return Request("PUT", where, with_fields(rest, {"response_url": encode(response_url)}))
    query: dict[str, Any] = {"response_url": response_url}
    if question.command == GET_PROFILE:
        return Request("GET", f"{where}?{urlencode({'duration': subject.duration_s or 3600, **query})}", None)
    return Request("DELETE", f"{where}?{urlencode(query)}", None)


def read_result(reply: Reply) -> CommandResult | NoAnswer:
    """CommandResponse, ChargingProfileResponse, or the word alone, as preferences are answered and some do always."""
    if not reply.good:
        return _refused(reply)
    data = reply.one()
    try:
        if data.startswith(b'"'):
            return _result(msgspec.json.decode(data, type=str), None)
        told = _response(data)
    except (msgspec.DecodeError, RecursionError):
        return NoAnswer("unreadable answer")
    return _result(told.result, words_of(bytes(told.message)))


def _result(text: str, reason: str | None) -> CommandResult | NoAnswer:
    word = text.strip().upper()
    return CommandResult(word, reason) if word in RESULTS else NoAnswer("unknown result")


def _refused(reply: Reply) -> CommandResult | NoAnswer:
    """A status of 5xx or 3xxx may hide that it was done; all others say that it was not."""
    if reply.status in (401, 408, 425, 429):
        return NoAnswer(reply.words, asked=False)
    if reply.passing:
        return NoAnswer(reply.words)
    return CommandResult("REJECTED", reply.words)


def words_of(message: bytes) -> str | None:
    """DisplayTexts as one text, the English one if there is one; None for what is none."""
    try:
        texts = msgspec.json.decode(message or b"null")
    except (msgspec.DecodeError, RecursionError):
        return None
    found = [each for each in texts if isinstance(each, dict)] if isinstance(texts, list) else []
    found.sort(key=lambda each: each.get("language") != "en")
    text = found[0].get("text") if found else texts if isinstance(texts, str) else None
    return text[:200] if isinstance(text, str) and text else None
