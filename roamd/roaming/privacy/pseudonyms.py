"""Pairwise pseudonyms for contract ids: what we call our contracts towards a peer, and what it means when it names one.

Theory of operation. A CSP may call each of its contracts by another name towards each peer (`roamd peers pseudonyms`,
part of the agreement; see `model.pseudonyms` for the names). It is a translation at the edge: the store holds our own
objects under their own contract ids, and what peers sent under theirs.

Out: user credentials are renamed when they are sent (a projection), tokens when a command is sent. A grant is one
signed text for all peers, so it cannot be renamed: one that names a contract id is refused while it would reach such a
peer, and one that was published before, or that is for Plug & Charge, is not sent to it.

In: a question is translated before our backend is asked. What a peer publishes or signs keeps its bytes, and the
contract is told beside it (`beside`). A name that is no pseudonym passes unchanged: the peer may know the contract id
from elsewhere, from a car's certificate for example. Translating goes on when the switch is off again.

The table of names is written when a contract is first named to a peer. A projection may not wait for that: it gives
NOT_READY, has the names of this and the following credentials written, and wakes the feed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest
from typing import Final

import msgspec

from roamd.errors import Forbidden
from roamd.log import get_logger
from roamd.model import pseudonyms as model
from roamd.model.agreement import may_publish
from roamd.model.credentials import EMAID
from roamd.model.grants import FEED as GRANTS
from roamd.model.grants import GrantView
from roamd.model.ids.contract import parse_contract_id
from roamd.model.keys import fold
from roamd.model.objects import Checked
from roamd.protocol.bulk import FeedItem
from roamd.protocol.calls import AuthorizeRequest
from roamd.roaming.audience import audience_of, is_shown
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.projections import NOT_READY, Projected, Projection, as_it_is
from roamd.storage import feeds, pseudonyms
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Cx, Store

log = get_logger()

CREDENTIALS: Final = "user-credentials"
TOGETHER: Final = 500
"""Credentials whose names are written in one transaction: some milliseconds of the writer's time."""
BYTES: Final = 1 << 20
RETRY_S: Final = 5.0
"""After names could not be written: the disk is full, most likely."""

Beside = Callable[[Cx, str, bytes], str | None]
"""Our contract id that a peer's session, reservation or record means, where that is not what it says."""


def nothing_beside(cx: Cx, peer: str, body: bytes) -> str | None:
    """The `Beside` of a house without pseudonyms."""
    del cx, peer, body
    return None


