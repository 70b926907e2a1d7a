"""How soon partners find each other again: whole endpoints over a simulated network, in simulated time.

    scripts/recovery
    scripts/recovery --backlogged 500 --peers 200 --dead 50

Three questions. A partner was away, for a minute or for 400 days: how long after its return is it dialled, and how long
after it contacts us? A daemon starts with hundreds of partners who all have records waiting: does all of it go out
without any new traffic, and does it dial them in an orderly way? Of many partners some are dead, each in another way:
what do the questions to the living notice of it? Time is simulated, so processors are not part of the answer; cores,
dialling, protocol and storage are the daemon's own, and each run ends with the law of tests/simulation/law.py.
"""

import io
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import trio

from roamd import log
from roamd.roaming import operations as op
from roamd.roaming.ports import AuthorizeQuestion, BackendAnswer, NoAnswer
from roamd.roaming.waiting import write
from roamd.storage import feeds
from tests.proof.report import Report, Say, finish, parser, quantile
from tests.simulation.backend import SimBackend, contract_of, uid_of
from tests.simulation.determinism import JumpingClock, run_seeded, stream
from tests.simulation.keys import Authority
from tests.simulation.law import Law
from tests.simulation.network import SimNetwork, Stream
from tests.simulation.node import Company, Node, Surroundings
from tests.simulation.trace import Trace
from tests.support.progress import say
from tests.support.sizes import whole

T = TypeVar("T")

DAY_S = 86_400.0
ABSENCES = {"a minute": 60.0, "an hour": 3600.0, "a day": DAY_S, "30 days": 30 * DAY_S, "400 days": 400 * DAY_S}
BACKOFF_S = 300.0
LONGEST_WAIT_S = 300.0
CONTACT_S = 2.0
SHARE_A_SECOND = 0.1
HANDSHAKES = 16
WORSE = 1.2
TOMBSTONES_S = 90 * DAY_S

RECORDS = 3
QUESTIONS = 20
HALF_MS = 500
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Prompt(SimBackend):
    """A backend that answers every question at once: what is measured is the way, not the far end."""

    def ask_authorize(self, question: AuthorizeQuestion, done: Callable[[BackendAnswer | NoAnswer], None]) -> None:
        done(BackendAnswer("ALLOWED"))


@dataclass(frozen=True, slots=True)
class Dial:
    """One attempt: who dialled whom, from when until when (seconds of simulated time)."""

    source: str
    target: str
    began: float
    ended: float


