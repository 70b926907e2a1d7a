"""The rights matrix: every kind of message by every wrong sender is refused, logged, and changes nothing.

A whole core on one side, on the other a partner that says what it likes over real TLS. The rows are the very tables
that the services come from, so a new row is tested from its first day.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from roamd.demo.objects import LIVE_DRIVER, cdr
from roamd.model.agreement import Agreement
from roamd.model.roles import FEEDS, RECORD_KINDS, SERVICES, FeedKind, RecordKind, ServiceKind
from roamd.protocol.bulk import (
    ChunkFlag,
    FeedChunk,
    FeedItem,
    LedgerBatch,
    pack_feed_chunk,
    pack_ledger_batch,
    unpack_ledger_batch,
)
from roamd.protocol.calls import AuthorizeRequest, CommandRequest
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.events import Answers, BulkFeed, BulkLedger, FeedAcks, Receipts
from roamd.protocol.ledger import EntryKind, LedgerItem, Refusal
from roamd.protocol.messages import AnswerStatus, Call, FeedAck
from roamd.roaming.ledger.chain import entry_rows
from roamd.storage.ledgers import GENESIS
from tests.support.endpoints import Endpoint, FarEnd, Neighbourhood, events_of, far_end, logged

ROLES = ("cso", "csp")
PARTIES = {"cso": "DEABC", "csp": "FRXYZ"}
NOBODYS = "NLBAD"
NOTHING = Agreement(("cso", "csp"), ("cso", "csp"), ("DEABC", "FRXYZ"), (), ())
SDR_FIELDS = ("id", "cdr_token", "start_date_time", "end_date_time", "currency", "total_cost", "last_updated")
WATCHED = ("mirror", "objects", "records", "decisions", "commands")


def other(role: str) -> str:
    return ROLES[1 - ROLES.index(role)]


class Scene:
    """`here` is the core, `rogue` the partner; `state` is everything that a message might have changed."""

    def __init__(self, here: Endpoint, rogue: Endpoint, end: FarEnd, lines: list[dict[str, Any]]) -> None:
        self.here, self.rogue, self.end, self.lines = here, rogue, end, lines

    def state(self) -> list[Any]:
        def read(cx: Any) -> list[Any]:
            tables = {row[0] for row in cx.run("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            return [cx.run(f"SELECT * FROM {table}") for table in WATCHED if table in tables]  # noqa: S608 - constants

        return [self.here.store.read(read), list(self.here.backend.asked)]

    def agree_to_nothing(self) -> None:
        directory = self.here.core.directory
        directory.put(self.here.peer(self.rogue).row._replace(agreement_json=NOTHING.to_json()))

    async def say(self) -> None:
        await self.end.say()


@asynccontextmanager
async def scene(rogue_role: str) -> AsyncIterator[Scene]:
    async with Neighbourhood() as hood:
        with logged() as lines, trio.fail_after(5):
            here = await hood.endpoint(PARTIES[other(rogue_role)], other(rogue_role), reachable=False)
            rogue = await hood.endpoint(PARTIES[rogue_role], rogue_role, reachable=False)
            await hood.pair(here, rogue)
            end = await far_end(here, rogue)
            yield Scene(here, rogue, end, lines)


def chunk(feed: FeedKind, party: str) -> bytes:
    item = FeedItem(party, "X1", "", "2.3.0", b'{"country_code":"NL","party_id":"BAD"}')
    return pack_feed_chunk(FeedChunk(feed.number, ChunkFlag.CAUGHT_UP, b"cursor", [item]))


def wrong(row_role: str) -> list[tuple[str, str]]:
    """Who must not: the other role, and the right one without an agreement."""
    return [(other(row_role), "wrong role"), (row_role, "not agreed")]


def cases(table: dict[str, Any], sender: str) -> list[Any]:
    return [
        pytest.param(row, role, why, id=f"{row.name}-{why}")
        for row in table.values()
        for role, why in wrong(getattr(row, sender))
    ]


@pytest.mark.parametrize(("feed", "role", "why"), cases(FEEDS, "publisher_role"))
async def test_a_feed_that_is_not_the_senders_to_publish_ends_the_link(
    feed: FeedKind, role: str, why: str, autojump_clock: MockClock
) -> None:
    async with scene(role) as it:
        if why == "not agreed":
            it.agree_to_nothing()
        await it.end.come_up()
        before = it.state()
        it.end.connection.send_feed(chunk(feed, PARTIES[role]))
        await it.say()
        assert (await it.end.hear_goodbye()).code == GoodbyeCode.BAD_FEED
        assert events_of(it.lines, "link_broke_rule") == ["link_broke_rule"]
        assert it.state() == before


@pytest.mark.parametrize("feed", FEEDS.values(), ids=lambda feed: feed.name)
async def test_an_object_of_a_foreign_party_is_left_out_and_logged(feed: FeedKind, autojump_clock: MockClock) -> None:
    async with scene(feed.publisher_role) as it:
        await it.end.come_up()
        before = it.state()
        it.end.connection.send_feed(chunk(feed, NOBODYS))
        await it.say()
        await acknowledged(it, feed.number, b"cursor")
        assert [(line["feed"], line["reason"]) for line in it.lines if line["event"] == "object_refused"] == [
            (feed.name, "foreign-party")
        ]
        assert it.state() == before


async def acknowledged(it: Scene, number: int, cursor: bytes) -> None:
    """Until the chunk was dealt with: the feed goes on without the refused object."""
    while not any(
        ack.feed == number and ack.cursor == cursor
        for event in it.end.events
        if isinstance(event, FeedAcks)
        for ack in event.acks
    ):
        await it.end.hear()


@pytest.mark.parametrize(("feed", "role", "why"), cases(FEEDS, "follower_role"))
async def test_a_feed_that_is_not_the_askers_to_follow_is_not_shown(
    feed: FeedKind, role: str, why: str, autojump_clock: MockClock
) -> None:
    async with scene(role) as it:
        if why == "not agreed":
            it.agree_to_nothing()
        await it.end.come_up()
        it.end.connection.send_feed_acks([FeedAck(feed.number, b"")])
        unknown = Call(os.urandom(16), 9999, 1000, b"")
        it.end.connection.send_calls([unknown])
        await it.say()
        await it.end.wait_for(Answers)
        await trio.testing.wait_all_tasks_blocked()
        assert [(line["feed"], line["reason"]) for line in it.lines if line["event"] == "feed_refused"] == [
            (feed.name, f"not agreed: feeds.{feed.name} (preset)")
        ]
        assert not [event for event in it.end.events if isinstance(event, BulkFeed)]


def question(service: ServiceKind) -> bytes:
    if service.name == "authorization":
        return AuthorizeRequest("RFID", "04A1B2C3", None, party=PARTIES["cso"]).pack()
    return CommandRequest(PARTIES["csp"], "2.3.0", 30, "STOP", b"{}").pack() if service.acts else b""


@pytest.mark.parametrize(("service", "role", "why"), cases(SERVICES, "asker_role"))
async def test_a_question_that_is_not_the_askers_to_ask_is_refused(
    service: ServiceKind, role: str, why: str, autojump_clock: MockClock
) -> None:
    async with scene(role) as it:
        if why == "not agreed":
            it.agree_to_nothing()
        await it.end.come_up()
        before = it.state()
        it.end.connection.send_calls([Call(os.urandom(16), service.number, 1000, question(service))])
        await it.say()
        (answer,) = (await it.end.wait_for(Answers)).answers
        assert answer.status == AnswerStatus.REFUSED
        assert answer.body.decode() == f"not agreed: services.{service.name} (preset)"
        refusals = [line for line in it.lines if line["event"].endswith("_refused") and line["level"] == "warning"]
        assert [line["peer"] for line in refusals] == [it.rogue.name]
        assert it.state() == before


async def test_a_question_in_a_foreign_partys_name_is_refused(autojump_clock: MockClock) -> None:
    async with scene("cso") as it:
        await it.end.come_up()
        before = it.state()
        body = AuthorizeRequest("RFID", "04A1B2C3", None, party=NOBODYS).pack()
        it.end.connection.send_calls([Call(os.urandom(16), 1, 1000, body)])
        await it.say()
        (answer,) = (await it.end.wait_for(Answers)).answers
        assert answer.status == AnswerStatus.REFUSED
        refusals = [line["reason"] for line in it.lines if line["event"] == "authorization_refused"]
        assert refusals == ["not agreed: parties (preset)"]
        assert it.state() == before


def record(kind: RecordKind, party: str) -> bytes:
    one: dict[str, Any] = cdr("R-1", LIVE_DRIVER, 1_795_000_000_000)
    if kind.name == "SDR":
        items = [{"type": "PARKING", "quantity": 1, "unit": "HOUR", "price": 2.5}]
        one = {key: one[key] for key in SDR_FIELDS} | {"kind": "SDR", "items": items}
    return msgspec.json.encode(one | {"country_code": party[:2], "party_id": party[2:]})


def batch(it: Scene, item: LedgerItem) -> bytes:
    signer, now_ms, epoch = it.rogue.core.ground.signer, it.rogue.clock.now_ms(), os.urandom(16)
    (row,) = entry_rows(GENESIS, 1, [item], now_ms)
    head = signer.head(it.here.endpoint_id, epoch, 1, row.hash, now_ms)
    return pack_ledger_batch(LedgerBatch(epoch, 1, GENESIS, head.time_ms, head.signature, [item]))


async def refusal_of(it: Scene, kind: RecordKind, party: str) -> str:
    """Send one; it is receipted, as everything is, and refused in our own chain with a word."""
    before = it.state()
    item = LedgerItem(EntryKind(kind.number), "R-1", os.urandom(16), record(kind, party), ocpi="2.3.0")
    it.end.connection.send_ledger(batch(it, item))
    await it.say()
    await it.end.wait_for(Receipts)
    answer = unpack_ledger_batch((await it.end.wait_for(BulkLedger)).payload)
    assert [one.kind for one in answer.items] == [EntryKind.REFUSED]
    assert it.state() == before
    refusal = Refusal.unpack(answer.items[0].body or b"")
    assert [line["reason"] for line in it.lines if line["event"] == "record_refused"] == [refusal.reason]
    return refusal.reason


@pytest.mark.parametrize(("kind", "role", "why"), cases(RECORD_KINDS, "author_role"))
async def test_a_record_that_is_not_the_senders_to_write_is_refused(
    kind: RecordKind, role: str, why: str, autojump_clock: MockClock
) -> None:
    async with scene(role) as it:
        if why == "not agreed":
            it.agree_to_nothing()
        await it.end.come_up()
        assert await refusal_of(it, kind, PARTIES[role]) == "not-agreed"


@pytest.mark.parametrize("kind", RECORD_KINDS.values(), ids=lambda kind: kind.name)
async def test_a_record_of_a_foreign_party_is_refused(kind: RecordKind, autojump_clock: MockClock) -> None:
    async with scene(kind.author_role) as it:
        await it.end.come_up()
        assert await refusal_of(it, kind, NOBODYS) == "foreign-party"


@pytest.mark.parametrize("role", ROLES)
async def test_suspending_ends_the_link_and_nothing_that_came_after_counts(
    role: str, autojump_clock: MockClock
) -> None:
    async with scene(role) as it:
        await it.end.come_up()
        before = it.state()
        await it.here.core.book.suspend(it.here.peer(it.rogue))
        calls = [Call(os.urandom(16), row.number, 1000, question(row)) for row in SERVICES.values()]
        it.end.connection.send_calls(calls)
        for feed in FEEDS.values():
            it.end.connection.send_feed(chunk(feed, PARTIES[role]))
        await it.say()
        assert (await it.end.hear_goodbye()).code == GoodbyeCode.SUSPENDED
        assert it.state() == before
        assert it.rogue.endpoint_id not in it.here.contexts.identities
