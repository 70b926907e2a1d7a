"""An endpoint replaces its key: two whole cores over real TLS rehearse it, and everything that can go wrong."""

import runpy
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from roamd.model.objects import check_record
from roamd.roaming.introduce import successors_held
from roamd.roaming.operations import Authorize, CredentialIn, ExportEvidence, GetRecord, PostRecords, VerifyLedgers
from roamd.storage import ledgers
from roamd.trust.descriptor import verify_descriptor
from roamd.trust.identity import Identity
from roamd.trust.succession import Succession, appoint, succession_of_own
from tests.model import bodies
from tests.support.endpoints import Endpoint, Neighbourhood, events_of, logged, until
from tests.support.trust import identity

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "verify-evidence"
NEXT, OTHER = identity(40), identity(41)
OVERLAP_S = 1000.0


class Rotating:
    """A CSO and a CSP; the CSO's key is replaced."""

    def __init__(self, hood: Neighbourhood, cso: Endpoint, csp: Endpoint) -> None:
        self.hood, self.cso, self.csp = hood, cso, csp

    async def bill(self, number: int) -> None:
        value = bodies.cdr(id=f"CDR-{number}", country_code="DE", party_id="ABC")
        record = check_record("2.3.0", bodies.text(value), own_parties=frozenset({"DEABC"}))
        await self.cso.ask(PostRecords((record,), self.csp.name))

    async def settled(self, number: int) -> None:
        with trio.fail_after(1000):
            while (await self.cso.ask(GetRecord(f"CDR-{number}"))).state == "QUEUED":  # noqa: ASYNC110
                await trio.sleep(0.1)

    def appointed(self, successor: Identity) -> Succession:
        now_ms = self.cso.clock.now_ms()
        return appoint(self.cso.identity, successor, now_ms, now_ms + int(OVERLAP_S * 1000))

    async def restart(self, **changes: Any) -> None:
        """The CSO's daemon starts again, and what it says of itself has changed."""
        await self.cso.stop()
        self.cso.identity = replace(self.cso.identity, **changes)
        self.cso.sequence += 1
        await self.cso.restart()

    async def announce(self, successor: Identity = NEXT) -> Succession:
        succession = self.appointed(successor)
        await self.restart(succession=succession.packed())
        return succession

    async def switch(self, successor: Identity = NEXT) -> None:
        await self.restart(
            key=successor.key, certificate=successor.certificate, certificate_der=successor.certificate_der
        )

    async def linked(self) -> None:
        await self.hood.until_linked(self.cso, self.csp)

    def told(self) -> bool:
        """Whether the CSP has said that it knows the next key."""
        return self.cso.store.read(lambda cx: successors_held(cx, self.csp.name)) == 1

    def epochs(self, endpoint: Endpoint, *, own: bool) -> list[int]:
        """The entries of each epoch of one chain."""
        return [chain.tail_sequence for chain in endpoint.store.read(ledgers.chains) if chain.own is own]

    def received(self) -> list[str]:
        def read(cx: Any) -> list[str]:
            chains = [chain for chain in ledgers.chains(cx) if not chain.own]
            rows = [ledgers.entries(cx, chain.chain_id, 0, max_rows=1000, max_bytes=1 << 24) for chain in chains]
            return [row.record_id for entries in rows for row in entries if row.kind == 1]

        return self.csp.store.read(read)


@pytest.fixture
async def pair() -> AsyncIterator[Rotating]:
    async with Neighbourhood() as hood:
        cso, csp = await hood.linked()
        yield Rotating(hood, cso, csp)


async def rehearsed(pair: Rotating) -> None:
    """A key is replaced as it is meant to be: a record before, one while the next key is announced, one after."""
    await pair.bill(1)
    await pair.settled(1)
    await pair.announce()
    await until(pair.told)
    await pair.bill(2)
    await pair.settled(2)
    await pair.switch()
    await pair.linked()
    await pair.bill(3)
    await pair.settled(3)


