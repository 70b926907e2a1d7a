"""What an eMSP backend asks for at a partner's station: commands, charging profiles and charging preferences.

OCPI answers such a request twice: at once whether it was taken on (CommandResponse), and later, by a POST to the
`response_url` that came with it, what came of it. Our own call to the partner waits longer than an OCPI client does.
So the first answer is what the partner's backend said if it said it in time, else ACCEPTED, which in OCPI means no more
than that it is on its way; the second is told by `results` in any case, and its address is committed with the command.

Each POST is a command of its own: OCPI has no id by which a repeat could be known.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from roamd.backend.context import Api
from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.backends import Backend, host_of
from roamd.backend.ocpi.envelope import (
    NOT_CONNECTED,
    TIMED_OUT,
    UNKNOWN_OBJECT,
    Answer,
    Refusal,
    encode,
    invalid,
    not_allowed,
    not_found,
)
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.results import ResultPoster
from roamd.backend.ocpi.texts import object_text
from roamd.backend.ocpi.uids import with_turned
from roamd.clock import Clock
from roamd.errors import Forbidden, NotFound
from roamd.log import get_logger
from roamd.model.body import with_fields
from roamd.model.commands import (
    CANCEL,
    CLEAR_PROFILE,
    GET_PROFILE,
    KEEP,
    PROFILE_MAX_S,
    PROFILE_MIN_S,
    SET_PREFERENCES,
    SET_PROFILE,
    CheckedCommand,
    check_command,
)
from roamd.model.times import parse_time, time_ms
from roamd.roaming.operations import AnswerTo, CommandReply, SendCommand

log = get_logger(room="backend")

OCPI_COMMANDS: Final = ("START_SESSION", "STOP_SESSION", "RESERVE_NOW", "CANCEL_RESERVATION", "UNLOCK_CONNECTOR")
DEADLINE_MS: Final = 10_000
"""For the partner's own first answer."""

ANSWER_S: Final = 1.7
"""Clients give up after two seconds."""

TIMEOUT_S: Final = 120
"""For the effect; what OCPI calls `timeout`."""

MAX_URL: Final = 1000
MAX_ID: Final = 36
FIRST_ANSWERS: Final = frozenset({"ACCEPTED", "REJECTED", "NOT_SUPPORTED", "UNKNOWN_SESSION"})
"""CommandResponseType; TOO_OFTEN belongs to charging profiles."""

PREFERENCES: Final = frozenset(
    {"ACCEPTED", "DEPARTURE_REQUIRED", "ENERGY_NEED_REQUIRED", "NOT_POSSIBLE", "PROFILE_TYPE_NOT_SUPPORTED"}
)


def checked_url(backend: Backend, url: object) -> str:
    """An address to which an outcome may be posted with the backend's token; Refusal otherwise.

    It must lead to a host that the backend registered: to any other the token would be given away, and an address
    inside of our network might be asked for things in our name. (Where `base_url` is set, all leads there.)
    """
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL or not url.isprintable():
        raise invalid("$.response_url: expected an address of up to 255 characters")
    host = host_of(url)
    if host is None:
        raise invalid("$.response_url: expected an address that begins with http:// or https://")
    if not backend.settings.base_url and host not in backend.hosts():
        raise invalid("$.response_url: its host is not one that this backend registered")
    return url


