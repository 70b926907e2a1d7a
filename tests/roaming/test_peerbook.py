"""Partners enter the book, are confirmed, suspended, resumed, renewed and removed, one change after the other."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from roamd.errors import Conflict, Forbidden, NotFound, NotTrusted
from roamd.protocol.calls import Service
from roamd.protocol.messages import AnswerStatus, Call
from roamd.roaming.calls import IncomingCalls, OutgoingCalls
from roamd.roaming.directory import Peer
from roamd.roaming.introduce import Introductions
from roamd.roaming.ledger.takingback import take_back_txn
from roamd.roaming.operations import RetryRecord
from roamd.roaming.peerbook import PeerBook
from roamd.storage import events, feeds, peers, records
from roamd.storage.cx import Cx
from roamd.storage.peers import InvitationRow
from roamd.trust.descriptor import Descriptor, verify_descriptor
from roamd.trust.identity import Identity
from roamd.trust.succession import appoint
from tests.model import bodies
from tests.support.roaming import Company, FeedLine, Line, LogLines, answer_of, carry
from tests.support.trust import descriptor, descriptor_data, identity

WORDS = ("one", "two", "three", "four", "five", "six")


class Book:
    """The CSO's peer book, and what it told of each change."""

    def __init__(self, cso: Company) -> None:
        self.cso = cso
        self.changes: list[tuple[str, str]] = []
        self.turned: list[tuple[str, int]] = []
        self.book = PeerBook(
            cso.clock,
            cso.store,
            cso.directory,
            ("cso",),
            self._changed,
            self._turn,
            self._take_back,
        )

    def _turn(self, cx: Cx, peer: str, number: int) -> bool:
        self.turned.append((peer, number))
        return True

    def _take_back(self, cx: Cx, peer: str) -> None:
        take_back_txn(cx, peer, self.cso.random, self.cso.clock.now_ms())

    def _changed(self, peer: Peer, what: str) -> None:
        self.changes.append((peer.label, what))

    async def pair(self, number: int = 2, *, confirmed: bool = True, label: str | None = None, **changes: Any) -> Peer:
        also: Callable[[Cx], None] | None = changes.pop("also", None)
        described = partner(number, **changes)
        data = descriptor_data(identity(number), **vars_of(described))
        return await self.book.pair(
            described, data, WORDS, confirmed=confirmed, joined_by_us=False, label=label, also=also
        )

    def stored(self, label: str) -> peers.PeerRow | None:
        return self.cso.store.read(lambda cx: peers.get(cx, label))


def partner(number: int, **changes: Any) -> Descriptor:
    fields: dict[str, Any] = {
        "name": "RMD",
        "parties": ("FRRMD",),
        "roles": ("csp",),
        "addresses": ("rmd.example:63119",),
    }
    return descriptor(identity(number), **fields | changes)


def vars_of(described: Descriptor) -> dict[str, Any]:
    return {name: getattr(described, name) for name in ("name", "parties", "roles", "addresses", "sequence")}


@pytest.fixture
def book(cso: Company) -> Book:
    return Book(cso)


async def test_a_partner_is_kept_with_the_preset_agreement(book: Book) -> None:
    peer = await book.pair(confirmed=False)
    assert (peer.label, peer.row.state, peer.row.words) == ("rmd", "PENDING", "one two three four five six")
    assert peer.agreement.contract_prefixes == ("FRRMD",)
    assert "locations" in peer.agreement.feeds_out
    assert peer.row.address == "rmd.example:63119"
    assert book.stored("rmd") == peer.row
    assert book.changes == [("rmd", "added")]


async def test_confirm_suspend_and_resume_go_only_where_they_may(book: Book) -> None:
    peer = await book.pair(confirmed=False)
    for change in (book.book.suspend, book.book.resume):
        with pytest.raises(Conflict):
            await change(peer)
    await book.book.confirm(peer)
    for change in (book.book.confirm, book.book.resume):
        with pytest.raises(Conflict):
            await change(peer)
    await book.book.suspend(peer)
    await book.book.suspend(peer)
    assert not peer.active
    with pytest.raises(Conflict):
        await book.book.confirm(peer)
    await book.book.resume(peer)
    assert peer.active
    assert [what for _, what in book.changes] == ["added", "confirmed", "suspended", "resumed"]
    kinds = [event.type for event in book.cso.store.read(lambda cx: events.page(cx, 0, 99))]
    assert kinds == ["peer.state"] * 3
    stored = book.stored("rmd")
    assert stored is not None
    assert stored.state == "PAIRED"