async def test_a_key_is_replaced_and_the_partner_notices_nothing(pair: Rotating, autojump_clock: MockClock) -> None:
    before = pair.cso.endpoint_id
    with logged() as lines:
        await rehearsed(pair)
    assert pair.received() == ["CDR-1", "CDR-2", "CDR-3"]
    assert pair.cso.endpoint_id == pair.csp.peer(pair.cso).endpoint_id == before
    assert pair.csp.peer(pair.cso).row.identity_der == NEXT.certificate_der
    assert pair.csp.peer(pair.cso).alarms == []
    told = events_of(lines, "peer_successor_announced", "peer_identity_changed", "peer_opened_new_epoch")
    assert told == ["peer_successor_announced", "peer_identity_changed"]


async def test_each_chain_goes_on_in_an_epoch_of_the_new_key(pair: Rotating, autojump_clock: MockClock) -> None:
    await rehearsed(pair)
    assert pair.epochs(pair.cso, own=True) == pair.epochs(pair.csp, own=False) == [2, 2]
    for endpoint in (pair.cso, pair.csp):
        report = await endpoint.ask(VerifyLedgers())
        assert report["ok"], report


async def test_the_partners_own_chain_is_turned_over_while_the_link_is_up(
    pair: Rotating, autojump_clock: MockClock
) -> None:
    pair.csp.peer(pair.cso)  # the CSP writes into its chain when it refuses: a record of a kind that it does not take
    await pair.csp.core.book.agree(
        pair.csp.peer(pair.cso), lambda agreement: msgspec.structs.replace(agreement, records_in=())
    )
    await pair.bill(1)
    await pair.settled(1)
    await pair.announce()
    await until(pair.told)
    await pair.switch()
    await pair.linked()
    await until(lambda: len(pair.epochs(pair.csp, own=True)) == 2)
    await until(lambda: pair.epochs(pair.cso, own=False) == pair.epochs(pair.csp, own=True))


async def test_the_new_epoch_is_sent_at_once_over_a_link_that_has_nothing_else_to_do(
    pair: Rotating, autojump_clock: MockClock
) -> None:
    await pair.csp.core.book.agree(
        pair.csp.peer(pair.cso), lambda agreement: msgspec.structs.replace(agreement, records_in=())
    )
    await pair.bill(1)
    await pair.settled(1)
    await pair.announce()
    await until(pair.told)
    await until(lambda: pair.epochs(pair.cso, own=False) == pair.epochs(pair.csp, own=True) == [1])
    await trio.sleep(10)
    pair.cso.sequence += 1
    before = pair.cso.identity
    pair.cso.identity = replace(NEXT, endpoint_id=before.endpoint_id, succession=before.succession)
    data = pair.cso.descriptor()
    pair.cso.identity = before
    await pair.csp.core.book.renew(pair.csp.peer(pair.cso), verify_descriptor(data), data)
    assert len(pair.epochs(pair.csp, own=True)) == 2
    await until(lambda: len(pair.epochs(pair.cso, own=False)) == 2, patience_s=5)


async def test_drivers_are_authorized_at_each_stage(pair: Rotating, autojump_clock: MockClock) -> None:
    async def tap() -> str:
        decision = await pair.cso.ask(Authorize(CredentialIn("RFID", "04E2A1B2C3D480")))
        return str(decision.source)

    stages = [await tap()]
    await pair.announce()
    await pair.linked()
    stages.append(await tap())
    await until(pair.told)
    await pair.switch()
    await pair.linked()
    stages.append(await tap())
    assert stages == ["BACKEND"] * 3


async def test_records_that_wait_while_the_key_changes_arrive_once(pair: Rotating, autojump_clock: MockClock) -> None:
    await pair.announce()
    await until(pair.told)
    await pair.csp.stop()
    for number in (1, 2):
        await pair.bill(number)
    await pair.switch()
    await pair.bill(3)
    await pair.csp.restart()
    await pair.settled(3)
    assert pair.received() == ["CDR-1", "CDR-2", "CDR-3"]
    assert pair.epochs(pair.csp, own=False) == [2, 2]


async def test_a_partner_that_was_not_told_refuses_the_new_key_until_somebody_tells_it(
    pair: Rotating, autojump_clock: MockClock
) -> None:
    await pair.csp.stop()
    await pair.announce()
    await pair.switch()
    await pair.csp.restart()
    await trio.sleep(60)
    assert not pair.csp.is_up(pair.cso)
    data = pair.cso.descriptor()  # as any third partner would pass it on
    await pair.csp.core.book.renew(pair.csp.peer(pair.cso), verify_descriptor(data), data)
    await pair.linked()


