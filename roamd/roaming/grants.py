"""Grants on both sides: the home-CSP's daemon signs what its backend grants, the visited-CSO's checks it alone.

Home. Whatever the backend publishes in feed `grants` is signed by the identity key on its way into the feed. To
withdraw a grant is to revoke it: a signed object in its place, which stands until the grant would have ended, and a day
longer. The same text again keeps its signature, so it makes no version.

Visited. The mirrored object is enough: nobody is asked. The signature is checked when a grant is needed, not when it
comes: the link has proved already who sent it, the signature proves later what was promised. A use is committed before
the driver is let in, so that no crash and no second driver uses what is used up, and so that the CDR finds its home-CSP
whatever happens. A revocation counts however it is signed: who may grant may take back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import msgspec

from roamd.clock import Clock, rfc3339
from roamd.errors import Conflict
from roamd.log import get_logger
from roamd.model.agreement import may_follow
from roamd.model.body import merge_patch, tree, with_fields
from roamd.model.credentials import canonical_uid
from roamd.model.grants import FEED, GrantView, grant_document, grant_view, impossible_grant, sealed, unsealed, why_not
from roamd.model.jsontext import member
from roamd.model.keys import ObjectKey
from roamd.model.objects import Checked
from roamd.protocol.bulk import FeedItem
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.operations import PlaceIn
from roamd.roaming.whitelist import spellings
from roamd.storage import feeds, grants
from roamd.storage.feeds import PublishedRow
from roamd.storage.grants import OWN, GrantRow, UseRow
from roamd.storage.store import Cx, Store
from roamd.trust.succession import Verify, signer_among

log = get_logger()

KEPT_MS = 24 * 3600 * 1000
"""How long an own grant stays in the feed after its end: clocks differ, and a question about yesterday is answered."""

_NO_SEAL = b'{"algorithm":null,"signature":null}'
"""Takes away what a backend wrote there itself, or what a patch has left in the middle."""


def _view_of(body: bytes) -> GrantView:
    """Of a body that was checked as a Grant before it was stored."""
    value = tree(body)
    assert isinstance(value, dict)  # noqa: S101 - see above
    return grant_view(value)


# --- the home-CSP -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GrantIssuer:
    """Signs own grants, in the transaction that publishes them."""

    endpoint_id: str
    sign: Callable[[bytes], bytes]
    clock: Clock

    def seal_txn(self, cx: Cx, checked: Checked) -> Checked:
        """What is published of a grant as the backend wrote it. Conflict when it is revoked already."""
        view, text = _view_of(checked.body), merge_patch(unsealed(checked.body)[0], _NO_SEAL)
        known = feeds.get_published(cx, FEED, checked.key)
        if known is not None and known.body is not None:
            if _view_of(known.body).revoked and not view.revoked:
                raise Conflict("The grant is revoked; give a new one an id of its own.", code="grant-revoked")
            if unsealed(known.body)[0] == text:
                return replace(checked, body=known.body)
        grants.put_txn(cx, OWN, checked.key.party, checked.key.id, view.type, view.uid, view.valid_until_ms)
        return replace(checked, body=self._sealed(text))

    def revocation(self, row: PublishedRow) -> bytes:
        """The signed revocation that takes a grant's place; the same when it is revoked already."""
        body = row.body or b"{}"
        view, (text, _) = _view_of(body), unsealed(body)
        if view.revoked:
            return body
        stamp = msgspec.json.encode(rfc3339(max(self.clock.now_ms(), view.last_updated_ms)))
        return self._sealed(with_fields(text, {"revoked": b"true", "last_updated": stamp}))

    def _sealed(self, text: bytes) -> bytes:
        return sealed(text, self.sign(grant_document(self.endpoint_id, text)))


def withdraw_ended_txn(cx: Cx, now_ms: int) -> int:
    """Take own grants that have ended out of the feed; how many."""
    gone = grants.ended(cx, now_ms - KEPT_MS)
    for party, id_ in gone:
        feeds.withdraw_txn(cx, FEED, ObjectKey(party, id_), now_ms)
        grants.remove_txn(cx, OWN, party, id_)
    return len(gone)


# --- the visited-CSO --------------------------------------------------------------------------------------------


class Granted(NamedTuple):
    """A grant that may count: `revoked` or not, but in every other way for here and now."""

    peer: Peer
    row: GrantRow
    view: GrantView


