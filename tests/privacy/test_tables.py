"""No table is forgotten when a driver is."""

from roamd.storage import erasure
from roamd.storage.store import Store


def test_every_table_is_searched_or_names_no_driver() -> None:
    """A new table goes into `erasure.SOURCES` or, with what it holds instead, into `erasure.NOT_PERSONAL`."""
    with Store.open_memory() as store:
        rows = store.read(lambda cx: cx.run("SELECT name FROM sqlite_master WHERE type = 'table'"))
    tables = {name for (name,) in rows if not name.startswith("sqlite_")}
    searched = {source.table for source in erasure.SOURCES}
    assert tables == searched | set(erasure.NOT_PERSONAL)
    assert not searched & set(erasure.NOT_PERSONAL)


def test_every_source_can_be_walked() -> None:
    with Store.open_memory() as store:
        for source in erasure.SOURCES:
            assert store.read(lambda cx, source=source: erasure.page(cx, source, 0)) == []  # type: ignore[misc]
