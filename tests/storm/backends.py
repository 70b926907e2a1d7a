"""The two companies' own systems, as threads: they hand in, change, ask and read, and never give up.

Each remembers what was answered with 2xx. Nothing else counts: what the API did not acknowledge may be there or not,
and is asked for again under the same record ids and the same Idempotency-Key until it is acknowledged.
"""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from roamd.clock import rfc3339
from roamd.demo import objects
from roamd.demo.client import NotAnsweredError
from tests.storm.world import Company, StormError

BEGAN_MS = 1_780_000_000_000
"""The time in all objects counts on from here: a storm's objects are the same for the same seed."""

PARKED_EVERY = 50
"""Every so many-th record is of a driver whom no partner knows, so that it is PARKED at intake."""

MOST_AT_ONCE = 8
DEADLINE_MS = 1500


class Quota:
    """How much work may be done so far: the storm lets it out in portions, so that kills are spread over it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._released = 0
        self._taken = 0
        self._closed = False
        self.done = 0

    def release(self, upto: int) -> None:
        with self._changed:
            self._released = max(self._released, upto)
            self._changed.notify_all()

    def close(self) -> None:
        """No more will be released: who waits may go home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, most: int = 1) -> list[int]:
        """The next numbers, at most so many; empty when all is done."""
        with self._changed:
            while self._taken >= self._released and not self._closed:
                self._changed.wait()
            numbers = list(range(self._taken, min(self._released, self._taken + most)))
            self._taken += len(numbers)
            return numbers

    def finish(self, count: int) -> None:
        with self._changed:
            self.done += count


