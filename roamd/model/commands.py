"""Commands of a home-CSP to a visited-CSO's station: what is asked, and the life that an ask leads.

The visited-CSO alone decides how a command stands; the home-CSP follows. Its states, and which may follow which when
the CSO's backend reports one, are the table `NEXT`:

    ASKED -> ACCEPTED -> AT_STATION -> WAITING_FOR_CABLE -> STARTED (a start) or DONE (all others)
    REJECTED   its backend said no                UNKNOWN   it was asked, and what came of it is not known
    FAILED     it will not happen, with a reason  LATE      a start had its effect after it was given up

The rule for late starts: a start that has no effect within its time-out is FAILED (TIMEOUT), and from then on nobody
waits for it. If a session begins all the same, or after a REJECTED or FAILED, the command is LATE and never STARTED.
The asker said beforehand what then happens: STOP, the session is stopped, and asked to stop again until that is
accepted or the session is over; KEEP, the session goes on and belongs to the command. A start that arrives when its
time for an answer is over is not carried out at all, then or later.

The rule for charging profiles: each has an expiry, `PROFILE_S` if its backend named none. When it is over the
visited-CSO has the profile cleared, again and again until that is accepted, so a partner that is lost never leaves a
car throttled. The command is then EXPIRED.
"""

from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from roamd.errors import Fault, Malformed
from roamd.model.body import merge_patch, with_fields
from roamd.model.ids.party import party_of
from roamd.model.jsontext import compact, parse
from roamd.model.keys import fold
from roamd.model.ocpi.check import VERSIONS, check
from roamd.model.roles import COMMANDS

ASKED, ACCEPTED, AT_STATION, WAITING = "ASKED", "ACCEPTED", "AT_STATION", "WAITING_FOR_CABLE"
STARTED, DONE, REJECTED, FAILED = "STARTED", "DONE", "REJECTED", "FAILED"
LATE, UNKNOWN, EXPIRED = "LATE", "UNKNOWN", "EXPIRED"

STOP, KEEP = "STOP", "KEEP"
LATE_RULES: Final = (STOP, KEEP)

RESULTS: Final = (
    "ACCEPTED",
    "REJECTED",
    "NOT_SUPPORTED",
    "UNKNOWN_SESSION",
    "UNKNOWN_RESERVATION",
    "TOO_OFTEN",
    "DEPARTURE_REQUIRED",
    "ENERGY_NEED_REQUIRED",
    "NOT_POSSIBLE",
    "PROFILE_TYPE_NOT_SUPPORTED",
)
"""What a backend may answer at once: OCPI's CommandResponseType, ChargingProfileResponseType and
ChargingPreferencesResponse together."""

_ON_THE_WAY: Final = frozenset({AT_STATION, WAITING, STARTED, DONE, FAILED})

NEXT: Final[dict[str, frozenset[str]]] = {
    ASKED: _ON_THE_WAY | {ACCEPTED, REJECTED},
    UNKNOWN: _ON_THE_WAY | {ACCEPTED, REJECTED},
    ACCEPTED: _ON_THE_WAY,
    AT_STATION: _ON_THE_WAY,
    WAITING: _ON_THE_WAY,
    REJECTED: frozenset({STARTED}),
    FAILED: frozenset({STARTED}),
    STARTED: frozenset(),
    DONE: frozenset(),
    LATE: frozenset(),
    EXPIRED: frozenset(),
}
STATES: Final = tuple(NEXT)
OPEN: Final = frozenset({ASKED, UNKNOWN, ACCEPTED, AT_STATION, WAITING})
"""States in which a start may still have its effect in time."""

START: Final = "START_SESSION"
STARTING: Final = (ACCEPTED, AT_STATION, WAITING, STARTED, FAILED)
DOING: Final = (ACCEPTED, AT_STATION, DONE, FAILED)
"""What the CSO's backend may report after its answer to a start, and to any other command."""


def may_report(command: str, report: str) -> bool:
    """Whether this report makes sense for a command: only a start waits for a cable and starts, all others are done."""
    return report in (STARTING if command == START else DOING)


def accepted_state(command: str) -> str:
    """What ACCEPTED means at once: a question or a wish is done with its answer, all else is on its way."""
    return DONE if command in (GET_PROFILE, SET_PREFERENCES) else ACCEPTED


def next_state(state: str, report: str) -> str | None:
    """The state that a report leads to; the same when it says nothing new, None when it contradicts the state."""
    if report == state or (state == LATE and report == STARTED):
        return state
    if report not in NEXT[state]:
        return None
    return LATE if report == STARTED and state not in OPEN else report


RESERVE: Final = "RESERVE_NOW"
CANCEL: Final = "CANCEL_RESERVATION"
SET_PROFILE: Final = "SET_CHARGING_PROFILE"
CLEAR_PROFILE: Final = "CLEAR_CHARGING_PROFILE"
GET_PROFILE: Final = "GET_ACTIVE_PROFILE"
SET_PREFERENCES: Final = "SET_CHARGING_PREFERENCES"

