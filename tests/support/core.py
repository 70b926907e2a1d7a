"""An honest fake of `ports.Core` for tests of the API: objects, records and events in dicts, answered at once.

It follows the rules that a client can see (versions, conditions, pages, idempotency, parked records); it has no peers,
no chains and no disk. What it was asked stands in `asked`; a test makes it refuse with `refuse_with`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from roamd.clock import rfc3339
from roamd.errors import Conflict, NotFound, PreconditionFailed, RoamdError
from roamd.model.body import merge_patch
from roamd.model.objects import Checked, CheckedRecord, check_object
from roamd.roaming import operations as ops
from roamd.roaming.plainocpi.asked import ListPlainPartners
from roamd.roaming.ports import Reply
from roamd.roaming.privacy.erase import Erasing
from roamd.storage.plainocpi import PlainPartner

PARTY = "DEABC"
NOW_MS = 1_795_348_800_000

Key = tuple[str, str, str, str]
"""Feed, party, folded id, sub."""


class FakeCore:
    """Everything that the API can ask, in memory."""

    def __init__(self) -> None:
        self.objects: dict[Key, tuple[bytes, str, str, int]] = {}
        self.theirs: dict[tuple[str, str, str], ops.StoredObject] = {}
        self.records: dict[str, tuple[ops.RecordReply, bytes]] = {}
        self.record_versions: dict[str, str] = {}
        self.commands: dict[str, ops.CommandReply] = {}
        self.events: list[ops.Event] = []
        self.acknowledged: list[str] = []
        self.positions: dict[str, str] = {}
        self.registrations: dict[str, bytes] = {}
        self.listed: dict[tuple[str, str, bytes], int] = {}
        self.quirks: dict[tuple[str, str], int] = {}
        self.partners: list[ops.Partner] = []
        self.remembered: dict[tuple[str, str], tuple[bytes, Any]] = {}
        self.routes: list[PlainPartner] = []
        self.asked: list[object] = []
        self.refuse_with: RoamdError | None = None
        self.held: list[tuple[object, Reply]] | None = None
        self.version = 0
        self.on_event: Callable[[str], None] = lambda newest: None
        self.on_asked: Callable[[], None] = lambda: None

    # --- the port ---

    def handle(self, operation: object, reply: Reply) -> None:
        """Answer at once; or, while `held` is a list, when the test releases it."""
        if isinstance(operation, ListPlainPartners):  # every API asks this once when it begins: no test means it
            reply(list(self.routes))
            return
        self.asked.append(operation)
        self.on_asked()
        if self.held is not None:
            self.held.append((operation, reply))
            return
        reply(self.reply_to(operation))

    def release(self) -> None:
        """Answer what was held."""
        held, self.held = self.held or [], None
        for operation, reply in held:
            reply(self.reply_to(operation))

    def reply_to(self, operation: object) -> Any:
        """The reply or the refusal."""
        if self.refuse_with is not None:
            return self.refuse_with
        try:
            return self._once(operation)
        except RoamdError as error:
            return error

    def _once(self, operation: Any) -> Any:
        answer = getattr(self, "_" + type(operation).__name__.lower())
        idempotency: ops.Idempotency | None = getattr(operation, "idempotency", None)
        if idempotency is None:
            return answer(operation)
        kept = self.remembered.get((type(operation).__name__, idempotency.key))
        if kept is not None:
            if kept[0] != idempotency.request_hash:
                raise Conflict("another body under this key", code="idempotency-key-reused")
            return kept[1]
        reply = answer(operation)
        self.remembered[type(operation).__name__, idempotency.key] = (idempotency.request_hash, reply)
        return reply

    # --- authorization ---

    def _authorize(self, asked: ops.Authorize) -> ops.AuthorizationReply:
        allowed = not asked.credential.uid.startswith("DEAD")
        return ops.AuthorizationReply(
            decision="ALLOWED" if allowed else "NOT_ALLOWED",
            reason="whitelist",
            source="WHITELIST",
            home_csp="FR*XYZ",
            authorization_id=f"auth-{len(self.asked)}",
            asked=["xyz"],
            elapsed_ms=1.5,
        )

    # --- agreements ---

    def _getagreement(self, asked: ops.GetAgreement) -> dict[str, Any]:
        if asked.number is None:
            return {"peer": asked.peer, "source": "preset", "number": None, "clauses": {}, "proposals": []}
        proof = {"document": "{}", "algorithm": "none", "signatures": {"us": None, "them": "MAAw"}, "clauses": {}}
        return self._outline(asked.number, "PROPOSED") | proof

    def _listagreements(self, asked: ops.ListAgreements) -> ops.Page:
        return ops.Page([self._outline(2, "PROPOSED")], None)

    def _proposeagreement(self, asked: ops.ProposeAgreement) -> dict[str, Any]:
        return self._outline(None, "CHECKED") if asked.check else self._outline(1, "PROPOSED")

    def _answeragreement(self, asked: ops.AnswerAgreement) -> dict[str, Any]:
        if asked.number != 2:
            raise NotFound("there is no such proposal")
        return self._outline(2, "IN_FORCE" if asked.accept else "DECLINED")

    @staticmethod
    def _outline(number: int | None, state: str) -> dict[str, Any]:
        return {"number": number, "state": state, "differences": []}

    # --- own objects ---

    def _putobject(self, asked: ops.PutObject) -> ops.StoredObject:
        key = self._key(asked.feed, asked.checked)
        kept = self.objects.get(key)
        _hold(asked.if_match, None if kept is None else _etag(kept[3]))
        if asked.only_new and kept is not None:
            raise PreconditionFailed("there is one already")
        return self._store(key, asked.checked)

    def _putobjects(self, asked: ops.PutObjects) -> list[ops.StoredObject]:
        return [self._store(self._key(asked.feed, checked), checked) for checked in asked.checked]

    def _store(self, key: Key, checked: Checked) -> ops.StoredObject:
        kept = self.objects.get(key)
        if kept is not None and kept[:2] == (checked.body, checked.ocpi):
            return ops.StoredObject(kept[0], _etag(kept[3]), kept[1])
        self.version += 1
        self.objects[key] = (checked.body, checked.ocpi, key[2], self.version)
        return ops.StoredObject(checked.body, _etag(self.version), checked.ocpi, created=kept is None, changed=True)

    def _key(self, feed: str, checked: Checked) -> Key:
        return (feed, checked.key.party, checked.key.id, checked.key.sub)

    def _find(self, feed: str, object_id: str, party: str | None, sub: str | None) -> Key:
        found = [
            key
            for key in self.objects
            if key[0] == feed and key[2] == object_id.upper() and party in (None, key[1]) and sub in (None, key[3])
        ]
        if not found:
            raise NotFound(f"There is no such object in {feed}.")
        if len(found) > 1:
            raise Conflict("Several share this id; name party or type.")
        return found[0]

    def _getobject(self, asked: ops.GetObject) -> ops.StoredObject:
        body, ocpi, _, version = self.objects[self._find(asked.feed, asked.id, asked.party, asked.token_type)]
        return ops.StoredObject(body, _etag(version), ocpi)

    def _patchobject(self, asked: ops.PatchObject) -> ops.StoredObject:
        key = self._find(asked.feed, asked.id, asked.party, asked.token_type)
        body, _, _, version = self.objects[key]
        _hold(asked.if_match, _etag(version))
        merged = merge_patch(body, asked.patch)
        return self._store(key, check_object(asked.feed, asked.ocpi, merged, own_parties=frozenset({key[1]})))

    def _patchevse(self, asked: ops.PatchEvse) -> ops.StoredObject:
        key = self._find("locations", asked.location_id, asked.party, None)
        location = json.loads(self.objects[key][0])
        for evse in location.get("evses") or ():
            if evse["uid"].upper() == asked.evse_uid.upper():
                evse.update(json.loads(asked.patch))
                return ops.StoredObject(json.dumps(evse).encode(), '"evse"', asked.ocpi, changed=True)
        raise NotFound("There is no such EVSE.")

    def _deleteobject(self, asked: ops.DeleteObject) -> None:
        key = self._find(asked.feed, asked.id, asked.party, asked.token_type)
        _hold(asked.if_match, _etag(self.objects[key][3]))
        del self.objects[key]

    def _listobjects(self, asked: ops.ListObjects) -> ops.Page:
        keys = sorted(key for key in self.objects if key[0] == asked.feed and key[2] > (asked.after or ""))
        stored = [ops.StoredObject(self.objects[key][0], "", self.objects[key][1]) for key in keys[: asked.limit]]
        return ops.Page(stored, keys[asked.limit - 1][2] if len(keys) > asked.limit else None)

    def _getpeerobject(self, asked: ops.GetPeerObject) -> ops.StoredObject:
        try:
            return self.theirs[asked.peer, asked.feed, asked.id.upper()]
        except KeyError:
            raise NotFound("The peer publishes no such object.") from None

    def _listpeerobjects(self, asked: ops.ListPeerObjects) -> ops.Page:
        found = [stored for key, stored in sorted(self.theirs.items()) if key[:2] == (asked.peer, asked.feed)]
        return ops.Page(found[: asked.limit], None)

    # --- records ---

    def _postrecords(self, asked: ops.PostRecords) -> list[ops.RecordReply]:
        for record in asked.records:
            kept = self.records.get(record.id.upper())
            if kept is not None and kept[1] != record.body:
                raise Conflict(f"Record {record.id} is there with other content.")
        return [self._accept(record, asked.peer) for record in asked.records]

    def _accept(self, record: CheckedRecord, peer: str | None) -> ops.RecordReply:
        kept = self.records.get(record.id.upper())
        if kept is not None:
            return kept[0]
        parked = record.id.startswith("PARKED")
        reply = ops.RecordReply(
            record_id=record.id,
            state="PARKED" if parked else "QUEUED",
            peer=None if parked else peer or "xyz",
            party=record.party,
            kind=record.kind,
            direction="out",
            reason="no owner" if parked else None,
            created_at=rfc3339(NOW_MS),
        )
        self.records[record.id.upper()] = (reply, record.body)
        self.record_versions[record.id] = record.ocpi
        return reply

    def _record(self, record_id: str) -> tuple[ops.RecordReply, bytes]:
        try:
            return self.records[record_id.upper()]
        except KeyError:
            raise NotFound("There is no such record.") from None

    def _getrecord(self, asked: ops.GetRecord) -> ops.RecordReply:
        reply, body = self._record(asked.record_id)
        return msgspec.structs.replace(reply, record=msgspec.Raw(body), ocpi=self.record_versions.get(reply.record_id))

    def _listrecords(self, asked: ops.ListRecords) -> ops.Page:
        found = [
            reply
            for key, (reply, _) in sorted(self.records.items())
            if key > (asked.after or "") and asked.state in (None, reply.state) and asked.peer in (None, reply.peer)
        ]
        following = found[asked.limit - 1].record_id.upper() if len(found) > asked.limit else None
        return ops.Page(found[: asked.limit], following)

    def _parked(self, record_id: str) -> ops.RecordReply:
        reply, _ = self._record(record_id)
        if reply.state != "PARKED":
            raise Conflict(f"The record is {reply.state}.")
        return reply

    def _retryrecord(self, asked: ops.RetryRecord) -> ops.RecordReply:
        reply = msgspec.structs.replace(
            self._parked(asked.record_id), state="QUEUED", peer=asked.peer or "xyz", reason=None
        )
        self.records[asked.record_id.upper()] = (reply, self._record(asked.record_id)[1])
        return reply

    def _droprecord(self, asked: ops.DropRecord) -> ops.RecordReply:
        reply = self._parked(asked.record_id)
        del self.records[asked.record_id.upper()]
        return reply

    def _judgerecord(self, asked: ops.JudgeRecord) -> ops.RecordReply:
        return self._moved(asked.record_id, asked.word)

    def _creditrecord(self, asked: ops.CreditRecord) -> ops.RecordReply:
        return self._moved(asked.record_id, "CREDITED")

    def _moved(self, record_id: str, state: str) -> ops.RecordReply:
        reply, body = self._record(record_id)
        self.records[record_id.upper()] = (msgspec.structs.replace(reply, state=state), body)
        return self.records[record_id.upper()][0]

    def _exportevidence(self, asked: ops.ExportEvidence) -> dict[str, bytes]:
        if asked.bundle:
            self._record(asked.record_id)
            return {"evidence.json": b'{\n "format": "roamd evidence 1"\n}\n'}
        return {"body.json": self._record(asked.record_id)[1], "head.der": b"\x30\x00"}

    def _reconcilepeer(self, asked: ops.ReconcilePeer) -> dict[str, Any]:
        mended = {"entries": 0, "records": 0}
        return {
            "peer": asked.peer, "ok": True, "at": rfc3339(NOW_MS), "groups": 1, "records": len(self.records),
            "differed": 0, "repaired": mended, "repaired_there": mended, "under_way": 0, "left": 0,
            "gone_on_both_sides": 0, "faults": [], "differences": [],
        }  # fmt: skip

    def _liststatements(self, asked: ops.ListStatements) -> list[dict[str, Any]]:
        return [{"month": "2026-10", "state": "OPEN", "root": "00" * 32}]

    def _getstatement(self, asked: ops.GetStatement) -> ops.StatementReply:
        document = msgspec.Raw(b'{"format":"roamd statement 1"}')
        signed: dict[str, Any] = {"us": None, "peer": None}
        lines: list[dict[str, Any]] | None = [] if asked.lines else None
        return ops.StatementReply(asked.peer, asked.month, "OPEN", "00" * 32, document, signed, lines)

    def _signstatement(self, asked: ops.SignStatement) -> ops.StatementReply:
        if asked.root not in (None, "00" * 32):
            raise Conflict("The statement has changed.", code="statement-changed")
        return self._getstatement(ops.GetStatement(asked.peer, asked.month))

    def _verifyledgers(self, asked: ops.VerifyLedgers) -> dict[str, Any]:
        return {"ok": True, "chains": [], "peer": asked.peer}

    # --- commands ---

    def _sendcommand(self, asked: ops.SendCommand) -> ops.CommandReply:
        reply = ops.CommandReply(
            command_id=f"{len(self.commands) + 1:032x}",
            command=asked.command.command,
            direction="out",
            peer=asked.peer or "xyz",
            party=PARTY,
            state="ACCEPTED",
            result="ACCEPTED",
            asked_at=rfc3339(NOW_MS),
            updated_at=rfc3339(NOW_MS),
            authorization_reference=asked.command.authorization_reference,
        )
        self.commands[reply.command_id] = reply
        return reply

    def _getcommand(self, asked: ops.GetCommand) -> ops.CommandReply:
        try:
            return self.commands[asked.command_id]
        except KeyError:
            raise NotFound("There is no such command.") from None

    def _reportcommand(self, asked: ops.ReportCommand) -> ops.CommandReply:
        reply = msgspec.structs.replace(
            self._getcommand(ops.GetCommand(asked.command_id)), state=asked.state, reason=asked.reason
        )
        self.commands[asked.command_id] = reply
        return reply

    def _listcommands(self, asked: ops.ListCommands) -> ops.Page:
        return ops.Page(list(self.commands.values())[: asked.limit], None)

    def _listdecisions(self, asked: ops.ListDecisions) -> ops.Page:
        facts = {"when": "last", "told": "permission", "offline": "yes"}
        one = ops.DecisionReply(
            "0" * 32, rfc3339(NOW_MS), "out", "xyz", "ALLOWED", "", "BACKEND", 12.5, "CHARGING", "REF-1", "RFID",
            "04E2A1B2C3D480", None, "LOC1", "3256", 8, facts,
        )  # fmt: skip
        return ops.Page([one][: asked.limit], None)

    # --- events ---

    def happen(self, kind: str, data: bytes = b"{}") -> ops.Event:
        """Something came in."""
        number = str(len(self.events) + 1)
        event = ops.Event(f"event-{number}", number, rfc3339(NOW_MS), "xyz", kind, msgspec.Raw(data))
        self.events.append(event)
        self.on_event(number)
        return event

    def _readevents(self, asked: ops.ReadEvents) -> ops.EventPage:
        if asked.after is not None and not asked.after.isdigit():
            raise NotFound("This cursor is none of ours.")
        begin = int(asked.after or 0)
        items = self.events[begin : begin + asked.limit]
        return ops.EventPage(items, items[-1].cursor if items else str(begin), len(items) == asked.limit)

    def _acknowledgeevents(self, asked: ops.AcknowledgeEvents) -> None:
        self.acknowledged.append(asked.cursor)

    def _webhookposition(self, asked: ops.WebhookPosition) -> str:
        if asked.cursor is not None:
            self.positions[asked.name] = asked.cursor
        return self.positions.get(asked.name, "")

    # --- the OCPI face ---

    def _listregistrations(self, asked: ops.ListRegistrations) -> dict[str, bytes]:
        return dict(self.registrations)

    def _keepregistration(self, asked: ops.KeepRegistration) -> None:
        if asked.registration is None:
            self.registrations.pop(asked.name, None)
        else:
            self.registrations[asked.name] = asked.registration

    def _notelisted(self, asked: ops.NoteListed) -> None:
        self.listed |= {(asked.backend, asked.feed, digest): asked.generation for digest in asked.digests}

    def _findunlisted(self, asked: ops.FindUnlisted) -> ops.Unlisted:
        of_it = {key[2]: at for key, at in self.listed.items() if key[:2] == (asked.backend, asked.feed)}
        return ops.Unlisted(len(of_it), frozenset(key for key, at in of_it.items() if at < asked.generation))

    def _forgetlisted(self, asked: ops.ForgetListed) -> None:
        for digest in self._findunlisted(ops.FindUnlisted(asked.backend, asked.feed, asked.generation)).digests:
            del self.listed[asked.backend, asked.feed, digest]

    def _listresults(self, asked: ops.ListResults) -> list[ops.PendingResult]:
        return []

    def _marktold(self, asked: ops.MarkTold) -> None:
        return None

    def _listquirks(self, asked: ops.ListQuirks) -> list[tuple[str, str, int]]:
        return [(backend, quirk, at_ms) for (backend, quirk), at_ms in self.quirks.items()]

    def _keepquirk(self, asked: ops.KeepQuirk) -> None:
        self.quirks.setdefault((asked.backend, asked.quirk), NOW_MS)

    def _listpartners(self, asked: ops.ListPartners) -> list[ops.Partner]:
        return list(self.partners)

    # --- drivers ---

    def _exportsubject(self, asked: ops.ExportSubject) -> dict[str, Any]:
        return {"made_at": rfc3339(NOW_MS), "identifiers": [{"type": asked.type, "uid": asked.uid}], "backups": []}

    def _erasesubject(self, asked: ops.EraseSubject) -> Erasing:
        if not (asked.force or asked.keep_records):
            raise Conflict("Nothing was erased: 1 of its records must be kept by law.", code="must-be-kept")
        kept = int(asked.keep_records)
        return Erasing("0123456789abcdef", {"entries": 1}, kept, [], [], {"xyz": 1}, [], log_emptied=True, note="-")

    def _listerasures(self, asked: ops.ListErasures) -> list[dict[str, Any]]:
        counts = dict.fromkeys(("asked", "erased", "kept", "unknown", "refused", "waiting", "unasked"), 0)
        request = asked.request or "0123456789abcdef"
        return [{"request": request, "peer": "xyz", "erased_at": rfc3339(NOW_MS), "kept_until": None, **counts}]

    # --- operating ---

    def _operate(self, asked: ops.Operate) -> dict[str, Any]:
        peer = asked.arguments.get("peer")
        if peer not in (None, "xyz"):
            raise NotFound("There is no such peer.")
        return {"asked": asked.name, **asked.arguments}


def _etag(version: int) -> str:
    return f'"v{version}"'


def _hold(if_match: str | None, etag: str | None) -> None:
    """What `If-Match` asks for."""
    if if_match is None:
        return
    named = [each.strip() for each in if_match.split(",")]
    if etag is None or (etag not in named and "*" not in named):
        raise PreconditionFailed("If-Match does not hold.")


def operations_of(core: FakeCore, kind: type[object]) -> Sequence[Any]:
    """What was asked, of one kind."""
    return [each for each in core.asked if isinstance(each, kind)]
