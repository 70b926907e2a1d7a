"""An entry of ours that comes back after a rollback, when it is known already that its content was erased."""

from roamd.protocol.ledger import SALT_SIZE, EntryKind, LedgerItem
from roamd.roaming.ledger.chain import append_items_txn, own_chain_txn
from roamd.roaming.ledger.forgotten import regain_txn
from roamd.storage import erasure, ledgers, records
from roamd.storage.erasure import Erased
from roamd.storage.ledgers import EntryRow
from roamd.storage.store import Cx
from tests.model import bodies
from tests.privacy.drivers import Driver
from tests.support.roaming import Company


def regained(*, erased_first: bool) -> tuple[EntryRow | None, list[str]]:
    """The entry of a record that came back, and the records that are known then."""
    cso, csp = Company(1, "DEABC", "cso"), Company(2, "FRXYZ", "csp")
    peer = cso.meets(csp, "xyz")
    item = LedgerItem(EntryKind.CDR, "CDR-00001", bytes(SALT_SIZE), bodies.text(Driver(1001).cdr(1)), ocpi="2.3.0")

    def txn(cx: Cx) -> EntryRow | None:
        chain = append_items_txn(cx, own_chain_txn(cx, "xyz", cso.random), [item], 1)
        if erased_first:
            place = Erased("xyz", True, chain.epoch, 1, item.record_id, "", 2, ask=True)
            erasure.put_txn(cx, place)
        row = ledgers.get_entry(cx, chain.chain_id, 1)
        assert row is not None
        regain_txn(cx, peer, chain.chain_id, item, row)
        return ledgers.get_entry(cx, chain.chain_id, 1)

    row = cso.store.write(txn)
    return row, [each.record_id for each in cso.store.read(lambda cx: records.page(cx, 0, 10))]


def test_what_was_erased_before_it_came_back_stays_erased() -> None:
    """As where an erasure stands in a newer epoch than the record, and that epoch came back first."""
    row, known = regained(erased_first=True)
    assert row is not None
    assert (row.body, row.salt) == (None, None)
    assert known == []


def test_what_was_not_comes_back_whole() -> None:
    row, known = regained(erased_first=False)
    assert row is not None
    assert row.body is not None
    assert known == ["CDR-00001"]
