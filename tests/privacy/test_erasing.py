"""Two whole daemons forget a driver: no byte of him stays, both ledgers hold, and nothing brings him back."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from roamd.errors import Conflict, Malformed, NotFound
from roamd.roaming.operations import (
    EraseSubject,
    ExportSubject,
    GetPeerObject,
    GetRecord,
    ListErasures,
    ReadEvents,
    RetryRecord,
    VerifyLedgers,
)
from roamd.storage import backup, records
from tests.privacy.drivers import CSO, CSP, Driver, ask, bytes_on_disk, hand_in, publish
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import until

ANNA, BERT, CARL = Driver(1001), Driver(2002), Driver(3003)
NO_LAW = "[retention]\nrecords_years = 0\n"


async def companies(site: Site, *, cso: str = NO_LAW, csp: str = NO_LAW) -> tuple[RunningDaemon, RunningDaemon]:
    """A CSO and a CSP, linked."""
    one, other = await site.daemon("DE*ABC", "cso", settings=cso), await site.daemon("FR*XYZ", "csp", settings=csp)
    await site.pair(one, other)
    return one, other


def states(daemon: RunningDaemon, direction: str) -> dict[str, str]:
    rows = daemon.assembly.ground.store.read(lambda cx: records.page(cx, 0, 100_000, direction=direction))
    return {row.record_id: row.state for row in rows}


def mirrored(daemon: RunningDaemon, feed: str) -> list[bytes]:
    rows = daemon.assembly.ground.store.read(lambda cx: cx.run("SELECT body FROM mirror WHERE feed = ?", (feed,)))
    return [row[0] for row in rows]


async def settled(cso: RunningDaemon, csp: RunningDaemon, count: int) -> None:
    """Until so many records are receipted."""

    def all_there() -> bool:
        return len(states(csp, "in")) == count and "QUEUED" not in states(cso, "out").values()

    await until(all_there, 60)


async def verified(daemon: RunningDaemon) -> dict[str, Any]:
    report: dict[str, Any] = await ask(daemon, VerifyLedgers())
    assert report["ok"], report
    return report


async def answered(daemon: RunningDaemon, request: str) -> dict[str, Any]:
    """What the one peer said to a request, once it has."""

    def nobody_waits() -> bool:
        rows = daemon.assembly.ground.store.read(
            lambda cx: cx.run("SELECT 1 FROM erasures WHERE request = ? AND answer IS NULL", (request,))
        )
        return not rows

    await until(nobody_waits, 30)
    (row,) = await ask(daemon, ListErasures(request))
    told: dict[str, Any] = row
    return told


async def test_a_third_of_five_thousand_records_is_forgotten_without_a_byte_left(tmp_path: Path) -> None:
    drivers = (ANNA, BERT, CARL)
    async with Site(tmp_path) as site:
        cso, csp = await companies(site)
        await hand_in(cso, [drivers[number % 3].cdr(number) for number in range(5000)], key="batch")
        await settled(cso, csp, 5000)
        for driver in drivers:
            await publish(csp, "user-credentials", CSP, driver.token())
        await until(lambda: len(mirrored(cso, "user-credentials")) == 3, 20)
        for daemon in (cso, csp):
            assert ANNA.traces.search(bytes_on_disk(daemon))

        erased = await ask(cso, EraseSubject(uid=ANNA.uid))
        assert erased.erased["entries"] == 1667
        assert erased.erased["idempotency"] == 5, "the hash of a request is one of what it asked for"
        assert erased.log_emptied
        assert not ANNA.traces.search(bytes_on_disk(cso))
        assert erased.asked == {"csp": 1667}
        assert len(erased.others) == 1, "the contract beside the card, in whatever spellings"
        told = await answered(cso, erased.request)
        assert (told["kept"], told["erased"]) == (1667, 0), "where no law is known the operator decides"

        await ask(csp, EraseSubject(contract_id=ANNA.contract(2)))
        await until(lambda: len(mirrored(cso, "user-credentials")) == 2, 20)
        assert not ANNA.traces.search(bytes_on_disk(csp))
        for daemon, driver in ((cso, BERT), (csp, CARL), (cso, CARL), (csp, BERT)):
            assert driver.traces.search(bytes_on_disk(daemon)), "others are not touched"

        await hand_in(cso, [BERT.cdr(number) for number in range(5000, 5010)])
        await settled(cso, csp, 5010)
        assert sum(chain["erased"] for chain in (await verified(cso))["chains"]) == 1667
        assert sum(chain["erased"] for chain in (await verified(csp))["chains"]) == 1667
        told = await answered(cso, erased.request)
        assert told["erased"] == 1667, "the other side has said by now that it did the same"
        shown = await ask(csp, GetRecord("CDR-00000"))
        assert (shown.state, shown.record) == ("DELIVERED", None)
        assert json.loads(bytes((await ask(csp, GetRecord("CDR-00001"))).record))["cdr_token"]["uid"] == BERT.written(1)


async def test_within_legal_retention_nothing_is_erased_unless_forced(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await companies(site, cso="[retention]\nrecords_years = 8\n", csp="")
        await hand_in(cso, [ANNA.cdr(1), BERT.cdr(2)])
        await publish(cso, "sessions", CSO, ANNA.session(1))
        await settled(cso, csp, 2)
        with pytest.raises(Conflict, match="1 of its records must be kept by law"):
            await ask(cso, EraseSubject(uid=ANNA.uid))
        assert (await ask(cso, GetRecord("CDR-00001"))).record is not None
        await until(lambda: len(mirrored(csp, "sessions")) == 1, 20)

        but_records = await ask(cso, EraseSubject(uid=ANNA.uid, keep_records=True))
        assert (but_records.kept_records, but_records.asked) == (1, {})
        assert "entries" not in but_records.erased
        await until(lambda: not mirrored(csp, "sessions"), 20)
        assert (await ask(cso, GetRecord("CDR-00001"))).record is not None

        forced = await ask(cso, EraseSubject(uid=ANNA.uid, force=True))
        assert forced.erased["entries"] == 1
        assert (await ask(cso, GetRecord("CDR-00001"))).record is None
        told = await answered(cso, forced.request)
        assert (told["kept"], told["kept_until"] is not None) == (1, True), "force at one side is none at the other"
        assert (await ask(csp, GetRecord("CDR-00001"))).record is not None

        cso.clock.ahead_ms = csp.clock.ahead_ms = 9 * 366 * 24 * 3600_000
        late = await ask(cso, EraseSubject(contract_id=BERT.contract()))
        assert late.erased["entries"] == 1, "nine years later it need not be forced"
        await verified(cso)
        await verified(csp)


async def test_a_peer_whose_own_retention_is_over_erases_at_a_word_and_tells_its_backend(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await companies(site, cso="[retention]\nrecords_years = 1\n", csp="[retention]\nrecords_years = 1\n")
        await hand_in(cso, [ANNA.cdr(1), BERT.cdr(2)])
        await settled(cso, csp, 2)
        cso.clock.ahead_ms = csp.clock.ahead_ms = 2 * 366 * 24 * 3600_000
        erased = await ask(csp, EraseSubject(uid=ANNA.uid))
        told = await answered(csp, erased.request)
        assert (told["erased"], told["kept"]) == (1, 0)
        assert (await ask(cso, GetRecord("CDR-00001"))).record is None
        assert (await ask(cso, GetRecord("CDR-00002"))).record is not None
        (event,) = [each for each in (await ask(cso, ReadEvents())).items if each.type == "record.erasure"]
        said = json.loads(bytes(event.data))
        assert said["record_id"] == "CDR-00001"
        assert said["reason"] == "csp has erased it and asks for the same; erased"
        assert said["record"] is None
        assert not ANNA.traces.search(json.dumps(said).encode())


async def test_what_was_never_delivered_or_is_under_way_is_erased_by_force_only(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await companies(site)
        await publish(cso, "sessions", CSO, ANNA.session(1) | {"status": "ACTIVE"})
        await csp.stop()
        await hand_in(cso, [ANNA.cdr(1), BERT.cdr(2)])
        with pytest.raises(Conflict, match=r"1 of its records were not delivered .*; 1 of its sessions"):
            await ask(cso, EraseSubject(uid=ANNA.uid))
        erased = await ask(cso, EraseSubject(uid=ANNA.uid, force=True))
        assert states(cso, "out") == {"CDR-00001": "PARKED", "CDR-00002": "QUEUED"}
        assert (await ask(cso, GetRecord("CDR-00001"))).reason == "its content was erased before it was delivered"
        with pytest.raises(Conflict, match="erased"):
            await ask(cso, RetryRecord("CDR-00001"))
        with pytest.raises(Conflict, match="erased"):
            await hand_in(cso, [ANNA.cdr(1)])
        assert not ANNA.traces.search(bytes_on_disk(cso))

        await site.start(csp)
        await site.until_linked(cso, csp)
        await until(lambda: states(csp, "in") == {"CDR-00002": "DELIVERED"}, 20)
        assert (await answered(cso, erased.request))["erased"] == 1, "the other side never had it"
        assert states(cso, "out")["CDR-00001"] == "PARKED"
        await verified(csp)


async def test_a_peer_that_was_rolled_back_fills_nothing_in_again(tmp_path: Path) -> None:
    """The CSP goes back to before the erasure, and even to before the records; then the CSO does."""
    async with Site(tmp_path) as site:
        cso, csp = await companies(site)
        await hand_in(cso, [BERT.cdr(1)])
        await settled(cso, csp, 1)
        early = await backed_up(csp, tmp_path / "early.db")
        cso_early = await backed_up(cso, tmp_path / "cso-early.db")
        await hand_in(cso, [ANNA.cdr(number) for number in range(2, 6)])
        await settled(cso, csp, 5)
        erased = await ask(cso, EraseSubject(uid=ANNA.uid))
        assert str(cso_early) in erased.backups
        assert (await answered(cso, erased.request))["kept"] == 4
        await ask(csp, EraseSubject(uid=ANNA.uid))

        await restored(site, csp, early)
        await until(lambda: "CDR-00001" in states(csp, "in") and are_quiet(cso, csp), 20)
        await verified(csp)
        assert not ANNA.traces.search(bytes_on_disk(csp)), "it was sent the entries again, without what they said"

        await restored(site, cso, cso_early)
        await until(lambda: sum(chain["erased"] for chain in chains(cso)) >= 4 and are_quiet(cso, csp), 20)
        await verified(cso)
        assert not ANNA.traces.search(bytes_on_disk(cso))
        await hand_in(cso, [BERT.cdr(9)])
        await until(lambda: "CDR-00009" in states(csp, "in"), 20)


async def test_an_author_that_forgot_its_erasure_gets_it_back_before_the_content(tmp_path: Path) -> None:
    """The other side has kept its copies, and gives them back: they are erased again as they come."""
    async with Site(tmp_path) as site:
        cso, csp = await companies(site)
        await hand_in(cso, [BERT.cdr(1)])
        await settled(cso, csp, 1)
        early, csp_early = await backed_up(cso, tmp_path / "a.db"), await backed_up(csp, tmp_path / "b.db")
        await hand_in(cso, [ANNA.cdr(2), ANNA.cdr(3)])
        await settled(cso, csp, 3)
        first = await ask(cso, EraseSubject(uid=ANNA.uid))
        assert (await answered(cso, first.request))["kept"] == 2
        await restored(site, cso, early)
        await until(lambda: sum(chain["erased"] for chain in chains(cso)) == 2 and are_quiet(cso, csp), 20)
        assert not ANNA.traces.search(bytes_on_disk(cso))
        assert ANNA.traces.search(bytes_on_disk(csp))
        await verified(cso)

        # And the receiver: it erases, is rolled back, and its own chain tells it before the records come.
        again = await ask(csp, EraseSubject(uid=ANNA.uid))
        await answered(csp, again.request)
        await restored(site, csp, csp_early)
        await until(lambda: sum(chain["entries"] for chain in chains(csp) if chain["author"] != "us") >= 3, 20)
        assert not ANNA.traces.search(bytes_on_disk(csp))
        await verified(csp)


async def test_what_a_receiver_erased_before_it_was_rolled_back_is_not_filled_in_from_the_authors_copy(
    tmp_path: Path,
) -> None:
    """The author keeps its records by law, and sends them all again with what they say."""
    async with Site(tmp_path) as site:
        cso, csp = await companies(site, cso="[retention]\nrecords_years = 10\n")
        await hand_in(cso, [BERT.cdr(1)])
        await settled(cso, csp, 1)
        early = await backed_up(csp, tmp_path / "early.db")
        await hand_in(cso, [ANNA.cdr(2), BERT.cdr(3), ANNA.cdr(4)])
        await settled(cso, csp, 4)
        erased = await ask(csp, EraseSubject(uid=ANNA.uid))
        assert (await answered(csp, erased.request))["kept"] == 2

        await restored(site, csp, early)
        await until(lambda: "CDR-00003" in states(csp, "in") and are_quiet(cso, csp), 20)
        assert ANNA.traces.search(bytes_on_disk(cso))
        assert not ANNA.traces.search(bytes_on_disk(csp))
        assert sum(chain["erased"] for chain in chains(csp) if chain["author"] != "us") == 2
        await verified(csp)


async def test_everything_that_is_held_of_a_driver_is_told_with_its_place(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await companies(site)
        await publish(csp, "user-credentials", CSP, ANNA.token())
        await publish(cso, "sessions", CSO, ANNA.session(1))
        await hand_in(cso, [ANNA.cdr(1), BERT.cdr(2) | {"remark": f"not {ANNA.uid}"}])
        await settled(cso, csp, 2)
        await until(lambda: len(mirrored(csp, "sessions")) == 1, 20)
        told = await ask(csp, ExportSubject(contract_id=ANNA.contract(3)))
        (entry,) = told["ledger_entries"]
        assert (entry["record_id"], entry["author"], entry["peer"]) == ("CDR-00001", "peer", "cso")
        assert entry["content"] == ANNA.cdr(1)
        assert [each["content"] for each in told["published"]] == [ANNA.token()]
        assert [(each["peer"], each["content"]) for each in told["received"]] == [("cso", ANNA.session(1))]
        assert {"type": "RFID", "uid": ANNA.written(1), "contract_id": ANNA.contract(1)} in told["identifiers"]
        both = await ask(csp, ExportSubject(uid=ANNA.uid))
        assert [place["record_id"] for place in both["mentions"]] == ["CDR-00002"]
        nothing = await ask(csp, ExportSubject(uid=CARL.uid))
        assert not any(value for name, value in nothing.items() if name not in ("made_at", "backups"))
        with pytest.raises(Malformed):
            await ask(csp, ExportSubject())
        with pytest.raises(NotFound):
            await ask(csp, ListErasures("0123456789abcdef"))


async def test_a_partner_that_is_away_loses_a_forgotten_card_when_it_comes_back(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await companies(site)
        for driver in (ANNA, BERT):
            await publish(csp, "user-credentials", CSP, driver.token())
        await until(lambda: len(mirrored(cso, "user-credentials")) == 2, 20)
        await cso.stop()
        await ask(csp, EraseSubject(uid=ANNA.uid))
        assert not ANNA.traces.search(bytes_on_disk(csp)), "not even as the key of a tombstone"
        await site.start(cso)
        await site.until_linked(cso, csp)
        await until(lambda: len(mirrored(cso, "user-credentials")) == 1, 20)
        with pytest.raises(NotFound):
            await ask(cso, GetPeerObject("csp", "user-credentials", ANNA.uid))


def are_quiet(*daemons: RunningDaemon) -> bool:
    """Whether nothing is being mended, and everything that is to be said was sent."""
    exchanges = [peer.exchange for daemon in daemons for peer in daemon.assembly.directory]
    return all(each is not None and each.author.sending and not each.author.behind for each in exchanges)


# --- backups ------------------------------------------------------------------------------------------------------


def chains(daemon: RunningDaemon) -> list[dict[str, Any]]:
    """The chains' outlines, with how much of each was erased."""

    def read(cx: Any) -> list[dict[str, Any]]:
        rows = cx.run(
            "SELECT own, COUNT(*), SUM(body IS NULL) FROM entries JOIN chains ON entries.id >> 40 = chain_id"
            " GROUP BY chain_id"
        )
        return [{"author": "us" if own else "peer", "entries": count, "erased": gone} for own, count, gone in rows]

    found: list[dict[str, Any]] = daemon.assembly.ground.store.read(read)
    return found


async def backed_up(daemon: RunningDaemon, target: Path) -> Path:
    await daemon.operate("backup", path=str(target))
    return target


async def restored(site: Site, daemon: RunningDaemon, source: Path) -> None:
    """Stop it, put the backup in place, start it, and wait until its link is up again."""
    database = daemon.assembly.config.database
    await daemon.stop()
    await trio.to_thread.run_sync(backup.restore, source, database, daemon.clock.now_ms())
    for file in database.parent.glob(database.name + ".replaced-*"):
        file.unlink()
    await site.start(daemon)
    (other,) = [each for each in site.daemons if each is not daemon]
    await site.until_linked(daemon, other)
