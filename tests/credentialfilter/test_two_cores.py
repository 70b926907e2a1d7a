"""Whose card is it, between whole cores: who is shown a card, and who is not."""

import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest
import trio

from roamd.model.keys import ObjectKey
from roamd.model.objects import check_object
from roamd.roaming.credentialfilter import own
from roamd.roaming.credentialfilter.own import FEED
from roamd.roaming.operations import Authorize, CredentialIn, DeleteObject, PutObject
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer
from roamd.storage import feeds
from roamd.storage.store import Cx
from tests.model import bodies
from tests.support.endpoints import Endpoint, Neighbourhood, until

UIDS = {"FRXYZ": "04E2A1B2C3D480", "NLQRS": "04E2A1B2C3D481", "ATDEF": "04E2A1B2C3D482"}
STRANGER = "04FFFFFFFFFF80"


async def publish(csp: Endpoint, uid: str, **changes: Any) -> None:
    names = {"country_code": csp.party[:2], "party_id": csp.party[2:], "uid": uid, "contract_id": f"X-{uid}"}
    value = bodies.token(**(names | changes))
    checked = check_object("user-credentials", "2.3.0", bodies.text(value), own_parties=frozenset({csp.party}))
    await csp.ask(PutObject("user-credentials", checked))


async def withdraw(csp: Endpoint, uid: str) -> None:
    await csp.ask(DeleteObject("user-credentials", uid))


async def tap(cso: Endpoint, uid: str) -> Any:
    """A card is held against the reader; the reply."""
    return await cso.ask(Authorize(CredentialIn("RFID", uid)))


def shown_to(*csps: Endpoint) -> dict[str, int]:
    """How many questions each was asked, and forgotten."""
    counted = {csp.party: len(csp.backend.asked) for csp in csps}
    for csp in csps:
        csp.backend.asked.clear()
    return counted


class Street:
    """A CSO and three CSPs that publish a filter, and no whitelist to the CSO; each has one card."""

    def __init__(self, hood: Neighbourhood) -> None:
        self.hood = hood
        self.csps: list[Endpoint] = []

    async def build(self, csps: int = 3, *, without: str = "", **settings: Any) -> list[Endpoint]:
        """So many CSPs, of which one may have no filter."""
        self.cso = await self.hood.endpoint("DE*ABC", "cso", **settings)
        for party in [*UIDS][:csps]:
            csp = await self.hood.endpoint(f"{party[:2]}*{party[2:]}", "csp", card_filter=party != without)
            csp.backend.decide = partial(knows_only, UIDS[party])
            await publish(csp, UIDS[party])
            await self.hood.pair(csp, self.cso)
            forget_whitelist(csp, self.cso)
            await self.hood.until_linked(csp, self.cso)
            self.csps.append(csp)
        for csp in self.csps:
            if csp.party != without:
                await self.until_known(csp, UIDS[csp.party])
                if not settings.get("ask_everyone"):
                    await until(lambda csp=csp: self.is_whole(csp))  # type: ignore[misc]  # mypy and defaults
        return self.csps

    def is_whole(self, csp: Endpoint) -> bool:
        """Whether the CSP's filter denies cards by now: of three strangers one in 256 may be taken for known, each."""
        return any(self.denies(csp, f"04FFFFFFFFFF8{number}") for number in range(3))

    async def until_known(self, csp: Endpoint, uid: str) -> None:
        await until(lambda: self.knows(csp, uid))

    def knows(self, csp: Endpoint, uid: str) -> bool:
        """Whether the CSO would ask this CSP first."""
        peers = [self.cso.peer(csp)]
        return list(self.cso.core.their_filters("RFID", uid, peers)[0]) == peers

    def may_know(self, csp: Endpoint, uid: str) -> bool:
        """Whether the CSO would ask this CSP, first or later."""
        return any(self.cso.core.their_filters("RFID", uid, [self.cso.peer(csp)]))

    def denies(self, csp: Endpoint, uid: str) -> bool:
        """Whether the CSO would not ask this CSP."""
        return not self.may_know(csp, uid)


def knows_only(uid: str, question: AuthorizeQuestion) -> BackendAnswer:
    """A CSP's backend with one card."""
    return BackendAnswer("ALLOWED" if question.credential["uid"] == uid else "UNKNOWN")


def forget_whitelist(csp: Endpoint, cso: Endpoint) -> None:
    """The agreement does not let the CSO follow user-credentials."""
    peer = csp.peer(cso)
    kept = tuple(feed for feed in peer.agreement.feeds_out if feed != "user-credentials")
    peer.agreement = msgspec.structs.replace(peer.agreement, feeds_out=kept)


@pytest.fixture(autouse=True)
def short_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day's heartbeats would take the test some seconds."""
    monkeypatch.setattr(own, "DAY_S", 600.0)