@dataclass(slots=True)
class Commanded:
    """The RECEIVER interfaces of commands and charging profiles, and charging preferences.

    `posters` tells each backend (by name) what becomes of its commands.
    """

    api: Api
    partners: Partners
    posters: Mapping[str, ResultPoster]
    _open: set["asyncio.Task[Any]"] = field(default_factory=set)

    async def commands(self, asked: Asked) -> Answer:
        """`POST commands/{COMMAND}`."""
        if len(asked.path) != 1 or asked.path[0].upper() not in OCPI_COMMANDS:
            raise not_found(f"Name the command: one of {', '.join(OCPI_COMMANDS)}.")
        if asked.method != "POST":
            raise not_allowed("A command takes POST.")
        text, value = object_text(with_turned(asked.presented.backend.settings, "commands", await asked.body()))
        url = checked_url(asked.presented.backend, value.get("response_url"))
        return await self._taken(asked, check_command(asked.path[0].upper(), asked.version, text), url)

    async def profiles(self, asked: Asked) -> Answer:
        """`PUT`, `GET`, `DELETE chargingprofiles/{session}`."""
        session = _session_of(asked)
        if asked.method == "PUT":
            text, value = object_text(await asked.body())
            url = checked_url(asked.presented.backend, value.get("response_url"))
            expires_s = value["expires_s"] if "expires_s" in value else profile_life_s(value, self.api.clock)
            body = with_fields(text, {"session_id": encode(session), "expires_s": encode(expires_s)})
            return await self._taken(asked, check_command(SET_PROFILE, asked.version, body), url)
        url = checked_url(asked.presented.backend, asked.query("response_url"))
        wanted: dict[str, Any] = {"session_id": session}
        if asked.method == "DELETE":
            return await self._taken(asked, check_command(CLEAR_PROFILE, asked.version, encode(wanted)), url)
        if asked.method != "GET":
            raise not_allowed("chargingprofiles takes GET, PUT and DELETE.")
        if asked.query("duration") is not None:
            wanted["duration_s"] = asked.number("duration", 0)
        return await self._taken(asked, check_command(GET_PROFILE, asked.version, encode(wanted)), url)

    async def preferences(self, asked: Asked) -> Answer:
        """`PUT sessions/{session}/charging_preferences`: answered once, by the partner's backend itself."""
        if asked.method != "PUT":
            raise not_allowed("charging_preferences takes PUT.")
        text, _ = object_text(await asked.body())
        body = with_fields(text, {"session_id": encode(asked.path[0])})
        checked = check_command(SET_PREFERENCES, asked.version, body)
        try:
            reply = await self._send(asked, checked, None, int(ANSWER_S * 1000))
        except NotFound:
            raise not_found("No partner shows such a session.") from None
        except Forbidden as error:
            raise Refusal(404, 2001, str(error)) from error
        return _preferred(reply)

    # --- sending ---

    async def _taken(self, asked: Asked, command: CheckedCommand, url: str) -> Answer:
        poster = self.posters[asked.presented.backend.settings.name]
        poster.hold(url)  # nobody is told what came of it before he is told that it was taken on
        try:
            reply = await self._in_time(asked, command, url)
            if reply is None or reply.result in ("OUTCOME_UNKNOWN", "ACCEPTED", None):
                return _response(command.command, "ACCEPTED", None)
            await poster.forget(reply.command_id)
        except (NotFound, Forbidden) as error:
            return _response(command.command, *_refusal_of(error, command))
        finally:
            poster.release(url)
        if reply.result == "NO_ANSWER" and reply.reason == "no link":
            raise Refusal(200, NOT_CONNECTED, "The partner is not connected now; nothing was done.")
        return _response(command.command, reply.result or "", reply.reason)

    async def _in_time(self, asked: Asked, command: CheckedCommand, url: str) -> CommandReply | None:
        """The reply; None when it takes longer than a client waits, and then it goes on by itself."""
        answer_to = AnswerTo(asked.presented.backend.settings.name, url)
        task = asyncio.ensure_future(self._send(asked, command, answer_to, DEADLINE_MS))
        self._open.add(task)
        task.add_done_callback(self._closed)
        done, _ = await asyncio.wait({task}, timeout=ANSWER_S)
        return task.result() if done else None

    def _closed(self, task: "asyncio.Task[Any]") -> None:
        self._open.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.info("ocpi_command_not_sent", code=getattr(task.exception(), "code", "failed"))

    async def _send(
        self, asked: Asked, command: CheckedCommand, answer_to: AnswerTo | None, deadline_ms: int
    ) -> CommandReply:
        to = asked.party("to")
        party = None if self.partners.is_platform(to) else to
        if party is not None:
            await self.partners.addressed(party, live=True)
        operation = SendCommand(
            command,
            party=party,
            deadline_ms=deadline_ms,
            timeout_s=TIMEOUT_S,
            late=KEEP,  # in OCPI a session that begins late just begins, and who does not want it stops it
            answer_to=answer_to,
        )
        reply: CommandReply = await self.api.core.ask(operation)
        return reply


