"""An author that came back from an old backup is mended with its peer's help, and nothing is lost or doubled."""

from typing import Any

import pytest
import trio

from roamd.errors import ProtocolError
from roamd.model.statement import FORMAT, Statement
from roamd.protocol.bulk import unpack_ledger_batch
from roamd.protocol.calls import MAX_FETCH_PAYLOAD, LedgerFetch, Service
from roamd.protocol.ledger import EntryKind, LedgerItem
from roamd.protocol.messages import Answer, AnswerStatus, Call, Mark
from roamd.roaming.calls import IncomingCalls, OutgoingCalls
from roamd.roaming.ledger import rollback as rollback_module
from roamd.roaming.ledger.author import is_known, is_ours
from roamd.roaming.ledger.chain import append_items_txn, own_chain_txn
from roamd.roaming.ledger.forgotten import LedgerFetches
from roamd.roaming.ledger.mending import is_recovering
from roamd.roaming.ledger.rollback import Rollback
from roamd.roaming.ledger.stated import regain_statement_txn, statement_id
from roamd.roaming.operations import RetryRecord
from roamd.storage import accounts, ledgers, meta, records
from roamd.storage.accounts import StatementRow
from roamd.storage.cx import Cx
from tests.model import bodies
from tests.support.roaming import Company, LedgerLine, Line, LogLines, answer_of, carry, served_by


def cdr(number: int, **changes: Any) -> dict[str, Any]:
    return bodies.cdr(id=f"C-{number:04}", **changes)


def hand_in(cso: Company, *numbers: int) -> None:
    for number in numbers:
        cso.hand_in(cdr(number))


def shown_by(csp: Company, cso: Company) -> Mark:
    mark = LedgerLine(cso, csp).shown()
    assert mark is not None
    return mark


def is_rolled_back(cso: Company, csp: Company) -> bool:
    shown = shown_by(csp, cso)
    peer = cso.peer("rmd")
    return is_ours(cso.signer, peer, shown) and not is_known(cso.store, peer, shown)


def rollback_of(cso: Company, csp: Company, **changes: Any) -> Rollback:
    """The mending of the CSO's chain towards a CSP, over a line whose calls that answers at once."""
    calls = OutgoingCalls(cso.clock, cso.timers)
    incoming = IncomingCalls(csp.clock, csp.timers, {Service.LEDGER_FETCH: LedgerFetches(csp.store).answer})
    (peer,) = (each for each in cso.directory if each.endpoint_id == csp.identity.endpoint_id)
    (asker,) = csp.directory
    line = Line(peer, answers=changes.pop("answers", None) or served_by(incoming, asker))
    line.take = calls.on_answer
    peer.exchange = line  # type: ignore[assignment]  # all that is used of an exchange
    return Rollback(peer, cso.store, cso.clock, calls, cso.random)


async def mend(cso: Company, csp: Company, **changes: Any) -> None:
    with trio.fail_after(5):
        await rollback_of(cso, csp, **changes).mend(shown_by(csp, cso))


async def test_a_forgotten_part_comes_back_and_a_new_epoch_says_what_it_follows(
    cso: Company, csp: Company, log: LogLines
) -> None:
    hand_in(cso, 1, 2)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 3, 4)
    carry(cso, csp)
    restored = cso.restored(backup)
    assert is_rolled_back(restored, csp)
    await mend(restored, csp)
    assert not restored.store.read(lambda cx: is_recovering(cx, "rmd"))
    assert restored.states() == dict.fromkeys(["C-0001", "C-0002", "C-0003", "C-0004"], "DELIVERED")
    old, new = restored.chains(own=True)
    assert (old.closed, old.tail_sequence, new.tail_sequence) == (True, 4, 1)
    assert old.tail_hash == cso.chains(own=True)[0].tail_hash
    hand_in(restored, 5)
    line = carry(restored, csp)
    assert line.closed == []
    assert restored.states()["C-0005"] == "DELIVERED"
    assert csp.states("in") == restored.states()
    assert [chain.closed for chain in csp.chains(own=False)] == [True, False]
    assert restored.peer("rmd").alarms == ["our ledger was rolled back behind sequence 4; it was mended"]
    assert len(log.of("ledger_mended")) == 1
    assert restored.store.read(lambda cx: ledgers.newest_receipt(cx, old.chain_id)).sequence == 4  # type: ignore[union-attr]


