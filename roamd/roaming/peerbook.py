"""Pairing's lasting side: a partner enters the book, is confirmed, suspended, resumed, or leaves it.

Everything is committed before it is in effect in memory, and takes effect at once: the TLS contexts learn or forget the
identity, links of whoever may not have them any more are closed, a dialler starts or stops. What follows from a change
is told to `changed`, so that this room need not know peering. Changes are made one after the other: two that overlap
(a renewed descriptor, a suspension) would each write what it knew of the other's before.

A label stays its endpoint's for ever, also when the peer is removed: the chains that are kept as evidence go by it, and
another company under the same label would be sent what stands in them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import trio

from roamd.clock import Clock, rfc3339
from roamd.errors import Conflict, Forbidden, NotFound
from roamd.log import get_logger
from roamd.model.agreement import Agreement, preset
from roamd.model.fields import checked_fields
from roamd.model.roles import CLEARING_HOUSE
from roamd.model.routes import DIRECT, FUNCTIONS, checked_routes
from roamd.roaming.directory import PAIRED, PENDING, SUSPENDED, Directory, Peer
from roamd.roaming.events import peer_event_txn, record_event_txn
from roamd.roaming.waiting import write
from roamd.storage import agreements, feeds, grants, leases, listkeys, meta, peers, records
from roamd.storage.peers import PeerRow
from roamd.storage.records import PARKED, QUEUED
from roamd.storage.store import Cx, Store
from roamd.trust.descriptor import Descriptor, succession_of
from roamd.trust.succession import Succession, key_id

log = get_logger()

Change = Literal["added", "confirmed", "suspended", "resumed", "removed", "renewed", "agreed", "rerouted"]
REMOVED = "REMOVED"


@dataclass(slots=True)
class PeerBook:
    """Writes the directory. `changed(peer, what)` is called after each commit.

    `turn(cx, label, number)` is called in the transaction in which a peer comes to use its identity of that number, and
    says whether our chain towards it goes on in a new epoch (`ledger.turning`). `take_back(cx, label)` takes what the
    peer has not receipted out of that chain: PARKED means that it does not go by itself when the two pair again.
    """

    clock: Clock
    store: Store
    directory: Directory
    our_roles: tuple[str, ...]
    changed: Callable[[Peer, Change], None]
    turn: Callable[[Cx, str, int], bool]
    take_back: Callable[[Cx, str], None]
    _turn: trio.Lock = field(default_factory=trio.Lock)

    async def pair(
        self,
        descriptor: Descriptor,
        data: bytes,
        words: tuple[str, ...],
        *,
        confirmed: bool,
        joined_by_us: bool,
        label: str | None = None,
        also: Callable[[Cx], None] | None = None,
        via: str | None = None,
    ) -> Peer:
        """Keep a partner, with the preset agreement; one that is known already keeps its label and its agreement.

        `via`: the clearing house through which the two have met; it is their route wherever there is no direct one.
        `also` runs in the same transaction. Conflict when another peer has, or had, that label.
        """
        async with self._turn:
            known = self.directory.by_endpoint(descriptor.endpoint_id)
            name = known.label if known else self._free_label(descriptor, label)
            succession = succession_of(descriptor)
            if known is not None and not succession.follows(known.succession):
                self._refuse(known, succession, data)
                raise Conflict(
                    f"{name} shows another identity than the one that it told before.", code="other-identity"
                )
            row = self._row(known, descriptor, data, words, confirmed, joined_by_us, name)
            if known is None and via is not None:
                row = row._replace(agreement_json=_with_route(row.agreement_json, via))

            def txn(cx: Cx) -> None:
                peers.put_txn(cx, row)
                meta.set_txn(cx, owner_of(name), row.endpoint_id)
                meta.set_txn(cx, _label_of(row.endpoint_id), name)
                self.turn(cx, name, succession.in_use)
                if also is not None:
                    also(cx)

            await self._commit(txn, essential=False)
            peer = self.directory.put(row)
            log.info("peer_paired", peer=peer.label, endpoint_id=peer.endpoint_id, state=row.state)
            self.changed(peer, "added")
            return peer

    def _free_label(self, descriptor: Descriptor, wanted: str | None) -> str:
        """The label that the endpoint had before it was removed, else the wanted one, else one made of its name."""
        before = self.store.read(lambda cx: meta.get(cx, _label_of(descriptor.endpoint_id)))
        if before is not None and wanted not in (None, before):
            raise Conflict(f"It was {before!r} here before, and its ledgers go by that label.", code="label-kept")
        if before is not None:
            return before
        if wanted is None:
            return self.directory.label_for(descriptor.name, self._is_spent)
        if self.directory.find(wanted) is not None or self._is_spent(wanted):
            raise Conflict(f"{wanted!r} is, or was, another peer; choose another label.", code="label-taken")
        return wanted

    def _is_spent(self, label: str) -> bool:
        return self.store.read(lambda cx: meta.get(cx, owner_of(label))) is not None

    def _row(
        self,
        known: Peer | None,
        descriptor: Descriptor,
        data: bytes,
        words: tuple[str, ...],
        confirmed: bool,
        joined_by_us: bool,
        label: str,
    ) -> PeerRow:
        agreement = preset(self.our_roles, descriptor.roles, descriptor.parties)
        # A partner that is confirmed or suspended stays so when it pairs again: only the operator ends a suspension.
        state = PAIRED if confirmed else PENDING
        if known is not None and known.row.state in (PAIRED, SUSPENDED):
            state = known.row.state
        return PeerRow(
            peer=label,
            endpoint_id=descriptor.endpoint_id,
            identity_der=descriptor.identity_der,
            name=descriptor.name,
            parties=descriptor.parties,
            state=state,
            address=descriptor.addresses[0] if descriptor.addresses else None,
            descriptor=data,
            descriptor_sequence=descriptor.sequence,
            agreement_json=known.row.agreement_json if known else agreement.to_json(),
            rights_version=known.row.rights_version if known else 1,
            words=" ".join(words),
            paired_at_ms=self.clock.now_ms(),
            joined_by_us=joined_by_us,
            succession=descriptor.succession,
        )

    async def confirm(self, peer: Peer) -> None:
        """The operator compared the words."""
        async with self._turn:
            if peer.row.state != PENDING:
                raise Conflict(f"{peer.label} is {peer.row.state}; there is nothing to confirm.", code="not-pending")
            await self._move(peer, PAIRED, "confirmed")

    async def suspend(self, peer: Peer) -> None:
        """Close the link at once and exchange nothing until resumed; what is queued waits."""
        async with self._turn:
            if peer.row.state == SUSPENDED:
                return
            if peer.row.state != PAIRED:
                raise Conflict(f"{peer.label} is {peer.row.state}; confirm or remove it.", code="not-paired")
            await self._move(peer, SUSPENDED, "suspended")

    async def resume(self, peer: Peer) -> None:
        """End a suspension."""
        async with self._turn:
            if peer.row.state != SUSPENDED:
                raise Conflict(f"{peer.label} is {peer.row.state}, not suspended.", code="not-suspended")
            await self._move(peer, PAIRED, "resumed")

    async def withhold(self, peer: Peer, feed: str, names: Iterable[str]) -> None:
        """Send these fields of a feed's objects no more, and all others again; Malformed for one that must be sent."""
        fields = checked_fields(feed, names)
        async with self._turn:
            others = {name: kept for name, kept in peer.agreement.withheld.items() if name != feed}
            withheld = others | ({feed: fields} if fields else {})
            if withheld == peer.agreement.withheld:
                return
            await self._show_otherwise(peer, msgspec.structs.replace(peer.agreement, withheld=withheld))
            log.info("peer_fields_changed", peer=peer.label, feed=feed, withheld=list(fields))

    async def key_list(self, peer: Peer, *, keyed: bool) -> None:
        """Send our user credentials under hashes of the peer's own, or as they are."""
        async with self._turn:
            if keyed == peer.agreement.keyed_list:
                return
            await self._show_otherwise(peer, msgspec.structs.replace(peer.agreement, keyed_list=keyed))
            log.info("peer_list_changed", peer=peer.label, keyed=keyed)

    async def rename_contracts(self, peer: Peer, *, pseudonyms: bool) -> None:
        """Tell the peer our contracts by names of its own, or as they are."""
        async with self._turn:
            if pseudonyms == peer.agreement.pseudonyms:
                return
            await self._show_otherwise(peer, msgspec.structs.replace(peer.agreement, pseudonyms=pseudonyms))
            log.info("peer_pseudonyms_changed", peer=peer.label, pseudonyms=pseudonyms)

    async def _show_otherwise(self, peer: Peer, agreement: Agreement) -> None:
        """From now on the peer is sent our objects in another way: whatever it has is replaced."""
        self._require_known(peer)
        row = peer.row._replace(agreement_json=agreement.to_json(), rights_version=peer.row.rights_version + 1)
        await self._commit(lambda cx: peers.put_txn(cx, row))
        self.directory.put(row)
        peer.wake()

    def _require_known(self, peer: Peer) -> None:
        """It may have been removed while its turn was waited for."""
        if self.directory.find(peer.label) is not peer:
            raise NotFound(f"{peer.label} was removed.", code="unknown-peer")

    async def agree(
        self, peer: Peer, settle: Callable[[Agreement], Agreement], also: Callable[[Cx], None] | None = None
    ) -> bool:
        """Put other settings to use, made of today's; whether they differ. `also` runs in the same transaction.

        They are in effect at once, also over a link that is up: what the peer was sent under others is replaced.
        """
        async with self._turn:
            settings = settle(peer.agreement)
            if self.directory.find(peer.label) is not peer or settings == peer.agreement:
                return False
            row = peer.row._replace(agreement_json=settings.to_json(), rights_version=peer.row.rights_version + 1)

            def txn(cx: Cx) -> None:
                peers.put_txn(cx, row)
                if also is not None:
                    also(cx)

            await self._commit(txn)
            self.directory.put(row)
            log.info("peer_settings_agreed", peer=peer.label, number=settings.number)
            self.changed(peer, "agreed")
            for exchange in peer.exchanges():
                exchange.rights_changed()
            return True

    async def introduce(self, peer: Peer, *, on: bool) -> None:
        """Let this peer and the others that have this know of each other; who has it not is nobody's business."""
        async with self._turn:
            self._require_known(peer)
            agreement = msgspec.structs.replace(peer.agreement, introduce=on)
            row = peer.row._replace(agreement_json=agreement.to_json())
            await self._commit(lambda cx: peers.put_txn(cx, row))
            self.directory.put(row)
            log.info("peer_introductions_changed", peer=peer.label, introduce=on)

    async def reroute(self, peer: Peer, wanted: Mapping[str, Iterable[str]]) -> None:
        """By which ways these functions go from now on; others stay as they are. Malformed for a route that is none."""
        houses = [one.label for one in self.directory if CLEARING_HOUSE in one.agreement.their_roles]
        asked = {function: tuple(routes) for function, routes in wanted.items()}
        async with self._turn:
            self._require_known(peer)
            routes = checked_routes(
                {**peer.agreement.routes, **asked}, [label for label in houses if label != peer.label]
            )
            if routes == peer.agreement.routes:
                return
            agreement = msgspec.structs.replace(peer.agreement, routes=routes)
            row = peer.row._replace(agreement_json=agreement.to_json())
            await self._commit(lambda cx: peers.put_txn(cx, row))
            self.directory.put(row)
            log.info("peer_rerouted", peer=peer.label, routes={name: list(route) for name, route in routes.items()})
            self.changed(peer, "rerouted")

    async def _move(self, peer: Peer, state: str, what: Change) -> None:
        row = peer.row._replace(state=state)
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> None:
            peers.put_txn(cx, row)
            peer_event_txn(cx, peer.label, state, "UP" if peer.exchange else "DOWN", now_ms)

        await self._commit(txn)
        self.directory.put(row)
        log.info("peer_changed", peer=peer.label, change=what)
        self.changed(peer, what)

    async def remove(self, peer: Peer, *, park: bool) -> None:
        """End the relation: objects go, chains and records stay as evidence. Forbidden while records are queued."""
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> None:
            if _park_queued_txn(cx, peer, park, now_ms):
                self.take_back(cx, peer.label)
            feeds.drop_peer_txn(cx, peer.label)
            leases.drop_peer_txn(cx, peer.label)
            grants.drop_peer_txn(cx, peer.label)
            listkeys.drop_peer_txn(cx, peer.label)
            agreements.drop_preset_txn(cx, peer.label)
            peers.remove_txn(cx, peer.label)
            peers.delete_used_txn(cx, peer.endpoint_id)  # or it would be back by the same line, if that was --auto

        async with self._turn:
            self._require_known(peer)
            await self._commit(txn)
            self.directory.remove(peer.label)
            peer.row = peer.row._replace(state=REMOVED)
            log.warning("peer_removed", peer=peer.label)
            self.changed(peer, "removed")

    async def _commit(self, txn: Callable[[Cx], None], *, essential: bool = True) -> None:
        """Write; a cancellation never comes between what the disk knows and what the memory does."""
        with trio.CancelScope(shield=True):
            await write(self.store, txn, essential=essential)

    async def renew(self, peer: Peer, descriptor: Descriptor, data: bytes, *, is_fresher: bool = False) -> None:
        """A newer descriptor of a peer: its address, its name. `is_fresher`: as new, but valid for longer."""
        async with self._turn:
            is_news = descriptor.sequence >= peer.row.descriptor_sequence + (not is_fresher)
            if not is_news or descriptor.endpoint_id != peer.endpoint_id or peer.row.state == REMOVED:
                return
            before, after = peer.succession, succession_of(descriptor)
            if not after.follows(before):
                self._refuse(peer, after, data)
                return
            address = descriptor.addresses[0] if descriptor.addresses else None
            row = peer.row._replace(
                name=descriptor.name, address=address, descriptor=data, descriptor_sequence=descriptor.sequence,
                identity_der=descriptor.identity_der, succession=descriptor.succession,
            )  # fmt: skip
            turned: list[bool] = []

            def txn(cx: Cx) -> None:
                peers.put_txn(cx, row)
                turned.append(self.turn(cx, peer.label, after.in_use))

            await self._commit(txn)
            self.directory.put(row)
            _tell_of_keys(peer, before, after)
            for exchange in peer.exchanges() if any(turned) else ():
                exchange.ledger_grew()
            self.changed(peer, "renewed")

    def _refuse(self, peer: Peer, shown: Succession, data: bytes) -> None:
        """What it once said of its identities stands; a second successor is kept as evidence."""
        if not shown.contradicts(peer.succession):
            log.warning("peer_forgot_successor", peer=peer.label)
            peer.alarm("it shows an identity that it has replaced; was it restored from an old backup?")
            return
        log.error("peer_has_two_successors", peer=peer.label)
        peer.alarm("a second successor of its identity was shown, and refused: ask the partner which one is its own")
        name, value = f"second-successor:{peer.label}", data.hex()
        self.store.submit(lambda cx: meta.set_txn(cx, name, value), lambda outcome: None, essential=True)