async def test_the_old_key_makes_no_link_once_the_overlap_is_over(pair: Rotating, autojump_clock: MockClock) -> None:
    before = pair.cso.identity
    await pair.announce()
    await until(pair.told)
    announced = pair.cso.identity
    await pair.switch()
    await pair.linked()
    await until(lambda: pair.csp.peer(pair.cso).succession.in_use == 1)
    await trio.sleep(OVERLAP_S)
    await pair.restart(key=before.key, certificate=before.certificate, certificate_der=announced.certificate_der)
    await trio.sleep(60)
    assert not pair.csp.is_up(pair.cso)


async def test_of_two_successors_the_first_stands_and_the_operator_is_told(
    pair: Rotating, autojump_clock: MockClock
) -> None:
    second = pair.appointed(OTHER)
    await pair.announce()
    await until(pair.told)
    with logged() as lines:
        await pair.restart(succession=second.packed())
        await until(lambda: bool(pair.csp.peer(pair.cso).alarms))
    assert events_of(lines, "peer_has_two_successors")
    assert pair.csp.peer(pair.cso).succession.certificates[1] == NEXT.certificate_der
    assert "second successor" in pair.csp.peer(pair.cso).alarms[0]
    await until(lambda: bool(pair.cso.peer(pair.csp).alarms))
    assert "does not take the newest successor" in pair.cso.peer(pair.csp).alarms[0]
    assert not pair.told(), "who holds another one is not told of this"


async def test_a_succession_that_became_shorter_is_told_and_not_believed(
    pair: Rotating, autojump_clock: MockClock
) -> None:
    await pair.announce()
    await until(pair.told)
    await pair.restart(succession=b"")
    await until(lambda: bool(pair.csp.peer(pair.cso).alarms))
    assert len(pair.csp.peer(pair.cso).succession.steps) == 1
    await pair.linked()


async def test_a_newcomer_knows_it_by_its_first_name(pair: Rotating, autojump_clock: MockClock) -> None:
    await rehearsed(pair)
    late = await pair.hood.endpoint("NL*LMN", "csp")
    await pair.hood.pair(pair.cso, late)
    held = pair.cso.store.read(lambda cx: successors_held(cx, late.name))
    assert held == 1, "with the pairing it was handed all that there is to tell"
    await pair.hood.until_linked(pair.cso, late)
    assert succession_of_own(pair.cso.identity).follows(late.peer(pair.cso).succession)


async def test_a_restart_of_the_partner_remembers_all_keys(pair: Rotating, autojump_clock: MockClock) -> None:
    await rehearsed(pair)
    await pair.csp.stop()
    await pair.csp.restart()
    await pair.linked()
    assert (await pair.csp.ask(VerifyLedgers()))["ok"]
    assert pair.csp.peer(pair.cso).succession.in_use == 1


@pytest.mark.parametrize("number", [1, 3])
async def test_evidence_of_either_epoch_holds_offline(
    pair: Rotating, autojump_clock: MockClock, tmp_path: Path, number: int
) -> None:
    await rehearsed(pair)
    check: Callable[[bytes], str] = runpy.run_path(str(SCRIPT))["check"]
    for endpoint in (pair.cso, pair.csp):
        whole = await endpoint.ask(ExportEvidence(f"CDR-{number}", "DEABC", bundle=True))
        assert check(whole["evidence.json"]) == "DELIVERED"
        with pytest.raises(ValueError, match=r"successor|signature"):
            check(whole["evidence.json"].replace(b"roamd successor 1", b"roamd successor 2"))
        where = tmp_path / endpoint.name
        where.mkdir()
        for name, content in (await endpoint.ask(ExportEvidence(f"CDR-{number}", "DEABC"))).items():
            (where / name).write_bytes(content)
        done = verified(where)
        assert done.endswith("evidence: ok\n"), done
        assert ("the author's key 1 is named by the one before" in done) is (number == 3)
        for statement in where.glob("author-1.txt"):
            said = statement.read_text()
            statement.write_text(said[:-1] + str((int(said[-1]) + 1) % 10))
            assert "NOT OK: the author's key 1" in verified(where)


def verified(where: Path) -> str:
    """What verify.sh says of a folder of evidence."""
    done = subprocess.run(["sh", where / "verify.sh"], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
