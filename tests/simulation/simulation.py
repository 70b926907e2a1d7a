"""Many whole nodes, their backends and everything that goes wrong between them, in one deterministic run.

    result = simulate(Plan(nodes=6, seconds=3600, steps=300), seed=1)

Every step one backend does something, or something breaks; after every step the law is checked. At the end everything
is mended, and within a bounded simulated time all pairs must be linked, all queues empty, all feeds and ledgers equal.
The same plan and seed give the same trace, so a failure is replayed by its seed.
"""

import traceback
from collections import Counter
from dataclasses import dataclass, field

import trio

from roamd.storage.records import DELIVERED, PARKED, QUEUED
from tests.simulation.backend import LawBroken, SimBackend
from tests.simulation.determinism import JumpingClock, run_seeded, stream
from tests.simulation.faults import HONEST, Faults
from tests.simulation.keys import Authority
from tests.simulation.law import Law
from tests.simulation.nemesis import Nemesis
from tests.simulation.network import SimNetwork
from tests.simulation.node import Company, Node, Surroundings
from tests.simulation.trace import Trace

BETWEEN_NODES = frozenset({"cut", "reset", "clog", "swizzle", "delay", "double", "reorder"})
OF_PROCESSES = frozenset({"restart", "kill", "crash", "copy", "rollback", "empty", "twin", "version"})
AROUND_A_NODE = frozenset({"skew", "full", "brim", "slow", "repeat"})
ALL_FAULTS = BETWEEN_NODES | OF_PROCESSES | AROUND_A_NODE
SETTLE_S = 3600.0
"""Simulated time in which everything must come to rest once nothing breaks any more."""
LOOK_S = 20.0
ROLES = (("cso",), ("csp",), ("cso", "csp"))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a simulation. `degree` is the number of partners that each node has (two a side of a ring: 4)."""

    nodes: int = 6
    seconds: float = 3600.0
    steps: int = 300
    degree: int = 4
    fault_share: float = 0.25
    heartbeat_s: float = 60.0
    backoff_s: float = 300.0
    longest_fault_s: float = 300.0
    allowed: frozenset[str] = ALL_FAULTS


@dataclass(slots=True)
class Result:
    """What a run came to. `error` is None when the law held; `lines` are the last things that happened."""

    seed: int
    digest: str
    error: str | None
    counts: dict[str, int]
    settled_s: float | None
    totals: dict[str, int]
    lines: list[str] = field(default_factory=list)


class Simulation:
    """One run."""

    def __init__(self, plan: Plan, seed: int, faults: Faults, *, echo: bool) -> None:
        self.plan = plan
        self.seed = seed
        self.trace = Trace()
        self.trace.echo = echo
        self.rng = stream(seed, "steps")
        self.clock = JumpingClock()
        self.network = SimNetwork(stream(seed, "network"), self.trace, self.clock)
        self.around = Surroundings(self.network, Authority(), self.trace, plan.heartbeat_s, plan.backoff_s, faults)
        self.nodes = {node.name: node for node in map(self._node, range(plan.nodes))}
        self.law = Law(list(self.nodes.values()))
        self.settled_s: float | None = None
        self._stopping = False

    def _node(self, number: int) -> Node:
        name = f"n{number:03d}"
        party = "DE" + LETTERS[number // 36 // 26 % 26] + LETTERS[number // 36 % 26] + LETTERS[number % 36]
        dialable = number % 5 != 4 or number > self.plan.nodes - 3
        identity = self.around.authority.identity(name)
        company = Company(name, party, ROLES[number % 3], dialable, identity)
        return Node(
            company, self.around, stream(self.seed, name), SimBackend(company, stream(self.seed, name, "backend"))
        )

    def _pair_all(self) -> None:
        names = list(self.nodes)
        partners: dict[str, list[str]] = {name: [] for name in names}
        for at, name in enumerate(names):
            for distance in range(1, self.plan.degree // 2 + 1):
                other = names[(at + distance) % len(names)]
                if other != name and other not in partners[name]:
                    partners[name].append(other)
                    partners[other].append(name)
        for name, node in self.nodes.items():
            others = [self.nodes[other] for other in partners[name]]
            node.backend.partners = [other.company for other in others]
            node.pair_with(others)

    # --- a run --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """All of it; raises LawBroken."""
        self._pair_all()
        async with trio.open_nursery() as nursery:
            for node in self.nodes.values():
                nursery.start_soon(self._keep_alive, node)
            nemesis = Nemesis(
                self.nodes, self.network, self.law, self.trace, stream(self.seed, "nemesis"), nursery,
                self.plan.longest_fault_s, self.plan.allowed,
            )  # fmt: skip
            await trio.sleep(2)
            self.law.check()
            for _ in range(self.plan.steps):
                await trio.sleep(self.rng.expovariate(self.plan.steps / self.plan.seconds))
                self._step(nemesis, nursery)
                self.law.check()
            nemesis.heal()
            self.trace.note("healed", "")
            await self._settle(nursery)
            nursery.cancel_scope.cancel()

    async def _keep_alive(self, node: Node) -> None:
        """Start it again whenever it died, after a while."""
        rng = stream(self.seed, node.name, "restarts")
        while True:
            self.trace.note("started", node.name)
            await node.live()
            await trio.sleep(rng.expovariate(1 / 20) + 0.5)

    def _step(self, nemesis: Nemesis, nursery: trio.Nursery) -> None:
        if self.rng.random() < self.plan.fault_share:
            nemesis.strike()
            return
        node = self.rng.choice([*self.nodes.values()])
        if node.up:
            self.trace.note("act", f"{node.name} {node.backend.act(node, nursery)}")

    def discard(self) -> None:
        """Nobody looks at the nodes' disks any more."""
        for node in self.nodes.values():
            node.discard()

    def totals(self) -> dict[str, int]:
        """How much happened, for a report."""
        states = Counter(out.state for books in self.law.books.values() for out in books.out.values())
        backends = [node.backend for node in self.nodes.values()]
        return {
            "records": sum(len(backend.handed) for backend in backends),
            "settled": states[DELIVERED],
            "parked": states[PARKED],
            "queued": states[QUEUED],
            "messages": self.messages(),
            "objects": sum(len(books.objects) for books in self.law.books.values()),
            "authorizations": sum(backend.answered for backend in backends),
            "epochs": sum(chain.own for books in self.law.books.values() for chain in books.chains),
            "commits": sum(node.commits for node in self.nodes.values()),
            "checks": self.law.checks,
        }

    def messages(self) -> int:
        """What backends handed in and their partners' had to get: records, versions of objects, questions."""
        backends = [node.backend for node in self.nodes.values()]
        return sum(len(backend.handed) + backend.asked + backend.published for backend in backends)

    async def _settle(self, nursery: trio.Nursery) -> None:
        began = trio.current_time()
        faults: list[str] = []
        while trio.current_time() - began < SETTLE_S:
            for node in self.nodes.values():
                if node.up:
                    node.backend.hand_in_again(node)
            await trio.sleep(LOOK_S)
            self.law.read_whole()
            self.law.check()
            faults = list(self.law.faults_of_rest()) if all(node.up for node in self.nodes.values()) else ["down"]
            if not faults:
                self.settled_s = trio.current_time() - began
                self.trace.note("settled", "")
                return
        raise LawBroken(f"not at rest after {SETTLE_S:.0f} s: " + "; ".join(faults[:6]))


def simulate(plan: Plan, seed: int, *, faults: Faults = HONEST, echo: bool = False) -> Result:
    """One seed. Never raises for a broken law or a fault of roamd: the result says so."""
    simulation = Simulation(plan, seed, faults, echo=echo)
    digest = ""
    error = None

    async def main() -> None:
        nonlocal digest
        try:
            await simulation.run()
        finally:
            digest = simulation.trace.digest()
            simulation.discard()

    try:
        run_seeded(seed, main, simulation.clock)
    except* Exception as group:  # noqa: BLE001 - the edge: whatever breaks is the result
        error = _told(group)
    return Result(
        seed, digest, error, dict(sorted(simulation.trace.counts.items())), simulation.settled_s,
        simulation.totals(), list(simulation.trace.lines),
    )  # fmt: skip


def _told(group: BaseExceptionGroup[Exception]) -> str:
    """The first broken law, else the first fault with its traceback."""
    leaves: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting += error.exceptions
        else:
            leaves.append(error)
    for leaf in leaves:
        if isinstance(leaf, LawBroken):
            return f"the law is broken: {leaf}"
    return "".join(traceback.format_exception(leaves[0]))