async def test_the_peer_shows_its_operator_that_the_author_was_rolled_back(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    restored = cso.restored(backup)
    await mend(restored, csp)
    assert csp.peer("abc").alarms == []
    carry(restored, csp)
    assert csp.peer("abc").alarms == ["its ledger was rolled back and goes on in a new epoch behind sequence 2"]


async def test_what_the_backend_hands_in_again_meanwhile_is_the_same_record(cso: Company, csp: Company) -> None:
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 1, 2)
    carry(cso, csp)
    restored = cso.restored(backup)
    hand_in(restored, 2)  # the same again
    restored.hand_in(cdr(1, total_energy=99))  # another content under a known id
    hand_in(restored, 7)  # new
    await mend(restored, csp)
    carry(restored, csp)
    assert restored.states() == {"C-0002": "DELIVERED", "C-0001": "PARKED", "C-0007": "DELIVERED"}
    assert csp.states("in") == dict.fromkeys(["C-0001", "C-0002", "C-0007"], "DELIVERED")
    counts = restored.store.read(records.counts)["rmd"]
    assert counts.accepted == counts.settled + counts.queued + counts.parked == 3


async def test_what_was_written_on_the_old_state_and_never_receipted_gets_a_place_in_the_new_epoch(
    cso: Company, csp: Company
) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    restored = cso.restored(backup)
    hand_in(restored, 3, 4)  # take sequences that the peer knows otherwise
    assert is_rolled_back(restored, csp)
    await mend(restored, csp)
    carry(restored, csp)
    expected = dict.fromkeys(["C-0001", "C-0002", "C-0003", "C-0004"], "DELIVERED")
    assert dict(sorted(restored.states().items())) == expected
    assert dict(sorted(csp.states("in").items())) == expected
    for number in (1, 2, 3, 4):
        row = restored.store.read(lambda cx, number=number: records.get(cx, "out", "DEABC", f"C-{number:04}"))
        assert row is not None
        assert row.chain_id is not None


async def test_records_that_come_while_it_is_mended_wait_and_are_not_lost(cso: Company, csp: Company) -> None:
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 1)
    carry(cso, csp)
    restored = cso.restored(backup)

    incoming = IncomingCalls(csp.clock, csp.timers, {Service.LEDGER_FETCH: LedgerFetches(csp.store).answer})
    serve = served_by(incoming, csp.peer("abc"))
    recovering: list[bool] = []

    def in_between(call: Call) -> Answer | None:
        recovering.append(restored.store.read(lambda cx: is_recovering(cx, "rmd")))
        hand_in(restored, 10 + len(recovering))
        return serve(call)

    await mend(restored, csp, answers=in_between)
    assert recovering == [False, True]  # while it is traced, and while it is taken back
    assert restored.states() == {"C-0001": "DELIVERED", "C-0011": "QUEUED", "C-0012": "QUEUED"}
    carry(restored, csp)
    assert set(restored.states().values()) == {"DELIVERED"}
    assert sorted(csp.states("in")) == ["C-0001", "C-0011", "C-0012"]


@pytest.mark.parametrize("crash_after", range(1, 8))
async def test_a_crash_at_any_commit_of_the_mending_is_mended_by_the_next_try(
    cso: Company, csp: Company, crash_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback_module, "PAGE", 2)
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2, 3, 4, 5, 6)
    carry(cso, csp)
    restored = cso.restored(backup)
    hand_in(restored, 9)
    commits = 0

    class CrashError(Exception):
        pass

    def crash(moment: str) -> None:
        nonlocal commits
        commits += moment == "after-commit"
        if commits == crash_after and moment == "after-commit":
            raise CrashError

    restored.store._group._crash_point = crash
    try:
        await mend(restored, csp)
    except CrashError:
        restored = restored.restored(restored.store.snapshot_bytes())
        recovering = restored.store.read(lambda cx: is_recovering(cx, "rmd"))
        if recovering or is_rolled_back(restored, csp):
            await mend(restored, csp)
    restored.store._group._crash_point = lambda moment: None
    carry(restored, csp)
    assert set(restored.states().values()) == {"DELIVERED"}
    assert sorted(restored.states()) == sorted(csp.states("in"))
    assert len(restored.states()) == 7


