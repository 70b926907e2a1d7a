"""The core as the API sees it: a table from operation to handler (implements `ports.Core`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roamd.errors import Conflict, NotFound, RoamdError
from roamd.roaming import operations as op
from roamd.roaming.agreements import Agreements
from roamd.roaming.authorization.visited import VisitedAuthorization
from roamd.roaming.catalogue import Catalogue
from roamd.roaming.control.desk import ControlDesk
from roamd.roaming.control.home import HomeControl
from roamd.roaming.control.visited import VisitedControl
from roamd.roaming.decisions import DecisionDesk
from roamd.roaming.events import EventDesk
from roamd.roaming.ledger.desk import LedgerDesk
from roamd.roaming.lifecycle import Lifecycle
from roamd.roaming.mirror import Mirror
from roamd.roaming.ocpi import OcpiDesk
from roamd.roaming.plainocpi.desk import PlainDesk
from roamd.roaming.ports import Reply
from roamd.roaming.privacy.desk import SubjectDesk
from roamd.roaming.reconcile.desk import Reconciliation
from roamd.roaming.records import Records
from roamd.roaming.remembered import RememberedReplies
from roamd.roaming.statements import Statements

Handler = Callable[[Any, Reply], None]


@dataclass(slots=True)
class Services:
    """What the core is made of. `operate` is the operator's desk (daemon.operator)."""

    authorization: VisitedAuthorization
    catalogue: Catalogue
    mirror: Mirror
    home_control: HomeControl
    visited_control: VisitedControl
    control: ControlDesk
    records: Records
    lifecycle: Lifecycle
    ledger: LedgerDesk
    reconciliation: Reconciliation
    statements: Statements
    events: EventDesk
    decisions: DecisionDesk
    ocpi: OcpiDesk
    subjects: SubjectDesk
    agreements: Agreements
    replies: RememberedReplies
    operate: Handler
    plain: PlainDesk


class OperationTable:
    """Takes operations on the trio thread."""

    def __init__(self, services: Services) -> None:
        self._services = services
        records, catalogue, mirror, events = services.records, services.catalogue, services.mirror, services.events
        self._handlers: dict[type, Handler] = {
            op.Authorize: self._authorize,
            op.PutObject: catalogue.put,
            op.PutObjects: catalogue.put_many,
            op.PatchObject: catalogue.patch,
            op.PatchEvse: catalogue.patch_evse,
            op.DeleteObject: catalogue.delete,
            op.GetObject: catalogue.get,
            op.ListObjects: catalogue.list,
            op.GetPeerObject: mirror.get,
            op.ListPeerObjects: mirror.list,
            op.SendCommand: services.home_control.send,
            op.ReportCommand: services.visited_control.report,
            op.GetCommand: services.control.get,
            op.ListCommands: services.control.list,
            op.PostRecords: records.post,
            op.GetRecord: records.get,
            op.ListRecords: records.list,
            op.RetryRecord: records.retry,
            op.DropRecord: records.drop,
            op.JudgeRecord: services.lifecycle.judge,
            op.CreditRecord: services.lifecycle.credit,
            op.ExportEvidence: services.ledger.export,
            op.VerifyLedgers: services.ledger.verify,
            op.ReconcilePeer: services.reconciliation.reconcile,
            op.GetStatement: services.statements.get,
            op.SignStatement: services.statements.sign,
            op.ListStatements: services.statements.months,
            op.ListDecisions: services.decisions.list,
            op.ReadEvents: events.read,
            op.AcknowledgeEvents: events.acknowledge,
            op.WebhookPosition: events.webhook_position,
            op.ListRegistrations: services.ocpi.list,
            op.KeepRegistration: services.ocpi.keep,
            op.ListPartners: services.ocpi.partners,
            op.FindDriver: services.ocpi.driver,
            op.NoteListed: services.ocpi.note_listed,
            op.FindUnlisted: services.ocpi.find_unlisted,
            op.ForgetListed: services.ocpi.forget_listed,
            op.ListQuirks: services.ocpi.quirks,
            op.KeepQuirk: services.ocpi.keep_quirk,
            op.ListResults: services.ocpi.results,
            op.MarkTold: services.ocpi.mark_told,
            op.ExportSubject: services.subjects.export,
            op.EraseSubject: services.subjects.erase,
            op.ListErasures: services.subjects.erasures,
            op.GetAgreement: services.agreements.show,
            op.ListAgreements: services.agreements.history,
            op.ProposeAgreement: services.agreements.propose,
            op.AnswerAgreement: services.agreements.answer,
            op.Operate: services.operate,
            **services.plain.handlers,
        }

    def handle(self, operation: object, reply: Reply) -> None:
        """Take one operation (ports.Core)."""
        handler = self._handlers.get(type(operation))
        if handler is None:
            reply(NotFound(f"There is no operation {type(operation).__name__}."))
            return
        try:
            handler(operation, reply)
        except RoamdError as error:
            reply(error)

    def _authorize(self, operation: op.Authorize, reply: Reply) -> None:
        """An Idempotency-Key of an authorization is remembered in memory only (DESIGN section 8)."""
        if operation.idempotency is None:
            self._services.authorization.authorize(operation, reply)
            return
        key = operation.idempotency
        match self._services.replies.begin(key.key, key.request_hash, reply):
            case "new":
                finish = self._services.replies.finisher(key.key)
                try:
                    self._services.authorization.authorize(operation, finish)
                except RoamdError as error:
                    finish(error)
            case "other":
                reply(Conflict("This Idempotency-Key was used with another request.", code="idempotency-key-reused"))