async def test_who_pairs_again_keeps_label_agreement_and_confirmation(book: Book) -> None:
    peer = await book.pair()
    again = await book.pair(confirmed=False, name="Renamed", addresses=())
    assert again is peer
    assert (again.label, again.row.name, again.row.state, again.row.address) == ("rmd", "Renamed", "PAIRED", None)


async def test_who_pairs_again_while_suspended_stays_suspended(book: Book) -> None:
    peer = await book.pair()
    await book.book.suspend(peer)
    again = await book.pair(confirmed=True)
    assert (again.row.state, again.active) == ("SUSPENDED", False)


async def test_what_else_belongs_to_the_pairing_is_committed_with_it_or_nothing_is(book: Book) -> None:
    def refuse(cx: Cx) -> None:
        raise Conflict("used")

    with pytest.raises(Conflict):
        await book.pair(also=refuse)
    assert len(book.cso.directory) == 0
    assert book.stored("rmd") is None
    assert book.changes == []
    assert (await book.pair()).label == "rmd"


async def test_a_label_is_never_given_to_another_company_not_even_after_a_removal(book: Book) -> None:
    peer = await book.pair(2, label="partner")
    with pytest.raises(Conflict, match="is, or was"):
        await book.pair(3, label="partner")
    await book.book.remove(peer, park=False)
    with pytest.raises(Conflict, match="is, or was"):
        await book.pair(3, label="partner")
    other = await book.pair(3, name="Partner")
    assert other.label == "partner-2"
    with pytest.raises(Conflict, match="'partner' here before"):
        await book.pair(2, label="new-name")
    back = await book.pair(2, name="Another Name")
    assert back.label == "partner"


async def test_a_removed_partner_leaves_its_chains_and_takes_its_objects_along(
    book: Book, cso: Company, csp: Company
) -> None:
    cso.hand_in(bodies.cdr(id="C-1"))
    carry(cso, csp)
    csp.publish("user-credentials", bodies.token(country_code="FR", party_id="RMD"))
    FeedLine(csp, cso).pump()
    assert len(cso.mirrored("rmd", "user-credentials")) == 1
    peer = cso.peer("rmd")
    await book.book.remove(peer, park=False)
    assert cso.mirrored("rmd", "user-credentials") == {}
    assert cso.store.read(lambda cx: feeds.get_cursor(cx, "rmd", "user-credentials")).cursor == b""
    assert len(cso.chains(own=True)) == 1
    assert cso.states() == {"C-1": "DELIVERED"}
    assert (cso.directory.find("rmd"), peer.row.state, peer.active) == (None, "REMOVED", False)
    with pytest.raises(NotFound):
        await book.book.remove(peer, park=False)


async def test_a_partner_for_whom_records_wait_is_removed_only_when_they_are_parked(
    book: Book, cso: Company, csp: Company
) -> None:
    cso.hand_in(bodies.cdr(id="C-1"))
    with pytest.raises(Forbidden, match="1 records wait for rmd"):
        await book.book.remove(cso.peer("rmd"), park=False)
    assert cso.states() == {"C-1": "QUEUED"}
    assert cso.directory.find("rmd") is not None
    await book.book.remove(cso.peer("rmd"), park=True)
    (row,) = cso.store.read(lambda cx: records.find(cx, "C-1"))
    assert (row.state, row.reason) == ("PARKED", "rmd was removed")
    assert [event.type for event in cso.store.read(lambda cx: events.page(cx, 0, 9))] == ["record.state"]
    with pytest.raises(NotFound):
        answer_of(cso.records.retry, RetryRecord("C-1"))
    tnm = Company(3, "NLTNM", "csp", clock=cso.clock)
    cso.meets(tnm, "tnm")
    assert answer_of(cso.records.retry, RetryRecord("C-1", peer="tnm")).state == "QUEUED"