@pytest.fixture
async def street_with_keys() -> AsyncIterator[Street]:
    """With the keys that CSPs draw."""
    async with Neighbourhood() as hood:
        yield Street(hood)


@pytest.fixture
def street(street_with_keys: Street, monkeypatch: pytest.MonkeyPatch) -> Street:
    """With keys that are the same in every run: under one of 256 others a stranger's card would be taken for known."""
    monkeypatch.setattr(own.OwnFilter, "key_for", lambda _self, peer: peer.label.encode().ljust(16, b"."))
    return street_with_keys


async def test_only_the_csp_whose_card_it_is_sees_it(street: Street, autojump_clock: object) -> None:
    await street.build()
    for csp in street.csps:
        reply = await tap(street.cso, UIDS[csp.party])
        assert (reply.decision, reply.source) == ("ALLOWED", "BACKEND")
        assert reply.asked == [csp.name.lower()]
        assert shown_to(*street.csps) == {each.party: int(each is csp) for each in street.csps}


async def test_a_strangers_card_is_shown_to_nobody(street: Street, autojump_clock: object) -> None:
    await street.build()
    reply = await tap(street.cso, STRANGER)
    assert (reply.decision, reply.asked) == ("UNKNOWN", [])
    assert set(shown_to(*street.csps).values()) == {0}


async def test_a_new_card_is_found_and_a_withdrawn_one_forgotten_the_day_after(
    street: Street, autojump_clock: object
) -> None:
    [csp] = await street.build(1)
    new = "04E2A1B2C3D499"
    assert street.denies(csp, new)
    await publish(csp, new)
    await street.until_known(csp, new)
    reply = await tap(street.cso, new)
    assert reply.asked == [csp.name]
    await withdraw(csp, new)
    await withdraw(csp, UIDS[csp.party])
    await publish(csp, "04E2A1B2C3D4AA")
    assert street.knows(csp, UIDS[csp.party]), "it is in the segment until that is made anew"
    await trio.sleep(own.DAY_S + 60)
    assert street.denies(csp, new)
    assert street.denies(csp, UIDS[csp.party])
    assert street.knows(csp, "04E2A1B2C3D4AA")


async def test_who_has_no_filter_is_asked_after_those_whose_filter_matches(
    street: Street, autojump_clock: object
) -> None:
    with_filter, without = await street.build(2, without="NLQRS")
    reply = await tap(street.cso, UIDS[with_filter.party])
    assert (reply.decision, reply.asked) == ("ALLOWED", [with_filter.name])
    for uid, decision in ((UIDS[without.party], "ALLOWED"), (STRANGER, "UNKNOWN")):
        reply = await tap(street.cso, uid)
        assert (reply.decision, reply.asked) == (decision, [without.name])


async def test_the_operator_may_have_everyone_asked_in_the_end(street: Street, autojump_clock: object) -> None:
    csps = await street.build(2, ask_everyone=True)
    reply = await tap(street.cso, STRANGER)
    assert (reply.decision, sorted(reply.asked)) == ("UNKNOWN", sorted(csp.name for csp in csps))


async def test_more_new_cards_than_fit_are_asked_about_all_the_same(
    street: Street, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own, "MAX_NEW", 3)
    [csp] = await street.build(1)
    new = [f"0400000000{number:02}80" for number in range(12)]
    for uid in new:
        await publish(csp, uid)
        await until(partial(street.may_know, csp, uid))
    await until(lambda: not street.denies(csp, STRANGER))  # "ask me about any card"
    assert not any(street.denies(csp, uid) for uid in new)
    await until(lambda: street.denies(csp, STRANGER))  # they are in their segment now
    assert all(street.knows(csp, uid) for uid in new)


async def test_a_filter_is_there_again_after_a_restart_and_gone_with_its_peer(
    street: Street, autojump_clock: object
) -> None:
    [csp] = await street.build(1)
    street.cso.crash()
    csp.crash()
    await street.cso.restart()
    assert street.knows(csp, UIDS[csp.party])
    assert street.denies(csp, STRANGER)
    held = street.cso.core.their_filters.size
    await street.cso.core.book.suspend(street.cso.peer(csp))
    assert 0 == street.cso.core.their_filters.size < held
    await street.cso.core.book.resume(street.cso.peer(csp))
    assert street.cso.core.their_filters.size == held
    assert street.knows(csp, UIDS[csp.party])


async def test_each_peer_has_a_key_of_its_own_that_outlives_the_process(
    street_with_keys: Street, autojump_clock: object
) -> None:
    street = street_with_keys
    csp, other = await street.build(2)
    key = csp.core.own_filter.key_for(csp.peer(street.cso))
    await street.hood.pair(csp, other)
    assert csp.core.own_filter.key_for(csp.peer(other)) != key
    await csp.stop()
    await csp.restart()
    assert csp.core.own_filter.key_for(csp.peer(street.cso)) == key


