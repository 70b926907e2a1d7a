"""The home-CSP's side of commands: they are committed, asked once, and followed to their end.

What is not known is called UNKNOWN and never FAILED: the link may have fallen, the answer may be late. Then the same id
is asked again for its outcome alone (`only_outcome`), as soon as there is a link; whoever never heard of it answers
that nothing was done, and will not do it if it comes after all. Everything later comes by the peer's feed `commands`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from roamd.clock import Clock
from roamd.errors import Conflict, Forbidden, NotFound, ProtocolError
from roamd.log import get_logger
from roamd.model.agreement import may_ask, not_agreed
from roamd.model.commands import (
    ASKED,
    FAILED,
    REJECTED,
    RESERVES,
    START,
    STATES,
    UNKNOWN,
    CheckedCommand,
    accepted_state,
    with_expiry,
    with_reference,
)
from roamd.model.roles import COMMANDS
from roamd.model.views import command_state_view
from roamd.protocol.bulk import FeedItem
from roamd.protocol.calls import CommandAnswer, CommandRequest
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming import operations as op
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.control.shown import as_reply, state_event_txn
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.idempotent import once_txn
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ports import Reply
from roamd.roaming.privacy.pseudonyms import Pseudonyms
from roamd.storage import commands, feeds, ocpi
from roamd.storage.commands import CommandRow
from roamd.storage.store import Cx, Store

log = get_logger()

OPERATION = "commands"
RESOLVE_MS = 10_000
"""How long to wait for the outcome of a command that is asked for again."""
RESOLVE_AGAIN_S = 5.0
"""After a call whose answer did not come although the link is up."""


class Outcome(NamedTuple):
    """What an answer makes of a command; `status` None when the outcome can still be asked for."""

    state: str
    reason: str | None
    status: int | None
    answer: bytes | None


@dataclass(slots=True)
class HomeControl:
    """Handles SendCommand, and takes what peers show of our commands. `written()` after commits that made events.

    `names` are our contracts' towards each peer.
    """

    clock: Clock
    store: Store
    directory: Directory
    calls: OutgoingCalls
    deadlines: Deadlines
    random: Random
    own_party: str
    written: Callable[[], None]
    names: Pseudonyms
    _waiting: dict[int, list[Reply]] = field(default_factory=dict)

    def send(self, operation: op.SendCommand, reply: Reply) -> None:
        """SendCommand -> CommandReply, at the latest at the deadline; RequestError when it is not sent at all."""
        peer, station = self._destination(operation)
        service = COMMANDS[operation.command.command].name
        if not may_ask(peer.agreement, service):
            reason = not_agreed(peer.agreement, f"services.{service}")
            raise Forbidden(f"{peer.label}: {reason}", code="not-agreed")
        command_id = self.random(16).hex()
        command = with_expiry(with_reference(operation.command, command_id))
        row = self._row(operation, command, command_id, peer, station)

        def insert_txn(cx: Cx) -> str:
            self.names.name_command_txn(cx, peer, command.body)
            return _insert_txn(cx, row, operation)

        def txn(cx: Cx) -> str:
            return once_txn(cx, OPERATION, operation.idempotency, str, insert_txn, row.asked_ms)

        def done(outcome: str | BaseException) -> None:
            if isinstance(outcome, BaseException):
                reply(outcome)
            else:
                self._committed(outcome, row, command, operation, reply)

        self.store.submit(txn, done)

    def _row(
        self, operation: op.SendCommand, command: CheckedCommand, command_id: str, peer: Peer, station: str
    ) -> CommandRow:
        now_ms = self.clock.now_ms()
        return CommandRow(
            direction="out",
            peer=peer.label,
            command_id=command_id,
            command=command.command,
            party=self.own_party,
            station=station,
            subject=command.subject,
            evse_uid=command.evse_uid,
            state=ASKED,
            reason=None,
            late=operation.late,
            authorization_reference=command.authorization_reference,
            session_id=command.session_id,
            request_hash=hashlib.sha256(command.body).digest(),
            answer_status=None,
            answer=None,
            asked_ms=now_ms,
            expires_ms=now_ms + (command.expires_s or operation.timeout_s) * 1000,
            updated_ms=now_ms,
            due_ms=None,
        )

    # --- to whom ------------------------------------------------------------------------------------------------

    def _destination(self, operation: op.SendCommand) -> tuple[Peer, str]:
        """The peer and the party whose station it is: named, else the owner of the location or session."""
        owners = self._owners(operation)
        if operation.peer is not None:
            peer = self.directory.get(operation.peer)
            return peer, operation.party or owners.get(peer.label, peer.row.parties[0])
        if operation.party is not None:
            owners = {peer.label: operation.party for peer in self.directory if operation.party in peer.row.parties}
        known = [label for label in owners if self.directory.find(label) is not None]
        if not known:
            raise NotFound("No peer shows us what the command is about; name `peer` or `party`.", code="no-peer")
        if len(known) > 1:
            raise Conflict(f"Several peers own what it is about ({', '.join(known)}); name `peer`.", code="ambiguous")
        return self.directory.get(known[0]), owners[known[0]]

    def _owners(self, operation: op.SendCommand) -> dict[str, str]:
        """Who shows us the location or session, or was asked for the reservation, by label, with the owning party."""
        command = operation.command

        def read(cx: Cx) -> dict[str, str]:
            if command.location_id is not None:
                return {row.peer: row.key.party for row in feeds.find_mirrored(cx, "locations", command.location_id)}
            if command.is_about_session:
                shown = {row.peer: row.key.party for row in feeds.find_mirrored(cx, "sessions", command.subject)}
                return shown or _asked_of(commands.of_session(cx, "out", command.subject))
            return _asked_of(commands.reserving(cx, "out", RESERVES, command.subject))

        return self.store.read(read)

    # --- asking -------------------------------------------------------------------------------------------------

    def _committed(
        self, command_id: str, row: CommandRow, command: CheckedCommand, operation: op.SendCommand, reply: Reply
    ) -> None:
        """The command is on the disk: ask, unless the request repeats one that was asked before."""
        found = self.store.read(lambda cx: commands.find(cx, command_id, "out"))
        if not found:  # its driver was erased since; the key still stands, so it is not asked again
            reply(NotFound("The command of this Idempotency-Key was forgotten.", code="unknown-command"))
            return
        kept = found[-1]
        if command_id != row.command_id:
            waiting = self._waiting.get(kept.id)
            if waiting is None:
                reply(as_reply(kept))
            else:
                waiting.append(reply)
            return
        self._waiting[kept.id] = [reply]
        peer = self.directory.find(row.peer)
        body = self.names.command_for(peer, command.body) if peer is not None else b""
        request = CommandRequest(row.party, command.ocpi, operation.timeout_s, operation.late, body)
        self._ask(kept, request, operation.deadline_ms, operation.traceparent)

    def _ask(self, row: CommandRow, request: CommandRequest, deadline_ms: int, traceparent: str | None = None) -> None:
        peer = self.directory.find(row.peer)
        if peer is None or peer.exchange is None:
            words = b"no link" if peer is not None else b"no such peer"
            # Only a first ask surely did not leave: what was asked before may have arrived.
            self._answered(row.id, None if request.only_outcome else Answer(b"", AnswerStatus.NO_ANSWER, words))
            return
        call = Call(
            bytes.fromhex(row.command_id), COMMANDS[row.command].number, deadline_ms, request.pack(), traceparent
        )
        deadline_at = self.clock.monotonic() + deadline_ms / 1000
        self.calls.start(peer, call, deadline_at, lambda answer: self._answered(row.id, answer))

    def _answered(self, row_id: int, answer: Answer | None) -> None:
        now_ms = self.clock.now_ms()

        def done(row: CommandRow | BaseException) -> None:
            for reply in self._waiting.pop(row_id, []):
                reply(row if isinstance(row, BaseException) else as_reply(row))
            if isinstance(row, CommandRow):
                log.info("command_answered", peer=row.peer, message_id=row.command_id, state=row.state)
                self.written()
                if row.answer_status is None:
                    self.deadlines.after(RESOLVE_AGAIN_S, lambda: self._resolve(row_id))

        self.store.submit(lambda cx: _conclude_txn(cx, row_id, answer, now_ms), done, essential=True)

    # --- what is not known --------------------------------------------------------------------------------------

    def link_up(self, peer: Peer) -> None:
        """A link has come up: ask what became of the commands whose answer never came."""
        for row in self.store.read(lambda cx: commands.unanswered(cx, "out", peer.label)):
            self._resolve(row.id)

    def _resolve(self, row_id: int) -> None:
        """Ask for the outcome, unless it is known, being asked, or there is no link to ask over."""
        row = self.store.read(lambda cx: commands.by_id(cx, row_id))
        peer = self.directory.find(row.peer) if row is not None else None
        if row is None or row.answer_status is not None or row_id in self._waiting:
            return
        if peer is None or peer.exchange is None:
            return
        self._waiting[row_id] = []
        self._ask(row, CommandRequest(row.party, "2.3.0", 1, row.late, b"", only_outcome=True), RESOLVE_MS)

    # --- what the peer shows ------------------------------------------------------------------------------------

    def taken_txn(self, cx: Cx, peer: str, item: FeedItem, now_ms: int) -> None:
        """A peer shows how a command stands (follower.Taken): that is how it stands."""
        if item.body is None:
            return
        view = command_state_view(msgspec.json.decode(item.body))
        row = commands.get(cx, "out", peer, view.command_id)
        if row is None or view.state not in STATES:
            return
        shown = row._replace(state=view.state, reason=view.reason, session_id=view.session_id)
        if shown != row:
            shown = shown._replace(updated_ms=now_ms)
            commands.update_txn(cx, shown)
            state_event_txn(cx, shown, now_ms)


def _asked_of(rows: list[CommandRow]) -> dict[str, str]:
    """Whom we asked for these, with the party whose station it was."""
    return {row.peer: row.station for row in rows}


def outcome_of(answer: Answer | None, command: str = START) -> Outcome:
    """What the peer's answer, or its silence, makes of a command."""
    if answer is None:
        return Outcome(UNKNOWN, "no answer in time", None, None)
    words = "".join(c if c.isprintable() else "?" for c in answer.body[:200].decode(errors="replace"))
    match answer.status:
        case AnswerStatus.ANSWERED:
            return _of_backend(answer, accepted_state(command))
        case AnswerStatus.OUTCOME_UNKNOWN:
            return Outcome(UNKNOWN, words or None, answer.status, answer.body)
        case AnswerStatus.REFUSED | AnswerStatus.MALFORMED:
            return Outcome(FAILED, f"refused: {words}", answer.status, answer.body)
        case _:
            return Outcome(FAILED, words or None, AnswerStatus.NO_ANSWER, answer.body)