def _session_of(asked: Asked) -> str:
    if len(asked.path) != 1:
        raise not_found(f"Name the session: {asked.endpoint}/session_id.")
    if not 0 < len(asked.path[0]) <= MAX_ID or not asked.path[0].isprintable():
        raise invalid(f"session_id: expected 1 to {MAX_ID} characters")
    return asked.path[0]


def profile_life_s(value: Mapping[str, Any], clock: Clock) -> int:
    """For how long a charging profile is to be in force, in seconds from now.

    In roamd every profile ends by itself, lest a partner that is lost leaves a car throttled; in OCPI it lasts as long
    as it says, or until the session ends. So: until it says, at most a day, and a day when it does not say.
    """
    profile = value.get("charging_profile")
    duration = profile.get("duration") if isinstance(profile, dict) else None
    if not isinstance(profile, dict) or not isinstance(duration, int) or isinstance(duration, bool):
        return PROFILE_MAX_S
    start = profile.get("start_date_time")
    begun = isinstance(start, str) and parse_time(start) is not None
    waits_s = max(0, (time_ms(str(start)) - clock.now_ms()) // 1000) if begun else 0
    return max(PROFILE_MIN_S, min(PROFILE_MAX_S, duration + waits_s))


def _refusal_of(error: NotFound | Forbidden, command: CheckedCommand) -> tuple[str, str]:
    """What OCPI says where we say no; Refusal where it says so by a status."""
    if isinstance(error, Forbidden):
        return "NOT_SUPPORTED", str(error)
    if command.is_about_session:
        return "UNKNOWN_SESSION", "No partner shows such a session."
    if command.command == CANCEL:
        return "REJECTED", "No such reservation was asked for."
    raise Refusal(404, UNKNOWN_OBJECT, "$.location_id: no partner publishes such a location.") from error


def _response(command: str, result: str, reason: str | None) -> Answer:
    """CommandResponse or ChargingProfileResponse."""
    is_profile = command in (SET_PROFILE, CLEAR_PROFILE, GET_PROFILE)
    known = result in FIRST_ANSWERS or (is_profile and result == "TOO_OFTEN")
    told: dict[str, Any] = {"result": result if known else "REJECTED", "timeout": TIMEOUT_S}
    words = reason if known else f"{result}: {reason}" if reason and reason != result else result
    if words and result != "ACCEPTED" and not is_profile:
        told["message"] = [{"language": "en", "text": words[:512]}]
    return Answer(encode(told))


def _preferred(reply: CommandReply) -> Answer:
    result = reply.result or "OUTCOME_UNKNOWN"
    if result in PREFERENCES:
        return Answer(msgspec.json.encode(result))
    if result == "UNKNOWN_SESSION":
        raise not_found("The partner knows no such session.")
    if result == "NOT_SUPPORTED":
        raise Refusal(404, 2001, "The EVSE does not support charging preferences.")
    if result == "NO_ANSWER" and reply.reason == "no link":
        raise Refusal(200, NOT_CONNECTED, "The partner is not connected now; nothing was done.")
    if result in ("NO_ANSWER", "OUTCOME_UNKNOWN"):
        raise Refusal(200, TIMED_OUT, "The partner did not answer in time.")
    return Answer(b'"NOT_POSSIBLE"', message=reply.reason)