def _tell_of_keys(peer: Peer, before: Succession, after: Succession) -> None:
    if len(after.steps) > len(before.steps):
        key, until_ms = key_id(after.certificates[-1]), after.steps[-1].until_ms
        log.warning("peer_successor_announced", peer=peer.label, key_id=key, old_key_until=rfc3339(until_ms))
    if after.in_use != before.in_use:
        log.warning("peer_identity_changed", peer=peer.label, key_id=key_id(after.current), number=after.in_use)


def _park_queued_txn(cx: Cx, peer: Peer, park: bool, now_ms: int) -> bool:
    """Park what waits for the peer; whether there was anything. Forbidden without `park`."""
    queued = records.page(cx, 0, 1_000_000, state=QUEUED, peer=peer.label, direction="out")
    if queued and not park:
        raise Forbidden(
            f"{len(queued)} records wait for {peer.label}; let them arrive, or park them with --park.", code="queued"
        )
    reason = f"{peer.label} was removed"
    for row in queued:
        records.set_state_txn(cx, row.id, PARKED, reason, now_ms=now_ms)
        record_event_txn(cx, row._replace(state=PARKED, reason=reason), "record.state", now_ms)
    return bool(queued)


def _with_route(agreement_json: bytes, via: str) -> bytes:
    agreement = Agreement.from_json(agreement_json)
    return msgspec.structs.replace(agreement, routes=dict.fromkeys(FUNCTIONS, (DIRECT, via))).to_json()


def owner_of(label: str) -> str:
    """The name in `meta` of whose label it is."""
    return f"peer-label:{label}"


def _label_of(endpoint_id: str) -> str:
    """The name in `meta` of an endpoint's label."""
    return f"peer-endpoint:{endpoint_id}"
