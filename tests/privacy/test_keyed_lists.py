"""A peer that is sent hashes in place of numbers still knows the card that is held against its reader."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from roamd.model.keyedlist import uid_hash
from roamd.model.objects import check_object
from roamd.roaming.operations import (
    Authorize,
    CredentialIn,
    DeleteObject,
    EraseSubject,
    ExportSubject,
    PlaceIn,
    PutObject,
)
from roamd.storage import feeds, listkeys
from tests.model import bodies
from tests.privacy.drivers import CSP, Driver, ask, publish
from tests.support.assemblies import RunningDaemon, Site
from tests.support.endpoints import Endpoint, Neighbourhood, until

ANNA, BERT = Driver(1001), Driver(2002)
UID = ANNA.uid
FEED = "user-credentials"


# --- whole cores ------------------------------------------------------------------------------------------------


class Pair:
    """A linked CSO and CSP; the CSP's list is keyed."""

    def __init__(self, cso: Endpoint, csp: Endpoint) -> None:
        self.cso, self.csp = cso, csp

    async def publish(self, **changes: Any) -> None:
        names = {"country_code": self.csp.party[:2], "party_id": self.csp.party[2:], "uid": UID}
        value = bodies.token(**(names | {"contract_id": "own-7", "whitelist": "ALLOWED_OFFLINE"} | changes))
        checked = check_object(FEED, "2.3.0", bodies.text(value), own_parties=frozenset({self.csp.party}))
        await self.csp.ask(PutObject(FEED, checked))

    async def key(self, *, keyed: bool) -> None:
        await self.csp.core.book.key_list(self.csp.peer(self.cso), keyed=keyed)

    def held(self) -> list[dict[str, Any]]:
        label = self.cso.peer(self.csp).label
        rows = self.cso.store.read(lambda cx: feeds.list_mirrored(cx, label, FEED, None, 100))
        return [json.loads(row.body) for row in rows]

    async def until_keyed(self, *, keyed: bool, count: int = 1) -> None:
        await until(lambda: [("keyed" in each) for each in self.held()] == [keyed] * count)

    async def tap(self, uid: str = UID) -> Any:
        return await self.cso.ask(Authorize(CredentialIn("RFID", uid), PlaceIn("LOC1", "E1")))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with Neighbourhood() as hood:
        yield Pair(*await hood.linked())


async def test_with_the_link_cut_a_card_of_a_keyed_list_starts_also_after_a_crash(
    pair: Pair, autojump_clock: object
) -> None:
    await pair.key(keyed=True)
    await pair.publish()
    await pair.until_keyed(keyed=True)
    await pair.csp.stop()
    await until(lambda: pair.cso.peer(pair.csp).exchange is None)
    reply = await pair.tap(ANNA.written(1))
    assert (reply.decision, reply.source, reply.home_csp) == ("ALLOWED", "WHITELIST", pair.cso.peer(pair.csp).label)
    assert (await pair.tap(BERT.uid)).decision != "ALLOWED"
    pair.cso.crash()
    await pair.cso.restart()
    assert (await pair.tap()).source == "WHITELIST"


async def test_the_issuer_of_a_keyed_card_is_asked_under_the_cards_own_number(
    pair: Pair, autojump_clock: object
) -> None:
    await pair.key(keyed=True)
    await pair.publish()
    await pair.until_keyed(keyed=True)
    assert (await pair.tap()).source == "BACKEND"
    assert [question.credential["uid"] for question in pair.csp.backend.asked] == [UID]


async def test_the_switch_takes_effect_over_a_link_that_is_up_and_after_one_that_was_down(
    pair: Pair, autojump_clock: object
) -> None:
    await pair.publish()
    await pair.until_keyed(keyed=False)
    before = pair.csp.peer(pair.cso).row.rights_version
    began = trio.current_time()
    await pair.key(keyed=True)
    await pair.key(keyed=True)
    assert pair.csp.peer(pair.cso).row.rights_version == before + 1
    await pair.until_keyed(keyed=True)
    assert trio.current_time() - began < 5, "no heartbeat had to wake the link"
    pair.cso.crash()
    await pair.key(keyed=False)
    await pair.cso.restart()
    await pair.until_keyed(keyed=False)
    await pair.csp.ask(DeleteObject(FEED, UID))
    await pair.until_keyed(keyed=False, count=0)


async def test_nothing_is_hashed_for_a_peer_that_was_removed(pair: Pair, autojump_clock: object) -> None:
    await pair.key(keyed=True)
    await pair.publish()
    await pair.until_keyed(keyed=True)
    assert len(pair.cso.core.directory.list_keys) == 1
    await pair.cso.core.book.remove(pair.cso.peer(pair.csp), park=True)
    assert pair.cso.core.directory.list_keys == {}
    assert pair.cso.store.read(listkeys.load) == {}


# --- what is held of a driver -------------------------------------------------------------------------------------


def rows(daemon: RunningDaemon, sql: str) -> list[tuple[Any, ...]]:
    return daemon.assembly.ground.store.read(lambda cx: cx.run(sql))


async def test_a_driver_is_found_and_forgotten_in_a_keyed_list_too(tmp_path: Path) -> None:
    async with Site(tmp_path) as site:
        cso, csp = await site.daemon("DE*ABC", "cso"), await site.daemon("FR*XYZ", "csp")
        await site.pair(cso, csp)
        shown = await csp.operate("peers.keyed", peer=csp.peer(cso).label, keyed=True)
        assert shown["agreement"]["keyed_list"] is True
        for driver in (ANNA, BERT):
            await publish(csp, FEED, CSP, driver.token())
        await until(lambda: len(rows(cso, "SELECT 1 FROM mirror WHERE feed = 'user-credentials'")) == 2, 20)
        hashed = {row[0] for row in rows(cso, "SELECT id FROM mirror WHERE feed = 'user-credentials'")}

        for named in ({"uid": ANNA.written(2)}, {"contract_id": ANNA.contract(3)}):
            told = await ask(cso, ExportSubject(**named))
            (received,) = told["received"]
            assert received["content"]["uid"] in hashed
            assert len(told["events"]) == 1

        erased = await ask(cso, EraseSubject(uid=ANNA.uid))
        assert erased.erased["mirror"] == 1
        (left,) = rows(cso, "SELECT id FROM mirror WHERE feed = 'user-credentials'")
        assert left[0] == uid_hash(key_of_list(cso), "RFID", BERT.uid)

        await ask(csp, EraseSubject(uid=BERT.uid))
        await until(lambda: not rows(cso, "SELECT 1 FROM mirror WHERE feed = 'user-credentials'"), 20)


def key_of_list(daemon: RunningDaemon) -> bytes:
    ((key,),) = rows(daemon, "SELECT key FROM list_keys")
    return bytes(key)
