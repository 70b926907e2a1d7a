"""Links through a clearing house: three whole cores, two of them without a direct link; and one that lies."""

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import MockClock

from roamd.daemon.sealingkeys import sealing_seeds_txn
from roamd.errors import Malformed
from roamd.model.objects import check_record
from roamd.model.routes import CALLS, DIRECT, FEEDS, FUNCTIONS, LEDGER
from roamd.peering import relayed
from roamd.peering.passage import LIFE_S, WINDOW
from roamd.protocol.calls import Service
from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.envelope import Header, Kind, letter, read_envelope, signed_document
from roamd.protocol.messages import Answer, AnswerStatus, Call
from roamd.roaming.calls import Respond
from roamd.roaming.directory import Peer
from roamd.roaming.operations import Authorize, CredentialIn, GetRecord, PostRecords
from roamd.roaming.relay import BYTES_UNDER_WAY, UNDER_WAY, ClearingHouse
from roamd.storage import ledgers
from roamd.trust.descriptor import verify_descriptor
from roamd.trust.sealing import seal
from tests.model import bodies
from tests.support.endpoints import Endpoint, Neighbourhood, events_of, logged, until

UID = "04E2A1B2C3D480"

Pass = Callable[[], None]
Lie = Callable[["LyingHouse", Header, Call, Respond, Pass], None]
"""What a lying clearing house does with an envelope: the honest thing is to call the last argument."""


class LyingHouse:
    """In the place of the hub's `ClearingHouse`: `lie` sees each envelope before it is passed on."""

    def __init__(self, honest: ClearingHouse) -> None:
        self.honest = honest
        self.lie: Lie | None = None
        self.seen: list[tuple[Header, Call]] = []

    def forward(self, peer: Peer, header: Header, call: Call, deadline_at: float, respond: Respond) -> None:
        self.seen.append((header, call))

        def pass_on() -> None:
            self.honest.forward(peer, header, call, deadline_at, respond)

        if self.lie is None:
            pass_on()
        else:
            self.lie(self, header, call, respond, pass_on)

    def send(self, to: Endpoint, body: bytes, call_id: bytes, hub: Endpoint) -> list[Any]:
        """An envelope of its own making, or an old one once more."""
        answers: list[Any] = []
        call = Call(call_id, Service.RELAY, 5000, body)
        hub.core.outgoing.start(hub.peer(to), call, trio.current_time() + 5, answers.append)
        return answers

    def kinds(self, kind: Kind) -> list[tuple[Header, Call]]:
        return [(header, call) for header, call in self.seen if header.kind == kind]


class Triangle:
    """A CSO and a CSP that can only dial, and a clearing house between them."""

    def __init__(self, hood: Neighbourhood, hub: Endpoint, cso: Endpoint, csp: Endpoint) -> None:
        self.hood, self.hub, self.cso, self.csp = hood, hub, cso, csp
        self.house = LyingHouse(hub.core.clearing_house)
        hub.core.relayed.house = self.house  # type: ignore[assignment]  # it has what is used of one

    async def route(self, **lists: tuple[str, ...]) -> None:
        """Both sides' routes to each other."""
        for here, there in ((self.cso, self.csp), (self.csp, self.cso)):
            await here.core.book.reroute(here.peer(there), lists)

    async def linked(self) -> None:
        """Until the two have a link through the hub."""
        await self.route(**dict.fromkeys(FUNCTIONS, (self.hub.name,)))
        await self.hood.until_linked(self.cso, self.csp)
        # Both may have opened one at once: then one of the two has just lost, and goes.
        await until(lambda: len(self.cso.core.relayed) == len(self.csp.core.relayed) == 1)
        self._openings = len(self.house.kinds(Kind.OPEN))

    @property
    def has_broken(self) -> bool:
        """Whether a passage had to be opened again since `linked`."""
        return len(self.house.kinds(Kind.OPEN)) > self._openings

    async def tap(self) -> Any:
        """A driver of the CSP at a station of the CSO."""
        return await self.cso.ask(Authorize(CredentialIn("RFID", UID)))

    async def bill(self, number: int) -> None:
        """The CSO's backend hands in a record for the CSP."""
        value = bodies.cdr(id=f"CDR-{number}", country_code=self.cso.party[:2], party_id=self.cso.party[2:])
        record = check_record("2.3.0", bodies.text(value), own_parties=frozenset({self.cso.party}))
        await self.cso.ask(PostRecords((record,), self.csp.name))

    async def delivered(self, number: int, patience_s: float = 100.0) -> Any:
        """The record, once its receipt is there."""
        with trio.fail_after(patience_s):
            while (record := await self.cso.ask(GetRecord(f"CDR-{number}"))).state == "QUEUED":  # noqa: ASYNC110
                await trio.sleep(0.1)
        return record

    def received(self) -> list[str]:
        """The records that the CSP holds, in the order of the chain."""

        def read(cx: Any) -> list[str]:
            chains = [chain for chain in ledgers.chains(cx, self.cso.name) if not chain.own]
            rows = [ledgers.entries(cx, chain.chain_id, 0, max_rows=1000, max_bytes=1 << 24) for chain in chains]
            return [row.record_id for entries in rows for row in entries if row.kind == 1]

        return self.csp.store.read(read)

    def links(self) -> list[str]:
        """The routes by which the CSO has links to the CSP."""
        return [link.route for link in self.cso.links_to(self.csp)]


