"""What two companies say of agreements in their ledgers, what it comes to on both sides, and what a liar gets by it."""

import base64
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import trio

from roamd.clock import rfc3339
from roamd.errors import Conflict, Malformed, NotFound
from roamd.model.agreement import Agreement
from roamd.model.agreementdocument import AgreementDocument, digest_of, document_of, kept_document
from roamd.model.clauses import changed_by, clauses_of
from roamd.protocol.ledger import SALT_SIZE, AgreementDecision, AgreementProposal, EntryKind, LedgerItem
from roamd.roaming import operations as op
from roamd.roaming.agreements import Agreements, Own
from roamd.roaming.inforce import InForce
from roamd.roaming.ledger.agreed import MAX_OPEN, MAX_STEP
from roamd.roaming.ledger.chain import append_items_txn, own_chain_txn
from roamd.roaming.peerbook import PeerBook
from roamd.storage import agreements, events, ledgers
from roamd.storage.agreements import AgreementRow
from roamd.trust.signing import ALGORITHM
from tests.roaming.test_rollback import mend
from tests.support.roaming import START_MS, Company, LogLines, carry

DAY_MS = 86_400_000
YEARS = 10


class Side:
    """One company with its desk; `other` is the label of its partner."""

    def __init__(self, company: Company, other: str, nursery: trio.Nursery) -> None:
        self.company, self.other = company, other
        book = PeerBook(
            company.clock, company.store, company.directory, company.roles, lambda peer, what: None,
            lambda cx, peer, number: False, lambda cx, peer: None,
        )  # fmt: skip
        self.in_force = InForce(
            company.clock, company.store, company.directory, book, company.timers, lambda: None, nursery.start_soon
        )
        own = Own((company.party,), company.roles, lambda: YEARS)
        self.desk = Agreements(
            company.clock, company.store, company.directory, self.in_force, company.signer, company.random, own,
            company.queued.append, lambda: None, nursery.start_soon,
        )  # fmt: skip

    @property
    def settings(self) -> Agreement:
        return self.company.peer(self.other).agreement

    def rows(self) -> list[AgreementRow]:
        return self.company.store.read(lambda cx: agreements.of_peer(cx, self.other))

    def states(self) -> dict[int, str]:
        told: list[Any] = []
        self.desk.history(op.ListAgreements(self.other), told.append)
        return {one["number"]: one["state"] for one in told[0].items}

    async def look(self) -> None:
        """What has come in, or what the calendar says, is put to use."""
        self.company.store.write(lambda cx: self.in_force.note(self.other))
        self.in_force.look()
        await settled()

    async def ask(self, handle: Callable[[Any, Any], None], operation: object) -> Any:
        told: list[Any] = []
        handle(operation, told.append)
        await settled()
        (value,) = told
        if isinstance(value, BaseException):
            raise value
        return value

    async def show(self, number: int | None = None) -> Any:
        return await self.ask(self.desk.show, op.GetAgreement(self.other, number))

    async def propose(self, **more: Any) -> Any:
        return await self.ask(self.desk.propose, op.ProposeAgreement(self.other, **more))

    async def answer(self, number: int, *, accept: bool = True, reason: str = "") -> Any:
        return await self.ask(self.desk.answer, op.AnswerAgreement(self.other, number, accept, reason))

    # --- what a liar does ---

    def say(self, kind: EntryKind, digest: str, body: bytes) -> None:
        """An entry of one's own chain, whatever it says."""
        company = self.company

        def txn(cx: Any) -> None:
            item = LedgerItem(kind, digest, company.random(SALT_SIZE), body)
            append_items_txn(cx, own_chain_txn(cx, self.other, company.random), [item], company.clock.now_ms())

        company.store.write(txn)

    def say_proposal(self, text: bytes, *, signed: bytes | None = None, digest: str | None = None) -> str:
        """A proposal of any text; the digest under which it goes."""
        signature = base64.b64encode(self.company.signer.sign(text if signed is None else signed)).decode()
        name = digest or digest_of(text)
        self.say(EntryKind.AGREEMENT_PROPOSED, name, AgreementProposal(text.decode(), ALGORITHM, signature).pack())
        return name

    def say_accepted(self, digest: str, signed: bytes) -> None:
        signature = base64.b64encode(self.company.signer.sign(signed)).decode()
        self.say(EntryKind.AGREEMENT_ACCEPTED, digest, AgreementDecision(ALGORITHM, signature).pack())


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked()