@dataclass(slots=True)
class Pseudonyms:
    """Our contracts' names, towards all peers. `secret` is kept by the store."""

    store: Store
    directory: Directory
    deadlines: Deadlines
    secret: bytes
    _named: frozenset[str] = field(init=False)
    _writing: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._named = self.store.read(pseudonyms.peers)

    # --- names ---

    def key_for(self, peer: Peer) -> bytes:
        """The peer's key; stays the same as long as the store's secret does."""
        return digest(self.secret, b"roamd pseudonyms 1 " + peer.endpoint_id.encode(), sha256)

    def assign_txn(self, cx: Cx, peer: Peer, contracts: Iterable[str], party: str) -> None:
        """Name contracts to a peer, unless they are."""
        key = self.key_for(peer)
        for contract_id in contracts:
            name, candidates = model.contract_name(contract_id, party), model.names_of(key, contract_id, party)
            pseudonyms.assign_txn(cx, peer.label, name, contract_id, candidates)

    def _names(self, cx: Cx, peer: Peer, contracts: Iterable[str], party: str) -> dict[str, str]:
        """The names of those that have one, as they are sent."""
        found = ((each, pseudonyms.find(cx, peer.label, model.contract_name(each, party))) for each in contracts)
        return {each: model.spelled(name) for each, name in found if name is not None}

    # --- out: feeds ---

    def before(self, project: Projection) -> Projection:
        """The projection of user credentials: under the peer's names, then as `project` shows them."""

        def named(row: PublishedRow, peer: Peer) -> Projected:
            if peer.agreement.pseudonyms:
                shown = self._gone(row, peer) if row.body is None else self._renamed(row, row.body, peer)
                return NOT_READY if shown is None else project(shown, peer)
            return project(row, peer)

        return named

    def _renamed(self, row: PublishedRow, body: bytes, peer: Peer) -> PublishedRow | None:
        """The credential under the peer's names; None when they are yet to be written."""
        contracts = model.named_in(body).contracts
        names = self._written_names(row, peer, contracts)
        if len(names) < len(contracts):
            self._write(peer, row.version)
            names = self._written_names(row, peer, contracts)  # a store in memory has them at once, and wakes too soon
        if len(names) < len(contracts):
            return None
        key = row.key
        if key.sub == EMAID:
            key = key._replace(id=fold(names[model.named_in(body).uid]))
        return row._replace(key=key, body=model.renamed(body, names))

    def _written_names(self, row: PublishedRow, peer: Peer, contracts: Iterable[str]) -> dict[str, str]:
        return self.store.read(lambda cx: self._names(cx, peer, contracts, row.key.party))

    def _gone(self, row: PublishedRow, peer: Peer) -> PublishedRow:
        """A tombstone; of Plug & Charge its key is a contract id, which may have been forgotten with its driver."""
        if row.key.sub != EMAID:
            return row
        id_, party = row.key.id, row.key.party
        names = self._written_names(row, peer, [id_])
        name = names.get(id_) or model.spelled(next(model.names_of(self.key_for(peer), id_, party)))
        return row._replace(key=row.key._replace(id=fold(name)))

    def _write(self, peer: Peer, version: int) -> None:
        """Name the contracts of the credentials from a version on, and send them then."""
        if peer.label in self._writing:
            return
        self._writing.add(peer.label)

        def txn(cx: Cx) -> None:
            for row in feeds.tail(cx, CREDENTIALS, version - 1, max_rows=TOGETHER, max_bytes=BYTES):
                if row.body is not None:
                    self.assign_txn(cx, peer, model.named_in(row.body).contracts, row.key.party)

        self.store.submit(txn, lambda outcome: self._written(peer, outcome))

    def _written(self, peer: Peer, outcome: object) -> None:
        self._writing.discard(peer.label)
        if isinstance(outcome, BaseException):
            log.warning("pseudonyms_not_written", peer=peer.label, error=str(outcome))
            self.deadlines.after(RETRY_S, lambda: peer.published(CREDENTIALS))
            return
        self.note(peer)
        peer.published(CREDENTIALS)

    def note(self, peer: Peer) -> None:
        """Names were written for a peer."""
        self._named |= {peer.label}

    def without_named_grants(self, row: PublishedRow, peer: Peer) -> FeedItem:
        """The projection of grants: those that name a contract are not there for a peer that knows it otherwise."""
        if peer.agreement.pseudonyms and row.body is not None and model.named_in(row.body).contracts:
            return as_it_is(row._replace(body=None), peer)
        return as_it_is(row, peer)

    def refuse_grant_txn(self, cx: Cx, checked: Checked) -> None:
        """Forbidden for a grant that would tell such a peer a contract id (Catalogue.judged)."""
        del cx
        view = checked.view
        if not isinstance(view, GrantView) or view.contract_id is None or view.revoked:
            return
        audience = audience_of(checked)
        told = [
            peer.label
            for peer in self.directory
            if peer.agreement.pseudonyms
            and may_publish(peer.agreement, GRANTS)
            and is_shown(audience, peer, self.directory)
        ]
        if told:
            raise Forbidden(
                f"{', '.join(told)} knows our contracts by pseudonyms, and a signed grant cannot be rewritten for it: "
                "leave out contract_id, or name places of others.",
                code="pseudonyms",
            )

    # --- out: commands ---

    def name_command_txn(self, cx: Cx, peer: Peer, body: bytes) -> None:
        """Name the contract of a command's token to the peer, in the transaction that keeps the command."""
        named = _token_of(body) if peer.agreement.pseudonyms else None
        if named is not None:
            self.assign_txn(cx, peer, named.contracts, named.party)

    def command_for(self, peer: Peer, body: bytes) -> bytes:
        """A command's body as the peer is sent it."""
        named = _token_of(body) if peer.agreement.pseudonyms else None
        if named is None:
            return body
        self.note(peer)
        names = self.store.read(lambda cx: self._names(cx, peer, named.contracts, named.party))
        return model.with_renamed(body, "token", names)

    # --- in ---

    def asked(self, peer: str, request: AuthorizeRequest) -> AuthorizeRequest:
        """A peer's question as our backend is asked it."""
        if peer not in self._named:
            return request
        real = self._real(peer, model.Named(request.contract_id or "", request.type, request.uid).contracts)
        if not real:
            return request
        uid = real.get(request.uid, request.uid) if fold(request.type) == EMAID else request.uid
        contract = request.contract_id
        return msgspec.structs.replace(request, uid=uid, contract_id=real.get(contract, contract) if contract else None)

    def beside(self, cx: Cx, peer: str, body: bytes) -> str | None:
        """See `Beside`."""
        named = model.named_by(body) if peer in self._named else None
        if named is None:
            return None
        return pseudonyms.contract_of(cx, peer, parse_contract_id(named.contract_id).canonical)

    def _real(self, peer: str, contracts: Iterable[str]) -> Mapping[str, str]:
        def read(cx: Cx) -> dict[str, str]:
            found = ((each, pseudonyms.contract_of(cx, peer, parse_contract_id(each).canonical)) for each in contracts)
            return {each: contract for each, contract in found if contract is not None}

        return self.store.read(read)


class _Command(msgspec.Struct, frozen=True):
    token: model.Named | None = None


def _token_of(body: bytes) -> model.Named | None:
    return msgspec.json.decode(body, type=_Command).token
