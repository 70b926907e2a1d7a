"""The visited-CSO's side of an authorization: find the home-CSP, ask within the deadline, always decide.

Theory of operation. What is to be done is said by the decision table (`model.decision`) alone; here the facts are
gathered, the routes are begun one after the other, and what the table says is carried out:

1. at once: what was said before and may decide alone, a grant or a listing;
2. at once, where the table says to ask: the owner of the contract id's prefix; else the CSPs that list or have granted
   the credential; else whoever `candidates` names, wave after wave, `stagger_ms` apart;
3. when the patience is over (`patience_ms`, at most half of the deadline): the table is asked again, and a grant or a
   listing of a CSP that is still silent may let the driver in, or a refusal that is there already be told;
4. at the deadline, or when all have spoken: the table a last time.

The first valid answer wins and the others are told that nobody waits. So a route that hangs costs the patience and not
the deadline, and no word given before ever beats what the home-CSP says live in that time.

The deadline is spent once: a margin is kept back for the way home, so that the answer is never later than it. A grant's
use is committed before the driver is let in; if the disk is too slow for that, the table decides without the grant.
Everything here runs in plain functions; a waiting authorization is one object and one heap entry or two.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from roamd.clock import Clock, rfc3339
from roamd.model.agreement import may_ask
from roamd.model.credentials import contract_of, is_random_uid, way_of
from roamd.model.decision import ANSWER, ASK, WAIT, Facts, Row, decide
from roamd.model.keys import fold
from roamd.protocol.calls import AuthorizeAnswer, AuthorizeRequest, Service
from roamd.protocol.messages import Answer, Call
from roamd.roaming.authorization.answers import decision_of, why_silent
from roamd.roaming.authorization.asking import FIRST, LAST, PATIENCE, Asking, Done
from roamd.roaming.authorization.report import DecisionReport
from roamd.roaming.authorization.reservations import HeldPlaces
from roamd.roaming.calls import OutgoingCalls
from roamd.roaming.deadlines import Deadlines
from roamd.roaming.directory import Directory, Peer, provider_of
from roamd.roaming.grants import Granted, VisitedGrants, shown_limits
from roamd.roaming.operations import AuthorizationReply, Authorize
from roamd.roaming.ports import Candidates, everyone
from roamd.roaming.whitelist import Whitelist
from roamd.storage.store import Store

IDS_DRAWN = 64
"""Ids drawn at once: each draw is a system call, in which the other thread may take the interpreter away."""


def _fresh_ids(random: Callable[[int], bytes]) -> Iterator[bytes]:
    """Ids of 16 random bytes."""
    while True:
        drawn = random(16 * IDS_DRAWN)
        yield from (drawn[at : at + 16] for at in range(0, len(drawn), 16))


def margin_s(deadline_ms: int) -> float:
    """What is kept back of the caller's time for the way back: a tenth, at most 25 ms."""
    return min(0.025, deadline_ms / 10_000)