class Two:
    """Both sides; `number` gives the next one of a side."""

    def __init__(self, cso: Company, csp: Company, nursery: trio.Nursery) -> None:
        self.cso, self.csp = Side(cso, "rmd", nursery), Side(csp, "abc", nursery)

    async def exchange(self) -> None:
        """Whatever either has said reaches the other, and is put to use."""
        for _ in range(2):
            carry(self.cso.company, self.csp.company)
            carry(self.csp.company, self.cso.company)
        await self.cso.look()
        await self.csp.look()

    async def agree(self, **more: Any) -> int:
        number: int = (await self.cso.propose(**more))["number"]
        await self.exchange()
        await self.csp.answer(number)
        await self.exchange()
        return number

    def document(self, number: int, *, by: str = "csp", **changes: Any) -> AgreementDocument:
        """What a liar might write; the CSP's view."""
        side = self.csp if by == "csp" else self.cso
        company, peer = side.company, side.company.peer(side.other)
        given = {name.replace("__", "."): value for name, value in changes.items()}
        said, _ = changed_by(clauses_of(peer.agreement, [company.party]), given, {}, {})
        return document_of(said, number, company.identity.endpoint_id, peer.endpoint_id)

    def csps_number(self, at_least: int = 1) -> int:
        """A number that is the CSP's to write."""
        first = self.csp.company.identity.endpoint_id < self.cso.company.identity.endpoint_id
        return at_least if at_least % 2 == first else at_least + 1


@pytest.fixture
async def two(cso: Company, csp: Company, nursery: trio.Nursery) -> Two:
    return Two(cso, csp, nursery)


# --- the usual way ----------------------------------------------------------------------------------------------


async def test_what_one_proposes_the_other_compares_and_signs_and_both_work_by_it(two: Two) -> None:
    number = (await two.cso.propose(clauses={"dispute_days": 45}, remove={"them.services": "reserve"}))["number"]
    await two.exchange()
    shown = await two.csp.show()
    assert (shown["source"], shown["number"]) == ("preset", None)
    (proposal,) = shown["proposals"]
    assert (proposal["number"], proposal["proposed_by"], proposal["faults"]) == (number, "them", [])
    assert [each["words"] for each in proposal["differences"]] == [
        "us.services: drops reserve", "dispute_days: 30 becomes 45"
    ]  # fmt: skip
    assert two.csp.settings.terms.dispute_days == two.cso.settings.terms.dispute_days == 30, (
        "a proposal changes nothing"
    )
    assert (await two.csp.answer(number))["state"] == "IN_FORCE"
    assert (two.csp.settings.number, two.cso.settings.number) == (number, None), "until the other hears of it"
    await two.exchange()
    for side in (two.cso, two.csp):
        assert side.states() == {number: "IN_FORCE"}
        assert (side.settings.number, side.settings.terms.dispute_days) == (number, 45)
        assert side.company.peer(side.other).row.rights_version == 2
    assert "reserve" not in {*two.cso.settings.services_in, *two.csp.settings.services_out}
    assert (await two.csp.answer(number))["state"] == "IN_FORCE", "said twice it is said once"


async def test_both_hold_the_same_bytes_and_both_signatures_over_them(two: Two) -> None:
    number = await two.agree(clauses={"currencies": "EUR"})
    near, far = await two.cso.show(number), await two.csp.show(number)
    assert near["document"] == far["document"]
    assert near["signatures"] == {"us": far["signatures"]["them"], "them": far["signatures"]["us"]}
    for side, signature in ((two.cso, near["signatures"]["us"]), (two.csp, near["signatures"]["them"])):
        identity = side.company.identity
        assert side.company.signer.verify(
            identity.certificate_der, near["document"].encode(), base64.b64decode(signature)
        )


async def test_a_declined_proposal_tells_why_on_both_sides_and_changes_nothing(two: Two) -> None:
    number = (await two.cso.propose(clauses={"dispute_days": 45}))["number"]
    await two.exchange()
    await two.csp.answer(number, accept=False, reason="too long")
    await two.exchange()
    for side in (two.cso, two.csp):
        assert [(row.state, row.reason) for row in side.rows()] == [("DECLINED", "too long")]
        assert side.settings.number is None
    with pytest.raises(Conflict, match="is DECLINED already"):
        await two.csp.answer(number)