async def test_a_renewed_descriptor_is_kept_if_it_is_newer_and_the_peers_own(book: Book) -> None:
    peer = await book.pair()

    async def renew(number: int, **changes: Any) -> None:
        described = partner(number, **changes)
        await book.book.renew(peer, described, b"descriptor")

    await renew(2, sequence=1, addresses=("old.example:1",))
    await renew(3, sequence=9, addresses=("evil.example:1",))
    assert peer.row.address == "rmd.example:63119"
    await renew(2, sequence=2, name="New", addresses=("new.example:1",))
    assert (peer.row.name, peer.row.address, peer.row.descriptor_sequence) == ("New", "new.example:1", 2)
    assert book.stored("rmd") == peer.row
    assert book.changes[1:] == [("rmd", "renewed")]


async def test_changes_that_come_together_lose_nothing_of_each_other(book: Book) -> None:
    peer = await book.pair()
    described = partner(2, sequence=5, addresses=("new.example:1",))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.book.suspend, peer)
        nursery.start_soon(book.book.renew, peer, described, b"d")
    assert (peer.row.state, peer.row.address) == ("SUSPENDED", "new.example:1")
    assert book.stored("rmd") == peer.row
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: book.book.remove(peer, park=False))
        nursery.start_soon(book.book.renew, peer, partner(2, sequence=6), b"d")
    await book.book.renew(peer, partner(2, sequence=7), b"d")
    assert book.stored("rmd") is None
    assert book.cso.directory.find("rmd") is None


async def test_the_line_that_brought_a_removed_partner_in_brings_it_in_no_more(book: Book) -> None:
    peer = await book.pair()
    lines = [InvitationRow(name, b"secret", 2**60, True, None, None, "a:1") for name in (b"used", b"open")]
    for row in lines:
        book.cso.store.write(lambda cx, row=row: peers.put_invitation_txn(cx, row))
    book.cso.store.write(lambda cx: peers.use_invitation_txn(cx, b"used", peer.endpoint_id, b"words"))
    await book.book.remove(peer, park=False)
    assert [row.id for row in book.cso.store.read(peers.list_invitations)] == [b"open"]


@pytest.mark.parametrize(
    "change",
    [
        lambda book, peer: book.withhold(peer, "locations", ["directions"]),
        lambda book, peer: book.key_list(peer, keyed=True),
        lambda book, peer: book.rename_contracts(peer, pseudonyms=True),
        lambda book, peer: book.reroute(peer, {"bulk": ["direct"]}),
        lambda book, peer: book.introduce(peer, on=True),
    ],
)
async def test_no_change_brings_a_partner_back_that_was_removed_before_its_turn(
    book: Book, change: Callable[[PeerBook, Peer], Any]
) -> None:
    peer = await book.pair()
    await book.book.remove(peer, park=False)
    with pytest.raises(NotFound):
        await change(book.book, peer)
    assert book.stored("rmd") is None
    assert book.cso.directory.find("rmd") is None


async def test_what_is_on_its_way_when_a_partner_is_removed_stays_nowhere(
    book: Book, cso: Company, csp: Company
) -> None:
    csp.publish("user-credentials", bodies.token(country_code="FR", party_id="RMD"))
    line, peer = FeedLine(csp, cso), cso.peer("rmd")
    payload = line.chunk()
    assert payload is not None
    await book.book.remove(peer, park=False)
    line.arrive(payload)  # it was with the writer, behind the removal
    assert cso.mirrored("rmd", "user-credentials") == {}
    assert cso.store.read(lambda cx: feeds.cursors_of(cx, "rmd")) == {}
    await book.pair(parties=("FRRMD",))
    again = FeedLine(csp, cso)
    again.pump()
    assert len(cso.mirrored("rmd", "user-credentials")) == 1


async def test_a_record_that_was_handed_in_while_its_partner_was_removed_is_parked(
    book: Book, cso: Company, csp: Company
) -> None:
    removed = cso.peer("rmd")
    await book.book.remove(removed, park=False)
    cso.directory.put(removed.row._replace(state="PAIRED"))  # as it still was when the record's way was looked up
    cso.hand_in(bodies.cdr(id="C-1"))
    (row,) = cso.store.read(lambda cx: records.find(cx, "C-1"))
    assert (row.state, row.reason, row.sequence) == ("PARKED", "rmd was removed", None)


async def test_two_pairings_of_one_endpoint_at_once_make_one_peer(book: Book) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: book.pair(2))
        nursery.start_soon(lambda: book.pair(2))
    assert [peer.label for peer in book.cso.directory] == ["rmd"]


# --- introductions ----------------------------------------------------------------------------------------------