async def test_a_refusal_that_nobody_had_received_is_said_again_in_the_new_epoch(cso: Company, csp: Company) -> None:
    csp.meets(cso, "abc", records_in=())
    hand_in(cso, 1)
    carry(cso, csp)
    carry(csp, cso)  # the peer has this refusal
    backup = csp.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    carry(csp, cso)  # and this one, which the backup will have forgotten
    restored = csp.restored(backup)
    hand_in(cso, 3)
    carry(cso, restored)  # refused on the old state, at a place that the peer knows otherwise
    shown = LedgerLine(restored, cso).shown()
    assert shown is not None
    calls = OutgoingCalls(restored.clock, restored.timers)
    incoming = IncomingCalls(cso.clock, cso.timers, {Service.LEDGER_FETCH: LedgerFetches(cso.store).answer})
    line = Line(restored.peer("abc"), answers=served_by(incoming, cso.peer("rmd")))
    line.take = calls.on_answer
    restored.peer("abc").exchange = line  # type: ignore[assignment]
    with trio.fail_after(5):
        await Rollback(restored.peer("abc"), restored.store, restored.clock, calls, restored.random).mend(shown)
    assert carry(restored, cso).closed == []
    assert cso.states() == dict.fromkeys(["C-0001", "C-0002", "C-0003"], "PARKED")
    assert not restored.store.read(lambda cx: meta.get(cx, "said:abc"))


@pytest.mark.parametrize("refusal_comes", ["before", "behind"])
@pytest.mark.parametrize("first", ["rmd", "xyz"])
async def test_a_record_that_one_peer_refused_and_another_took_stands_with_the_other(
    cso: Company, csp: Company, first: str, refusal_comes: str
) -> None:
    other = Company(3, "FRXYZ", "csp", clock=cso.clock)
    cso.meets(other, "xyz")
    other.meets(cso, "abc")
    csp.meets(cso, "abc", records_in=())
    backup = cso.store.snapshot_bytes()
    cso.hand_in(cdr(1), "rmd")
    carry(cso, csp)
    carry(csp, cso)
    answer_of(cso.records.retry, RetryRecord("C-0001", peer="xyz"))
    carry(cso, other)
    restored = cso.restored(backup)
    for peer in (csp, other) if first == "rmd" else (other, csp):
        if refusal_comes == "before":
            carry(peer, restored)
        await mend(restored, peer)
        carry(restored, peer)
        carry(peer, restored)
    assert restored.states() == {"C-0001": "DELIVERED"}
    row = restored.store.read(lambda cx: records.get(cx, "out", "DEABC", "C-0001"))
    assert row is not None
    assert row.peer == "xyz"


async def test_a_peer_that_was_restored_too_is_sent_the_end_of_the_closed_epoch_first(
    cso: Company, csp: Company
) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    old_csp, old_cso = csp.store.snapshot_bytes(), cso.store.snapshot_bytes()
    hand_in(cso, 2, 3)
    carry(cso, csp)
    restored = cso.restored(old_cso)
    await mend(restored, csp)
    hand_in(restored, 4)
    carry(restored, csp)
    csp_again = csp.restored(old_csp)
    line = carry(restored, csp_again)
    assert line.closed == []
    assert csp_again.states("in") == restored.states()
    assert [chain.tail_sequence for chain in csp_again.chains(own=False)] == [3, 2]


async def cut_off(restored: Company, csp: Company, commits: int) -> Company:
    """The process dies behind this commit of the mending; the next one."""

    class CrashError(Exception):
        pass

    left = commits

    def crash(moment: str) -> None:
        nonlocal left
        left -= moment == "after-commit"
        if not left:
            raise CrashError

    restored.store._group._crash_point = crash
    with pytest.RaisesGroup(CrashError, flatten_subgroups=True, allow_unwrapped=True):
        await mend(restored, csp)
    return restored.restored(restored.store.snapshot_bytes())


async def test_a_peer_that_forgot_what_was_to_be_fetched_does_not_stop_us(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    old_csp = csp.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 3, 4)
    carry(cso, csp)
    restored = await cut_off(cso.restored(backup), csp, 1)
    csp_again = csp.restored(old_csp)
    hand_in(restored, 5)
    await mend(restored, csp_again)  # it shows a head that lies before what it has receipted
    assert carry(restored, csp_again).closed == []
    assert restored.states() == dict.fromkeys(["C-0001", "C-0002", "C-0005"], "DELIVERED") == csp_again.states("in")


async def test_what_was_fetched_before_the_peer_forgot_it_is_given_back_to_it(
    cso: Company, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollback_module, "PAGE", 1)
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    old_csp = csp.store.snapshot_bytes()
    hand_in(cso, 3, 4)
    carry(cso, csp)
    restored = await cut_off(cso.restored(backup), csp, 3)
    assert [chain.tail_sequence for chain in restored.chains(own=True)] == [3]
    csp_again = csp.restored(old_csp)
    await mend(restored, csp_again)
    assert carry(restored, csp_again).closed == []
    assert restored.states() == dict.fromkeys(["C-0001", "C-0002", "C-0003"], "DELIVERED") == csp_again.states("in")