async def test_only_the_other_side_answers_and_only_what_there_is(two: Two) -> None:
    number = (await two.cso.propose())["number"]
    with pytest.raises(Conflict, match="our own proposal"):
        await two.cso.answer(number)
    with pytest.raises(NotFound):
        await two.cso.answer(99)
    with pytest.raises(NotFound):
        await two.cso.show(99)


async def test_of_two_answers_at_once_one_counts_and_the_other_is_told_so(two: Two) -> None:
    number = (await two.cso.propose())["number"]
    await two.exchange()
    told: list[Any] = []
    for accept in (False, True):  # both look before either has written
        two.csp.desk.answer(op.AnswerAgreement("abc", number, accept, "no"), told.append)
    await settled()
    (refused,), (done,) = ([one for one in told if isinstance(one, Conflict) is wanted] for wanted in (True, False))
    assert refused.reason == "wrong-state"
    await two.exchange()
    kinds = two.cso.company.store.read(lambda cx: [kind for (kind,) in cx.run("SELECT kind FROM entries ORDER BY id")])
    assert len(kinds) == 2, "the proposal and one answer"
    assert two.csp.states() == two.cso.states() == {number: done["state"]}


async def test_events_tell_the_backend_of_each_step(two: Two) -> None:
    number = await two.agree()
    told = two.csp.company.store.read(lambda cx: events.page(cx, 0, 100))
    assert [msgspec.json.decode(row.data) for row in told if row.type == "agreement.state"] == [
        {"peer": "abc", "number": number, "state": state} for state in ("PROPOSED", "SIGNED", "IN_FORCE")
    ]


async def test_a_newer_agreement_takes_the_place_of_the_older_and_begins_with_it(two: Two) -> None:
    first = await two.agree(clauses={"dispute_days": 45, "tolerance": "0.05"})
    second = await two.agree(clauses={"dispute_days": 50})
    assert second > first
    for side in (two.cso, two.csp):
        assert side.states() == {first: "REPLACED", second: "IN_FORCE"}
        assert (side.settings.terms.dispute_days, str(side.settings.terms.tolerance)) == (50, "0.05")
    with pytest.raises(Conflict, match="nothing else"):
        await two.cso.propose()


async def test_two_proposals_that_cross_and_are_both_signed_come_to_the_same_on_both_sides(two: Two) -> None:
    near = (await two.cso.propose(clauses={"dispute_days": 40}))["number"]
    far = (await two.csp.propose(clauses={"dispute_days": 50}))["number"]
    assert near != far
    carry(two.cso.company, two.csp.company)
    carry(two.csp.company, two.cso.company)
    await two.cso.answer(far)
    await two.csp.answer(near)
    await two.exchange()
    assert two.cso.states() == two.csp.states() == {min(near, far): "REPLACED", max(near, far): "IN_FORCE"}
    assert two.cso.settings.terms == two.csp.settings.terms


async def test_an_older_proposal_cannot_be_signed_once_a_newer_one_is(two: Two) -> None:
    old = (await two.cso.propose(clauses={"dispute_days": 40}))["number"]
    await two.agree(clauses={"dispute_days": 50})
    with pytest.raises(Conflict, match="was signed since"):
        await two.csp.answer(old)


async def test_our_own_settings_outlive_every_agreement(two: Two, cso: Company) -> None:
    own = msgspec.structs.replace(two.cso.settings, withheld={"sessions": ("kwh",)})
    cso.directory.put(cso.peer("rmd").row._replace(agreement_json=own.to_json()))
    await two.agree()
    assert two.cso.settings.withheld == {"sessions": ("kwh",)}


# --- what a proposal begins with --------------------------------------------------------------------------------


async def test_partners_of_before_a_new_row_get_it_by_a_proposal_without_a_word(
    cso: Company, csp: Company, two: Two
) -> None:
    cso.meets(csp, "rmd", feeds_out=("locations",), services_in=("start-session",))
    csp.meets(cso, "abc", feeds_in=("locations",), services_out=("start-session",))
    assert any(words.startswith("us.feeds: adds") for words in (await two.cso.show())["newer_preset"])
    await two.agree()
    assert {"tariffs", "reservations"} <= {*two.cso.settings.feeds_out}
    assert two.cso.settings.services_in == two.csp.settings.services_out
    assert "reserve" in two.csp.settings.services_out


