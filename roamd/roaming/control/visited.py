"""The visited-CSO's side of commands: each is done at most once, and nothing that was started is left to itself.

A command is committed as ASKED before the backend is told, and its answer before that is sent. A repeat gets the stored
answer. A command that is found unanswered at a start was in the backend's hands when roamd died: its answer is
OUTCOME_UNKNOWN for ever, and it is not carried out again (`moves.recover_txn`).

Afterwards the backend reports how it goes on, or publishes a session that bears the command's authorization reference,
which counts as the report that it started. What `model.commands` says of late starts is done here.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from roamd import metrics
from roamd.clock import Clock, rfc3339
from roamd.errors import Conflict, Fault, Malformed, ProtocolError, RequestError
from roamd.log import get_logger
from roamd.model.agreement import may_be_asked, not_agreed
from roamd.model.commands import (
    ASKED,
    CANCEL,
    CLEAR_PROFILE,
    DONE,
    EXPIRED,
    FAILED,
    LATE,
    LATE_RULES,
    REJECTED,
    RESERVES,
    RESULTS,
    SET_PROFILE,
    START,
    STARTED,
    CheckedCommand,
    check_command,
    may_report,
)
from roamd.model.keys import fold
from roamd.model.objects import Checked
from roamd.model.roles import SERVICE_BY_NUMBER
from roamd.model.views import ReservationView, SessionView
from roamd.protocol.calls import CommandRequest
from roamd.protocol.messages import AnswerStatus, Call
from roamd.roaming import operations as op
from roamd.roaming.audience import audience_of, is_shown
from roamd.roaming.calls import Respond
from roamd.roaming.control.moves import conclude_txn, expire_profiles_txn, keep_txn, moved_txn
from roamd.roaming.control.shown import (
    CLEARED,
    CLEARING,
    FEED,
    SESSION_ENDED,
    STOPPED,
    STOPPING,
    TIMEOUT,
    as_reply,
    find_one,
)
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.ports import Backend, CommandQuestion, CommandResult, NoAnswer, Reply
from roamd.storage import commands, feeds
from roamd.storage.commands import CommandRow
from roamd.storage.store import Cx, Store

log = get_logger()

MARGIN_MS = 25
"""Kept back from the caller's time, so that the answer can still be committed and travel."""

UNDO_AGAIN_S = 30.0
"""Between two tries to have a session stopped or a profile cleared; each waits for the backend for `UNDO_MS`."""
UNDO_MS = 10_000

ENDED = ("COMPLETED", "INVALID")
STOP_SESSION = "STOP_SESSION"


class Undoing(NamedTuple):
    """What the backend is told so that a command's effect ends, and the reason that stands once it is done."""

    command: str
    done: str


_RESERVATION_REPORTS = {"RESERVED": DONE, "FULFILLED": DONE, "FAILED": FAILED}
"""What a reservation's status says of the command that asked for it."""

UNDOING = {LATE: Undoing(STOP_SESSION, STOPPED), EXPIRED: Undoing(CLEAR_PROFILE, CLEARED)}