class Actor(threading.Thread):
    """A thread whose failure is kept and raised by `check`."""

    def __init__(self, work: Callable[[random.Random], None], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self._work, self._rng = work, rng
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work(self._rng)
        except BaseException as error:  # noqa: BLE001 - raised again by `check`, on the main thread
            self.error = error

    def check(self) -> None:
        if self.error is not None:
            raise self.error


# --- records ----------------------------------------------------------------------------------------------------


@dataclass
class Settlement:
    """The CSO's billing: hands in CDRs, several threads at a time. `accepted`: record id -> the body as handed in."""

    company: Company
    quota: Quota
    accepted: dict[str, Any] = field(default_factory=dict)
    parked: set[str] = field(default_factory=set)

    def work(self, rng: random.Random) -> None:
        while numbers := self.quota.take(rng.randrange(1, MOST_AT_ONCE)):
            bills = [_bill(number) for number in numbers]
            if self.accepted and rng.random() < 0.05:
                bills.append(rng.choice(list(self.accepted.values())))  # handed in once more: nothing new
            headers = {"Idempotency-Key": rng.randbytes(16).hex()} if rng.random() < 0.7 else {}
            self._hand_in(bills, headers)
            self.quota.finish(len(numbers))

    def _hand_in(self, bills: list[Any], headers: dict[str, str]) -> None:
        reply = self.company.insist("POST", "/v1/records", bills, headers)
        if reply.status != 202 or len(reply.body) != len(bills):
            raise StormError(f"records were answered {reply.status}: {reply.body}")
        for bill, answer in zip(bills, reply.body, strict=True):
            if answer["record_id"] != bill["id"]:
                raise StormError(f"the answer for {bill['id']} is about {answer['record_id']}")
            self.accepted[bill["id"]] = bill
            if answer["state"] == "PARKED":
                self.parked.add(bill["id"])


def _bill(number: int) -> Any:
    bill = objects.cdr(f"STORM-{number:06}", objects.LISTED_DRIVER, BEGAN_MS + number * 1000)
    if number % PARKED_EVERY == PARKED_EVERY - 1:
        bill["cdr_token"] |= {"country_code": "NL", "party_id": "XYZ", "contract_id": "NL-XYZ-C00000001-3"}
    return bill


# --- objects ----------------------------------------------------------------------------------------------------


@dataclass
class Publishing:
    """One company's master data. `model`: (feed, id) -> the object as it must be at both sides."""

    company: Company
    quota: Quota
    feeds: tuple[str, ...]
    keys: int
    model: dict[tuple[str, str], Any] = field(default_factory=dict)

    def work(self, rng: random.Random) -> None:
        while numbers := self.quota.take():
            self._change(rng, numbers[0])
            self.quota.finish(1)

    def _change(self, rng: random.Random, number: int) -> None:
        feed = rng.choice(self.feeds)
        key = feed, f"{feed[:3].upper()}-{rng.randrange(self.keys):03}"
        known, dice = self.model.get(key), rng.random()
        if known is None or dice < 0.6:
            self._put(key, _object(feed, key[1], number))
        elif dice < 0.75:
            self._patch(key, known, number)
        elif dice < 0.85 and feed == "locations":
            self._patch_evse(key, known, number)
        else:
            self._delete(key)

    def _put(self, key: tuple[str, str], body: Any) -> None:
        self._need((200, 201), "PUT", _path(key), body)
        self.model[key] = body

    def _patch(self, key: tuple[str, str], known: Any, number: int) -> None:
        news = {"storm": number, "last_updated": rfc3339(BEGAN_MS + number * 1000)}
        self._need((200,), "PATCH", _path(key), news)
        self.model[key] = known | news

    def _patch_evse(self, key: tuple[str, str], known: Any, number: int) -> None:
        evse = known["evses"][0]
        news = objects.evse_news(BEGAN_MS + number * 1000, ("CHARGING", "AVAILABLE", "BLOCKED")[number % 3])
        self._need((200,), "PATCH", f"{_path(key)}/evses/{evse['uid']}", news)
        self.model[key] = known | {"evses": [evse | news]}

    def _delete(self, key: tuple[str, str]) -> None:
        self._need((204, 404), "DELETE", _path(key), None)  # 404: the answer to the first try was lost
        del self.model[key]

    def _need(self, expected: tuple[int, ...], method: str, path: str, body: Any) -> None:
        reply = self.company.insist(method, path, body)
        if reply.status not in expected:
            raise StormError(f"{method} {path} was answered {reply.status}: {reply.body}")


def _path(key: tuple[str, str]) -> str:
    return f"/v1/{key[0]}/{key[1]}"


def _object(feed: str, object_id: str, number: int) -> Any:
    at_ms = BEGAN_MS + number * 1000
    if feed == "locations":
        return objects.location(at_ms) | {"id": object_id, "name": f"Storm {number}"}
    if feed == "tariffs":
        return objects.tariff(at_ms) | {"id": object_id}
    if feed == "sessions":
        return objects.session(object_id, objects.LISTED_DRIVER, None, at_ms) | {"kwh": number / 10}
    driver = objects.Driver("a driver", object_id, objects.LISTED_DRIVER.contract_id)
    return driver.user_credential(at_ms) | {"visual_number": str(number)}


# --- who reads and who asks -------------------------------------------------------------------------------------


@dataclass
class Inbox:
    """Reads a company's events to the end and acknowledges them. `seen`: (type, record id) -> distinct event ids."""

    company: Company
    over: threading.Event
    seen: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    count: int = 0
    _cursor: str = ""

    def work(self, _: random.Random) -> None:
        while not self.over.is_set():
            if not self.read_page(wait_s=1):
                time.sleep(0.01)
        while self.read_page(wait_s=0):
            pass

    def read_page(self, wait_s: int) -> int:
        page = self.company.read(f"/v1/events?after={self._cursor}&limit=1000&wait={wait_s}")
        for event in page["items"]:
            self.count += 1
            data = event["data"]
            if "record_id" in data:
                name = event["type"] if event["type"] == "record.received" else f"{event['type']} {data['state']}"
                self.seen[name, data["record_id"]].add(event["id"])
        self._cursor = page["next"]
        if page["items"]:
            self.company.insist("POST", "/v1/events/ack", {"cursor": self._cursor})
        return len(page["items"])


@dataclass
class Drivers:
    """Somebody always stands at a station and wants to charge; whoever asks must be answered in time, or not at all."""

    company: Company
    over: threading.Event
    sources: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0

    def work(self, rng: random.Random) -> None:
        number = 0
        while not self.over.wait(rng.uniform(0.01, 0.08)):
            number += 1
            self._ask(f"STORM{number:07}")

    def _ask(self, uid: str) -> None:
        credential = {"type": "RFID", "uid": uid, "contract_id": objects.LIVE_DRIVER.contract_id}
        question = {"credential": credential, "deadline_ms": DEADLINE_MS}
        try:
            reply = self.company.api.request("POST", "/v1/authorizations", question)
        except NotAnsweredError:
            self.sources["(the daemon died)"] += 1
            return
        if reply.status == 503:
            self.sources["(the daemon starts)"] += 1
            return
        if reply.status != 200:
            raise StormError(f"an authorization was answered {reply.status}: {reply.body}")
        self.sources[reply.body["source"]] += 1
        self.slowest_ms = max(self.slowest_ms, reply.body["elapsed_ms"])