@pytest.fixture
async def triangle() -> AsyncIterator[Triangle]:
    async with Neighbourhood() as hood:
        hub = await hood.endpoint("NL*HUB", "clearing-house")
        cso = await hood.endpoint("DE*ABC", "cso", reachable=False)
        csp = await hood.endpoint("FR*XYZ", "csp", reachable=False)
        for partner in (cso, csp):
            await hood.pair(partner, hub)
            await hood.until_linked(partner, hub)
        await hood.pair(cso, csp)
        yield Triangle(hood, hub, cso, csp)


# --- an honest clearing house --------------------------------------------------------------------------------------


async def test_an_authorization_and_a_record_with_its_receipt_cross_a_clearing_house(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    await triangle.linked()
    assert triangle.links() == [triangle.hub.name]
    reply = await triangle.tap()
    assert (reply.decision, reply.source) == ("ALLOWED", "BACKEND")
    assert triangle.csp.backend.asked[0].credential["uid"] == UID
    await triangle.bill(1)
    record = await triangle.delivered(1)
    assert record.state == "DELIVERED"
    assert record.evidence["receipt"], "signed by the CSP, over the CSO's own chain"
    assert triangle.received() == ["CDR-1"]


async def test_the_clearing_house_sees_who_when_and_how_much_and_nothing_else(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    await triangle.linked()
    await triangle.tap()
    await triangle.bill(1)
    await triangle.delivered(1)
    carried = b"".join(call.body for _, call in triangle.house.seen)
    assert UID.encode() not in carried
    assert b"CDR-1" not in carried
    assert triangle.hub.store.read(lambda cx: ledgers.chains(cx, triangle.cso.name)) == []
    assert {header.sender for header, _ in triangle.house.seen} == {triangle.cso.endpoint_id, triangle.csp.endpoint_id}


async def test_mixed_mode_sends_calls_directly_and_records_through_the_clearing_house(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    cso, csp, hub = triangle.cso, triangle.csp, triangle.hub
    await triangle.route(calls=(DIRECT, hub.name), ledger=(hub.name,))
    link = await cso.dial(cso.peer(csp), csp)
    cso.start(link.run)
    await until(lambda: sorted(triangle.links()) == sorted([DIRECT, hub.name]))
    await until(lambda: cso.peer(csp).exchange is link.exchange)
    before = len(triangle.house.seen)
    assert (await triangle.tap()).source == "BACKEND"
    assert len(triangle.house.seen) == before, "the question went directly"
    await triangle.bill(1)
    assert (await triangle.delivered(1)).state == "DELIVERED"
    assert len(triangle.house.seen) > before, "the record went through the clearing house"
    assert cso.peer(csp).carrier(LEDGER) is not cso.peer(csp).exchange
    link.close(GoodbyeCode.DONE, "the test cuts it")
    await until(lambda: triangle.links() == [hub.name])
    assert (await triangle.tap()).source == "BACKEND", "and now it goes the second best way"


async def test_a_record_waits_when_none_of_its_routes_is_up_though_another_link_is(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    cso, csp, hub = triangle.cso, triangle.csp, triangle.hub
    await triangle.route(ledger=(hub.name,))
    await hub.stop()
    await until(lambda: not cso.is_up(hub))
    link = await cso.dial(cso.peer(csp), csp)
    cso.start(link.run)
    await until(lambda: triangle.links() == [DIRECT])
    await triangle.bill(1)
    await trio.sleep(60)
    assert (await cso.ask(GetRecord("CDR-1"))).state == "QUEUED"
    await hub.restart()
    assert (await triangle.delivered(1, 1000)).state == "DELIVERED"


async def test_one_chain_serves_all_routes(triangle: Triangle, autojump_clock: MockClock) -> None:
    cso, csp = triangle.cso, triangle.csp
    await triangle.linked()
    await triangle.bill(1)
    await triangle.delivered(1)
    await triangle.route(**dict.fromkeys(FUNCTIONS, (DIRECT,)))
    await until(lambda: not triangle.links())
    await triangle.bill(2)
    link = await cso.dial(cso.peer(csp), csp)
    cso.start(link.run)
    await triangle.delivered(2)
    chains = cso.store.read(lambda cx: [chain for chain in ledgers.chains(cx, csp.name) if chain.own])
    assert [(chain.tail_sequence, chain.receipted_sequence) for chain in chains] == [(2, 2)]
    assert triangle.received() == ["CDR-1", "CDR-2"]


async def test_many_records_cross_without_a_break(triangle: Triangle, autojump_clock: MockClock) -> None:
    await triangle.linked()
    for number in range(300):
        await triangle.bill(number)
    await triangle.delivered(299)
    assert triangle.received() == [f"CDR-{number}" for number in range(300)]
    assert not triangle.has_broken


async def test_a_sender_without_answers_stops_at_the_window_and_goes_on_when_they_come(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    await triangle.linked()
    held: list[Pass] = []

    def hold(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
        if header.sender == triangle.cso.endpoint_id:
            held.append(pass_on)
        else:
            pass_on()

    await trio.sleep(5)  # what a new link says is answered
    triangle.house.lie = hold
    for number in range(20):
        await triangle.bill(number)
        await trio.sleep(0.1)
    assert len(held) == WINDOW
    released = 0
    while released < len(held):
        held[released]()
        released += 1
        await trio.sleep(0.1)
        assert len(held) - released <= WINDOW
    assert released > WINDOW, "each answer made room"
    triangle.house.lie = None
    await triangle.delivered(19)
    assert triangle.received() == [f"CDR-{number}" for number in range(20)]
    assert not triangle.has_broken


async def test_a_route_must_be_a_clearing_house_that_is_paired(triangle: Triangle, autojump_clock: MockClock) -> None:
    cso, csp = triangle.cso, triangle.csp
    for wrong in ((csp.name,), ("nobody",), (), (DIRECT, DIRECT)):
        with pytest.raises(Malformed):
            await cso.core.book.reroute(cso.peer(csp), {CALLS: wrong})
    with pytest.raises(Malformed, match="calls, ledger, feeds"):
        await cso.core.book.reroute(cso.peer(csp), {"records": (DIRECT,)})


async def test_routes_survive_a_restart(triangle: Triangle, autojump_clock: MockClock) -> None:
    await triangle.linked()
    triangle.cso.crash()
    await triangle.cso.restart()
    await triangle.hood.until_linked(triangle.cso, triangle.hub)
    await until(lambda: triangle.links() == [triangle.hub.name])
    assert (await triangle.tap()).source == "BACKEND"


async def test_who_knows_an_old_sealing_key_opens_a_passage_with_it_and_is_told_the_new_one(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    cso, csp = triangle.cso, triangle.csp
    await triangle.linked()
    known = cso.peer(csp).row.descriptor
    csp.crash()
    for years in (1, 2):  # it is started twice in the years in which the CSO hears nothing of it
        at_ms = csp.clock.now_ms() + years * 365 * 86_400_000
        csp.store.write(lambda cx: sealing_seeds_txn(cx, at_ms, os.urandom))  # noqa: B023 - called at once

    def only_the_csos(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
        if header.kind == Kind.OPEN and header.sender == csp.endpoint_id:
            respond(AnswerStatus.NO_ANSWER, b"no-link")
        else:
            pass_on()

    triangle.house.lie = only_the_csos
    csp.sequence += 1
    await csp.restart()
    assert csp.sealing_key != verify_descriptor(known).sealing_key
    await until(lambda: triangle.links() == [triangle.hub.name] and csp.is_up(cso), 1000)
    await until(lambda: verify_descriptor(cso.peer(csp).row.descriptor).sealing_key == csp.sealing_key)


# --- who is served -------------------------------------------------------------------------------------------------


async def test_only_pairs_that_both_name_each_other_are_served(triangle: Triangle, autojump_clock: MockClock) -> None:
    cso, csp, hub = triangle.cso, triangle.csp, triangle.hub
    await cso.core.book.reroute(cso.peer(csp), {CALLS: (hub.name,)})
    before = csp.core.parts.incoming.remembered(hub.name)
    await until(lambda: cso.peer(csp).last_error is not None)
    assert "not-paired" in (cso.peer(csp).last_error or "")
    assert csp.core.parts.incoming.remembered(hub.name) == before, "the clearing house has not even asked it"
    await csp.core.book.reroute(csp.peer(cso), {CALLS: (hub.name,)})
    await until(lambda: triangle.links() == [hub.name])


async def test_a_suspended_partner_is_out_of_reach_through_the_clearing_house_too(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    await triangle.linked()
    await triangle.csp.core.book.suspend(triangle.csp.peer(triangle.cso))
    await until(lambda: not triangle.links())
    await trio.sleep(600)
    assert not triangle.links()
    await triangle.csp.core.book.resume(triangle.csp.peer(triangle.cso))
    await until(lambda: triangle.links() == [triangle.hub.name], 1000)


def header_of(sender: Endpoint, receiver: Endpoint, call_id: bytes, kind: Kind = Kind.OPEN) -> Header:
    return Header(sender.endpoint_id, receiver.endpoint_id, call_id, bytes(16), 0, sender.clock.now_ms(), kind)


async def ask_hub(asker: Endpoint, hub: Endpoint, call_id: bytes, body: bytes) -> tuple[int, bytes]:
    answers: list[Any] = []
    call = Call(call_id, Service.RELAY, 5000, body)
    asker.core.outgoing.start(asker.peer(hub), call, trio.current_time() + 5, answers.append)
    await until(lambda: bool(answers))
    return answers[0].status, answers[0].body


async def test_what_the_clearing_house_refuses(triangle: Triangle, autojump_clock: MockClock) -> None:
    await triangle.linked()
    cso, csp, hub = triangle.cso, triangle.csp, triangle.hub
    forged = header_of(csp, cso, b"1" * 16).envelope(b"x")
    assert await ask_hub(cso, hub, b"1" * 16, forged) == (AnswerStatus.REFUSED, b"not-yours")
    other = header_of(cso, csp, b"2" * 16).envelope(b"x")
    assert await ask_hub(cso, hub, b"3" * 16, other) == (AnswerStatus.MALFORMED, b"wrong-id")
    assert await ask_hub(cso, hub, b"4" * 16, b"short") == (AnswerStatus.MALFORMED, b"unreadable")
    visit = header_of(cso, csp, b"5" * 16, Kind.PAIRING).envelope(b"x")
    assert await ask_hub(cso, hub, b"5" * 16, visit) == (AnswerStatus.REFUSED, b"not-paired")


async def test_an_endpoint_that_is_no_clearing_house_relays_nothing(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    cso, csp, hub = triangle.cso, triangle.csp, triangle.hub
    stray = header_of(hub, csp, b"1" * 16).envelope(b"x")
    assert await ask_hub(hub, cso, b"1" * 16, stray) == (AnswerStatus.REFUSED, b"no-clearing-house")


async def test_what_one_sender_may_have_under_way_is_bounded(triangle: Triangle, autojump_clock: MockClock) -> None:
    await triangle.linked()
    account = triangle.hub.core.clearing_house._account(triangle.hub.peer(triangle.cso))
    account.sent = UNDER_WAY
    body = header_of(triangle.cso, triangle.csp, b"1" * 16).envelope(b"x")
    assert await ask_hub(triangle.cso, triangle.hub, b"1" * 16, body) == (AnswerStatus.NO_ANSWER, b"busy")
    account.sent, account.sent_bytes = 0, BYTES_UNDER_WAY
    body = header_of(triangle.cso, triangle.csp, b"2" * 16).envelope(b"x")
    assert await ask_hub(triangle.cso, triangle.hub, b"2" * 16, body) == (AnswerStatus.NO_ANSWER, b"busy")


async def test_a_sender_beyond_its_rate_is_slowed_down_and_loses_nothing(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        hub = await hood.endpoint("NL*HUB", "clearing-house", relay_envelopes=2)
        cso = await hood.endpoint("DE*ABC", "cso", reachable=False)
        csp = await hood.endpoint("FR*XYZ", "csp", reachable=False)
        for partner in (cso, csp):
            await hood.pair(partner, hub)
            await hood.until_linked(partner, hub)
        await hood.pair(cso, csp)
        slow = Triangle(hood, hub, cso, csp)
        await slow.linked()
        began = trio.current_time()
        for number in range(20):
            await slow.bill(number)
            await slow.delivered(number)
        assert slow.received() == [f"CDR-{number}" for number in range(20)]
        assert trio.current_time() - began > 5, "twenty records in twenty envelopes, two a second"
        assert not slow.has_broken


async def test_a_status_that_there_is_not_costs_the_clearing_house_nothing(autojump_clock: MockClock) -> None:
    async with Neighbourhood() as hood:
        hub = await hood.endpoint("NL*HUB", "clearing-house", relay_envelopes=2)
        cso = await hood.endpoint("DE*ABC", "cso", reachable=False)
        csp = await hood.endpoint("FR*XYZ", "csp", reachable=False)
        for partner in (cso, csp):
            await hood.pair(partner, hub)
            await hood.until_linked(partner, hub)
        await hood.pair(cso, csp)
        await Triangle(hood, hub, cso, csp).linked()

        def lie(peer: Peer, call: Call, deadline_at: float, respond: Respond) -> None:
            assert peer.exchange is not None
            peer.exchange.send_answer(Answer(call.id, 999, b"x"))

        csp.core.parts.incoming._services[Service.RELAY] = lie
        for number in range(5):  # the rate holds back the last ones, and they are answered by a timer
            call_id = bytes([number]) * 16
            body = header_of(cso, csp, call_id).envelope(b"x")
            assert await ask_hub(cso, hub, call_id, body) == (AnswerStatus.NO_ANSWER, b"x")
        assert hub.is_up(cso)


async def test_a_partner_that_opens_without_end_keeps_out_nobody_else(
    triangle: Triangle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cso, csp, hub = triangle.cso, triangle.csp, triangle.hub
    monkeypatch.setattr(relayed, "MAX_REMEMBERED", 3)
    victim = csp.core.relayed
    first = msgspec.structs.replace(header_of(cso, csp, bytes(16)), expiry_ms=cso.clock.now_ms() + int(LIFE_S * 1000))
    for number in range(3):
        opening = msgspec.structs.replace(first, epoch=bytes([number]) * 16)
        assert victim._why_not(opening) == b""
        victim._remember(opening)
        assert victim._why_not(opening) == b"repeated"
    assert victim._why_not(msgspec.structs.replace(first, epoch=b"9" * 16)) == b"busy"
    assert victim._why_not(msgspec.structs.replace(first, sender=hub.endpoint_id, epoch=b"9" * 16)) == b""


# --- a clearing house that lies ------------------------------------------------------------------------------------


async def lied_to(triangle: Triangle, lie: Lie) -> None:
    """A record while the clearing house lies, and one after it."""
    await triangle.linked()
    triangle.house.lie = lie
    await triangle.bill(1)
    await triangle.tap()
    await trio.sleep(30)
    triangle.house.lie = None
    await triangle.bill(2)
    await triangle.delivered(2, 1000)
    assert triangle.received() == ["CDR-1", "CDR-2"], "each once, in order"
    assert not triangle.cso.peer(triangle.csp).alarms
    assert not triangle.csp.peer(triangle.cso).alarms


def drop_quietly(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
    respond(AnswerStatus.ANSWERED, b"")


def drop_every_third(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
    if len(house.seen) % 3:
        pass_on()
    else:
        respond(AnswerStatus.ANSWERED, b"")


def keep_without_a_word(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
    pass


def refuse(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
    respond(AnswerStatus.REFUSED, b"a made-up reason that is much longer than any word we know of")


@pytest.mark.parametrize("lie", [drop_quietly, drop_every_third, keep_without_a_word, refuse])
async def test_what_a_clearing_house_drops_is_sent_again(
    triangle: Triangle, autojump_clock: MockClock, lie: Lie
) -> None:
    await lied_to(triangle, lie)


class Forwarder:
    """Passes envelopes on by itself, changed, under the same call id."""

    def __init__(self, triangle: Triangle, change: Callable[[bytes], bytes]) -> None:
        self.triangle, self.change = triangle, change
        self.told: list[int] = []

    def __call__(self, house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
        to = next(e for e in (self.triangle.cso, self.triangle.csp) if e.endpoint_id == header.receiver)
        hub = self.triangle.hub

        def answered(answer: Any) -> None:
            self.told.append(answer.status if answer is not None else -1)
            respond(AnswerStatus.ANSWERED, b"")  # and it says that all went well

        changed = msgspec.structs.replace(call, body=self.change(call.body))
        hub.core.outgoing.start(hub.peer(to), changed, trio.current_time() + 5, answered)


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    "the sealed bytes": lambda body: body[:-1] + bytes([body[-1] ^ 1]),
    "the sequence": lambda body: body[:151] + bytes([body[151] ^ 1]) + body[152:],
    "the expiry": lambda body: body[:153] + bytes([body[153] ^ 1]) + body[154:],
    "the kind": lambda body: body[:161] + bytes([Kind.END]) + body[162:],
    "the length": lambda body: body[:-20],
    "all of it": lambda body: body[:162],
}


@pytest.mark.parametrize("what", ALTERED)
async def test_what_a_clearing_house_alters_does_not_count(
    triangle: Triangle, autojump_clock: MockClock, what: str
) -> None:
    forwarder = Forwarder(triangle, ALTERED[what])
    with logged() as lines:
        await lied_to(triangle, forwarder)
    # A sequence that was taken already makes it a repeat: it is passed over, and the next one finds the gap.
    assert what == "the sequence" or AnswerStatus.ANSWERED not in forwarder.told
    assert what == "the sequence" or "envelope_refused" in events_of(lines, "envelope_refused")


async def test_what_a_clearing_house_repeats_counts_once(triangle: Triangle, autojump_clock: MockClock) -> None:
    sent: list[Any] = []

    def twice(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
        pass_on()
        to = triangle.csp if header.receiver == triangle.csp.endpoint_id else triangle.cso
        sent.append(house.send(to, call.body, bytes(16), triangle.hub))
        triangle.hub.start(again, to, call)

    async def again(to: Endpoint, call: Call) -> None:
        await trio.sleep(1)
        sent.append(triangle.house.send(to, call.body, call.id, triangle.hub))

    await lied_to(triangle, twice)
    assert sent


async def test_a_passage_of_the_past_played_again_opens_nothing(triangle: Triangle, autojump_clock: MockClock) -> None:
    await triangle.linked()
    await triangle.bill(1)
    await triangle.delivered(1)
    recorded = list(triangle.house.seen)
    asked, alive = len(triangle.csp.backend.asked), dict(triangle.csp.core.relayed._passages)
    ((_, epoch),) = alive
    for after_s in (0, 100, 300, 700):  # 100: the calls are forgotten, and the clocks would still allow it
        await trio.sleep(after_s)
        told = []
        for header, call in recorded:
            to = triangle.csp if header.receiver == triangle.csp.endpoint_id else triangle.cso
            told.append((header, triangle.house.send(to, call.body, call.id, triangle.hub)))
        await trio.sleep(6)
        assert triangle.csp.core.relayed._passages == alive
        assert all(answers[0] is not None for _, answers in told)
        of_this = [answers[0] for header, answers in told if header.kind == Kind.DATA and header.epoch == epoch]
        assert of_this
        assert all(answer.status == AnswerStatus.ANSWERED for answer in of_this), "passed over"
    assert not triangle.has_broken
    assert triangle.received() == ["CDR-1"]
    assert len(triangle.csp.backend.asked) == asked


async def test_an_opening_played_to_a_new_process_brings_no_link_and_ends_by_itself(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    """The new process cannot remember the epoch. It gives a key of its own, to which nobody can answer."""
    await triangle.linked()
    recorded = list(triangle.house.seen)
    triangle.csp.crash()
    await until(lambda: not triangle.hub.is_up(triangle.csp))
    await triangle.csp.restart()
    await triangle.hood.until_linked(triangle.csp, triangle.hub)
    await until(lambda: triangle.csp.is_up(triangle.cso), 1000)
    links = len(triangle.csp.links_to(triangle.cso))
    for header, call in recorded:
        if header.receiver == triangle.csp.endpoint_id:
            triangle.house.send(triangle.csp, call.body, call.id, triangle.hub)
    await trio.sleep(60)
    assert len(triangle.csp.links_to(triangle.cso)) == links == 1
    assert len(triangle.csp.core.relayed) == 1
    assert (await triangle.tap()).source == "BACKEND"


async def test_what_a_clearing_house_reorders_is_put_in_order(triangle: Triangle, autojump_clock: MockClock) -> None:
    await triangle.linked()
    held: list[Pass] = []

    def swap(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
        held.append(pass_on)
        if len(held) == 2:
            for one in reversed(held):
                one()
            held.clear()

    async def let_go() -> None:
        while True:
            await trio.sleep(0.5)
            for one in reversed(held):
                one()
            held.clear()

    triangle.hub.start(let_go)
    triangle.house.lie = swap
    for number in range(30):
        await triangle.bill(number)
    await triangle.delivered(29)
    assert triangle.received() == [f"CDR-{number}" for number in range(30)]
    assert not triangle.has_broken


async def test_what_was_held_back_for_too_long_is_not_taken(triangle: Triangle, autojump_clock: MockClock) -> None:
    await triangle.linked()
    late: list[tuple[Header, Call]] = []

    def hold(house: LyingHouse, header: Header, call: Call, respond: Respond, pass_on: Pass) -> None:
        late.append((header, call))
        respond(AnswerStatus.ANSWERED, b"")

    triangle.house.lie = hold
    await triangle.tap()
    asked = len(triangle.csp.backend.asked)
    await trio.sleep(LIFE_S + 1)
    _, call = late[0]
    answers = triangle.house.send(triangle.csp, call.body, call.id, triangle.hub)
    await until(lambda: bool(answers))
    assert answers[0].status == AnswerStatus.NO_ANSWER
    assert len(triangle.csp.backend.asked) == asked, "a live question is never delivered late"


async def test_what_was_sealed_for_one_side_cannot_be_turned_round(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    await triangle.linked()
    await triangle.tap()
    (passage,) = triangle.cso.core.relayed._passages.values()
    own = (triangle.cso.endpoint_id, passage.epoch)
    header, call = next((h, c) for h, c in triangle.house.kinds(Kind.DATA) if (h.sender, h.epoch) == own)
    turned = msgspec.structs.replace(header, sender=header.receiver, receiver=header.sender, sequence=passage._expected)
    answers = triangle.house.send(triangle.cso, turned.envelope(read_envelope(call.body)[1]), call.id, triangle.hub)
    await until(lambda: bool(answers))
    assert answers[0].status == AnswerStatus.MALFORMED
    assert (await triangle.tap()).source == "BACKEND"
    assert not triangle.has_broken, "the passage lives on"


async def test_a_stranger_to_the_passage_cannot_write_into_it_with_the_right_keys(
    triangle: Triangle, autojump_clock: MockClock
) -> None:
    """Even if it knew the passage's public key: only the peer's identity signs what is taken."""
    await triangle.linked()
    (passage,) = triangle.csp.core.relayed._passages.values()
    header = Header(
        triangle.cso.endpoint_id, triangle.csp.endpoint_id, b"7" * 16, passage.epoch, passage._expected,
        triangle.csp.clock.now_ms() + 30_000, Kind.DATA,
    )  # fmt: skip
    signature = triangle.hub.identity.sign(signed_document(header, b"bytes"))
    sealed = seal(passage._own_key.public, letter(signature, b"bytes"), header.packed())
    answers = triangle.house.send(triangle.csp, header.envelope(sealed), header.id, triangle.hub)
    await until(lambda: bool(answers))
    assert answers[0].status == AnswerStatus.MALFORMED


async def test_a_feed_crosses_too_and_follows_the_routes(triangle: Triangle, autojump_clock: MockClock) -> None:
    cso, csp = triangle.cso, triangle.csp
    await triangle.linked()
    await until(lambda: csp.peer(cso).carrier(FEEDS) is csp.peer(cso).exchange)
    await until(lambda: bool(cso.peer(csp).exchanges()[0].publisher.in_sync()))