async def test_an_epoch_that_both_have_forgotten_is_not_written_anew(cso: Company, csp: Company) -> None:
    never = csp.store.snapshot_bytes()
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    again = cso.restored(backup)
    await mend(again, csp)
    hand_in(again, 3)
    carry(again, csp)
    restored = await cut_off(cso.restored(backup), csp, 4)
    forgotten = restored.chains(own=True)[-1]
    assert not forgotten.tail_sequence
    csp_again = csp.restored(never)
    hand_in(restored, 5)
    await rollback_of(restored, csp_again).give_up()
    assert carry(restored, csp_again).closed == []
    assert restored.states() == dict.fromkeys(["C-0001", "C-0002", "C-0005"], "DELIVERED") == csp_again.states("in")
    assert forgotten.epoch not in [chain.epoch for chain in restored.chains(own=True)]


async def test_a_first_epoch_that_both_have_forgotten_is_not_written_anew(cso: Company, csp: Company) -> None:
    never, nothing = csp.store.snapshot_bytes(), cso.store.snapshot_bytes()
    hand_in(cso, 1)
    carry(cso, csp)
    restored = await cut_off(cso.restored(nothing), csp, 1)
    (forgotten,) = restored.chains(own=True)
    await rollback_of(restored, csp.restored(never)).give_up()
    assert restored.chains(own=True) == []
    hand_in(restored, 5)
    assert restored.chains(own=True)[0].epoch != forgotten.epoch


async def test_entries_that_lead_to_another_head_end_the_link_and_are_not_believed(cso: Company, csp: Company) -> None:
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 1)
    carry(cso, csp)
    restored = cso.restored(backup)
    other = Company(1, "DEABC", "cso", clock=cso.clock)
    liar = Company(2, "FRRMD", "csp", clock=cso.clock)
    other.meets(liar, "rmd")
    liar.meets(other, "abc")
    other.random = cso.random
    hand_in(other, 9)
    carry(other, liar)
    (epoch,) = [chain.epoch for chain in csp.chains(own=False)]
    liar.store.write(lambda cx: cx.run("UPDATE chains SET epoch = ? WHERE own = 0", (epoch,)))
    incoming = IncomingCalls(liar.clock, liar.timers, {Service.LEDGER_FETCH: LedgerFetches(liar.store).answer})
    with pytest.raises(ProtocolError):
        await mend(restored, csp, answers=served_by(incoming, liar.peer("abc")))
    assert restored.chains(own=True) == []
    assert restored.states() == {}
    await mend(restored, csp)
    assert restored.states() == {"C-0001": "DELIVERED"}


@pytest.mark.parametrize(
    "answer",
    [
        lambda call: Answer(call.id, AnswerStatus.REFUSED),
        lambda call: Answer(call.id, AnswerStatus.ANSWERED, b""),
        lambda call: Answer(call.id, AnswerStatus.ANSWERED, b"\xc1"),
    ],
)
async def test_a_peer_that_gives_nothing_back_ends_the_link(cso: Company, csp: Company, answer: Any) -> None:
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 1)
    carry(cso, csp)
    restored = cso.restored(backup)
    with pytest.raises(ProtocolError):
        await mend(restored, csp, answers=answer)
    assert "is not mended" in restored.peer("rmd").alarms[0]
    hand_in(restored, 5)
    assert restored.states() == {"C-0005": "QUEUED"}