async def test_the_preset_is_offered_again_by_name(two: Two) -> None:
    await two.agree(remove={"them.services": "reserve"})
    assert "reserve" not in two.cso.settings.services_in
    kept = await two.cso.propose(clauses={"dispute_days": 31}, check=True)
    assert [each["clause"] for each in kept["differences"]] == ["dispute_days"]
    await two.agree(base="preset")
    assert "reserve" in two.cso.settings.services_in


async def test_a_check_writes_nothing(two: Two) -> None:
    checked = await two.cso.propose(clauses={"dispute_days": 45}, check=True)
    assert (checked["number"], checked["state"], checked["clauses"]["dispute_days"]) == (None, "CHECKED", 45)
    assert two.cso.rows() == []
    assert two.cso.company.chains(own=True) == []


# --- faults -----------------------------------------------------------------------------------------------------


async def test_every_clause_that_we_cannot_promise_is_named_at_once(two: Two, cso: Company) -> None:
    with pytest.raises(Malformed) as refused:
        await two.cso.propose(clauses={
            "us.roles": "cso,csp", "us.parties": "DEABC,DEQQQ", "retention.records_years": YEARS + 1,
            "final_days": 1, "valid_from": "2020-01-01T00:00:00Z", "valid_until": "2020-06-01T00:00:00Z",
            "tolerance": "much", "wings": 2,
        })  # fmt: skip
    assert sorted(fault.path for fault in refused.value.faults) == [
        "final_days", "retention.records_years", "tolerance", "us.parties", "us.roles", "valid_from", "valid_until",
        "wings",
    ]  # fmt: skip
    assert all(fault.path in str(refused.value) for fault in refused.value.faults)
    assert two.cso.rows() == []


@pytest.mark.parametrize("clause", ["them.parties", "them.contract_prefixes", "them.evse_prefixes"])
@pytest.mark.parametrize(
    ("claimed", "said"), [("NLOTH", "NLOTH is oth's (NLOTH)"), ("DEABC", "DEABC is ours")], ids=["another's", "ours"]
)
async def test_what_another_owns_is_given_to_nobody_and_the_overlap_is_named(
    two: Two, cso: Company, clause: str, claimed: str, said: str
) -> None:
    other = Company(3, "NLOTH", "cso", "csp", clock=cso.clock)
    cso.meets(other, "oth", evse_prefixes=("NLOTH",), contract_prefixes=("NLOTH",))
    with pytest.raises(Malformed) as refused:
        await two.cso.propose(add={clause: claimed})
    assert [(fault.path, said in fault.message) for fault in refused.value.faults] == [(clause, True)]
    # The same as the partner's proposal: it arrives, it is shown with its fault, and it cannot be signed.
    number = (await two.csp.propose(clauses={"dispute_days": 45}))["number"]
    ours = clause.removeprefix("them.")
    text = two.document(number + 2, **{f"us__{ours}": f"FRRMD,{claimed}"}).text()
    two.csp.say_proposal(text)
    await two.exchange()
    shown = next(one for one in (await two.cso.show())["proposals"] if one["number"] == number + 2)
    assert any(fault["path"] == clause and said in fault["message"] for fault in shown["faults"])
    with pytest.raises(Conflict, match="cannot be signed") as answered:
        await two.cso.answer(number + 2)
    assert said in str(answered.value)
    assert two.cso.settings.number is None


async def test_what_we_have_offered_to_one_is_not_offered_to_another(two: Two, cso: Company) -> None:
    other = Company(3, "NLOTH", "csp", clock=cso.clock)
    cso.meets(other, "oth")
    await two.cso.propose(add={"them.contract_prefixes": "BENEW"})
    with pytest.raises(Malformed, match="BENEW is rmd's"):
        await two.cso.ask(two.cso.desk.propose, op.ProposeAgreement("oth", add={"them.contract_prefixes": "BENEW"}))


async def test_nothing_is_agreed_with_whom_the_operator_has_not_confirmed(two: Two, cso: Company) -> None:
    cso.directory.put(cso.peer("rmd").row._replace(state="PENDING"))
    with pytest.raises(Conflict, match="PENDING"):
        await two.cso.propose()


# --- time -------------------------------------------------------------------------------------------------------