class WatchedNetwork(SimNetwork):
    """Notes each attempt. `deaf` are reached and never answer; `fragile` lose each connection as soon as it is made."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.dials: list[Dial] = []
        self.deaf: set[str] = set()
        self.fragile: set[str] = set()

    async def connect(self, source: str, endpoint_id: str, leaf_sha256: bytes, target: str) -> Stream:
        began = trio.current_time()
        try:
            if target in self.deaf:
                await trio.sleep(10.0)
                raise TimeoutError("no handshake within 10 s")
            return await super().connect(source, endpoint_id, leaf_sha256, target)
        finally:
            self.dials.append(Dial(source, target, began, trio.current_time()))
            if source in self.fragile:
                self.reset(source, target)

    def waited(self, source: str, since: float) -> float:
        """Seconds until the node dialled again; infinite if it has not."""
        return min((dial.began - since for dial in self.of(source, since)), default=float("inf"))

    def of(self, source: str, since: float) -> list[Dial]:
        """What a node has dialled since then."""
        return [dial for dial in self.dials if dial.source == source and dial.began >= since]


@dataclass
class World:
    """Some nodes around one network; each lives from `start` until `end`."""

    seed: int
    heartbeat_s: float = 3600.0
    nodes: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trace, self.clock = Trace(), JumpingClock()
        self.network = WatchedNetwork(stream(self.seed, "network"), self.trace, self.clock)
        self.around = Surroundings(self.network, Authority(), self.trace, self.heartbeat_s, BACKOFF_S)
        self.law = Law([])

    def run(self, main: Callable[["World"], Awaitable[T]]) -> T:
        """All of it in simulated time."""
        return run_seeded(self.seed, lambda: main(self), self.clock)

    def add(self, role: str, *, dialable: bool) -> Node:
        """One more company, which does not live yet."""
        number = len(self.nodes)
        party = "DE" + "".join(LETTERS[number // 26**place % 26] for place in (2, 1, 0))
        name = f"n{3 * number:04d}"  # a multiple of three: see `refuses_sdr`
        company = Company(name, party, (role,), dialable, self.around.authority.identity(name))
        node = Node(company, self.around, stream(self.seed, name), Prompt(company, stream(self.seed, name, "backend")))
        self.nodes[name] = node
        return node

    def pair(self, hub: Node, others: list[Node]) -> None:
        """The hub with each of the others."""
        hub.backend.partners = [other.company for other in others]
        hub.pair_with(others)
        for other in others:
            other.backend.partners = [hub.company]
            other.pair_with([hub])
        self.law = Law(list(self.nodes.values()))

    def faults(self) -> list[str]:
        """What is not as it must be once all has come to rest. Raises LawBroken."""
        self.law.check()
        return list(self.law.faults_of_rest())

    async def rest(self, within_s: float) -> float | None:
        """How long until nothing waits any more; None when that takes longer."""
        began = trio.current_time()
        while trio.current_time() - began < within_s:
            await trio.sleep(0.5)
            if all(node.up for node in self.nodes.values()) and not self.faults():
                return trio.current_time() - began
        return None


async def until(holds: Callable[[], object], within_s: float) -> float:
    """Seconds until it holds, looked at each tenth of a second; infinite if it does not."""
    began = trio.current_time()
    while not holds():
        if trio.current_time() - began > within_s:
            return float("inf")
        await trio.sleep(0.1)
    return trio.current_time() - began


def linked(node: Node, other: Node) -> bool:
    """Whether the node has a link to the other one."""
    return node.core is not None and node.core.directory.get(other.name).exchange is not None


# --- away ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Return:
    """How a partner that was away was found again; seconds."""

    next_attempt_s: float
    drained_s: float | None


async def away(world: World, seconds: float, report: Report, name: str) -> Return:
    """A partner that cannot dial is away for so long; we hand in, publish and withdraw meanwhile."""
    home, guest = world.add("cso", dialable=False), world.add("csp", dialable=True)
    world.pair(home, [guest])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(home.live)
        nursery.start_soon(guest.live)
        await until(lambda: linked(home, guest), 60)
        for _ in range(12):
            home.backend.publish(home)
            await trio.sleep(1)
        report.must(await world.rest(60) is not None, f"{name}: no rest before the partner left")
        await guest.kill()
        await trio.sleep(seconds / 2)
        home.backend.hand_in(home)
        home.backend.withdraw(home)
        await trio.sleep(1)
        home.backend.publish(home)
        await trio.sleep(seconds / 2)
        assert home.store is not None
        before_ms = home.clock.now_ms() - round(TOMBSTONES_S * 1000)
        await write(home.store, lambda cx: feeds.purge_tombstones_txn(cx, before_ms), essential=True)
        returned_at = trio.current_time()
        nursery.start_soon(guest.live)
        await until(lambda: world.network.of(home.name, returned_at), 3600)
        drained_s = await world.rest(120)
        nursery.cancel_scope.cancel()
    return Return(world.network.waited(home.name, returned_at), drained_s)


async def contacted(world: World, seconds: float) -> float:
    """A partner that was away for so long dials us, and its connection breaks at once: when do we dial it?"""
    home, guest = world.add("cso", dialable=True), world.add("csp", dialable=True)
    world.pair(home, [guest])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(home.live)
        nursery.start_soon(guest.live)
        await until(lambda: linked(home, guest), 60)
        await guest.kill()
        await trio.sleep(seconds)
        world.network.fragile.add(guest.name)
        returned_at = trio.current_time()
        nursery.start_soon(guest.live)
        await until(lambda: world.network.of(guest.name, returned_at), 60)
        contact_at = world.network.of(guest.name, returned_at)[0].ended
        await until(lambda: world.network.of(home.name, contact_at), 3600)
        nursery.cancel_scope.cancel()
    return world.network.waited(home.name, contact_at)


def prove_return(report: Report, seed: int, tell: Say) -> None:
    """Each absence, and each with a contact at its end."""
    rows = {}
    for name, seconds in ABSENCES.items():
        found = World(seed).run(partial(away, seconds=seconds, report=report, name=name))
        contact_s = World(seed).run(partial(contacted, seconds=seconds))
        report.must(found.next_attempt_s <= LONGEST_WAIT_S, f"away {name}: dialled {found.next_attempt_s:.0f} s later")
        report.must(found.drained_s is not None, f"away {name}: not everything was brought up to date")
        report.must(contact_s <= CONTACT_S + 0.001, f"away {name}: dialled {contact_s:.1f} s after its contact")
        rows[name] = f"{found.next_attempt_s:.0f} s, after a contact {contact_s:.1f} s"
        tell(f"away {name}: next attempt after {rows[name]}")
    report.figures["next attempt after the return from"] = rows


# --- a start with many -------------------------------------------------------------------------------------------


def busiest_second(dials: list[Dial]) -> int:
    """The most attempts that began within any one second."""
    times = sorted(dial.began for dial in dials)
    first = most = 0
    for last, at in enumerate(times):
        while at - times[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def most_at_a_time(dials: list[Dial]) -> int:
    """The most attempts that were under way at one moment."""
    changes = sorted([(dial.began, 1) for dial in dials] + [(dial.ended, -1) for dial in dials])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


async def start_with(world: World, count: int) -> tuple[list[Dial], float | None]:
    """A daemon starts; so many partners are there, and records wait for each of them."""
    hub = world.add("cso", dialable=False)
    others = [world.add("csp", dialable=True) for _ in range(count)]
    world.pair(hub, others)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.live)
        await trio.sleep(1)
        for other in others:
            for _ in range(RECORDS):
                hub.backend.hand_in_for(hub, other.company)
        await trio.sleep(30)
        await hub.kill()
        for other in others:
            nursery.start_soon(other.live)
        await trio.sleep(30)
        began = trio.current_time()
        nursery.start_soon(hub.live)
        drained_s = await world.rest(600)
        nursery.cancel_scope.cancel()
    return world.network.of(hub.name, began), drained_s


def prove_start(report: Report, seed: int, count: int, tell: Say) -> None:
    """All of it drains, and dialling is orderly."""
    world = World(seed)
    dials, drained_s = world.run(partial(start_with, count=count))
    busiest, at_a_time = busiest_second(dials), most_at_a_time(dials)
    waiting = sum(len(node.backend.handed) for node in world.nodes.values())
    report.must(drained_s is not None, f"a start with {count} backlogged partners: not drained after ten minutes")
    report.must(busiest <= count * SHARE_A_SECOND, f"{busiest} of {count} partners were dialled within one second")
    report.must(at_a_time <= HANDSHAKES, f"{at_a_time} handshakes at a time")
    report.figures[f"a start with {count} backlogged partners"] = {
        "records": waiting,
        "drained after s": round(drained_s or 0, 1),
        "dialled at most in a second": busiest,
        "handshakes at a time": at_a_time,
    }
    tell(f"a start with {count}: drained after {drained_s} s, at most {busiest} dialled in a second")


# --- the dead among the living ------------------------------------------------------------------------------------


async def ask_around(world: World, count: int, dead: int) -> list[float]:
    """How long answers take, in seconds, when so many of the partners are dead, in three ways."""
    hub = world.add("cso", dialable=True)
    others = [world.add("csp", dialable=True) for _ in range(count)]
    world.pair(hub, others)
    gone, living = others[:dead], others[dead:]
    world.network.deaf |= {node.name for node in gone[::3]}  # reached, and no word ever
    clogged = gone[1::3]  # taken, and then nothing passes; the rest of them refuse
    took: list[float] = []
    async with trio.open_nursery() as nursery:
        for node in (hub, *living, *clogged):
            nursery.start_soon(node.live)
        await until(lambda: all(linked(hub, node) for node in (*living, *clogged)), 600)
        for node in clogged:
            world.network.clog(hub.name, node.name)
            world.network.clog(node.name, hub.name)
        for node in others:  # the dead have records waiting, which are tried again and again
            hub.backend.hand_in_for(hub, node.company)
        for _ in range(QUESTIONS):
            for node in living:
                ask(hub, node, took.append)
            await trio.sleep(HALF_MS / 1000)
        await until(lambda: len(took) == QUESTIONS * len(living), 60)
        nursery.cancel_scope.cancel()
    return took


def ask(hub: Node, other: Node, told: Callable[[float], None]) -> None:
    """One driver; `told` gets the seconds until the answer of its CSP."""
    began = trio.current_time()
    credential = op.CredentialIn("RFID", uid_of(other.company, 1), contract_of(other.company, 1))

    def reply(answer: Any) -> None:
        assert answer.decision == "ALLOWED", answer
        assert answer.source == "BACKEND", answer
        told(trio.current_time() - began)

    hub.ask(op.Authorize(credential, deadline_ms=3000), reply)


def prove_isolation(report: Report, seed: int, count: int, dead: int, tell: Say) -> None:
    """The 99th percentile, without the dead and with them."""
    before = World(seed, heartbeat_s=60.0).run(partial(ask_around, count=count, dead=0))
    after = World(seed, heartbeat_s=60.0).run(partial(ask_around, count=count, dead=dead))
    alone_ms, beside_ms = quantile(before, 0.99) * 1000, quantile(after, 0.99) * 1000
    report.must(len(after) == QUESTIONS * (count - dead), "not every question to the living was answered")
    report.must(
        beside_ms <= alone_ms * WORSE, f"beside {dead} dead partners p99 is {beside_ms:.0f} ms, not {alone_ms:.0f}"
    )
    report.figures[f"p99 to the living, {dead} of {count} dead"] = {
        "ms": round(beside_ms, 1),
        "none dead, ms": round(alone_ms, 1),
        "questions": len(after),
    }
    tell(f"{dead} of {count} dead: p99 {beside_ms:.1f} ms, with none {alone_ms:.1f} ms")


# --- the command --------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """0 only if every bound holds."""
    options = parser("recovery", "How soon partners find each other again, and what the dead cost the living.")
    options.add_argument("--backlogged", type=whole(1), default=500, help="partners with waiting records at a start")
    options.add_argument("--peers", type=whole(2), default=200, help="partners, of which some are dead")
    options.add_argument("--dead", type=whole(1), default=50, help="so many of them")
    chosen = options.parse_args(arguments)
    log.configure("critical", io.StringIO())
    report = Report({"seed": chosen.seed})
    prove_return(report, chosen.seed, say)
    prove_start(report, chosen.seed, chosen.backlogged, say)
    prove_isolation(report, chosen.seed, chosen.peers, chosen.dead, say)
    return finish("recovery", chosen, report)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
