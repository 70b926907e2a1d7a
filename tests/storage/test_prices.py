"""What is still to be held against its tariff is found at the same price, however much has come before it."""

import apsw

from roamd.storage import connect, migrate, prices, records
from roamd.storage.cx import Cx
from tests.storage.doors import record


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
    return prices.unchecked(cx, received - 5, 32), steps


def test_records_that_were_checked_or_are_our_own_cost_nothing_to_pass_over() -> None:
    few, many = steps_of_a_look(10), steps_of_a_look(1000)
    assert few[0] == [6, 7, 8, 9, 10]
    assert many[0] == [996, 997, 998, 999, 1000]
    assert few[1] == many[1]


def test_a_store_without_records_has_none_to_check() -> None:
    connection = apsw.Connection(":memory:")
    migrate.migrate(connection, migrate.load(), 1, lambda number: None)
    assert prices.unchecked(Cx(connection), 0, 32) == []