async def test_an_agreement_rules_from_its_day_to_its_end_and_then_the_preset_again(two: Two, cso: Company) -> None:
    clock = cso.clock
    begins, ends = "2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z"
    before = two.cso.settings
    number = await two.agree(clauses={"dispute_days": 45, "valid_from": begins, "valid_until": ends})
    assert two.cso.states() == two.csp.states() == {number: "UPCOMING"}
    assert two.cso.settings == before
    cso.timers.pass_by((row_ms(two, "from_ms") - clock.wall_ms) / 1000 + 1)
    await settled()
    assert (two.cso.states(), two.cso.settings.terms.dispute_days) == ({number: "IN_FORCE"}, 45), "by its own timer"
    await two.csp.look()
    assert two.csp.settings.terms.dispute_days == 45
    cso.timers.pass_by(3 * 86_400)
    await settled()
    await two.csp.look()
    assert (two.cso.states(), two.csp.states()) == ({number: "ENDED"}, {number: "ENDED"})
    assert two.cso.settings == before
    assert any("the preset holds again" in alarm for alarm in cso.peer("rmd").alarms)


def row_ms(two: Two, name: str) -> int:
    moment: int = getattr(two.cso.rows()[-1], name)
    return moment


async def test_when_a_newer_one_ends_an_older_one_that_is_still_valid_rules_again(two: Two, cso: Company) -> None:
    first = await two.agree(clauses={"dispute_days": 45})
    second = await two.agree(clauses={"dispute_days": 10, "valid_until": "2026-12-27T00:00:00Z"})
    assert two.cso.settings.terms.dispute_days == 10
    cso.timers.pass_by(400 * 86_400)
    await settled()
    assert two.cso.states() == {first: "IN_FORCE", second: "ENDED"}
    assert two.cso.settings.terms.dispute_days == 45


async def test_what_was_signed_and_not_put_to_use_before_a_crash_is_put_to_use_at_the_next_start(
    two: Two, csp: Company, nursery: trio.Nursery
) -> None:
    number = (await two.cso.propose(clauses={"dispute_days": 45}))["number"]
    await two.exchange()
    await two.csp.answer(number)
    carry(csp, two.cso.company)
    assert two.cso.settings.number is None, "committed, and then the process ended"
    again = Side(two.cso.company, "rmd", nursery)
    again.in_force.begin()
    await settled()
    assert again.settings.number == number


async def test_who_looks_while_the_last_signature_is_being_committed_does_not_keep_it_from_its_use(
    two: Two, csp: Company
) -> None:
    """A look for another reason falls between the transaction, on the writer's thread, and its commit."""
    number = (await two.cso.propose(clauses={"dispute_days": 45}))["number"]
    await two.exchange()
    await two.csp.answer(number)
    two.cso.in_force.note(two.cso.other)
    two.cso.in_force.look()
    await settled()
    carry(csp, two.cso.company)
    assert two.cso.settings.number is None
    two.cso.in_force.look()
    await settled()
    assert two.cso.settings.number == number


# --- lying peers ------------------------------------------------------------------------------------------------


async def refused_as(two: Two, text: bytes, **more: Any) -> str | None:
    """What the CSO's chain says of a proposal of the CSP's."""
    two.csp.say_proposal(text, **more)
    await two.exchange()
    rows = two.csp.company.store.read(
        lambda cx: cx.run("SELECT body FROM entries WHERE kind = ? ORDER BY id DESC", (EntryKind.REFUSED,))
    )
    return msgspec.json.decode(rows[0][0])["reason"] if rows else None


async def test_a_document_that_is_not_the_proposers_or_not_ours_is_refused(
    two: Two, cso: Company, csp: Company
) -> None:
    number = two.csps_number()
    sound = two.document(number).text()
    assert await refused_as(two, b"{}") == "not-an-agreement"
    assert await refused_as(two, sound, signed=b"something else") == "not-an-agreement"
    assert await refused_as(two, sound, digest="0" * 64) == "not-an-agreement"
    foreign = Company(3, "NLOTH", "cso").identity.endpoint_id
    swapped = sound.replace(csp.identity.endpoint_id.encode(), foreign.encode())
    assert await refused_as(two, swapped) in ("other-sides", "not-an-agreement")
    assert two.cso.rows() == []