PROFILE_S: Final = 900
PROFILE_MIN_S: Final = 60
PROFILE_MAX_S: Final = 86_400
"""A profile's life: 15 minutes unless it is said, a day at most. Who wants more sets it again."""

IN_FORCE: Final = frozenset({UNKNOWN, ACCEPTED, AT_STATION, DONE})
"""States in which a profile may throttle a car."""

RESERVES: Final = (RESERVE, "RESERVE")
"""Both ways to reserve: OCPI's, from now on, and ours, for any time and for parking too."""
REFERENCED: Final = frozenset({START, *RESERVES})
"""Commands that lead to a session, and so to a record."""


@dataclass(frozen=True, slots=True)
class CheckedCommand:
    """A command whose body has no faults. `body` is compact and has no `response_url`.

    `subject` is what it is about, the folded id of a session, a reservation or a location; `location_id` is folded too.
    """

    command: str
    ocpi: str
    body: bytes = field(repr=False)
    subject: str
    evse_uid: str | None
    authorization_reference: str | None
    token_party: str | None = None
    contract_id: str | None = field(default=None, repr=False)
    warnings: tuple[Fault, ...] = ()
    session_id: str | None = None
    location_id: str | None = None
    expires_s: int | None = None

    @property
    def is_about_session(self) -> bool:
        """Whether it names a session rather than a place."""
        return self.session_id is not None


class _Token(msgspec.Struct, frozen=True):
    country_code: str
    party_id: str
    contract_id: str


class _Head(msgspec.Struct, frozen=True):
    """The few fields that roamd decides on."""

    token: _Token | None = None

    session_id: str | None = None
    reservation_id: str | None = None
    expires_s: int | None = None
    location_id: str | None = None
    evse_uid: str | None = None
    authorization_reference: str | None = None


_decode_head: Final = msgspec.json.Decoder(_Head).decode


def check_command(command: str, ocpi: str, data: bytes, *, at: str = "$") -> CheckedCommand:
    """Check the body of a command, of our own backend or of a peer's. KeyError for an unknown command.

    `response_url` is the asker's own affair and is not passed on, so here it may be missing. Raises Malformed with
    every fault, or TooLarge.
    """
    if ocpi not in VERSIONS:
        raise Malformed((Fault("OCPI-Version", f"expected one of {', '.join(VERSIONS)}", "ocpi-version"),))
    body = compact(data, at=at)
    parsed = parse(body, at=at)
    findings = check(COMMANDS[command].body_class, ocpi, parsed.value, at)
    faults = [fault for fault in (*findings.faults, *parsed.faults) if fault.path != f"{at}.response_url"]
    if faults:
        raise Malformed(tuple(faults))
    body = merge_patch(body, b'{"response_url":null}')
    head = _head_of(body, at)
    if head.expires_s is not None and not PROFILE_MIN_S <= head.expires_s <= PROFILE_MAX_S:
        raise Malformed((Fault(f"{at}.expires_s", f"must be from {PROFILE_MIN_S} to {PROFILE_MAX_S}", "value"),))
    token = head.token
    return CheckedCommand(
        command=command,
        ocpi=ocpi,
        body=body,
        subject=fold(head.session_id or head.reservation_id or head.location_id or ""),
        evse_uid=head.evse_uid,
        authorization_reference=head.authorization_reference,
        token_party=party_of(token.country_code, token.party_id) if token else None,
        contract_id=token.contract_id if token else None,
        warnings=tuple(findings.warnings),
        session_id=head.session_id,
        expires_s=head.expires_s,
        location_id=fold(head.location_id) if head.location_id is not None else None,
    )


def _head_of(body: bytes, at: str) -> _Head:
    """A field that the class of this command does not know, but roamd does by its name, may be of any type."""
    try:
        return _decode_head(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise Malformed((Fault(at + path.removesuffix("`"), message, "type"),)) from error


def with_expiry(checked: CheckedCommand) -> CheckedCommand:
    """A charging profile without an expiry gets the usual one."""
    if checked.command != SET_PROFILE or checked.expires_s is not None:
        return checked
    body = with_fields(checked.body, {"expires_s": str(PROFILE_S).encode()})
    return replace(checked, body=body, expires_s=PROFILE_S)


def with_reference(checked: CheckedCommand, command_id: str) -> CheckedCommand:
    """A start or reservation without `authorization_reference` gets the command's id as one.

    The station's operator must copy it to session and record (OCPI), so that is how they are known to be the command's.
    """
    if checked.authorization_reference is not None or checked.command not in REFERENCED:
        return checked
    body = with_fields(checked.body, {"authorization_reference": msgspec.json.encode(command_id)})
    return replace(checked, body=body, authorization_reference=command_id)
