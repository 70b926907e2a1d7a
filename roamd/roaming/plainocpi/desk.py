"""The partners without roamd as the core holds them: who they are, and every operation about them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from roamd.clock import Clock
from roamd.errors import Conflict, Forbidden, ProtocolError
from roamd.log import get_logger
from roamd.model.agreement import Agreement, preset
from roamd.protocol.calls import AuthorizeAnswer, AuthorizeRequest, Service
from roamd.protocol.messages import AnswerStatus, Call
from roamd.roaming import operations as op
from roamd.roaming.authorization.home import HomeAuthorization
from roamd.roaming.directory import PAIRED, Directory, Peer, succession_of_row
from roamd.roaming.events import peer_event_txn, record_event_txn
from roamd.roaming.peerbook import owner_of
from roamd.roaming.plainocpi import asked
from roamd.roaming.plainocpi.mirrored import Theirs
from roamd.roaming.plainocpi.records import PlainRecords
from roamd.roaming.plainocpi.shown import Ours
from roamd.roaming.plainocpi.way import PlainOcpi
from roamd.roaming.ports import Reply
from roamd.storage import feeds, meta, ocpi, peers, plainocpi, records
from roamd.storage.peers import PeerRow
from roamd.storage.plainocpi import PlainPartner
from roamd.storage.records import QUEUED
from roamd.storage.store import Cx, Store

log = get_logger()

NO_ENDPOINT: Final = "ocpi:"
"""Before a route's label where a peer has its endpoint id; no endpoint id contains a colon."""

FEEDS: Final = ("locations", "tariffs", "user-credentials", "sessions")
"""What OCPI has a module for. Reservations, leases, grants and filters it has not."""

SERVICE: Final = "authorization"


@dataclass(slots=True)
class PlainDesk:
    """Handles the operations of `asked`; made by the composition root, which calls `load`."""

    clock: Clock
    store: Store
    directory: Directory
    home: HomeAuthorization
    way: PlainOcpi
    our_roles: tuple[str, ...]
    random: Callable[[int], bytes]
    events_written: Callable[[], None]
    handlers: Mapping[type, Callable[[Any, Reply], None]] = field(init=False)

    def __post_init__(self) -> None:
        theirs = Theirs(self.clock, self.store, self.directory, self.events_written)
        ours = Ours(self.store, self.directory)
        taken = PlainRecords(self.clock, self.store, self.directory, self.events_written)
        self.handlers = {
            asked.ListPlainPartners: self.list,
            asked.FreeLabel: self.label,
            asked.KeepPlainPartner: self.keep,
            asked.DropPlainPartner: self.drop,
            asked.AskHome: self.ask_home,
            asked.PutTheirs: theirs.put,
            asked.PatchTheirs: theirs.patch,
            asked.RemoveTheirs: theirs.remove,
            asked.GetShown: ours.get,
            asked.ListShown: ours.list,
            asked.DueObjects: ours.due,
            asked.NotePushed: ours.pushed,
            asked.NextRecord: taken.next,
            asked.NoteSent: taken.note,
            asked.TakeRecords: taken.take,
        }

    def load(self) -> None:
        """Put those that are stored into the directory."""
        for row in self.store.read(plainocpi.load_all):
            self._put(row)

    def _put(self, row: PlainPartner) -> None:
        shown = _as_peer_row(row)
        peer = Peer(shown, agreement_of(self.our_roles, row), succession_of_row(shown))
        peer.way = self.way.ask
        self.directory.put_plain(peer)

    def list(self, operation: asked.ListPlainPartners, reply: Reply) -> None:
        """ListPlainPartners -> list of PlainPartner."""
        del operation
        reply(self.store.read(plainocpi.load_all))

    def label(self, operation: asked.FreeLabel, reply: Reply) -> None:
        """FreeLabel -> str."""
        if operation.wanted is None:
            reply(self.directory.label_for(operation.name, self._is_taken))
        elif self._is_taken(operation.wanted):
            reply(Conflict(f"{operation.wanted!r} is, or was, another peer; choose another label.", code="label-taken"))
        else:
            reply(operation.wanted)

    def _is_taken(self, label: str) -> bool:
        if self.directory.find(label) is not None:
            return True
        owner = self.store.read(lambda cx: meta.get(cx, owner_of(label)))
        return owner not in (None, NO_ENDPOINT + label)

    def keep(self, operation: asked.KeepPlainPartner, reply: Reply) -> None:
        """KeepPlainPartner -> None, after the commit."""
        row = operation.row
        if not self.directory.is_plain(row.peer) and self._is_taken(row.peer):
            reply(Conflict(f"{row.peer!r} is, or was, another peer.", code="label-taken"))
            return

        def txn(cx: Cx) -> None:
            plainocpi.put_txn(cx, row)
            plainocpi.forget_pushed_txn(cx, row.peer)
            meta.set_txn(cx, owner_of(row.peer), NO_ENDPOINT + row.peer)
            peer_event_txn(cx, row.peer, PAIRED, "DOWN", self.clock.now_ms())

        def done(outcome: BaseException | None) -> None:
            if not isinstance(outcome, BaseException):
                self._put(row)
                log.info("route_kept", peer=row.peer, parties=list(row.parties), roles=list(row.roles))
                self.events_written()
            reply(outcome)

        self.store.submit(txn, done)

    def drop(self, operation: asked.DropPlainPartner, reply: Reply) -> None:
        """DropPlainPartner -> None."""
        label, now_ms = operation.peer, self.clock.now_ms()
        if not self.directory.is_plain(label):
            self.directory.get(label)
            raise Conflict(f"{label!r} is no partner that speaks plain OCPI.", code="not-plain-ocpi")

        def txn(cx: Cx) -> None:
            queued = records.page(cx, 0, 1_000_000, state=QUEUED, peer=label, direction="out")
            if queued and not operation.park:
                raise Forbidden(
                    f"{len(queued)} records wait for {label}; let them arrive, or park them with --park.", code="queued"
                )
            for row in plainocpi.park_queued_txn(cx, queued, f"{label} was removed", now_ms):
                record_event_txn(cx, row, "record.state", now_ms)
            feeds.drop_peer_txn(cx, label)
            plainocpi.remove_txn(cx, label)
            ocpi.remove_txn(cx, f"@{label}")
            peer_event_txn(cx, label, "REMOVED", "DOWN", now_ms)

        def done(outcome: BaseException | None) -> None:
            if not isinstance(outcome, BaseException):
                self.directory.remove_plain(label)
                log.warning("route_removed", peer=label)
                self.events_written()
            reply(outcome)

        self.store.submit(txn, done, essential=True)

    def ask_home(self, operation: asked.AskHome, reply: Reply) -> None:
        """AskHome -> AuthorizationReply: our own backend decides, by the same rules as for a call over a link."""
        peer, began_at = self.directory.get(operation.peer), self.clock.monotonic()
        place = operation.place
        request = AuthorizeRequest(
            type=operation.type,
            uid=operation.uid,
            location_id=place.location_id if place else None,
            evse_uid=place.evse_uid if place else None,
            service="CHARGING",
            party=peer.row.parties[0],
        )
        call = Call(self.random(16), Service.AUTHORIZATION, operation.deadline_ms, request.pack())

        def respond(status: int, body: bytes) -> None:
            elapsed_ms = round((self.clock.monotonic() - began_at) * 1000, 3)
            reply(_told(call, status, body, elapsed_ms))

        self.home.answer(peer, call, began_at + operation.deadline_ms / 1000, respond)