@dataclass(slots=True)
class VisitedAuthorization:
    """Answers the operation Authorize. `candidates` narrows down whom a card may be of (`ports.Candidates`)."""

    clock: Clock
    store: Store
    directory: Directory
    calls: OutgoingCalls
    deadlines: Deadlines
    report: DecisionReport
    random: Callable[[int], bytes]
    own_party: str
    whitelist_offline: bool = True
    grants: VisitedGrants | None = None
    candidates: Candidates = everyone
    patience_ms: int = 1000
    stagger_ms: int = 100
    held: HeldPlaces = field(init=False)
    whitelist: Whitelist = field(init=False)
    _ids: Iterator[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.held = HeldPlaces(self.store)
        self.whitelist = Whitelist(self.store, self.directory)
        self._ids = _fresh_ids(self.random)

    def foreseeing(self, operations: Iterable[Authorize]) -> AbstractContextManager[None]:
        """Within, these operations are decided at less cost; they come from the same wake-up (`Whitelist`)."""
        return self.whitelist.foreseeing((one.credential.type, one.credential.uid) for one in operations)

    def authorize(self, operation: Authorize, done: Done) -> None:
        """Decide; `done` comes once, before `operation.deadline_ms` is over."""
        asking = self._gathered(operation, done)
        facts = asking.facts(FIRST, offline=self.whitelist_offline)
        row = decide(facts)
        if row.then == ASK:
            self._ask(asking)
        else:
            self._carry_out(asking, facts, row)

    # --- what is known ------------------------------------------------------------------------------------------

    def _gathered(self, operation: Authorize, done: Done) -> Asking:
        credential = operation.credential
        type_, uid, listed = self.whitelist.find(credential.type, credential.uid)
        way = way_of(type_)
        contract = contract_of(type_, credential.uid, credential.contract_id)
        owners = self.directory.contract_owners(provider_of(contract))
        granted = self._granted(operation, type_, uid) if way.granted else []
        if owners:  # another CSP's word about the uid is no word of the one whose contract this is
            listed = [one for one in listed if one.peer in owners]
            granted = [one for one in granted if one.peer in owners]
        now, total_ms = self.clock.monotonic(), operation.deadline_ms
        asking = Asking(
            operation, next(self._ids), now, now + total_ms / 1000 - margin_s(total_ms), done, type_, uid, way,
            owners, listed, granted,
        )  # fmt: skip
        if operation.location is not None and operation.location.evse_uid is not None:
            asking.reservation, asking.held = self.held.holder(
                operation.location.location_id, operation.location.evse_uid, self.clock.now_ms(),
                type_, uid, contract, self._group_of,
            )  # fmt: skip
        return asking

    def _granted(self, operation: Authorize, type_: str, uid: str) -> list[Granted]:
        if self.grants is None or operation.service != "CHARGING" or is_random_uid(type_, uid):
            return []
        return self.grants.find(type_, uid, operation.location)

    def _group_of(self, type_: str, uid: str) -> str | None:
        """A card's driver group at its CSP, as that lists it."""
        listed = self.whitelist.find(type_, uid).listed
        group = listed[0].entry.group_id if len(listed) == 1 else None
        return f"{listed[0].peer.label} {fold(group)}" if group else None

    # --- asking -------------------------------------------------------------------------------------------------

    def _ask(self, asking: Asking) -> None:
        asking.waves = [wave for wave in self._waves(asking) if wave]
        if not asking.waves:
            asking.silent = {peer.label: "may not be asked" for peer in asking.knowing()}
            self._decide(asking, LAST)
            return
        several = len(asking.waves) > 1 or len(asking.waves[0]) > 1
        if several or asking.may_be_let_in:
            wait_s = min(self.patience_ms, asking.operation.deadline_ms / 2) / 1000
            timer = self.deadlines.add(asking.began_at + wait_s, lambda: self._decide(asking, PATIENCE))
            asking.timers.append(timer)
        asking.body = self._request(asking).pack()
        self._ask_next(asking)

    def _waves(self, asking: Asking) -> Sequence[Sequence[Peer]]:
        known: Iterable[Peer] = asking.owners
        if not known and asking.way.owner_only:
            return ()
        if not known and (asking.listed or asking.granted):
            known = {one.label: one for one in asking.knowing()}.values()
        peers = [peer for peer in known or self._everyone() if peer.active and may_ask(peer.agreement, "authorization")]
        return (peers,) if known else self.candidates(asking.type, asking.uid, peers)

    def _everyone(self) -> Sequence[Peer]:
        return (*self.directory, *self.directory.plain)

    def _ask_next(self, asking: Asking) -> None:
        """Begin the next wave that reaches anyone; with none left, and nobody to wait for, it is over."""
        while asking.waves and not asking.over:
            wave = asking.waves.pop(0)
            reachable = [peer for peer in wave if peer.reachable]
            asking.silent.update({peer.label: "no link" for peer in wave if not peer.reachable})
            if reachable:
                if asking.waves:
                    timer = self.deadlines.after(self.stagger_ms / 1000, lambda: self._ask_next(asking))
                    asking.timers.append(timer)
                self._call(asking, reachable)
                return
        if not asking.over and not asking.open:
            self._decide(asking, LAST)

    def _call(self, asking: Asking, peers: list[Peer]) -> None:
        left_ms = max(1, int((asking.deadline_at - self.clock.monotonic()) * 1000))
        asked_now: list[tuple[bytes, Peer]] = []
        for peer in peers:
            # One peer is asked under the authorization's own id, so that the lines of both companies join by it.
            asked_now.append((next(self._ids) if asking.asked else asking.id, peer))
            asking.asked.append(peer.label)
        asking.open.update(asked_now)
        for call_id, peer in asked_now:
            if asking.over:
                return  # it was decided by an answer that came at once
            call = Call(call_id, Service.AUTHORIZATION, left_ms, asking.body, asking.operation.traceparent)
            self._start(asking, peer, call)

    def _start(self, asking: Asking, peer: Peer, call: Call) -> None:
        start = peer.way or self.calls.start
        start(peer, call, asking.deadline_at, lambda answer: self._answered(asking, call.id, answer))

    def _request(self, asking: Asking) -> AuthorizeRequest:
        credential, place = asking.operation.credential, asking.operation.location
        return AuthorizeRequest(
            type=credential.type,
            uid=asking.uid,
            contract_id=credential.contract_id,
            location_id=place.location_id if place else None,
            evse_uid=place.evse_uid if place else None,
            connector_id=place.connector_id if place else None,
            service=asking.operation.service,
            party=self.own_party,
        )

    def _answered(self, asking: Asking, call_id: bytes, answer: Answer | None) -> None:
        peer = asking.open.pop(call_id, None)
        if peer is None:
            return
        decided = decision_of(answer)
        if decided is None:
            asking.silent[peer.label] = why_silent(answer)
        else:
            asking.answers.append((peer, decided))
            if decided.decision != "UNKNOWN":
                asking.waves.clear()  # one that knows the card has spoken: it is shown to nobody else
        if asking.using is not None:
            return  # the use of a grant is being committed; then it is seen who was first
        if decided is not None and decided.decision == "ALLOWED":
            self._decide(asking, LAST)
        elif not asking.open:
            self._ask_next(asking)

    # --- deciding -----------------------------------------------------------------------------------------------

    def _decide(self, asking: Asking, when: str) -> None:
        if not asking.over and asking.using is None:
            facts = asking.facts(when, offline=self.whitelist_offline)
            self._carry_out(asking, facts, decide(facts))

    def _carry_out(self, asking: Asking, facts: Facts, row: Row) -> None:
        if row.then == WAIT:
            return
        if row.source == "GRANT":
            self._use_grant(asking, facts, row)
            return
        if row.then == ANSWER:
            best = asking.best()
            assert best is not None  # noqa: S101 - the table says ANSWER only where one was told
            self._reply(asking, facts, row, best[1], best[0].label)
            return
        reference, home = None, self._home(asking, facts.when, row)
        if asking.held is not None and row.then == "ALLOWED" and row.source == "POLICY":
            reference = asking.held.reference
        answer = AuthorizeAnswer(row.then, _reason(asking, row), row.source or "POLICY", reference)
        self._reply(asking, facts, row, answer, home)

    def _home(self, asking: Asking, when: str, row: Row) -> str | None:
        """Whose word it is, or whose it would have been."""
        listing = asking.listing(when) if row.source == "WHITELIST" else None
        if listing is not None:
            return listing.peer.label
        if asking.held is not None and row.then == "ALLOWED":
            owners = self.directory.contract_owners(provider_of(asking.held.contract))
            return owners[0].label if len(owners) == 1 else None
        return next(iter(asking.silent)) if len(asking.silent) == 1 and not asking.open else None

    def _reply(
        self, asking: Asking, facts: Facts, row: Row, answer: AuthorizeAnswer, home: str | None,
        granted: Granted | None = None,
    ) -> None:  # fmt: skip
        timed_out = answer.source != "BACKEND" and bool(asking.silent or asking.open)
        for call_id in asking.open:
            self.calls.cancel(call_id)
        asking.open.clear()
        asking.finish()
        valid_until_ms = answer.valid_until_ms
        reply = AuthorizationReply(
            decision=answer.decision,
            reason=answer.reason,
            source=answer.source,
            home_csp=home,
            authorization_id=asking.id.hex(),
            asked=asking.asked,
            elapsed_ms=round((self.clock.monotonic() - asking.began_at) * 1000, 3),
            authorization_reference=answer.authorization_reference,
            valid_until=None if valid_until_ms is None else rfc3339(valid_until_ms),
            info=msgspec.Raw(answer.info) if answer.info else None,
            location=msgspec.Raw(answer.location) if answer.location else None,
            grant=_shown_grant(granted) if granted is not None else None,
            offline=self._offline_terms(home) if (row.then, row.source) == ("ALLOWED", "WHITELIST") else None,
        )
        self.report.decided(reply, asking, facts, row.number, timed_out=timed_out)
        asking.done(reply)

    def _offline_terms(self, home: str | None) -> dict[str, Any] | None:
        """How far a driver may go who is let in by a list, as it was signed; for the CSO's backend to watch."""
        peer = self.directory.find(home) if home is not None else None
        if peer is None or peer.agreement.number is None:
            return None
        terms = peer.agreement.terms
        currency = terms.currencies[0] if terms.offline_cost is not None else None
        limits = {"cost": terms.offline_cost, "currency": currency, "kwh": terms.offline_kwh}
        told = {name: str(limit) for name, limit in limits.items() if limit is not None}
        return {**told, "liability": terms.offline_liability, "agreement": peer.agreement.number}

    # --- by a grant ---------------------------------------------------------------------------------------------

    def _use_grant(self, asking: Asking, facts: Facts, row: Row) -> None:
        """Commit the use of the best grant that counts; when it is none after all, the table is asked without it."""
        granted = _best_grant(asking, facts.when)
        if self.grants is None or not self.grants.is_signed(granted):
            self._without(asking, granted, facts.when)
            return
        asking.using = granted
        late_s = asking.deadline_at + margin_s(asking.operation.deadline_ms) / 2
        asking.timers.append(self.deadlines.add(late_s, lambda: self._too_slow(asking, granted)))
        self.grants.use(
            granted, asking.id.hex(), asking.operation.location,
            lambda used: self._used(asking, granted, facts, row, used=used),
        )  # fmt: skip

    def _used(self, asking: Asking, granted: Granted, facts: Facts, row: Row, *, used: bool) -> None:
        spoken = any(answer.decision != "UNKNOWN" or peer is granted.peer for peer, answer in asking.answers)
        if used and (asking.over or spoken) and self.grants is not None:
            self.grants.give_back(asking.id.hex())
        if asking.over:
            return
        asking.using = None
        if spoken:  # meanwhile: what is said live is never beaten
            self._decide(asking, LAST)
        elif used:
            view = granted.view
            info = shown_limits(granted)[1]
            answer = AuthorizeAnswer(
                row.then, _reason(asking, row), "GRANT", view.authorization_reference, view.valid_until_ms, info=info
            )
            self._reply(asking, facts, row, answer, granted.peer.label, granted)
        else:
            self._without(asking, granted, facts.when)

    def _too_slow(self, asking: Asking, granted: Granted) -> None:
        """The store did not commit in time: the driver is answered all the same, by whatever else is known."""
        asking.using = None
        asking.silent.setdefault(granted.peer.label, "late")
        self._without(asking, granted, LAST)

    def _without(self, asking: Asking, granted: Granted, when: str) -> None:
        """Go on as if the grant were not there."""
        asking.granted = [one for one in asking.granted if one is not granted]
        facts = asking.facts(when, offline=self.whitelist_offline)
        row = decide(facts)
        if row.then == ASK:
            self._ask(asking)
        elif row.then == WAIT and not asking.open:
            self._ask_next(asking)
        else:
            self._carry_out(asking, facts, row)


def _best_grant(asking: Asking, when: str) -> Granted:
    """Of several that count, one that counts at once, then the one that ends last."""
    return max(asking.grants(when), key=lambda one: (one.view.at_once, one.view.valid_until_ms))


def _shown_grant(granted: Granted) -> dict[str, Any]:
    """What the CSO's backend is told of it: energy, money and duration are for the station to watch."""
    limits, _ = shown_limits(granted)
    return {"id": granted.row.id, "limits": msgspec.Raw(limits or b"{}")}


def _reason(asking: Asking, row: Row) -> str:
    """The row's words, with who was silent and why."""
    silent = asking.silent | {peer.label: "not yet" for peer in asking.open.values()}
    if not silent or not row.reason.startswith(_SILENT):
        return row.reason
    who = ", ".join(f"{label} ({why})" for label, why in silent.items())
    return f"{_SILENT}: {who}{row.reason.removeprefix(_SILENT)}"


_SILENT = "no answer"