async def test_a_number_that_is_ours_taken_or_far_away_is_refused(two: Two) -> None:
    number = two.csps_number()
    assert await refused_as(two, two.document(number + 1).text()) == "number"
    assert await refused_as(two, two.document(two.csps_number(MAX_STEP + 1)).text()) == "number"
    two.csp.say_proposal(two.document(number).text())
    assert await refused_as(two, two.document(number, dispute_days=31).text()) == "number"
    assert [row.number for row in two.cso.rows()] == [number]


async def test_what_a_peer_agrees_with_a_third_company_is_not_signed_by_us(
    two: Two, cso: Company, csp: Company
) -> None:
    number, third = two.csps_number(), Company(3, "NLOTH", "cso").identity.endpoint_id
    said = clauses_of(csp.peer("abc").agreement, ["FRRMD"])
    for candidate in (number, number + 1):  # whichever is the CSP's to write in that pair
        two.csp.say_proposal(document_of(said, candidate, csp.identity.endpoint_id, third).text())
    await two.exchange()
    (row,) = two.cso.rows()
    with pytest.raises(Conflict, match="another endpoint"):
        await two.cso.answer(row.number)


async def test_an_old_one_that_is_replayed_changes_nothing(two: Two, log: LogLines) -> None:
    """Neither the signed document of before, nor a new one under an old number."""
    declined = (await two.csp.propose(clauses={"dispute_days": 3}))["number"]  # the peer's chain is the older one
    await two.exchange()
    await two.cso.answer(declined, accept=False)
    await two.agree(clauses={"dispute_days": 40})
    old = two.cso.rows()[-1]
    number = await two.agree(clauses={"dispute_days": 50})
    two.csp.say_proposal(old.document)  # ours, as if it were the peer's own
    two.csp.say_accepted(old.digest, old.document)
    await two.exchange()
    assert two.cso.states() == {declined: "DECLINED", old.number: "REPLACED", number: "IN_FORCE"}
    assert old in two.cso.rows()
    assert await refused_as(two, two.document(two.csps_number(), dispute_days=10).text()) == "replaced"
    assert two.cso.settings.terms.dispute_days == 50


async def test_a_backdated_one_is_refused(two: Two) -> None:
    text = two.document(two.csps_number(), valid_from="2020-01-01T00:00:00Z").text()
    assert await refused_as(two, text) == "backdated"
    text = two.document(two.csps_number(), valid_until="2020-01-01T00:00:00Z").text()
    assert await refused_as(two, text) == "over"
    assert two.cso.rows() == []


async def test_who_accepts_something_else_than_was_proposed_has_accepted_nothing(two: Two, log: LogLines) -> None:
    number = (await two.cso.propose(clauses={"dispute_days": 45}))["number"]
    (row,) = two.cso.rows()
    other = kept_document(row.document)
    other = msgspec.structs.replace(other, dispute_days=5)
    two.csp.say_accepted(digest_of(other.text()), other.text())  # a document that was never proposed
    two.csp.say_accepted(row.digest, other.text())  # ours by name, another one by signature
    two.csp.say(EntryKind.AGREEMENT_ACCEPTED, row.digest, b"yes")
    two.csp.say(EntryKind.AGREEMENT_ACCEPTED, row.digest, AgreementDecision(ALGORITHM, "%%%").pack())
    two.csp.say(EntryKind.AGREEMENT_ACCEPTED, row.digest, AgreementDecision("rot13", "AAAA").pack())
    await two.exchange()
    assert (two.cso.states(), two.cso.settings.number) == ({number: "PROPOSED"}, None)
    assert len(log.of("agreement_word_ignored")) == 5


async def test_nobody_signs_his_own_proposal_for_the_other(two: Two) -> None:
    text = two.document(two.csps_number(), dispute_days=5).text()
    digest = two.csp.say_proposal(text)
    two.csp.say_accepted(digest, text)
    await two.exchange()
    assert list(two.cso.states().values()) == ["PROPOSED"]
    assert two.cso.settings.number is None


async def test_who_has_declined_cannot_accept_any_more_nor_the_other_way_round(two: Two) -> None:
    number = await two.agree(clauses={"dispute_days": 45})
    (row,) = two.cso.rows()
    two.csp.say(EntryKind.AGREEMENT_DECLINED, row.digest, AgreementDecision(reason="second thoughts").pack())
    await two.exchange()
    assert two.cso.states() == two.csp.states() == {number: "IN_FORCE"}