_NOTHING = hashlib.sha256(b"").digest()
"""The hash of an id that was forbidden before its command came."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """One call on its way through the steps."""

    peer: Peer
    call: Call
    command: CheckedCommand | None
    request: CommandRequest
    deadline_at: float

    @property
    def request_hash(self) -> bytes:
        return hashlib.sha256(self.command.body if self.command else b"").digest()


@dataclass(slots=True)
class VisitedControl:
    """Answers calls of the commands' services. `published(feed)` after commits that changed what a feed shows."""

    clock: Clock
    store: Store
    directory: Directory
    backend: Backend
    deadlines: Deadlines
    own_party: str
    published: Callable[[str], None]
    written: Callable[[], None]
    _asking: dict[tuple[str, str], list[Respond]] = field(default_factory=dict)
    _watched: dict[int, int] = field(default_factory=dict)

    # --- a call comes in ----------------------------------------------------------------------------------------

    def answer(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve one call (roaming.calls.Service)."""
        kind = SERVICE_BY_NUMBER[call.service]
        if not may_be_asked(peer.agreement, kind.name):
            self._refuse(peer, call, not_agreed(peer.agreement, f"services.{kind.name}"), respond)
            return
        try:
            request = CommandRequest.unpack(call.body)
            command = None if request.only_outcome else check_command(kind.command, request.ocpi, request.body)
            _require_rule(request, command)
        except (ProtocolError, RequestError) as error:
            respond(AnswerStatus.MALFORMED, str(error).encode()[:500])
            return
        asked = _Asked(peer, call, command, request, deadline_at)
        refusal = self._foreign(asked) if command is not None else None
        if refusal is not None:
            self._refuse(peer, call, refusal, respond)
            return
        self._commit(asked, kind.command, respond)

    def _refuse(self, peer: Peer, call: Call, reason: str, respond: Respond) -> None:
        log.warning("command_refused", peer=peer.label, message_id=call.id.hex(), reason=reason)
        respond(AnswerStatus.REFUSED, reason.encode())

    def _foreign(self, asked: _Asked) -> str | None:
        """Why a peer may not command this: another's driver, a session or reservation that is not its own."""
        command, peer = asked.command, asked.peer
        if command is None:
            return None
        if command.contract_id is not None and peer not in self.directory.home_of(
            command.contract_id, command.token_party
        ):
            return f"the token is not of a contract of yours; {not_agreed(peer.agreement, 'contract_prefixes')}"
        if command.is_about_session and not self.store.read(lambda cx: self._shows_session(cx, peer, command.subject)):
            return "there is no such session of yours"
        if command.command == CANCEL and not self.store.read(lambda cx: self._reserved(cx, peer, command.subject)):
            return "there is no such reservation of yours"
        return None

    def _shows_session(self, cx: Cx, peer: Peer, session: str) -> bool:
        if any(row.peer == peer.label for row in commands.of_session(cx, "in", session)):
            return True
        rows = feeds.find_published(cx, "sessions", session)
        return any(is_shown(row.audience, peer, self.directory) for row in rows)

    def _reserved(self, cx: Cx, peer: Peer, reservation: str) -> bool:
        """Another's may have the same id; who was refused one of that id has none to cancel."""
        rows = feeds.find_published(cx, "reservations", reservation)
        if rows:
            return any(is_shown(row.audience, peer, self.directory) for row in rows)
        asked = commands.reserving(cx, "in", RESERVES, reservation)
        return any(row.peer == peer.label and row.state not in (REJECTED, FAILED) for row in asked)

    # --- commit, then ask ---------------------------------------------------------------------------------------

    def _commit(self, asked: _Asked, command: str, respond: Respond) -> None:
        row = self._row(asked, command)

        def txn(cx: Cx) -> CommandRow:
            known = commands.get(cx, "in", row.peer, row.command_id)
            return known if known is not None else commands.insert_txn(cx, row)._replace(id=0)

        def done(known: CommandRow | BaseException) -> None:
            if isinstance(known, BaseException):
                respond(AnswerStatus.NO_ANSWER, b"it could not be stored")
            elif known.id == 0:
                self._begin(asked, row, respond)
            else:
                self._repeat(asked, known, respond)

        self.store.submit(txn, done)

    def _row(self, asked: _Asked, command: str) -> CommandRow:
        checked, request, now_ms = asked.command, asked.request, self.clock.now_ms()
        return CommandRow(
            direction="in",
            peer=asked.peer.label,
            command_id=asked.call.id.hex(),
            command=command,
            party=request.party,
            station=self._station(checked),
            subject=checked.subject if checked else "",
            evse_uid=checked.evse_uid if checked else None,
            state=ASKED if checked else FAILED,
            reason=None if checked else "it never arrived",
            late=request.late,
            authorization_reference=checked.authorization_reference if checked else None,
            session_id=checked.session_id if checked else None,
            request_hash=asked.request_hash,
            answer_status=None if checked else int(AnswerStatus.NO_ANSWER),
            answer=None if checked else b"it never arrived, and will not be carried out",
            asked_ms=now_ms,
            expires_ms=now_ms + (checked.expires_s if checked and checked.expires_s else request.timeout_s) * 1000,
            updated_ms=now_ms,
            due_ms=None,
        )

    def _station(self, command: CheckedCommand | None) -> str:
        """Which of our parties is meant: the owner of the session or location, if we publish it."""
        if command is None:
            return self.own_party
        feed, own_id = ("locations", command.location_id) if command.location_id else ("sessions", command.subject)
        rows = self.store.read(lambda cx: feeds.find_published(cx, feed, own_id))
        return rows[0].key.party if len(rows) == 1 else self.own_party

    def _repeat(self, asked: _Asked, known: CommandRow, respond: Respond) -> None:
        """The id was here before: the same answer, now or when there is one."""
        if asked.command is not None and known.request_hash not in (asked.request_hash, _NOTHING):
            respond(AnswerStatus.REFUSED, b"this id was another command's")
        elif known.answer_status is not None:
            respond(known.answer_status, known.answer or b"")
        elif (waiting := self._asking.get((known.peer, known.command_id))) is not None:
            waiting.append(respond)
        else:
            respond(AnswerStatus.OUTCOME_UNKNOWN, b"its answer could not be stored")

    def _begin(self, asked: _Asked, row: CommandRow, respond: Respond) -> None:
        key = (row.peer, row.command_id)
        if asked.command is None:
            respond(AnswerStatus.NO_ANSWER, row.answer or b"")
            return
        self._asking[key] = [respond]
        left_ms = int((asked.deadline_at - self.clock.monotonic()) * 1000) - MARGIN_MS
        if left_ms <= 0:
            self._conclude(key, NoAnswer("it came too late", asked=False))
            return
        question = self._question(asked, row, asked.command, left_ms)
        late_at = asked.deadline_at - MARGIN_MS / 1000
        timer = self.deadlines.add(late_at, lambda: self._conclude(key, NoAnswer("its backend: late")))

        def told(answer: CommandResult | NoAnswer) -> None:
            timer.cancel()
            self._conclude(key, _checked(answer))

        self.backend.ask_command(question, told)

    def _question(self, asked: _Asked, row: CommandRow, command: CheckedCommand, left_ms: int) -> CommandQuestion:
        is_start = row.command == START
        return CommandQuestion(
            command_id=row.command_id,
            peer=row.peer,
            party=row.party,
            command=row.command,
            ocpi=command.ocpi,
            body=msgspec.Raw(command.body),
            deadline_ms=left_ms,
            expires_at=rfc3339(self.clock.now_ms() + left_ms),
            timeout_s=asked.request.timeout_s if is_start else None,
            late=asked.request.late if is_start else None,
        )

    def _conclude(self, key: tuple[str, str], told: CommandResult | NoAnswer) -> None:
        """Commit the answer, then give it to all who wait for it. What the backend says a second time is not heard."""
        if key not in self._asking:
            return
        now_ms = self.clock.now_ms()

        def done(row: CommandRow | BaseException) -> None:
            waiting = self._asking.pop(key, [])
            for respond in waiting:
                if isinstance(row, CommandRow) and row.answer_status is not None:
                    respond(row.answer_status, row.answer or b"")
                else:
                    respond(AnswerStatus.OUTCOME_UNKNOWN, b"its answer could not be stored")
            if isinstance(row, CommandRow):
                self._log_answer(row, told)
                self.look()

        self.store.submit(lambda cx: conclude_txn(cx, key, told, now_ms), done, essential=True)

    def _log_answer(self, row: CommandRow, told: CommandResult | NoAnswer) -> None:
        if isinstance(told, NoAnswer):
            metrics.backend_silences.inc()
        log.info("command_carried_out", peer=row.peer, message_id=row.command_id, command=row.command, state=row.state)

    # --- what happens later -------------------------------------------------------------------------------------

    def report(self, operation: op.ReportCommand, reply: Reply) -> None:
        """ReportCommand -> CommandReply."""
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> CommandRow:
            row = find_one(cx, operation.command_id, "in")
            if not may_report(row.command, operation.state):
                fault = Fault("$.state", f"a {row.command} is never {operation.state}", "value")
                raise Malformed((fault,))
            session_id = operation.session_id or row.session_id
            if operation.state == STARTED and session_id is None:
                raise Malformed((Fault("$.session_id", "is needed to say what was started", "missing"),))
            moved = moved_txn(cx, row, operation.state, operation.reason, session_id, now_ms)
            if moved is None:
                raise Conflict(f"The command is {row.state} already.", code="command-state")
            return moved

        def done(outcome: CommandRow | BaseException) -> None:
            if isinstance(outcome, CommandRow):
                self.look()
            reply(outcome if isinstance(outcome, BaseException) else as_reply(outcome))

        self.store.submit(txn, done)

    def session_txn(self, cx: Cx, checked: Checked) -> None:
        """A session of ours is published (catalogue.Heed): it may be what a command asked for."""
        view, now_ms = checked.view, self.clock.now_ms()
        if not isinstance(view, SessionView):
            return
        started = view.status in ("ACTIVE", *ENDED)
        row = self._start_of(cx, view, checked)
        if row is not None and started and view.status != "INVALID":
            row = moved_txn(cx, row, STARTED, None, row.session_id or _id_of(checked), now_ms) or row
        if row is not None and view.status in ENDED and row.state == LATE and row.reason == STOPPING:
            keep_txn(cx, row._replace(reason=STOPPED), now_ms, tell=True)
        if view.status in ENDED:
            expire_profiles_txn(cx, checked.key.id, SESSION_ENDED, now_ms)
            for stop in commands.about(cx, "in", STOP_SESSION, checked.key.id):
                moved_txn(cx, stop, DONE, None, None, now_ms)

    def reservation_txn(self, cx: Cx, checked: Checked) -> None:
        """A reservation of ours is published (catalogue.Heed): it may be what a command asked for, or cancelled."""
        view, now_ms = checked.view, self.clock.now_ms()
        report = _RESERVATION_REPORTS.get(view.status) if isinstance(view, ReservationView) else None
        if report is not None:
            for asked in self._shown_to(checked, commands.reserving(cx, "in", RESERVES, checked.key.id)):
                moved_txn(cx, asked, report, None, None, now_ms)
        if isinstance(view, ReservationView) and view.status == "CANCELED":
            for cancel in self._shown_to(checked, commands.about(cx, "in", CANCEL, checked.key.id)):
                moved_txn(cx, cancel, DONE, None, None, now_ms)

    def _start_of(self, cx: Cx, view: SessionView, checked: Checked) -> CommandRow | None:
        """The start that led to it, of a peer whose session it is: another's may carry the same reference."""
        reference = view.authorization_reference
        rows = commands.starts_of(cx, reference) if reference else []
        row = next(self._shown_to(checked, rows), None)
        if row is not None and row.session_id is not None and fold(row.session_id) != checked.key.id:
            return None
        return row

    def _shown_to(self, checked: Checked, rows: Iterable[CommandRow]) -> Iterator[CommandRow]:
        """Those of peers that are shown the object: references and reservation ids are their makers' own."""
        audience = audience_of(checked)
        for row in rows:
            peer = self.directory.find(row.peer)
            if peer is not None and is_shown(audience, peer, self.directory):
                yield row

    # --- what roamd does by itself ------------------------------------------------------------------------------

    def look(self) -> None:
        """After a commit: peers are shown what is new, and what has a time is looked at when that has come."""
        self.published(FEED)
        self.written()
        now_ms = self.clock.now_ms()
        for row in self.store.read(commands.due):
            if row.due_ms is not None and self._watched.get(row.id) != row.due_ms:
                self._watched[row.id] = row.due_ms
                self._watch(row.id, row.due_ms, max(0, row.due_ms - now_ms) / 1000)

    def _watch(self, row_id: int, due_ms: int, seconds: float) -> None:
        self.deadlines.after(seconds, lambda: self._due(row_id, due_ms))

    def _due(self, row_id: int, due_ms: int) -> None:
        if self._watched.get(row_id) != due_ms:
            return  # it is due at another time by now
        del self._watched[row_id]
        row = self.store.read(lambda cx: commands.by_id(cx, row_id))
        if row is None or row.due_ms != due_ms:
            return
        if row.state in UNDOING:
            self._undo(row, UNDOING[row.state])
        elif row.command == SET_PROFILE:
            self._change(row, row._replace(state=EXPIRED, reason=CLEARING))
        else:
            self._change(row, row._replace(state=FAILED, reason=TIMEOUT))

    def _change(self, row: CommandRow, changed: CommandRow) -> None:
        """Commit what roamd decided, unless something else happened to the command meanwhile."""
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> None:
            if commands.by_id(cx, row.id) == row:
                keep_txn(cx, changed, now_ms, tell=True)

        self.store.submit(txn, lambda outcome: self.look(), essential=True)

    def _undo(self, row: CommandRow, undoing: Undoing) -> None:
        """Have a late session stopped, or an old profile cleared; again in a while unless the backend accepts it.

        What is to be undone stands in the store, so a restart goes on with it.
        """
        log.warning("command_undone", peer=row.peer, message_id=row.command_id, state=row.state)
        question = CommandQuestion(
            command_id=hashlib.blake2s(bytes.fromhex(row.command_id) + b" undo", digest_size=16).hexdigest(),
            peer=row.peer,
            party=row.party,
            command=undoing.command,
            ocpi="2.3.0",
            body=msgspec.Raw(msgspec.json.encode({"session_id": row.session_id})),
            deadline_ms=UNDO_MS,
            expires_at=rfc3339(self.clock.now_ms() + UNDO_MS),
        )
        self._watched[row.id] = row.due_ms or 0
        self._watch(row.id, row.due_ms or 0, UNDO_AGAIN_S)

        def told(answer: CommandResult | NoAnswer) -> None:
            if isinstance(answer, CommandResult) and answer.result in ("ACCEPTED", "UNKNOWN_SESSION"):
                self._change(row, row._replace(reason=undoing.done))

        self.backend.ask_command(question, told)


def _require_rule(request: CommandRequest, command: CheckedCommand | None) -> None:
    if command is not None and command.command == SET_PROFILE and command.expires_s is None:
        raise Malformed((Fault("$.expires_s", "is missing: a profile has an expiry", "required"),))
    if request.late not in LATE_RULES:
        raise Malformed((Fault("late", f"is not one of {', '.join(LATE_RULES)}", "value"),))


def _checked(told: CommandResult | NoAnswer) -> CommandResult | NoAnswer:
    """The backend's word as it goes out, or why it does not count."""
    if isinstance(told, NoAnswer):
        return NoAnswer(f"its backend: {told.reason}", told.asked)
    if told.result not in RESULTS:
        return NoAnswer("its backend's result is not one of " + ", ".join(RESULTS))
    return told


def _id_of(checked: Checked) -> str:
    """The session's id as its owner spells it."""
    spelled: str = msgspec.json.decode(checked.body)["id"]
    return spelled