async def test_a_changed_address_reaches_the_partner_by_a_call(book: Book, csp: Company, log: LogLines) -> None:
    cso = book.cso
    cso.directory.remove("rmd")
    peer = await book.pair()
    calls = OutgoingCalls(csp.clock, csp.timers)
    data = descriptor_data(identity(2), **vars_of(partner(2, sequence=3, addresses=("moved.example:1",))))
    teller = Introductions(csp.clock, calls, book.book, lambda: data, csp.random, lambda *_: None, verify_descriptor)
    async with trio.open_nursery() as nursery:
        taker = Introductions(
            cso.clock, OutgoingCalls(cso.clock, cso.timers), book.book, bytes, cso.random, nursery.start_soon,
            verify_descriptor,
        )  # fmt: skip
        incoming = IncomingCalls(cso.clock, cso.timers, {Service.DESCRIPTOR: taker.answer})
        line = Line(csp.peer("abc"))
        csp.peer("abc").exchange = line  # type: ignore[assignment]  # all that is used of an exchange
        teller.tell(csp.peer("abc"))
        (call,) = line.calls
        answers = Line(peer)
        incoming.on_call(answers, call)  # type: ignore[arg-type]
        forged = Call(bytes(16), Service.DESCRIPTOR, 1000, data[:-1] + bytes([data[-1] ^ 1]))
        incoming.on_call(answers, forged)  # type: ignore[arg-type]
        others = Call(b"o" * 16, Service.DESCRIPTOR, 1000, descriptor_data(identity(3), sequence=9))
        incoming.on_call(answers, others)  # type: ignore[arg-type]
        old = vars_of(partner(2, sequence=4, addresses=("old.example:1",))) | {"valid_until_ms": cso.clock.now_ms() - 1}
        of_long_ago = Call(b"k" * 16, Service.DESCRIPTOR, 1000, descriptor_data(identity(2), **old))
        incoming.on_call(answers, of_long_ago)  # type: ignore[arg-type]
    assert peer.row.address == "moved.example:1"
    again = Call(b"a" * 16, Service.DESCRIPTOR, 1000, data)
    incoming.on_call(answers, again)  # type: ignore[arg-type]  # no task could be started for it any more
    # What is kept is answered once it is stored, and says how many successors are known.
    assert [(answer.status, answer.body) for answer in answers.answered] == [
        (AnswerStatus.MALFORMED, b"bad-signature"), (AnswerStatus.ANSWERED, b""), (AnswerStatus.MALFORMED, b"expired"),
        (AnswerStatus.ANSWERED, b"0"), (AnswerStatus.ANSWERED, b"0"),
    ]  # fmt: skip
    assert [line["reason"] for line in log.of("descriptor_refused")] == ["bad-signature", "expired"]
    with pytest.raises(NotTrusted):
        verify_descriptor(forged.body)


# --- keys that are replaced -------------------------------------------------------------------------------------


def replaced(*, in_use: bool) -> Identity:
    """The partner with another key behind its first one."""
    appointed = appoint(identity(2), identity(5), 1, 4_000_000_000_000).packed()
    own = replace(identity(5), endpoint_id=identity(2).endpoint_id) if in_use else identity(2)
    return replace(own, succession=appointed)


async def pair_as(book: Book, own: Identity, sequence: int) -> Peer:
    data = descriptor_data(own, succession=own.succession, sequence=sequence)
    return await book.book.pair(verify_descriptor(data), data, WORDS, confirmed=True, joined_by_us=False)


async def test_who_pairs_anew_under_a_new_key_has_its_chain_turned_in_the_same_transaction(book: Book) -> None:
    peer = await pair_as(book, identity(2), 1)
    assert await pair_as(book, replaced(in_use=True), 2) is peer
    assert peer.succession.in_use == 1
    assert book.turned == [(peer.label, 0), (peer.label, 1)]


async def test_who_pairs_anew_under_a_key_that_it_has_replaced_is_refused(book: Book) -> None:
    peer = await pair_as(book, replaced(in_use=True), 1)
    for again in (identity(2), replaced(in_use=False)):
        with pytest.raises(Conflict, match="another identity"):
            await pair_as(book, again, 2)
    assert (peer.succession.in_use, peer.row.descriptor_sequence) == (1, 1)
    assert "has replaced" in peer.alarms[0]
