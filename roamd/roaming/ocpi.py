"""What the OCPI face needs of the core beside the usual operations: its registrations, and who the partners are."""

from dataclasses import dataclass

from roamd.clock import Clock
from roamd.roaming import operations as op
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.ports import Reply
from roamd.storage import ocpi
from roamd.storage.store import Cx, Store


@dataclass(slots=True)
class OcpiDesk:
    """Handles the operations."""

    clock: Clock
    store: Store
    directory: Directory

    def list(self, operation: op.ListRegistrations, reply: Reply) -> None:
        """ListRegistrations -> dict of name to registration."""
        del operation
        reply(self.store.read(ocpi.load_all))

    def keep(self, operation: op.KeepRegistration, reply: Reply) -> None:
        """KeepRegistration -> None, after the commit."""

        def txn(cx: Cx) -> None:
            if operation.registration is None:
                ocpi.remove_txn(cx, operation.name)
            else:
                ocpi.put_txn(cx, operation.name, operation.registration, self.clock.now_ms())

        self.store.submit(txn, reply)

    def partners(self, operation: op.ListPartners, reply: Reply) -> None:
        """ListPartners -> list of Partner."""
        del operation
        reply([_partner(peer) for peer in self.directory])


def _partner(peer: Peer) -> op.Partner:
    return op.Partner(
        peer=peer.label,
        name=peer.row.name,
        parties=tuple(peer.row.parties),
        roles=tuple(peer.agreement.their_roles),
        state=peer.row.state,
        connected=peer.exchange is not None,
        since_ms=max(peer.row.paired_at_ms, peer.last_up_ms or 0),
    )
