"""How a command is shown: to the backend as a reply and as events, to the asking peer as an object of feed `commands`.

The feed is what makes both sides agree: whatever happens to links and processes, the newest state arrives in the end.
"""

import msgspec

from roamd.clock import rfc3339
from roamd.errors import NotFound, ProtocolError
from roamd.model.commands import EXPIRED, FAILED, IN_FORCE, LATE, OPEN, SET_PROFILE, START, STOP
from roamd.model.keys import ObjectKey, fold
from roamd.protocol.calls import CommandAnswer
from roamd.protocol.messages import AnswerStatus
from roamd.roaming import operations as op
from roamd.roaming.audience import only
from roamd.storage import commands, events, feeds, peers
from roamd.storage.commands import CommandRow
from roamd.storage.store import Cx

FEED = "commands"
OCPI = "2.3.0"
"""The version that stands beside objects of roamd's own."""

STOPPING, STOPPED, KEPT, TIMEOUT = "STOPPING", "STOPPED", "KEPT", "TIMEOUT"
"""Reasons that roamd gives by itself: of a LATE start, and of one that was given up."""
CLEARING, CLEARED, REPLACED, SESSION_ENDED = "CLEARING", "CLEARED", "REPLACED", "ENDED"
"""And of a charging profile that is EXPIRED."""

_RESULTS = {
    AnswerStatus.REFUSED: "REFUSED",
    AnswerStatus.NO_ANSWER: "NO_ANSWER",
    AnswerStatus.OUTCOME_UNKNOWN: "OUTCOME_UNKNOWN",
    AnswerStatus.MALFORMED: "REFUSED",
}


class _Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """An object of the feed, in the order of its text."""

    country_code: str
    party_id: str
    id: str
    command: str
    state: str
    last_updated: str
    reason: str | None = None
    session_id: str | None = None
    authorization_reference: str | None = None


def publish_txn(cx: Cx, row: CommandRow) -> None:
    """Show the asking peer how its command stands; one that is no peer any more is shown nothing."""
    peer = peers.get(cx, row.peer)
    if peer is None:
        return
    body = _Shown(
        country_code=row.station[:2],
        party_id=row.station[2:],
        id=row.command_id,
        command=row.command,
        state=row.state,
        last_updated=rfc3339(row.updated_ms),
        reason=row.reason,
        session_id=row.session_id,
        authorization_reference=row.authorization_reference,
    )
    key, text = ObjectKey(row.station, fold(row.command_id)), msgspec.json.encode(body)
    feeds.publish_txn(cx, FEED, key, OCPI, text, only(peer.endpoint_id), row.updated_ms)


def state_event_txn(cx: Cx, row: CommandRow, now_ms: int) -> None:
    """`command.state`: how a command now stands, without its body."""
    data = {
        "command_id": row.command_id,
        "command": row.command,
        "direction": row.direction,
        "state": row.state,
        "reason": row.reason,
        "session_id": row.session_id,
        "authorization_reference": row.authorization_reference,
    }
    given = msgspec.json.encode({name: value for name, value in data.items() if value is not None})
    events.append_txn(
        cx, at_ms=now_ms, peer=row.peer, type="command.state", subject=row.command_id, data=given, coalesce=False
    )


def as_reply(row: CommandRow) -> op.CommandReply:
    """A command as the API shows it."""
    answer = answer_of(row)
    return op.CommandReply(
        command_id=row.command_id,
        command=row.command,
        direction=row.direction,
        peer=row.peer,
        party=row.party,
        state=row.state,
        result=result_of(row),
        reason=row.reason,
        authorization_reference=row.authorization_reference,
        session_id=row.session_id,
        asked_at=rfc3339(row.asked_ms),
        updated_at=rfc3339(row.updated_ms),
        expires_at=rfc3339(row.expires_ms) if row.command in (START, SET_PROFILE) else None,
        late=row.late if row.command == START else None,
        profile=msgspec.Raw(answer.detail) if answer is not None and answer.detail else None,
    )


def answer_of(row: CommandRow) -> CommandAnswer | None:
    """What the CSO's backend said, if it said something that can be read."""
    if row.answer_status != AnswerStatus.ANSWERED or row.answer is None:
        return None
    try:
        return CommandAnswer.unpack(row.answer)
    except ProtocolError:
        return None


def result_of(row: CommandRow) -> str | None:
    """The answer in one word; None while there is none and may yet be one."""
    answer = answer_of(row)
    if answer is not None:
        return answer.result
    if row.answer_status is None:
        return "OUTCOME_UNKNOWN" if row.state not in ("ASKED", FAILED) else None
    return _RESULTS.get(AnswerStatus(row.answer_status), "OUTCOME_UNKNOWN")


def find_one(cx: Cx, command_id: str, direction: str | None) -> CommandRow:
    """The command of that id; NotFound."""
    rows = commands.find(cx, command_id.lower(), direction)
    if not rows:
        raise NotFound(f"There is no command {command_id!r}.", code="unknown-command")
    return rows[-1]


def due_of(row: CommandRow) -> int | None:
    """When roamd has to look at a command by itself: a start without effect or to be stopped, a profile."""
    if row.direction == "in" and row.command == START:
        if row.state in OPEN:
            return row.expires_ms
        if row.state == LATE and row.late == STOP and row.reason == STOPPING:
            return row.updated_ms
    if row.direction == "in" and row.command == SET_PROFILE:
        if row.state in IN_FORCE:
            return row.expires_ms
        if row.state == EXPIRED and row.reason == CLEARING:
            return row.updated_ms
    return None
