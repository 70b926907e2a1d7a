"""What is still to be held against its tariff is found at the same price, however much has come before it."""

import apsw

from roamd.storage import connect, ledgers, migrate, prices, records
from roamd.storage.cx import Cx
from roamd.storage.ledgers import GENESIS
from tests.storage.doors import entry, record


def steps_of_a_look(received: int) -> tuple[list[int], int]:
    """What a look for the newest five finds among so many, and the steps that SQLite takes for it."""
    connection = connect.open_memory(None)
    migrate.migrate(connection, migrate.load(), 1, lambda number: None)
    cx, steps = Cx(connection), 0
    records.put_many_txn(cx, [record(f"R-{number}", direction="in") for number in range(received)])
    records.put_many_txn(cx, [record(f"R-{number}") for number in range(received)])

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    connection.set_progress_handler(count, 1)
    return [row.id for row, _ in prices.unchecked(cx, received - 5, 32)], steps


def test_records_that_were_checked_or_are_our_own_cost_nothing_to_pass_over() -> None:
    few, many = steps_of_a_look(10), steps_of_a_look(1000)
    assert few[0] == [6, 7, 8, 9, 10]
    assert many[0] == [996, 997, 998, 999, 1000]
    assert few[1] == many[1]


def test_a_store_without_records_has_none_to_check() -> None:
    connection = apsw.Connection(":memory:")
    migrate.migrate(connection, migrate.load(), 1, lambda number: None)
    assert prices.unchecked(Cx(connection), 0, 32) == []


def test_a_record_comes_with_its_text_wherever_that_stands() -> None:
    connection = connect.open_memory(None)
    migrate.migrate(connection, migrate.load(), 1, lambda number: None)
    cx = Cx(connection)
    chain = ledgers.open_chain_txn(cx, "alpha", own=False, epoch=b"e" * 16)
    ledgers.append_many_txn(cx, chain.chain_id, GENESIS, [entry(1, b'{"a":1}'), entry(2, None)])
    placed = [record(f"R-{n}", direction="in", body=None, chain_id=chain.chain_id, sequence=n) for n in (1, 2)]
    own = record("R-3", direction="in", body=b'{"b":2}', chain_id=None, sequence=None)
    records.put_many_txn(cx, [*placed, own])
    found = prices.unchecked(cx, 0, 32)
    assert [(row.record_id, text) for row, text in found] == [("R-1", b'{"a":1}'), ("R-2", None), ("R-3", b'{"b":2}')]
    assert found[1][0] == records.get_by_id(cx, found[1][0].id)


def test_no_check_is_kept_of_a_record_that_was_erased_while_it_was_made() -> None:
    connection = connect.open_memory(None)
    migrate.migrate(connection, migrate.load(), 1, lambda number: None)
    cx = Cx(connection)
    kept, erased = record("R-1", direction="in"), record("R-2", direction="in")._replace(body_hash=b"")
    records.put_many_txn(cx, [kept, erased])
    prices.put_many_txn(cx, [prices.PriceRow(number, "AGREES", "1.00", b"{}", 1) for number in (1, 2, 3)])
    prices.put_many_txn(cx, [prices.PriceRow(1, "DIFFERS", "2.00", b"{}", 2)])
    assert prices.get(cx, 1) == prices.PriceRow(1, "DIFFERS", "2.00", b"{}", 2)
    assert prices.get(cx, 2) is None
