"""A store is held to the endpoint whose it is."""

from dataclasses import replace
from pathlib import Path

import pytest

from roamd.daemon.run import hold_to_owner_txn
from roamd.errors import ConfigError
from roamd.storage import meta
from roamd.storage.store import Store
from roamd.trust.identity import Identity
from roamd.trust.succession import appoint, succession_of_own
from tests.support.trust import identity

FIRST, NEXT = identity(), identity(40)
PACKED = appoint(FIRST, NEXT, 1, 1_000_000).packed()
ANNOUNCED = replace(FIRST, succession=PACKED)
SWITCHED = replace(NEXT, endpoint_id=FIRST.endpoint_id, succession=PACKED)
DATABASE = Path("state/roamd.db")


def begin(store: Store, own: Identity) -> None:
    store.write(lambda cx: hold_to_owner_txn(cx, succession_of_own(own), DATABASE))


def test_a_store_goes_with_its_endpoint_through_the_replacement_of_a_key() -> None:
    store = Store.open_memory()
    for own in (FIRST, FIRST, ANNOUNCED, SWITCHED, SWITCHED):
        begin(store, own)


@pytest.mark.parametrize("other", [NEXT, identity(3)], ids=["a succession left out", "another company's key"])
def test_on_other_keys_the_daemon_does_not_start_and_says_what_may_be_missing(other: Identity) -> None:
    store = Store.open_memory()
    begin(store, SWITCHED)
    with pytest.raises(ConfigError) as refused:
        begin(store, other)
    for told in (str(DATABASE), FIRST.endpoint_id, other.endpoint_id, "succession"):
        assert told in str(refused.value)
    begin(store, SWITCHED)


@pytest.mark.parametrize("older", [FIRST, ANNOUNCED])
def test_nor_does_it_go_back_to_a_key_that_was_replaced(older: Identity) -> None:
    store = Store.open_memory()
    begin(store, SWITCHED)
    with pytest.raises(ConfigError, match="key 1 of this endpoint has been in use here, and the identity is its key 0"):
        begin(store, older)


def test_a_start_that_is_refused_leaves_the_store_as_it_was() -> None:
    store = Store.open_memory()
    begin(store, FIRST)
    before = store.read(lambda cx: cx.run("SELECT name, value FROM meta ORDER BY name"))
    with pytest.raises(ConfigError):
        begin(store, identity(3))
    assert store.read(lambda cx: cx.run("SELECT name, value FROM meta ORDER BY name")) == before
    assert store.read(lambda cx: meta.get(cx, "own-endpoint")) == FIRST.endpoint_id
