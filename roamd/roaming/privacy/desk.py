"""What the operator asks about drivers: everything that is held of one, and to forget him.

Whoever is allowed to ask the local API is allowed to ask this; the log says that it was done, and of how much, and
never of whom.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from roamd.clock import Clock, rfc3339
from roamd.errors import NotFound, RoamdError
from roamd.log import get_logger
from roamd.model.credentials import EMAID
from roamd.model.ids.contract import parse_contract_id
from roamd.model.subjects import Subject, subject
from roamd.roaming import operations as op
from roamd.roaming.decisions import DecisionJournal
from roamd.roaming.directory import Directory
from roamd.roaming.ledger.chain import Random
from roamd.roaming.ports import Reply
from roamd.roaming.privacy.asks import AT_ONCE, place_asks_txn
from roamd.roaming.privacy.erase import Erasing, Work, beside, drop_tombstones_txn, judge, place_of, without_records
from roamd.roaming.privacy.export import exported
from roamd.roaming.privacy.search import CREDENTIALS, Holding, search
from roamd.roaming.waiting import Outcome, write
from roamd.storage import erasure, pseudonyms
from roamd.storage.feeds import PublishedRow
from roamd.storage.store import Cx, Store

log = get_logger()

WALKS: Final = 5
"""A subject that is named by something new in each of so many walks is one that lives on; erase again later."""

FOLLOW_S: Final = 5.0
"""How long linked partners have to hear that a card was withdrawn; who has not by then gets a replacing snapshot."""

LOOK_S: Final = 0.05
EMPTY_TRIES: Final = 40
EMPTY_S: Final = 0.25
"""Ten seconds for whoever reads the store to come to an end; a backup may take longer."""

NOTE: Final = (
    "Partners that have copies were asked to erase them; what they answer is for them to decide, and nothing is "
    "claimed of it. Backups that are named still hold the data, and so may copies that were made by other means; a "
    "restored one brings it back, so erase again after it. What a partner still publishes comes again with its next "
    "change. A disk may keep old blocks."
)


@dataclass(slots=True)
class SubjectDesk:
    """Handles ExportSubject, EraseSubject and ListErasures.

    `is_recovering` tells whether our chain towards a peer takes no entries at this time (it asks when it does again).
    `withdrawing` has the services that look at own objects that are about to go, by feed. `keep(at_ms)` says until when
    a record of that time must be kept (ms, 0: not at all). `published(feed)` and `grew(peer)` are told after a commit
    that there is something to send. `start` runs a coroutine in the daemon's nursery.
    """

    clock: Clock
    store: Store
    directory: Directory
    journal: DecisionJournal
    random: Random
    is_recovering: Callable[[Cx, str], bool]
    withdrawing: Mapping[str, Callable[[Cx, PublishedRow], None]]
    keep: Callable[[int], int]
    published: Callable[[str], None]
    grew: Callable[[str], None]
    start: Callable[..., None]

    def export(self, operation: op.ExportSubject, reply: Reply) -> None:
        """ExportSubject -> dict; Malformed when nobody is named."""
        self.start(_answered, partial(self._export, _subject(operation)), reply)

    def erase(self, operation: op.EraseSubject, reply: Reply) -> None:
        """EraseSubject -> Erasing; Conflict, with nothing erased, when something stands against it."""
        self.start(_answered, partial(self._erase, _subject(operation), operation), reply)

    def erasures(self, operation: op.ListErasures, reply: Reply) -> None:
        """ListErasures -> list of dicts, by request and peer: what the peers answered; NotFound for an unknown one."""
        rows = self.store.read(lambda cx: erasure.summaries(cx, operation.request))
        if operation.request is not None and not rows:
            raise NotFound("There is no such request, or nothing of a ledger was erased by it.", code="unknown-request")
        reply([_summary(row) for row in rows])

    # --- telling ------------------------------------------------------------------------------------------------

    def _known(self, named: Subject) -> Subject:
        """Also by the names that partners have for his contracts."""
        ids = named.contracts | (
            {parse_contract_id(named.uid).canonical} if named.uid and named.type == EMAID else set()
        )
        return named.also_by(self.store.read(lambda cx: pseudonyms.related(cx, ids)))

    async def _export(self, named: Subject) -> dict[str, Any]:
        named = self._known(named)
        holding = await self._search(named)
        log.info("subject_exported", rows=len(holding.hits))
        return {
            "made_at": rfc3339(self.clock.now_ms()),
            **self.store.read(lambda cx: exported(cx, holding)),
            "backups": self._copies(),
        }

    async def _search(self, named: Subject) -> Holding:
        """Behind what the journal of decisions still keeps in memory."""
        self.journal.flush()
        await write(self.store, lambda cx: None, essential=True)
        return await search(self.store, named)

    def _copies(self) -> list[str]:
        noted = self.store.read(erasure.backups)
        beside = erasure.copies_beside(self.store.path) if self.store.path is not None else []
        return sorted({str(path) for path in beside} | {path for path, _ in noted if Path(path).exists()})

    # --- forgetting ---------------------------------------------------------------------------------------------

    async def _erase(self, named: Subject, asked: op.EraseSubject) -> Erasing:
        named = self._known(named)  # once: the names themselves are erased, and what bears them may come meanwhile
        holding = await self._search(named)
        now_ms = self.clock.now_ms()
        found = self.store.read(lambda cx: judge(cx, holding, self.keep, now_ms))
        if asked.keep_records:
            found = without_records(found)
        if not asked.force:
            found.refuse()
        work = Work(self.random(8).hex(), now_ms, self._is_peer, self.withdrawing, asked.keep_records)
        mentions, others = await self._until_nothing_is_found(named, work, holding)
        emptied = await self._empty_log()
        log.warning("subject_erased", request=work.request, rows=sum(work.done.values()), forced=asked.force)
        return Erasing(
            request=work.request,
            erased=work.done,
            kept_records=len(holding.of("entries")) if asked.keep_records else 0,
            mentions=mentions,
            others=others,
            asked={row.peer: row.asked for row in self.store.read(lambda cx: erasure.summaries(cx, work.request))},
            backups=self._copies(),
            log_emptied=emptied,
            note=NOTE,
        )

    async def _until_nothing_is_found(
        self, named: Subject, work: Work, holding: Holding
    ) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        """Erase, and walk again for what came meanwhile; the places that were left, and the other numbers."""
        others = dict(holding.others)
        for _ in range(WALKS):
            for group in work.groups(holding):
                await write(self.store, group, essential=True)
            await self._tell(work)
            holding = await search(self.store, named)
            others |= holding.others
            if not work.left(holding):
                break
        return [place_of(hit) for hit in holding.mentions], beside(named, others.values())

    async def _tell(self, work: Work) -> None:
        """Ask the peers, publish the withdrawals, and forget even those whose key names him."""
        for peer in sorted(work.peers):
            await self._ask(peer)
        for feed in ("sessions", "session-leases", "reservations", "grants", "credential-filter", CREDENTIALS):
            self.published(feed)
        if work.tombstones:
            with trio.move_on_after(FOLLOW_S):
                while not self._all_have_followed():  # noqa: ASYNC110 - many links, each at its own pace
                    await trio.sleep(LOOK_S)
            rows, work.tombstones = work.tombstones, []
            await write(self.store, lambda cx: drop_tombstones_txn(cx, rows), essential=True)

    async def _ask(self, peer: str) -> None:
        def txn(cx: Cx) -> int:
            return 0 if self.is_recovering(cx, peer) else place_asks_txn(cx, peer, self.random, self.clock.now_ms())

        while await write(self.store, txn, essential=True) == AT_ONCE:
            pass
        self.grew(peer)

    def _is_peer(self, label: str) -> bool:
        return self.directory.find(label) is not None

    def _all_have_followed(self) -> bool:
        """Whether every partner whose link is up has what we publish of credentials."""
        return all(
            exchange.publisher.in_sync().get(CREDENTIALS, True)
            for peer in self.directory
            for exchange in peer.exchanges()
        )

    async def _empty_log(self) -> bool:
        """What was deleted stands in the write-ahead log until that is cut; whether it could be."""
        for _ in range(EMPTY_TRIES):
            emptied: Outcome[bool] = Outcome()
            self.store.truncate_log(emptied)
            if await emptied.wait():
                return True
            await trio.sleep(EMPTY_S)
        log.warning("store_log_not_emptied")
        return False


def _subject(operation: op.ExportSubject | op.EraseSubject) -> Subject:
    """Raises Malformed."""
    return subject(type_=operation.type, uid=operation.uid, contract_id=operation.contract_id)


def _summary(row: erasure.Summary) -> dict[str, Any]:
    said = row._asdict()
    erased_ms, until_ms = said.pop("erased_ms"), said.pop("kept_until_ms")
    return {**said, "erased_at": rfc3339(erased_ms), "kept_until": rfc3339(until_ms) if until_ms else None}


async def _answered(act: Callable[[], Any], reply: Reply) -> None:
    try:
        result = await act()
    except RoamdError as error:
        reply(error)
    else:
        reply(result)