def test_a_claim_without_our_signature_is_no_rollback(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    shown = shown_by(csp, cso)
    lie = Mark(True, shown.epoch, 9, b"h" * 32, shown.time_ms, csp.identity.sign(b"anything"))
    assert is_ours(cso.signer, cso.peer("rmd"), shown)
    assert is_known(cso.store, cso.peer("rmd"), shown)
    assert not is_ours(cso.signer, cso.peer("rmd"), lie)
    assert not is_known(cso.store, cso.peer("rmd"), lie)


# --- statements -------------------------------------------------------------------------------------------------


def sign(company: Company, label: str, root: int) -> None:
    """What `roamd.roaming.statements` does."""
    made = Statement(FORMAT, "2026-09", [], 0, bytes([root] * 32).hex(), [])
    item = LedgerItem(EntryKind.STATEMENT, statement_id(made.month), company.random(16), made.pack())

    def txn(cx: Cx) -> None:
        chain = append_items_txn(cx, own_chain_txn(cx, label, company.random), [item], 0)
        regain_statement_txn(cx, label, (chain.chain_id, chain.tail_sequence), item, 0)

    company.store.write(txn)


def signed(company: Company, label: str, *, by_us: bool) -> StatementRow | None:
    return company.store.read(lambda cx: accounts.get_statement(cx, label, "2026-09", by_us=by_us))


async def test_a_statement_that_the_peer_has_signed_alike_is_said_again(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    sign(csp, "abc", 7)
    carry(csp, cso)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    restored = cso.restored(backup)
    sign(restored, "rmd", 7)  # on the old state, at a place that the peer knows otherwise
    await mend(restored, csp)
    carry(restored, csp)
    ours, theirs = signed(restored, "rmd", by_us=True), signed(csp, "abc", by_us=False)
    assert ours is not None
    assert theirs is not None
    assert ours.root == theirs.root
    assert ours.chain_id == restored.chains(own=True)[-1].chain_id
    assert ours.sequence == theirs.sequence == 2


@pytest.mark.parametrize("roots", [(1, 2), (1, 2, 1)])
async def test_the_statement_that_was_signed_last_is_the_last_that_is_said_again(
    cso: Company, csp: Company, roots: tuple[int, ...]
) -> None:
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 1)
    carry(cso, csp)
    restored = cso.restored(backup)
    for root in roots:
        sign(restored, "rmd", root)
    await mend(restored, csp)
    carry(restored, csp)
    ours, theirs = signed(restored, "rmd", by_us=True), signed(csp, "abc", by_us=False)
    assert ours is not None
    assert theirs is not None
    assert ours.root == theirs.root == bytes([roots[-1]] * 32)


# --- giving back ------------------------------------------------------------------------------------------------


def fetch(csp: Company, epoch: bytes, after: int, limit: int = 64) -> Answer:
    line = Line(csp.peer("abc"))
    incoming = IncomingCalls(csp.clock, csp.timers, {Service.LEDGER_FETCH: LedgerFetches(csp.store).answer})
    call = Call(csp.random(16), Service.LEDGER_FETCH, 1000, LedgerFetch(epoch, after, limit).pack())
    incoming.on_call(line, call)  # type: ignore[arg-type]
    return line.answered[0]


def test_the_author_is_given_its_own_entries_in_pages_that_fit(cso: Company, csp: Company) -> None:
    for number in range(8):
        cso.hand_in(cdr(number, noise=cso.random(9_000).hex()))
    cso.hand_in(cdr(50, noise=cso.random(100_000).hex()))
    hand_in(cso, 60)
    carry(cso, csp)
    (chain,) = cso.chains(own=True)
    after, previous, items = 0, bytes(32), []
    while (answer := fetch(csp, chain.epoch, after)).body:
        assert len(answer.body) <= MAX_FETCH_PAYLOAD
        batch = unpack_ledger_batch(answer.body)
        assert (batch.first_sequence, batch.previous_hash) == (after + 1, previous)
        after, previous = batch.last_sequence, batch.chain()[-1][1]
        items += batch.items
    assert (after, previous) == (10, chain.tail_hash)
    assert [item.erased for item in items] == [False] * 8 + [True] + [False]
    assert {item.kind for item in items} == {EntryKind.CDR}


def test_what_is_given_back_bears_the_smallest_head_that_covers_it(cso: Company, csp: Company) -> None:
    for number in range(4):
        hand_in(cso, number)
        carry(cso, csp)
    (chain,) = cso.chains(own=True)
    heads = csp.store.read(lambda cx: ledgers.marks(cx, csp.chains(own=False)[0].chain_id, "head"))
    for after in range(4):
        batch = unpack_ledger_batch(fetch(csp, chain.epoch, after, 1).body)
        assert (batch.last_sequence, batch.signature) == (after + 1, heads[after].signature)


def test_nobody_is_given_anothers_entries_or_what_is_not_there(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    (chain,) = cso.chains(own=True)
    stranger = Company(3, "NLTNM", "cso", clock=cso.clock)
    csp.meets(stranger, "tnm")
    line = Line(csp.peer("tnm"))
    incoming = IncomingCalls(csp.clock, csp.timers, {Service.LEDGER_FETCH: LedgerFetches(csp.store).answer})
    call = Call(csp.random(16), Service.LEDGER_FETCH, 1000, LedgerFetch(chain.epoch, 0).pack())
    incoming.on_call(line, call)  # type: ignore[arg-type]
    assert line.answered[0].body == b""
    assert fetch(csp, b"?" * 16, 0).body == b""
    assert fetch(csp, chain.epoch, 1).body == b""
    assert fetch(csp, chain.epoch, 1 << 50).body == b""
