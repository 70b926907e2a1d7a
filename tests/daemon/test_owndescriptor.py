"""The sequence of what a daemon says of itself: partners keep the highest, also after our store was restored."""

from dataclasses import replace
from pathlib import Path

import trio

from roamd.config.load import load
from roamd.daemon.owndescriptor import descriptor_sequence_txn
from roamd.storage import backup
from roamd.storage.store import Store
from roamd.trust.identity import Identity
from roamd.trust.succession import appoint
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import until
from tests.support.trust import identity

NOW_S = 1_780_000_000
KEY = b"\x04" + bytes(64)


def said(store: Store, room: Path, name: str, at_s: int, *, restored: bool = False, own: Identity | None = None) -> int:
    """The sequence with which a daemon of this name starts."""
    (room / "roamd.toml").write_text(f'[endpoint]\nparties = ["DE*ABC"]\nroles = ["cso"]\nname = "{name}"\n')
    config = load(room / "roamd.toml", {})
    return store.write(
        lambda cx: descriptor_sequence_txn(cx, config, KEY, own or identity(), at_s * 1000, restored=restored)
    )


def test_the_same_words_keep_their_sequence_and_other_ones_get_a_higher_one(tmp_path: Path) -> None:
    store = Store.open_memory()
    first = said(store, tmp_path, "one", NOW_S)
    assert said(store, tmp_path, "one", NOW_S + 9) == first
    second = said(store, tmp_path, "two", NOW_S + 9)
    assert second > first
    assert said(store, tmp_path, "one", NOW_S + 9) > second, "also within the same second"
    assert said(store, tmp_path, "two", 0) > second, "also when the clock was put back"


def test_another_key_is_news_and_so_is_its_announcement(tmp_path: Path) -> None:
    store = Store.open_memory()
    succession = appoint(identity(), identity(5), 1, 2).packed()
    keys = [identity(), replace(identity(), succession=succession), replace(identity(5), succession=succession)]
    sequences = [said(store, tmp_path, "one", NOW_S, own=own) for own in keys]
    assert sequences == sorted(set(sequences))


def test_a_restored_store_says_more_than_the_one_that_was_lost(tmp_path: Path) -> None:
    """The live store changed its words after the backup; its sequences are not in the backup."""
    live, copy = Store.open_memory(), Store.open_memory()
    for store in (live, copy):
        said(store, tmp_path, "one", NOW_S)
    lost = [said(live, tmp_path, f"later-{number}", NOW_S + 60 * number) for number in range(5)]
    assert said(copy, tmp_path, "one", NOW_S + 600, restored=True) > max(lost), "the backup's words are news again"


async def test_partners_follow_a_daemon_that_was_restored_on_another_machine(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
        await site.pair(cso, csp)
        await cso.stop()
        database = load(cso.directory / "roamd.toml", {}).database
        await trio.to_thread.run_sync(backup.backup, database, tmp_path / "copy.db")
        for name in ("renamed", "renamed again"):
            await renamed(site, cso, csp, name)
        await trio.to_thread.run_sync(backup.restore, tmp_path / "copy.db", database, cso.clock.now_ms())
        cso.clock.ahead_ms += 60_000
        await renamed(site, cso, csp, "moved")


async def renamed(site: Site, daemon: RunningDaemon, partner: RunningDaemon, name: str) -> None:
    """Start it under another name, until the partner knows it, and stop it."""
    head = daemon._head.partition("name = ")[0]
    daemon._head = f'{head}name = "{name}"\n[discovery]\nmdns = false\n'
    daemon.write_config()
    await site.start(daemon)
    await until(lambda: partner.peer(daemon).row.name == name, 20)
    await daemon.stop()
