"""A company's backend beside its node: hands in records, publishes, asks, decides, and remembers what it was promised.

What the node answered with success is a promise; `law` holds the node to it. A backend that got no answer does what
real ones do: it hands in the same again later.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from roamd.clock import rfc3339
from roamd.errors import NotFound, RoamdError
from roamd.model.objects import Checked, CheckedRecord, check_object, check_record
from roamd.roaming import operations as op
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, CommandQuestion, CommandResult, NoAnswer
from tests.model import bodies

if TYPE_CHECKING:
    from tests.simulation.node import Company, Node

Key = tuple[str, str]
"""A feed and an object's id in it."""


@dataclass(slots=True)
class Handed:
    """A record of ours, for a peer; `promised` once the node said that it has it."""

    record: CheckedRecord
    peer: str
    promised: bool = False


class LawBroken(AssertionError):
    """A promise of roamd was not kept."""


@dataclass(slots=True)
class SimBackend:
    """See the module. `partners` are the companies that its own one is paired with."""

    company: "Company"
    rng: random.Random
    partners: list["Company"] = field(default_factory=list)
    handed: dict[str, Handed] = field(default_factory=dict)
    shown: dict[Key, bytes | None] = field(default_factory=dict)
    latest: dict[Key, Checked | None] = field(default_factory=dict)
    in_flight: dict[Key, list[bytes | None]] = field(default_factory=dict)
    seen: set[tuple[str | None, str]] = field(default_factory=set)
    cursor: str = ""
    slow: bool = False
    asked: int = 0
    published: int = 0
    answered: int = 0
    _serial: int = 0
    _nursery: trio.Nursery | None = None

    # --- what it does -------------------------------------------------------------------------------------------

    def act(self, node: "Node", nursery: trio.Nursery) -> str:
        """One thing that backends do; what it was."""
        self._nursery = nursery
        acts: list[Callable[[Node], str]] = [self.read_events]
        if "cso" in self.company.roles:
            acts += [self.hand_in, self.hand_in, self.hand_in, self.publish, self.publish, self.change_status]
            acts += [self.authorize, self.withdraw, self.publish_session, self.retry]
        if "csp" in self.company.roles:
            acts += [self.publish_credential, self.publish_credential, self.withdraw]
        return self.rng.choice(acts)(node)

    def hand_in(self, node: "Node") -> str:
        """New records for one partner, and sometimes what was never answered."""
        csps = [partner for partner in self.partners if "csp" in partner.roles]
        if not csps:
            return "nothing"
        partner = self.rng.choice(csps)
        new = [self._record(partner) for _ in range(self.rng.choice((1, 1, 2, 5)))]
        self._post(node, [self._note(record, partner) for record in new])
        return f"{len(new)} records for {partner.name}"

    def hand_in_for(self, node: "Node", partner: "Company") -> None:
        """One new record for this partner."""
        self._post(node, [self._note(self._record(partner), partner)])

    def hand_in_again(self, node: "Node") -> bool:
        """Everything that the node has not promised, records and objects; whether there was any record."""
        for key in [key for key in self.latest if key not in self.shown]:
            self._show(node, key, self.latest[key])
        open_ = [handed for handed in self.handed.values() if not handed.promised]
        for handed in open_:
            self._post(node, [handed])
        return bool(open_)

    def repeat(self, node: "Node") -> str:
        """Hand in once more, as one whose answer got lost, what the node has promised long ago."""
        handed = list(self.handed.values())
        again = self.rng.sample(handed, min(len(handed), 5))
        for one in again:
            self._post(node, [one])
        return f"{node.name} {len(again)} records"

    def _note(self, record: CheckedRecord, partner: "Company") -> Handed:
        handed = self.handed[record.id] = Handed(record, partner.name)
        return handed

    def _record(self, partner: "Company") -> CheckedRecord:
        self._serial += 1
        serial = f"{self.company.party}-{self._serial}"
        stamp = rfc3339(1_795_000_000_000 + self._serial * 1000)
        token = bodies.cdr_token(
            country_code=partner.party[:2],
            party_id=partner.party[2:],
            contract_id=contract_of(partner, self._serial % 7),
        )
        kind = bodies.sdr if self._serial % 5 == 0 else bodies.cdr
        text = bodies.text(kind(**self._owner(), id=serial, cdr_token=token, last_updated=stamp))
        return check_record("2.3.0", text, own_parties=frozenset((self.company.party,)))

    def _post(self, node: "Node", handed: list[Handed]) -> None:
        def reply(value: Any) -> None:
            if isinstance(value, RoamdError):
                return
            if isinstance(value, BaseException):
                raise value
            for one in handed:
                one.promised = True

        node.ask(op.PostRecords(tuple(one.record for one in handed)), reply)

    def retry(self, node: "Node") -> str:
        """A person looks at what is parked, and has some of it sent again."""

        def reply(page: Any) -> None:
            for row in page.items:
                node.ask(op.RetryRecord(row.record_id, row.party), lambda value: None)

        node.ask(op.ListRecords(limit=3, state="PARKED", direction="out"), reply)
        return "retry"

    def publish(self, node: "Node") -> str:
        """A location or a tariff, new or changed."""
        self._serial += 1
        which = self.rng.randrange(8)
        stamp = rfc3339(1_795_000_000_000 + self._serial * 1000)
        if which < 5:
            value = bodies.location(**self._owner(), id=f"L{which}", city=f"Town {self._serial}", last_updated=stamp)
            return self._put(node, "locations", value)
        return self._put(node, "tariffs", bodies.tariff(**self._owner(), id=f"T{which}", last_updated=stamp))

    def publish_session(self, node: "Node") -> str:
        """A session of a partner's driver; sometimes it turns out to be another partner's."""
        csps = [partner for partner in self.partners if "csp" in partner.roles]
        if not csps:
            return "nothing"
        self._serial += 1
        partner = self.rng.choice(csps)
        stamp = rfc3339(1_795_000_000_000 + self._serial * 1000)
        token = bodies.cdr_token(
            country_code=partner.party[:2], party_id=partner.party[2:], contract_id=contract_of(partner, 1)
        )
        return self._put(
            node,
            "sessions",
            bodies.session(
                **self._owner(), id=f"S{self.rng.randrange(6)}", kwh=self._serial, cdr_token=token, last_updated=stamp
            ),
        )

    def publish_credential(self, node: "Node") -> str:
        """A driver's card, new or changed."""
        self._serial += 1
        number = self.rng.randrange(7)
        stamp = rfc3339(1_795_000_000_000 + self._serial * 1000)
        whitelist = self.rng.choice(("ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"))
        value = bodies.token(
            **self._owner(),
            uid=uid_of(self.company, number),
            contract_id=contract_of(self.company, number),
            whitelist=whitelist,
            valid=self.rng.random() < 0.8,
            last_updated=stamp,
        )
        return self._put(node, "user-credentials", value)

    def _put(self, node: "Node", feed: str, value: dict[str, Any]) -> str:
        checked = check_object(feed, "2.3.0", bodies.text(value), own_parties=frozenset((self.company.party,)))
        key = (feed, checked.key.id)
        self._show(node, key, checked)
        return f"put {feed} {checked.key.id}"

    def withdraw(self, node: "Node") -> str:
        """Take one object away."""
        keys = sorted(key for key, body in self.shown.items() if body is not None)
        if not keys:
            return "nothing"
        key = self.rng.choice(keys)
        self._show(node, key, None)
        return f"withdraw {key[0]} {key[1]}"

    def change_status(self, node: "Node") -> str:
        """An EVSE's status."""
        self._serial += 1
        status = self.rng.choice(("AVAILABLE", "CHARGING", "OUTOFORDER"))
        patch = json.dumps({"status": status, "last_updated": rfc3339(1_795_000_000_000 + self._serial * 1000)})
        location = f"L{self.rng.randrange(5)}"
        node.ask(op.PatchEvse(location, "E2", patch.encode(), "2.3.0"), lambda value: None)
        return f"status {location}"

    def _show(self, node: "Node", key: Key, checked: Checked | None) -> None:
        self.published += 1
        self.latest[key] = checked
        body = checked.body if checked is not None else None
        self.in_flight.setdefault(key, []).append(body)
        asked = op.PutObject(key[0], checked) if checked is not None else op.DeleteObject(*key)
        node.ask(asked, self._settler(key, body))

    def _settler(self, key: Key, body: bytes | None) -> Callable[[Any], None]:
        def reply(value: Any) -> None:
            # Commits come in the order of asking: what was asked before this one has been overtaken.
            flights = self.in_flight.get(key, [])
            if body in flights:
                del flights[: flights.index(body) + 1]
            if not isinstance(value, RoamdError) or (body is None and isinstance(value, NotFound)):
                self.shown[key] = body

        return reply

    def authorize(self, node: "Node") -> str:
        """A driver stands at a station."""
        csps = [partner for partner in self.partners if "csp" in partner.roles]
        if not csps:
            return "nothing"
        partner, number = self.rng.choice(csps), self.rng.randrange(9)
        contract = contract_of(partner, number) if self.rng.random() < 0.7 else None
        deadline_ms = self.rng.choice((300, 1000, 3000))
        asked_at = trio.current_time()
        self.asked += 1

        def reply(value: Any) -> None:
            self.answered += 1
            late_s = trio.current_time() - asked_at - deadline_ms / 1000
            if isinstance(value, BaseException) or late_s > 0:
                raise LawBroken(
                    f"{self.company.name}: an authorization was answered {late_s:.3f} s late or not: {value}"
                )

        node.ask(
            op.Authorize(op.CredentialIn("RFID", uid_of(partner, number), contract), deadline_ms=deadline_ms), reply
        )
        return f"authorize at {partner.name}"

    def read_events(self, node: "Node") -> str:
        """Everything since the last time; each record must be told once."""

        def reply(page: Any) -> None:
            if isinstance(page, BaseException):
                raise page
            for event in page.items:
                self._take_event(event)
            self.cursor = page.next
            if page.items and self.rng.random() < 0.5:
                node.ask(op.AcknowledgeEvents(page.next), lambda value: None)

        node.ask(op.ReadEvents(self.cursor, limit=200), reply)
        return "read events"

    def _take_event(self, event: op.Event) -> None:
        if event.type != "record.received":
            return
        data = json.loads(bytes(event.data))
        key = (event.peer, data["record_id"])
        if key in self.seen:
            raise LawBroken(f"{self.company.name}: the backend was told of {key} twice")
        if data["record"] is None:
            raise LawBroken(f"{self.company.name}: the event of {key} has no record")
        self.seen.add(key)

    # --- what it is asked ---------------------------------------------------------------------------------------

    def ask_authorize(self, question: AuthorizeQuestion, done: Callable[[BackendAnswer | NoAnswer], None]) -> None:
        """Decide, quickly, slowly, or not at all (ports.Backend)."""
        draw = self.rng.random()
        longest_s = 30.0 if self.slow else 0.4
        if self._nursery is None or draw < 0.05:
            return
        if draw < 0.1:
            done(NoAnswer("status 500"))
            return
        decision = self.rng.choice(("ALLOWED", "ALLOWED", "BLOCKED", "UNKNOWN"))
        self._nursery.start_soon(_later, self.rng.uniform(0.001, longest_s), done, BackendAnswer(decision))

    def ask_command(self, question: CommandQuestion, done: Callable[[CommandResult | NoAnswer], None]) -> None:
        """It takes no commands (ports.Backend)."""
        done(NoAnswer("not supported"))

    def events_arrived(self, newest: str) -> None:
        """It reads when it likes (ports.Backend)."""

    # --- what becomes of it -------------------------------------------------------------------------------------

    def forget_promises(self) -> None:
        """Its node forgets a part of the past: everything is handed in and told again."""
        for handed in self.handed.values():
            handed.promised = False
        self.in_flight.clear()
        self.shown.clear()
        self.seen.clear()
        self.cursor = ""

    def _owner(self) -> dict[str, str]:
        return {"country_code": self.company.party[:2], "party_id": self.company.party[2:]}


async def _later(seconds: float, done: Callable[[BackendAnswer | NoAnswer], None], answer: BackendAnswer) -> None:
    await trio.sleep(seconds)
    done(answer)


def contract_of(company: "Company", number: int) -> str:
    """The contract of one of a company's drivers."""
    return f"{company.party[:2]}-{company.party[2:]}-C{number:08d}"


def uid_of(company: "Company", number: int) -> str:
    """The card of one of a company's drivers."""
    return f"04{int(company.party[3:], 36):04X}{number:02X}"
