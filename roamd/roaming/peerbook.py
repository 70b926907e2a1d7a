"""Pairing's lasting side: a partner enters the book, is confirmed, suspended, resumed, or leaves it.

Everything is committed before it is in effect in memory, and takes effect at once: the TLS contexts learn or forget the
identity, links of whoever may not have them any more are closed, a dialler starts or stops. What follows from a change
is told to `changed`, so that this room need not know peering.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from roamd.clock import Clock
from roamd.errors import Conflict, Forbidden
from roamd.log import get_logger
from roamd.model.agreement import preset
from roamd.roaming.directory import PAIRED, PENDING, SUSPENDED, Directory, Peer
from roamd.roaming.events import peer_event_txn
from roamd.roaming.waiting import write
from roamd.storage import feeds, peers, records
from roamd.storage.peers import PeerRow
from roamd.storage.records import PARKED, QUEUED
from roamd.storage.store import Cx, Store
from roamd.trust.descriptor import Descriptor

log = get_logger()

Change = Literal["added", "confirmed", "suspended", "resumed", "removed", "renewed"]
REMOVED = "REMOVED"


@dataclass(slots=True)
class PeerBook:
    """Writes the directory. `changed(peer, what)` is called after each commit."""

    clock: Clock
    store: Store
    directory: Directory
    our_roles: tuple[str, ...]
    changed: Callable[[Peer, Change], None]

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
    ) -> Peer:
        """Keep a partner, with the preset agreement; one that is known already keeps its label and its agreement.

        `also` runs in the same transaction. Conflict when another peer has that label.
        """
        known = self.directory.by_endpoint(descriptor.endpoint_id)
        if known is None and label is not None and self.directory.find(label) is not None:
            raise Conflict(f"There is a peer {label!r} already; choose another label.", code="label-taken")
        row = self._row(known, descriptor, data, words, confirmed, joined_by_us, label)

        def txn(cx: Cx) -> None:
            peers.put_txn(cx, row)
            if also is not None:
                also(cx)

        await write(self.store, txn)
        peer = self.directory.put(row)
        log.info("peer_paired", peer=peer.label, endpoint_id=peer.endpoint_id, state=row.state)
        self.changed(peer, "added")
        return peer

    def _row(
        self,
        known: Peer | None,
        descriptor: Descriptor,
        data: bytes,
        words: tuple[str, ...],
        confirmed: bool,
        joined_by_us: bool,
        label: str | None,
    ) -> PeerRow:
        agreement = preset(self.our_roles, descriptor.roles, descriptor.parties)
        # A partner that is confirmed stays so when it pairs again.
        paired = confirmed or (known is not None and known.row.state == PAIRED)
        return PeerRow(
            peer=known.label if known else label or self.directory.label_for(descriptor.name),
            endpoint_id=descriptor.endpoint_id,
            identity_der=descriptor.identity_der,
            name=descriptor.name,
            parties=descriptor.parties,
            state=PAIRED if paired else PENDING,
            address=descriptor.addresses[0] if descriptor.addresses else None,
            descriptor=data,
            descriptor_sequence=descriptor.sequence,
            agreement_json=known.row.agreement_json if known else agreement.to_json(),
            rights_version=known.row.rights_version if known else 1,
            words=" ".join(words),
            paired_at_ms=self.clock.now_ms(),
            joined_by_us=joined_by_us,
        )

    async def confirm(self, peer: Peer) -> None:
        """The operator compared the words."""
        if peer.row.state != PENDING:
            raise Conflict(f"{peer.label} is {peer.row.state}; there is nothing to confirm.", code="not-pending")
        await self._move(peer, PAIRED, "confirmed")

    async def suspend(self, peer: Peer) -> None:
        """Close the link at once and exchange nothing until resumed; what is queued waits."""
        if peer.row.state == SUSPENDED:
            return
        if peer.row.state == PENDING:
            raise Conflict(f"{peer.label} is not confirmed yet: confirm or remove it.", code="not-paired")
        await self._move(peer, SUSPENDED, "suspended")

    async def resume(self, peer: Peer) -> None:
        """End a suspension."""
        if peer.row.state != SUSPENDED:
            raise Conflict(f"{peer.label} is {peer.row.state}, not suspended.", code="not-suspended")
        await self._move(peer, PAIRED, "resumed")

    async def _move(self, peer: Peer, state: str, what: Change) -> None:
        row = peer.row._replace(state=state)
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> None:
            peers.put_txn(cx, row)
            peer_event_txn(cx, peer.label, state, "UP" if peer.exchange else "DOWN", now_ms)

        await write(self.store, txn, essential=True)
        self.directory.put(row)
        log.info("peer_changed", peer=peer.label, change=what)
        self.changed(peer, what)

    async def remove(self, peer: Peer, *, park: bool) -> None:
        """End the relation: objects go, chains and records stay as evidence. Forbidden while records are queued."""
        now_ms = self.clock.now_ms()

        def txn(cx: Cx) -> None:
            _park_queued_txn(cx, peer, park, now_ms)
            feeds.drop_peer_txn(cx, peer.label)
            peers.remove_txn(cx, peer.label)

        await write(self.store, txn, essential=True)
        self.directory.remove(peer.label)
        peer.row = peer.row._replace(state=REMOVED)
        log.warning("peer_removed", peer=peer.label)
        self.changed(peer, "removed")

    async def renew(self, peer: Peer, descriptor: Descriptor, data: bytes) -> None:
        """A newer descriptor of a peer: its address, its name."""
        if descriptor.sequence <= peer.row.descriptor_sequence or descriptor.endpoint_id != peer.endpoint_id:
            return
        address = descriptor.addresses[0] if descriptor.addresses else None
        row = peer.row._replace(
            name=descriptor.name, address=address, descriptor=data, descriptor_sequence=descriptor.sequence
        )
        await write(self.store, lambda cx: peers.put_txn(cx, row), essential=True)
        self.directory.put(row)
        self.changed(peer, "renewed")


def _park_queued_txn(cx: Cx, peer: Peer, park: bool, now_ms: int) -> None:
    queued = records.page(cx, 0, 1_000_000, state=QUEUED, peer=peer.label, direction="out")
    if queued and not park:
        raise Forbidden(
            f"{len(queued)} records wait for {peer.label}; let them arrive, or park them with --park.", code="queued"
        )
    for row in queued:
        records.set_state_txn(cx, row.id, PARKED, f"{peer.label} was removed", now_ms=now_ms)