@dataclass(slots=True)
class VisitedGrants:
    """The grants that peers have given us."""

    clock: Clock
    store: Store
    directory: Directory
    verify: Verify
    own_parties: tuple[str, ...]
    _some: bool = field(init=False)

    def __post_init__(self) -> None:
        self._some = self.store.read(grants.are_some)

    # --- as they come in ---

    def taken_txn(self, cx: Cx, peer: str, item: FeedItem, now_ms: int) -> None:
        """A peer's grant has come, or gone (roaming.follower.Taken)."""
        del now_ms
        if item.body is None:
            grants.remove_txn(cx, peer, item.party, item.id)
            return
        view = _view_of(item.body)
        grants.put_txn(cx, peer, item.party, item.id, view.type, view.uid, view.valid_until_ms)
        self._some = True  # on the writer's thread, and perhaps for nothing: it only makes the next driver look

    def judge(self, known: bytes, item: FeedItem, *, replacing: bool) -> str | None:
        """Why a grant cannot have become what a peer sends in its place (roaming.follower.Judge).

        Nor in a replacing snapshot: a backup that was restored must not bring back what was revoked.
        """
        del replacing
        return impossible_grant(_view_of(known), _view_of(item.body or b"{}"))

    # --- as drivers come ---

    def find(self, type_: str, uid: str, place: PlaceIn | None) -> list[Granted]:
        """Grants of a credential (folded type, canonical uid) for here and now; those used up are left out."""
        if not self._some:
            return []
        return self.store.read(lambda cx: self._find(cx, type_, uid, place))

    def _find(self, cx: Cx, type_: str, uid: str, place: PlaceIn | None) -> list[Granted]:
        found = []
        for row in grants.find(cx, type_, [canonical_uid(type_, one) for one in spellings(type_, uid)]):
            peer = self.directory.find(row.peer)
            if peer is None or not peer.active or not may_follow(peer.agreement, FEED):
                continue
            view = _view_of(row.body)
            if self._why_not(cx, row, view, place) in (None, "revoked"):
                found.append(Granted(peer, row, view))
        return found

    def _why_not(self, cx: Cx, row: GrantRow, view: GrantView, place: PlaceIn | None) -> str | None:
        location, evse = (place.location_id, place.evse_uid) if place else (None, None)
        why = why_not(view, self.clock.now_ms(), self.own_parties, location, evse)
        if why is None and view.starts is not None and grants.uses(cx, row.peer, row.party, row.id) >= view.starts:
            return "used up"
        return why

    def is_signed(self, granted: Granted) -> bool:
        """Whether its issuer signed it; if not, the operator is told."""
        text, signature = unsealed(granted.row.body)
        document = grant_document(granted.peer.endpoint_id, text)
        keys = granted.peer.succession.ever
        if signature is not None and signer_among(keys, document, signature, self.verify) is not None:
            return True
        granted.peer.alarm("a grant of its is not signed by it")
        log.warning("grant_refused", peer=granted.peer.label, grant=granted.row.id, reason="signature")
        return False

    def use(
        self,
        granted: Granted,
        authorization_id: str,
        place: PlaceIn | None,
        done: Callable[[bool], None],
    ) -> None:
        """Commit a start under a grant, then say whether it was still there: one of two last starts gets it."""
        row, view, now_ms = granted.row, granted.view, self.clock.now_ms()
        use = UseRow(
            row.peer, row.party, row.id, authorization_id, now_ms, view.authorization_reference, view.uid, row.body
        )

        def txn(cx: Cx) -> bool:
            mirrored = feeds.get_mirrored(cx, row.peer, FEED, ObjectKey(row.party, row.id))
            if mirrored is None or mirrored.body != row.body or self._why_not(cx, row, view, place) is not None:
                return False
            grants.use_txn(cx, use)
            return True

        self.store.submit(txn, lambda outcome: done(outcome is True))

    def give_back(self, authorization_id: str) -> None:
        """A start that was committed too late to let the driver in."""
        self.store.submit(lambda cx: grants.give_back_txn(cx, authorization_id), lambda outcome: None, essential=True)


def shown_limits(granted: Granted) -> tuple[bytes | None, bytes | None]:
    """The texts of a grant's limits and of its info, for the answer."""
    return member(granted.row.body, "limits"), member(granted.row.body, "info")
