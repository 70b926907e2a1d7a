"""What changes a command at the visited-CSO: each step in a transaction, with what it shows the asking peer."""

from roamd.errors import NotFound
from roamd.model.commands import (
    ACCEPTED,
    ASKED,
    CLEAR_PROFILE,
    EXPIRED,
    FAILED,
    IN_FORCE,
    LATE,
    REJECTED,
    SET_PROFILE,
    STOP,
    UNKNOWN,
    accepted_state,
    next_state,
)
from roamd.protocol.calls import CommandAnswer
from roamd.protocol.messages import AnswerStatus
from roamd.roaming.control.shown import (
    CLEARED,
    CLEARING,
    KEPT,
    REPLACED,
    STOPPING,
    due_of,
    publish_txn,
    state_event_txn,
)
from roamd.roaming.ports import CommandResult, NoAnswer
from roamd.storage import commands
from roamd.storage.commands import CommandRow
from roamd.storage.store import Cx


def conclude_txn(cx: Cx, key: tuple[str, str], told: CommandResult | NoAnswer, now_ms: int) -> CommandRow:
    """The answer, once; the state too, unless reports were quicker."""
    row = commands.get(cx, "in", *key)
    if row is None:
        raise NotFound("The command was forgotten meanwhile.", code="unknown-command")
    if row.answer_status is not None:
        return row
    state, reason, status, body = _answer_of(told)
    if row.state == ASKED:
        row = row._replace(state=accepted_state(row.command) if state == ACCEPTED else state, reason=reason)
    if state == ACCEPTED and row.command in (SET_PROFILE, CLEAR_PROFILE):
        expire_profiles_txn(cx, row.subject, REPLACED if row.command == SET_PROFILE else CLEARED, now_ms, but=row.id)
    return keep_txn(cx, row._replace(answer_status=int(status), answer=body), now_ms)


def _answer_of(told: CommandResult | NoAnswer) -> tuple[str, str | None, AnswerStatus, bytes]:
    if isinstance(told, NoAnswer):
        words = told.reason.encode()[:500]
        if told.asked:
            return UNKNOWN, told.reason, AnswerStatus.OUTCOME_UNKNOWN, words
        return FAILED, told.reason, AnswerStatus.NO_ANSWER, words
    reason = (told.reason or "")[:200]
    body = CommandAnswer(told.result, reason, bytes(told.profile) if told.profile else None).pack()
    if told.result == "ACCEPTED":
        return ACCEPTED, reason or None, AnswerStatus.ANSWERED, body
    return REJECTED, reason or told.result, AnswerStatus.ANSWERED, body


def moved_txn(
    cx: Cx, row: CommandRow, report: str, reason: str | None, session_id: str | None, now_ms: int
) -> CommandRow | None:
    """The command after a report; None when it contradicts where the command stands."""
    state = next_state(row.state, report)
    if state is None:
        return None
    if state == row.state and session_id in (None, row.session_id):
        return row
    moved = row._replace(state=state, session_id=session_id or row.session_id)
    if state != row.state:
        moved = moved._replace(reason=reason)
    if state != LATE:
        return keep_txn(cx, moved, now_ms)
    return keep_txn(cx, moved._replace(reason=STOPPING if row.late == STOP else KEPT), now_ms, tell=True)


def expire_profiles_txn(cx: Cx, session: str, reason: str, now_ms: int, *, but: int = 0) -> None:
    """The profiles of a session are no longer in force."""
    for row in commands.about(cx, "in", SET_PROFILE, session):
        if row.id != but and (row.state in IN_FORCE or row.reason == CLEARING):
            keep_txn(cx, row._replace(state=EXPIRED, reason=reason), now_ms)


def keep_txn(cx: Cx, row: CommandRow, now_ms: int, *, tell: bool = False) -> CommandRow:
    """Keep and show a command. `tell`: our own backend has an event of it, because roamd decided it."""
    row = row._replace(updated_ms=now_ms)
    row = row._replace(due_ms=due_of(row))
    commands.update_txn(cx, row)
    publish_txn(cx, row)
    if tell:
        state_event_txn(cx, row, now_ms)
    return row


def recover_txn(cx: Cx, now_ms: int) -> None:
    """At the start: what the backend was told when the last run ended may have been done, and is never told again."""
    for row in commands.unanswered(cx, "in"):
        words = "roamd ended while it was carried out"
        state = UNKNOWN if row.state == ASKED else row.state
        reason = words if row.state == ASKED else row.reason
        status = int(AnswerStatus.OUTCOME_UNKNOWN)
        keep_txn(cx, row._replace(state=state, reason=reason, answer_status=status, answer=words.encode()), now_ms)