def agreement_of(our_roles: tuple[str, ...], row: PlainPartner) -> Agreement:
    """What plain OCPI can carry of the preset for these roles. Nobody signed it."""
    theirs = tuple(role for role in ("cso", "csp") if role in row.roles)
    whole = preset(our_roles, theirs, [f"{party[:2]}*{party[2:]}" for party in row.parties])
    return Agreement(
        our_roles=whole.our_roles,
        their_roles=whole.their_roles,
        parties=whole.parties,
        evse_prefixes=whole.evse_prefixes,
        contract_prefixes=whole.contract_prefixes,
        feeds_out=tuple(feed for feed in whole.feeds_out if feed in FEEDS),
        feeds_in=tuple(feed for feed in whole.feeds_in if feed in FEEDS),
        services_out=tuple(service for service in whole.services_out if service == SERVICE),
        services_in=tuple(service for service in whole.services_in if service == SERVICE),
        records_out=tuple(kind for kind in whole.records_out if kind == "CDR"),
        records_in=tuple(kind for kind in whole.records_in if kind == "CDR"),
    )


def _as_peer_row(row: PlainPartner) -> PeerRow:
    """In memory only: the table of peers never has a row of it."""
    return peers.PeerRow(
        peer=row.peer,
        endpoint_id=NO_ENDPOINT + row.peer,
        identity_der=b"",
        name=row.name,
        parties=row.parties,
        state=PAIRED,
        address=None,
        descriptor=b"",
        descriptor_sequence=0,
        agreement_json=b"{}",
        rights_version=1,
        words="",
        paired_at_ms=row.created_ms,
        joined_by_us=True,
    )


def _told(call: Call, status: int, body: bytes, elapsed_ms: float) -> op.AuthorizationReply:
    try:
        told = AuthorizeAnswer.unpack(body) if status == AnswerStatus.ANSWERED else None
    except ProtocolError:
        told = None
    if told is None:
        told = AuthorizeAnswer("NOT_ALLOWED", body.decode("utf-8", "replace")[:200], "POLICY")
    return op.AuthorizationReply(
        decision=told.decision,
        reason=told.reason,
        source=told.source,
        home_csp=None,
        authorization_id=call.id.hex(),
        asked=[],
        elapsed_ms=elapsed_ms,
        authorization_reference=told.authorization_reference,
        info=msgspec.Raw(told.info) if told.info else None,
        location=msgspec.Raw(told.location) if told.location else None,
    )
