"""`/v1/commands`: what a home-CSP's backend asks a visited-CSO to do, and what a CSO's backend says became of it."""

from typing import Final

import msgspec
from aiohttp import web

from roamd.backend.authorizations import traceparent_of
from roamd.backend.context import Api
from roamd.backend.examples import COMMANDS as EXAMPLES
from roamd.backend.idempotency import idempotency_of
from roamd.backend.requests import (
    checked_peer,
    decode_strictly,
    direction_parameter,
    encode,
    fault,
    json_answer,
    ocpi_version,
    page_after,
    page_limit,
    page_text,
    party_parameter,
    peer_parameter,
    value_answer,
    warning_header,
    whole_number,
)
from roamd.backend.routes import (
    AFTER,
    DIRECTION,
    IDEMPOTENCY_KEY,
    LIMIT,
    OCPI_VERSION,
    PEER,
    Answer,
    Body,
    Parameter,
    Route,
)
from roamd.model.commands import LATE_RULES, START, STATES, STOP, check_command
from roamd.model.roles import COMMANDS
from roamd.roaming.operations import (
    CommandReply,
    GetCommand,
    Idempotency,
    ListCommands,
    Page,
    ReportCommand,
    SendCommand,
)

DEADLINE_MS: Final = 5000
MIN_DEADLINE_MS: Final = 100
MAX_DEADLINE_MS: Final = 30_000
TIMEOUT_S: Final = 120
MIN_TIMEOUT_S: Final = 5
MAX_TIMEOUT_S: Final = 900
"""OCPI lets a start count as authorized for 15 minutes."""


class ReportIn(msgspec.Struct, frozen=True):
    """How far a command has come."""

    state: str
    reason: str | None = None
    session_id: str | None = None


def send_command(
    command: str,
    ocpi: str,
    data: bytes,
    *,
    peer: str | None,
    party: str | None,
    deadline_ms: int | None,
    timeout_s: int | None,
    late: str | None,
    idempotency: Idempotency | None,
    traceparent: str | None,
) -> SendCommand:
    """One request, of HTTP or of the stream, as the operation. Raises Malformed with every fault of the body."""
    if late is not None and late not in LATE_RULES:
        raise fault("late", f"must be one of {', '.join(LATE_RULES)}", "parameter")
    return SendCommand(
        check_command(command, ocpi, data),
        checked_peer(peer) if peer else None,
        party,
        _between("deadline_ms", deadline_ms, DEADLINE_MS, MIN_DEADLINE_MS, MAX_DEADLINE_MS),
        _between("timeout_s", timeout_s, TIMEOUT_S, MIN_TIMEOUT_S, MAX_TIMEOUT_S),
        late or STOP,
        idempotency,
        traceparent,
    )


def report_command(command_id: str, data: bytes) -> ReportCommand:
    """One report as the operation. Raises Malformed."""
    told = decode_strictly(data, ReportIn)
    if told.state not in STATES:
        raise fault("$.state", f"must be one of {', '.join(STATES)}", "value")
    for name, value, most in (("reason", told.reason, 255), ("session_id", told.session_id, 36)):
        if value is not None and not 0 < len(value) <= most:
            raise fault(f"$.{name}", f"must have 1 to {most} characters", "too-long")
    return ReportCommand(command_id, told.state, told.reason, told.session_id)


def _between(name: str, value: int | None, default: int, least: int, most: int) -> int:
    if value is None:
        return default
    if not least <= value <= most:
        raise fault(name, f"must be a whole number from {least} to {most}", "parameter")
    return value