def _of_backend(answer: Answer, accepted: str) -> Outcome:
    try:
        said = CommandAnswer.unpack(answer.body)
    except ProtocolError:
        return Outcome(UNKNOWN, "its answer cannot be read", AnswerStatus.OUTCOME_UNKNOWN, b"")
    if said.result == "ACCEPTED":
        return Outcome(accepted, said.reason or None, answer.status, answer.body)
    return Outcome(REJECTED, said.reason or said.result, answer.status, answer.body)


def recover_txn(cx: Cx, now_ms: int) -> None:
    """At the start: what was being asked when the last run ended is not known."""
    for row in commands.unanswered(cx, "out"):
        if row.state == ASKED:
            unknown = row._replace(state=UNKNOWN, reason="roamd ended while it was asked", updated_ms=now_ms)
            commands.update_txn(cx, unknown)
            state_event_txn(cx, unknown, now_ms)


def _insert_txn(cx: Cx, row: CommandRow, operation: op.SendCommand) -> str:
    if operation.answer_to is not None:
        due_ms = row.asked_ms + operation.timeout_s * 1000
        ocpi.put_result_txn(
            cx, row.command_id, operation.answer_to.backend, operation.answer_to.url, row.asked_ms, due_ms
        )
    return commands.insert_txn(cx, row).command_id


def _conclude_txn(cx: Cx, row_id: int, answer: Answer | None, now_ms: int) -> CommandRow:
    row = commands.by_id(cx, row_id)
    if row is None:
        raise NotFound("The command was forgotten meanwhile.", code="unknown-command")
    outcome = outcome_of(answer, row.command)
    concluded = row._replace(answer_status=outcome.status, answer=outcome.answer)
    if row.state in (ASKED, UNKNOWN):  # else the feed was quicker, and knows better
        concluded = concluded._replace(state=outcome.state, reason=outcome.reason)
    if concluded != row:
        concluded = concluded._replace(updated_ms=now_ms)
        commands.update_txn(cx, concluded)
        if (concluded.state, concluded.reason) != (row.state, row.reason):
            state_event_txn(cx, concluded, now_ms)
    return concluded