async def test_a_flood_of_proposals_ends_at_a_bound_on_either_side(two: Two) -> None:
    first = two.csps_number()
    for place in range(MAX_OPEN + 1):
        two.csp.say_proposal(two.document(first + 2 * place, dispute_days=2 + place).text())
    await two.exchange()
    assert len(two.cso.rows()) == MAX_OPEN
    for place in range(MAX_OPEN):
        await two.cso.propose(clauses={"dispute_days": 2 + place})
    with pytest.raises(Conflict, match="wait for rmd"):
        await two.cso.propose(clauses={"dispute_days": 25})


async def test_a_peer_that_does_not_know_agreements_refuses_them_and_that_is_shown(two: Two, csp: Company) -> None:
    number = (await two.cso.propose())["number"]
    (row,) = two.cso.rows()
    refusal = {"party": "", "reason": "unsupported-kind", "detail": "entries of kind 56 are not supported here"}
    two.csp.say(EntryKind.REFUSED, row.digest, msgspec.json.encode(refusal))
    carry(csp, two.cso.company)
    assert two.cso.states() == {number: "REFUSED"}
    assert (two.cso.rows()[0].reason or "").startswith("unsupported-kind")


# --- rollbacks --------------------------------------------------------------------------------------------------


async def test_who_accepted_and_was_rolled_back_has_accepted_all_the_same(
    two: Two, cso: Company, csp: Company, nursery: trio.Nursery
) -> None:
    clauses = {"dispute_days": 45, "valid_from": rfc3339(START_MS + DAY_MS)[:19] + "Z"}
    number = (await two.cso.propose(clauses=clauses))["number"]
    image = csp.store.snapshot_bytes()
    await two.exchange()
    await two.csp.answer(number)
    await two.exchange()
    cso.clock.wall_ms += 90 * DAY_MS  # long after: what comes again is not judged as if it were new
    restored = csp.restored(image)
    await mend(restored, cso)
    restored.peer("abc").exchange = None  # the link over which it was mended has ended
    carry(cso, restored)
    again = Side(restored, "abc", nursery)
    await again.look()
    assert again.states() == {number: "IN_FORCE"}
    assert again.settings.terms.dispute_days == 45


async def test_who_proposed_and_was_rolled_back_knows_his_proposal_and_its_answer_again(
    two: Two, cso: Company, csp: Company, nursery: trio.Nursery
) -> None:
    image = cso.store.snapshot_bytes()
    number = await two.agree(clauses={"dispute_days": 45})
    restored = cso.restored(image)
    await mend(restored, csp)
    assert Side(restored, "rmd", nursery).states() == {number: "PROPOSED"}
    restored.peer("rmd").exchange = None  # the link over which it was mended has ended
    carry(csp, restored)
    again = Side(restored, "rmd", nursery)
    await again.look()
    assert again.states() == {number: "IN_FORCE"}
    assert two.csp.states() == {number: "IN_FORCE"}


async def test_an_acceptance_that_nobody_had_received_is_said_again_in_the_new_epoch(
    two: Two, cso: Company, csp: Company, nursery: trio.Nursery
) -> None:
    number = (await two.cso.propose(clauses={"dispute_days": 45}))["number"]
    await two.exchange()
    image = csp.store.snapshot_bytes()
    await two.csp.propose()  # the CSO has this entry, and the backup will have forgotten it
    await two.exchange()
    restored = csp.restored(image)
    await Side(restored, "abc", nursery).answer(number)  # at a place that the CSO knows otherwise
    await mend(restored, cso)
    carry(restored, cso)
    await two.cso.look()
    assert two.cso.states()[number] == "IN_FORCE"
    assert two.cso.settings.terms.dispute_days == 45


async def test_a_proposal_that_is_refused_again_and_again_is_not_looked_through_each_time(
    two: Two, csp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    entries_about = ledgers.entries_about
    monkeypatch.setattr(
        ledgers, "entries_about", lambda cx, record_id: looked.append(record_id) or entries_about(cx, record_id)
    )
    text = two.document(two.csps_number() + 1).text()  # a number that is for the other side to write
    for _ in range(20):
        two.csp.say_proposal(text)
    await two.exchange()
    assert two.cso.rows() == []
    assert looked == []