class Commands:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def send(self, request: web.Request) -> web.Response:
        """Ask a peer; the answer comes at the latest at the deadline."""
        data = await request.read()
        asked = send_command(
            request.path.rpartition("/")[2],
            ocpi_version(request),
            data,
            peer=peer_parameter(request),
            party=party_parameter(request),
            deadline_ms=_whole(request, "deadline_ms"),
            timeout_s=_whole(request, "timeout_s"),
            late=request.query.get("late") or None,
            idempotency=idempotency_of(request, data),
            traceparent=traceparent_of(request.headers.get("traceparent")),
        )
        reply: CommandReply = await self._api.core.ask(asked)
        return json_answer(encode(reply), headers=warning_header(asked.command.warnings))

    async def report(self, request: web.Request) -> web.Response:
        """Say how far a peer's command has come."""
        asked = report_command(request.match_info["id"], await request.read())
        return value_answer(await self._api.core.ask(asked))

    async def get(self, request: web.Request) -> web.Response:
        """One command."""
        asked = GetCommand(request.match_info["id"], direction_parameter(request))
        return value_answer(await self._api.core.ask(asked))

    async def page(self, request: web.Request) -> web.Response:
        """A page of them."""
        asked = ListCommands(
            page_after(request),
            page_limit(request),
            peer_parameter(request),
            direction_parameter(request),
            request.query.get("authorization_reference") or None,
        )
        page: Page = await self._api.core.ask(asked)
        return json_answer(page_text(map(encode, page.items), page.next))

    def routes(self) -> list[Route]:
        """The table's rows, in an order in which their examples work."""
        one, shown = {"id": f"{1:032x}"}, Answer(200, "The command as it stands.", "Command")
        return [
            *(self._command_route(name, shown) for name in COMMANDS),
            Route("POST", "/v1/commands/{id}/state", self.report, "commands",
                  "A CSO's backend says how far a peer's command has come; saying it again changes nothing.",
                  (shown,), Body("CommandReport", {"state": "WAITING_FOR_CABLE"}), example=one),
            Route("GET", "/v1/commands/{id}", self.get, "commands", "One command, asked by us or of us.",
                  (shown,), parameters=(DIRECTION,), example=one),
            Route("GET", "/v1/commands", self.page, "commands", "Commands, oldest first.",
                  (Answer(200, "A page.", "CommandPage"),), parameters=(AFTER, LIMIT, PEER, DIRECTION, _REFERENCE)),
        ]  # fmt: skip

    def _command_route(self, name: str, shown: Answer) -> Route:
        schema, summary = _DOCUMENTED[name]
        parameters = (PEER, _STATION_PARTY, _DEADLINE, *((_TIMEOUT, _LATE) if name == START else ()))
        return Route("POST", f"/v1/commands/{name}", self.send, "commands", summary, (shown,),
                     Body(schema, EXAMPLES[name]), (*parameters, OCPI_VERSION, IDEMPOTENCY_KEY))  # fmt: skip


def _whole(request: web.Request, name: str) -> int | None:
    return whole_number(request, name, 0, 1) if request.query.get(name) else None


_DOCUMENTED: Final = {
    "START_SESSION": (
        "StartSession",
        "Start a session at a peer's station; without `authorization_reference` the command's id is put there.",
    ),
    "STOP_SESSION": ("StopSession", "Stop a session that a peer shows us."),
    "RESERVE_NOW": ("ReserveNow", "Reserve at a peer's station until a time; the same id again replaces it."),
    "RESERVE": ("ReservationAsk", "Reserve at a peer's station for any time, to charge or to park."),
    "CANCEL_RESERVATION": ("CancelReservation", "Cancel a reservation that we asked for."),
    "SET_CHARGING_PROFILE": (
        "ProfileSetting",
        "Limit a session's power until `expires_s` have passed; then the CSO has it cleared, whoever is there.",
    ),
    "CLEAR_CHARGING_PROFILE": ("ProfileClearing", "Take a session's charging profile away."),
    "GET_ACTIVE_PROFILE": ("ProfileQuestion", "How a session will be charged; the answer has `profile`."),
    "SET_CHARGING_PREFERENCES": (
        "PreferencesSetting",
        "What the driver wishes for a session: when to leave, how much, how; the answer says whether it will be so.",
    ),
    "UNLOCK_CONNECTOR": ("UnlockConnector", "Unlock a connector at a peer's station; for help desks."),
}
_STATION_PARTY: Final = Parameter("party", "The party (`DE*ABC`) whose station it is; else who shows us the place.")
_DEADLINE: Final = Parameter(
    "deadline_ms",
    "Time for the answer.",
    {"type": "integer", "minimum": MIN_DEADLINE_MS, "maximum": MAX_DEADLINE_MS, "default": DEADLINE_MS},
)
_TIMEOUT: Final = Parameter(
    "timeout_s",
    "Time for the start to have its effect; then it is FAILED.",
    {"type": "integer", "minimum": MIN_TIMEOUT_S, "maximum": MAX_TIMEOUT_S, "default": TIMEOUT_S},
)
_LATE: Final = Parameter(
    "late",
    "What becomes of a start that has its effect after it was given up: it is LATE, and stopped or kept.",
    {"type": "string", "enum": [*LATE_RULES], "default": STOP},
)
_REFERENCE: Final = Parameter("authorization_reference", "Only commands that bear this reference.")
