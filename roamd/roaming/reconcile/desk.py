"""Reconciliation with a peer: asked by the operator and once a day, and what a peer is answered.

Theory of operation. A round first makes our own copy of the two chains whole, then compares, makes the records again
that are missing here, lets the peer do the same (step REPAIR, answered when it is done), and compares once more. So
one round, begun by either side, leaves both alike. What still differs is an alarm, unless entries are under way
between the two. A peer that repairs because it is asked to does not ask us to repair in turn, so no round begets
another; it may ask for it seldom, and for pages not too often.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from roamd import metrics
from roamd.clock import Clock, rfc3339
from roamd.errors import Conflict, PeerError, ProtocolError, RoamdError
from roamd.log import get_logger
from roamd.protocol.messages import AnswerStatus, Call
from roamd.protocol.reconcile import LAST_DAY, Reconcile, Repaired, Step
from roamd.roaming import operations as op
from roamd.roaming.accounts import catch_up, read_again
from roamd.roaming.calls import OutgoingCalls, Respond
from roamd.roaming.directory import Directory, Peer
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ports import Reply
from roamd.roaming.reconcile.compare import Comparison, Difference, GroupKey, group_page, line_page
from roamd.roaming.reconcile.heal import Healer, Healing, refold_txn, restore_txn
from roamd.roaming.waiting import write
from roamd.storage.store import Store

log = get_logger()

REPAIR_S: Final = 120.0
MAX_TOLD: Final = 200
"""Differences that a report names; it counts them all."""

EVERY_S: Final = 24 * 3600.0
LOOK_S: Final = 600.0
PAGES_A_MINUTE: Final = 600
"""Questions of one peer that are answered; a large comparison asks some hundred in a minute."""

REPAIRS_APART_S: Final = 5.0


@dataclass(slots=True)
class Findings:
    """What a round came to."""

    healing: Healing = field(default_factory=Healing)
    groups: int = 0
    records: int = 0
    repaired: int = 0
    there: Repaired = field(default_factory=Repaired)
    differed: list[dict[str, object]] = field(default_factory=list)
    count: int = 0
    left: int = 0
    under_way: int = 0

    def note(self, difference: Difference, result: str) -> None:
        """One record that differed, and what came of it."""
        self.count += 1
        if len(self.differed) < MAX_TOLD:
            self.differed.append(told(difference) | {"result": result})


def told(difference: Difference) -> dict[str, object]:
    """A difference as the API shows it."""
    line = difference.here or difference.there
    return {
        "author": "us" if difference.group.ours else "peer",
        "kind": difference.group.kind,
        "day": difference.group.day or None,
        "party": line.party if line else None,
        "record_id": line.record_id if line else None,
        "here": difference.here.state if difference.here else None,
        "there": difference.there.state if difference.there else None,
    }


def _name(shown: dict[str, object]) -> tuple[object, ...]:
    """Which record a shown difference is about."""
    return shown["author"], shown["kind"], shown["party"], shown["record_id"]


@dataclass(slots=True)
class _Allowance:
    """What a peer may still ask in this minute."""

    minute: int = 0
    pages: int = 0
    repaired_at: float = -REPAIRS_APART_S


@dataclass(slots=True)
class Reconciliation:
    """Handles ReconcilePeer and the peers' calls. `events_written` is called when records came back."""

    clock: Clock
    store: Store
    directory: Directory
    calls: OutgoingCalls
    random: Random
    start: Callable[..., None]
    events_written: Callable[[], None]
    _busy: set[str] = field(default_factory=set)
    _done_at: dict[str, float] = field(default_factory=dict)
    _allowances: dict[str, _Allowance] = field(default_factory=dict)

    # --- asked by the operator, and by time -------------------------------------------------------------------------

    def reconcile(self, operation: op.ReconcilePeer, reply: Reply) -> None:
        """ReconcilePeer -> report. Conflict while a round is under way, PeerError when the peer does not answer."""
        peer = self.directory.get(operation.peer)
        if peer.label in self._busy:
            raise Conflict(f"A round with {peer.label} is under way; try again in a moment.", code="under-way")
        self.start(self._replying, peer, reply)

    async def _replying(self, peer: Peer, reply: Reply) -> None:
        try:
            reply(await self.round(peer))
        except RoamdError as error:
            reply(error)

    async def run(self) -> None:
        """A round with each peer once a day, until cancelled; the first one a while after the start."""
        while True:
            await trio.sleep(LOOK_S)
            await self._keep_accounts()
            for peer in self.directory:
                if peer.exchange is not None and peer.label not in self._busy and self._is_due(peer):
                    await self._by_itself(peer)

    def _is_due(self, peer: Peer) -> bool:
        """By the clock that nobody sets."""
        done_at = self._done_at.get(peer.label)
        return done_at is None or self.clock.monotonic() >= done_at + EVERY_S

    async def _keep_accounts(self) -> None:
        """Before a content is erased, so that its figures stay."""
        try:
            await catch_up(self.store)
        except RoamdError as error:
            log.info("accounts_not_kept", detail=str(error))

    async def _by_itself(self, peer: Peer) -> None:
        try:
            await self.round(peer)
        except RoamdError as error:
            log.info("reconciliation_failed", peer=peer.label, detail=str(error))

    async def round(self, peer: Peer) -> dict[str, Any]:
        """One round; the report."""
        if peer.label in self._busy:
            raise Conflict(f"A round with {peer.label} is under way; try again in a moment.", code="under-way")
        self._busy.add(peer.label)
        try:
            found = await self._mend(peer)
            found.there = await self._let_repair(peer)
            if found.count:
                await self._look_again(peer, found)
        except ProtocolError as error:
            peer.alarm("what it says of its records leads nowhere; see `roamd reconcile`")
            log.warning("reconciliation_misled", peer=peer.label, detail=str(error))
            raise PeerError(f"{peer.label}: {error}") from error
        finally:
            self._busy.discard(peer.label)
        self._done_at[peer.label] = self.clock.monotonic()
        return self._reported(peer, found)

    async def _mend(self, peer: Peer) -> Findings:
        """Our side of a round: heal, compare, make again what is missing here."""
        found = Findings(healing=await Healer(peer, self.store, self.clock, self.calls, self.random).heal())
        if found.healing.entries:
            await read_again(self.store, peer.label)
        await catch_up(self.store)
        comparison = self.comparison(peer)
        differences = await comparison.differences()
        found.groups, found.records = comparison.groups, comparison.records
        for difference in differences:
            found.note(difference, await self._put_right(peer, difference, found))
        if found.repaired:
            self.events_written()
            await catch_up(self.store)
        return found

    def comparison(self, peer: Peer) -> Comparison:
        """What the two have, held against each other."""
        return Comparison(peer, self.store, self.clock, self.calls, self.random)

    async def _put_right(self, peer: Peer, difference: Difference, found: Findings) -> str:
        now_ms, ours = self.clock.now_ms(), difference.group.ours
        line = difference.there or difference.here
        if difference.there is None or line is None:
            return "missing there"
        if difference.here is None:
            reason = await write(self.store, lambda cx: restore_txn(cx, peer, line, now_ms, ours=ours), essential=True)
        else:
            here = difference.here
            if here.commitment != line.commitment or (here.epoch, here.sequence) != (line.epoch, line.sequence):
                return "another entry on each side"
            moved = await write(self.store, lambda cx: refold_txn(cx, peer, line, now_ms, ours=ours), essential=True)
            reason = None if moved else "another state on each side"
        found.repaired += reason is None
        return reason or "repaired here"

    async def _let_repair(self, peer: Peer) -> Repaired:
        """The peer's side of a round; nothing when it does not do it now."""
        try:
            return await self.comparison(peer).ask(Reconcile(Step.REPAIR), Repaired.unpack, REPAIR_S)
        except ProtocolError:
            raise
        except PeerError as error:
            log.info("partner_did_not_repair", peer=peer.label, detail=str(error))
            return Repaired()

    async def _look_again(self, peer: Peer, found: Findings) -> None:
        comparison = self.comparison(peer)
        still = {_name(told(each)): comparison.under_way(each) for each in await comparison.differences()}
        found.under_way = sum(still.values())
        found.left = len(still) - found.under_way
        for each in found.differed:
            under_way = still.get(_name(each))
            if under_way:
                each["result"] = "under way"
            elif under_way is None and each["result"] != "repaired here":
                each["result"] = "repaired there"

    def _reported(self, peer: Peer, found: Findings) -> dict[str, Any]:
        """The report, and what the operator is told besides."""
        healing = found.healing
        ok = not healing.left and not found.left
        if found.count or healing.entries:
            log.warning(
                "reconciliation_repaired",
                peer=peer.label,
                entries=healing.entries,
                records=found.repaired,
                records_there=found.there.records,
                left=found.left,
            )
        if not ok:
            metrics.ledger_alarms.labels(peer.label, "reconciliation").inc()
            peer.alarm(f"reconciliation: {found.left + len(healing.left)} differences are left; see `roamd reconcile`")
        return {
            "peer": peer.label,
            "ok": ok,
            "at": rfc3339(self.clock.now_ms()),
            "groups": found.groups,
            "records": found.records,
            "differed": found.count,
            "repaired": {"entries": healing.entries, "records": found.repaired},
            "repaired_there": {"entries": found.there.entries, "records": found.there.records},
            "under_way": found.under_way,
            "left": found.left,
            "gone_on_both_sides": healing.gone_there,
            "faults": healing.left,
            "differences": found.differed,
        }

    # --- asked by a peer --------------------------------------------------------------------------------------------

    def answer(self, peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
        """Serve a call of service RECONCILE (roaming.calls.Service)."""
        del deadline_at
        try:
            question = Reconcile.unpack(call.body)
        except ProtocolError as error:
            respond(AnswerStatus.MALFORMED, str(error).encode())
            return
        steps = {int(Step.DIGESTS): self._digests, int(Step.LINES): self._lines, int(Step.REPAIR): self._repair}
        serve = steps.get(question.step)
        if serve is None:
            respond(AnswerStatus.MALFORMED, b"unknown step")
        elif not self._allowed(peer, question.step):
            respond(AnswerStatus.NO_ANSWER, b"asked too often")
        else:
            self.start(self._answering, partial(serve, peer, question), respond)

    def _allowed(self, peer: Peer, step: int) -> bool:
        allowance = self._allowances.setdefault(peer.label, _Allowance())
        now = self.clock.monotonic()
        if step == Step.REPAIR:
            if peer.label in self._busy or now < allowance.repaired_at + REPAIRS_APART_S:
                return False
            allowance.repaired_at = now
            return True
        if allowance.minute != int(now // 60):
            allowance.minute, allowance.pages = int(now // 60), 0
        allowance.pages += 1
        return allowance.pages <= PAGES_A_MINUTE

    async def _answering(self, serve: Callable[[], Any], respond: Respond) -> None:
        try:
            body = await serve()
        except RoamdError as error:
            respond(AnswerStatus.NO_ANSWER, error.code.encode())
            return
        respond(AnswerStatus.ANSWERED, body)

    async def _digests(self, peer: Peer, question: Reconcile) -> bytes:
        await catch_up(self.store)
        page = await group_page(self.store, peer.label, question.day, question.until or LAST_DAY)
        return page.pack()

    async def _lines(self, peer: Peer, question: Reconcile) -> bytes:
        group = GroupKey(question.day, question.yours, question.kind)
        page = self.store.read(lambda cx: line_page(cx, peer.label, group, question.party, question.record_key))
        return page.pack()

    async def _repair(self, peer: Peer, question: Reconcile) -> bytes:
        del question
        self._busy.add(peer.label)
        try:
            found = await self._mend(peer)
        finally:
            self._busy.discard(peer.label)
        if found.count or found.healing.entries:
            self._reported_repair(peer, found)
        left = found.count - found.repaired + len(found.healing.left)
        return Repaired(found.healing.entries, found.repaired, left).pack()

    def _reported_repair(self, peer: Peer, found: Findings) -> None:
        log.warning(
            "reconciliation_repaired",
            peer=peer.label,
            entries=found.healing.entries,
            records=found.repaired,
            records_there=0,
            left=found.count - found.repaired,
        )