async def test_a_filter_that_is_switched_off_is_taken_back_and_filled_again_when_it_is_on(
    street: Street, autojump_clock: object
) -> None:
    [csp] = await street.build(1)
    for on in (False, True):
        await csp.stop()
        csp.settings["card_filter"] = on
        await csp.restart()
        if on:
            await publish(csp, "04E2A1B2C3D4BB")
        else:
            await publish(csp, "04E2A1B2C3D4AA")
        await until(lambda on=on: street.denies(csp, STRANGER) is on)  # type: ignore[misc]  # mypy and defaults
    for uid in (UIDS[csp.party], "04E2A1B2C3D4AA", "04E2A1B2C3D4BB"):
        await street.until_known(csp, uid)


async def test_who_has_published_no_card_yet_is_asked(street: Street, autojump_clock: object) -> None:
    [csp] = await street.build(1)
    await withdraw(csp, UIDS[csp.party])
    await trio.sleep(own.DAY_S + 60)
    assert not street.denies(csp, STRANGER), "a filter without a card is none"
    await publish(csp, UIDS[csp.party])
    await street.until_known(csp, UIDS[csp.party])
    await until(lambda: street.denies(csp, STRANGER))


async def test_the_backend_hears_nothing_of_filters(street: Street, autojump_clock: object) -> None:
    await street.build(1)
    rows = street.cso.store.read(lambda cx: cx.run("SELECT type, subject FROM events"))
    assert not [row for row in rows if FEED in str(row)]


async def test_no_driver_is_lost_while_segments_split_and_join_and_links_are_cut(
    street: Street, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the CSO knows at any moment: of the cards that have reached it once, none is denied until withdrawn."""
    monkeypatch.setattr(own, "SEGMENT_CARDS", 4)
    monkeypatch.setattr(own, "MAX_NEW", 3)
    [csp] = await street.build(1)
    rng = random.Random(11)  # noqa: S311 - a seeded one is the point
    there = [UIDS[csp.party]]
    depths = set()
    for step in range(60):
        if len(there) > 1 and rng.random() < (0.2 if step < 35 else 0.8):
            await withdraw(csp, there.pop(rng.randrange(len(there))))
        else:
            there.append(rng.randbytes(7).hex().upper())
            await publish(csp, there[-1])
            await until(partial(street.may_know, csp, there[-1]))
        if step % 20 == 19:
            await csp.stop()
            await csp.restart()
        for _ in range(rng.randrange(40)):
            await trio.sleep(0.5)
            assert [uid for uid in there if street.denies(csp, uid)] == []
        keys = csp.store.read(lambda cx: feeds.list_published(cx, FEED, None, 500))
        depths.add(max((int(row.key.id.split("-")[0]) for row in keys if "-" in row.key.id), default=0))
    assert max(depths) >= 2
    await trio.sleep(own.DAY_S + 60)
    assert all(street.knows(csp, uid) for uid in there)
    published = csp.store.read(lambda cx: feeds.list_published(cx, FEED, None, 500))
    depth = max(int(row.key.id.split("-")[0]) for row in published if "-" in row.key.id)
    assert {row.key.id for row in published} == {"NEW", *(f"{depth}-{index}" for index in range(1 << depth))}
    strangers = [rng.randbytes(7).hex().upper() for _ in range(100)]
    assert sum(street.may_know(csp, uid) for uid in strangers) < 5


async def test_while_segments_are_made_anew_every_card_may_be_ours(
    street: Street, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that has the new NEW and the old segment, or the other way round, would lose those in between."""
    [csp] = await street.build(1)
    seen = []
    settle_txn = own.OwnFilter._settle_txn

    def noted(self: own.OwnFilter, cx: Cx, *, depth: int, index: int) -> None:
        new = feeds.get_published(cx, FEED, ObjectKey(csp.party, "NEW"))
        seen.append(new.body if new else None)
        settle_txn(self, cx, depth=depth, index=index)

    monkeypatch.setattr(own.OwnFilter, "_settle_txn", noted)
    await publish(csp, "04E2A1B2C3D4AA")
    await trio.sleep(own.DAY_S + 60)
    assert seen == [b'{"matches_all":true}']


async def test_a_credential_with_another_contract_is_no_longer_found_by_the_old_one(
    street: Street, autojump_clock: object
) -> None:
    [csp] = await street.build(1)
    for contract in ("NL-TNM-C00000042", "NL-TNM-C00000043"):
        await publish(csp, UIDS[csp.party], contract_id=contract)
        await street.until_known(csp, contract)
        await trio.sleep(own.DAY_S + 60)
    assert street.denies(csp, "NL-TNM-C00000042")
    assert street.knows(csp, "NL-TNM-C00000043")
    assert street.knows(csp, UIDS[csp.party])
