"""What the OCPI face needs of the core beside the usual operations: its registrations, and who the partners are."""

from dataclasses import dataclass
from typing import Final

import msgspec

from roamd.clock import Clock
from roamd.model.commands import CANCEL, RESERVES
from roamd.roaming import operations as op
from roamd.roaming.control.shown import as_reply
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.ports import Reply
from roamd.storage import commands, decisions, feeds, grants, ocpi
from roamd.storage.commands import CommandRow
from roamd.storage.ocpi import ResultRow
from roamd.storage.store import Cx, Store

_REFERRED: Final = (commands, decisions, grants)
"""Tables in which references of peers stand."""


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

    def driver(self, operation: op.FindDriver, reply: Reply) -> None:
        """FindDriver -> Driver, or None: by the command that carried the reference, or the decision that gave it.

        None as well where several peers use the same one: it must not be guessed whose driver it was.
        """

        def read(cx: Cx) -> op.Driver | None:
            if len(set().union(*(table.peers_of_reference(cx, operation.reference) for table in _REFERRED))) > 1:
                return None
            asked = commands.by_reference(cx, "in", operation.reference)
            if asked is not None:
                return op.Driver(asked.party)
            decided = decisions.by_reference(cx, operation.reference)
            peer = self.directory.find(decided.peer) if decided is not None and decided.peer is not None else None
            if decided is None or peer is None or not peer.row.parties:
                return None
            return op.Driver(peer.row.parties[0], decided.type, decided.uid, decided.contract_id)

        reply(self.store.read(read))

    def quirks(self, operation: op.ListQuirks, reply: Reply) -> None:
        """ListQuirks -> list of (backend, quirk, first met in ms)."""
        del operation
        reply(self.store.read(ocpi.quirks))

    def keep_quirk(self, operation: op.KeepQuirk, reply: Reply) -> None:
        """KeepQuirk -> None, after the commit."""
        now_ms = self.clock.now_ms()
        self.store.submit(lambda cx: ocpi.put_quirk_txn(cx, operation.backend, operation.quirk, now_ms), reply)

    def note_listed(self, operation: op.NoteListed, reply: Reply) -> None:
        """NoteListed -> None, after the commit."""
        name, feed = operation.backend, operation.feed
        self.store.submit(lambda cx: ocpi.listed_txn(cx, name, feed, operation.generation, operation.digests), reply)

    def find_unlisted(self, operation: op.FindUnlisted, reply: Reply) -> None:
        """FindUnlisted -> Unlisted."""
        name, feed = operation.backend, operation.feed
        reply(op.Unlisted(*self.store.read(lambda cx: ocpi.unlisted(cx, name, feed, operation.generation))))

    def forget_listed(self, operation: op.ForgetListed, reply: Reply) -> None:
        """ForgetListed -> None, after the commit."""
        name, feed = operation.backend, operation.feed
        self.store.submit(lambda cx: ocpi.forget_listed_txn(cx, name, feed, operation.generation), reply)

    def results(self, operation: op.ListResults, reply: Reply) -> None:
        """ListResults -> list of PendingResult, oldest first."""

        def read(cx: Cx) -> list[op.PendingResult]:
            found = (_pending(cx, row) for row in ocpi.results_of(cx, operation.backend))
            return [each for each in found if each is not None]

        reply(self.store.read(read))

    def mark_told(self, operation: op.MarkTold, reply: Reply) -> None:
        """MarkTold -> None, after the commit."""

        def txn(cx: Cx) -> None:
            if operation.last:
                ocpi.remove_result_txn(cx, operation.command_id)
            else:
                ocpi.told_txn(cx, operation.command_id, operation.told)

        self.store.submit(txn, reply, essential=True)

    def partners(self, operation: op.ListPartners, reply: Reply) -> None:
        """ListPartners -> list of Partner."""
        del operation
        reply([_partner(peer) for peer in (*self.directory, *self.directory.plain)])


def _pending(cx: Cx, row: ResultRow) -> op.PendingResult | None:
    """None for a command that was forgotten meanwhile."""
    rows = commands.find(cx, row.command_id, "out")
    if not rows:
        return None
    return op.PendingResult(row.url, row.told, row.due_ms, _was_canceled(cx, rows[-1]), as_reply(rows[-1]))


def _was_canceled(cx: Cx, row: CommandRow) -> bool:
    if row.command not in RESERVES or commands.about(cx, "out", CANCEL, row.subject):
        return False
    shown = feeds.find_mirrored(cx, "reservations", row.subject, peer=row.peer)
    return any(msgspec.json.decode(each.body)["status"] == "CANCELED" for each in shown)


def _partner(peer: Peer) -> op.Partner:
    return op.Partner(
        peer=peer.label,
        name=peer.row.name,
        parties=tuple(peer.row.parties),
        roles=tuple(peer.agreement.their_roles),
        state=peer.row.state,
        connected=peer.reachable,
        since_ms=max(peer.row.paired_at_ms, peer.last_up_ms or 0),
    )
