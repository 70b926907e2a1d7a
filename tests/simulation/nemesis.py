"""What goes wrong, and for how long. Each fault heals by itself after a while; the end of a run heals all."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import trio

from tests.simulation.backend import SimBackend
from tests.simulation.dialect import FOREIGN, LATER, OURS
from tests.simulation.law import Law
from tests.simulation.network import SimNetwork
from tests.simulation.node import Node
from tests.simulation.trace import Trace

COPIES = 4
"""Old copies of a store that are kept for a restore."""


@dataclass(slots=True)
class Nemesis:
    """Strikes one of the nodes, or a pair of them."""

    nodes: dict[str, Node]
    network: SimNetwork
    law: Law
    trace: Trace
    rng: random.Random
    nursery: trio.Nursery
    longest_s: float
    allowed: frozenset[str]
    copies: dict[str, list[bytes]] = field(default_factory=dict)
    _twins: dict[str, Node] = field(default_factory=dict)
    _healed: bool = False

    def strike(self) -> None:
        """One fault."""
        strikes: dict[str, tuple[int, Callable[[], str]]] = {
            "cut": (3, self._cut),
            "reset": (4, self._reset),
            "clog": (4, self._clog),
            "swizzle": (1, self._swizzle),
            "delay": (2, self._delay),
            "restart": (3, self._restart),
            "kill": (3, self._kill),
            "crash": (7, self._crash),
            "rollback": (2, self._roll_back),
            "skew": (1, self._skew),
            "full": (1, self._fill),
            "copy": (3, self._copy),
            "double": (2, self._double),
            "reorder": (3, self._reorder),
            "repeat": (2, self._repeat),
            "brim": (1, self._fill_up),
            "empty": (1, self._empty),
            "twin": (1, self._twin),
            "slow": (1, self._slow),
            "version": (2, self._version),
        }
        names = [name for name in strikes if name in self.allowed]
        name = self.rng.choices(names, [strikes[name][0] for name in names])[0]
        self.trace.note(name, strikes[name][1]())

    def heal(self) -> None:
        """No faults any more, and no new ones; nodes that are down come up by themselves."""
        self._healed = True
        self.network.heal()
        for node in self.nodes.values():
            node.crash_at = None
            node.clock.skew_ms = 0
            node.backend.slow = False
            node.speaks = OURS
            if node.store is not None:
                node.store.out_of_space = node.store.brimful = False
        for name in list(self._twins):
            self._end_twin(name)

    # --- between two nodes --------------------------------------------------------------------------------------

    def _cut(self) -> str:
        one, other = self._pair()
        self.network.cut(one, other)
        self._later(lambda: self.network.cuts.discard(frozenset((one, other))))
        return f"{one} {other}"

    def _reset(self) -> str:
        one, other = self._pair()
        self.network.reset(one, other)
        return f"{one} {other}"

    def _clog(self) -> str:
        one, other = self._pair()
        self.network.clog(one, other)
        self._later(lambda: self.network.unclog(one, other))
        return f"{one} > {other}"

    def _swizzle(self) -> str:
        """Clog all ways of one node, one after the other, and open them in another order."""
        node = self._node()
        ways = [(node.name, partner.name) for partner in node.backend.partners]
        self.rng.shuffle(ways)
        for source, target in ways:
            self.network.clog(source, target)
            self._later(partial(self.network.unclog, source, target))
        return node.name

    def _delay(self) -> str:
        pair = frozenset(self._pair())
        longest = self.rng.choice((0.2, 1.0, 4.0))
        self.network.delays[pair] = (0.01, longest)
        self._later(lambda: self.network.delays.pop(pair, None))
        return f"{sorted(pair)} up to {longest} s"

    def _double(self) -> str:
        """A second link where there may be one."""
        node = self._node()
        partner = self.rng.choice(node.backend.partners)
        node.dial_again(partner.name)
        return f"{node.name} {partner.name}"

    def _reorder(self) -> str:
        """What is sent over a new link overtakes what is under way on the old one."""
        one, other = self._pair()
        self.network.slow_down(one, other, 5.0)
        self.nodes[one].dial_again(other)
        self.nodes[other].dial_again(one)
        return f"{one} {other}"

    # --- one node -----------------------------------------------------------------------------------------------

    def _restart(self) -> str:
        node = self._node()
        self.nursery.start_soon(node.stop)
        return node.name

    def _kill(self) -> str:
        node = self._node()
        node.die()
        return node.name

    def _crash(self) -> str:
        """At one of the next commits, whatever it is for."""
        node = self._node()
        when, left = self.rng.choice(("before-commit", "after-commit")), self.rng.choice((1, 1, 2, 3, 5))
        node.crash_at = (when, left)
        return f"{node.name} {when} {left}"

    def _copy(self) -> str:
        """Make a backup."""
        node = self._node()
        if node.store is not None:
            copies = self.copies.setdefault(node.name, [])
            copies.append(node.store.snapshot_bytes())
            del copies[:-COPIES]
        return node.name

    def _roll_back(self) -> str:
        """Restore a node from an old copy, unless a partner still recovers: what both forgot is gone for good."""
        node = self._node()
        copies = self.copies.get(node.name)
        if not copies or self._recovers(node):
            return f"{node.name} not"
        image = self.rng.choice(copies)
        self.nursery.start_soon(self._restore, node, image, True)
        return node.name

    def _recovers(self, node: Node) -> bool:
        """Whether it, or a partner, does: what all of them forgot would be gone for good."""
        around = {node.name, *(partner.name for partner in node.backend.partners)}
        return any(around & pair for pair in self.law.unreconciled)

    def _empty(self) -> str:
        """The store is lost altogether; only the identity's key was kept, and the peers are entered again."""
        node = self._node()
        if node.pristine is None or self._recovers(node):
            return f"{node.name} not"
        self.copies.pop(node.name, None)
        self.nursery.start_soon(self._restore, node, node.pristine, False)
        return node.name

    async def _restore(self, node: Node, image: bytes, noted: bool) -> None:
        await node.kill()
        node.restore(image)
        node.restored, node.changed = noted, True
        node.backend.forget_promises()
        self.law.was_restored(node)

    def _twin(self) -> str:
        """A second process of the same endpoint runs for a while beside the first."""
        node = self._node()
        if node.store is None or self._recovers(node):
            return f"{node.name} not"
        backend = SimBackend(node.company, random.Random(self.rng.random()), node.backend.partners)  # noqa: S311
        twin = self._twins[node.name] = node.twin(random.Random(self.rng.random()), backend)  # noqa: S311
        self.law.was_doubled(node)
        self.nursery.start_soon(self._live_beside, node, twin)
        self._later(partial(self._end_twin, node.name))
        return node.name

    async def _live_beside(self, node: Node, twin: Node) -> None:
        if not self._healed:
            await twin.live()
        twin.discard()
        self._twins.pop(node.name, None)
        self.law.is_single(node)

    def _end_twin(self, name: str) -> None:
        if name in self._twins:
            self._twins[name].die()

    def _slow(self) -> str:
        node = self._node()
        node.backend.slow = True
        self._later(lambda: setattr(node.backend, "slow", False))
        return node.name

    def _repeat(self) -> str:
        node = self._node()
        return node.backend.repeat(node)

    def _version(self) -> str:
        """It is replaced by a later one for a while: one that still speaks our version, or one that does not."""
        node = self._node()
        node.speaks = self.rng.choice((LATER, FOREIGN))
        self._later(lambda: setattr(node, "speaks", OURS))
        self.nursery.start_soon(node.stop)
        return f"{node.name} {node.speaks.versions}"

    def _fill_up(self) -> str:
        """Not even the reserve is left."""
        node = self._node()
        store = node.store
        if store is not None:
            store.brimful = True
            self._later(lambda: setattr(store, "brimful", False))
        return node.name

    def _skew(self) -> str:
        node = self._node()
        node.clock.skew_ms = self.rng.choice((-86_400_000, -3_600_000, -500, 500, 120_000, 3_600_000))
        return f"{node.name} {node.clock.skew_ms}"

    def _fill(self) -> str:
        node = self._node()
        store = node.store
        if store is not None:
            store.out_of_space = True
            self._later(lambda: setattr(store, "out_of_space", False))
        return node.name

    # --- choosing -----------------------------------------------------------------------------------------------

    def _node(self) -> Node:
        return self.rng.choice([*self.nodes.values()])

    def _pair(self) -> tuple[str, str]:
        node = self._node()
        return node.name, self.rng.choice(node.backend.partners).name

    def _later(self, end: Callable[[], object]) -> None:
        seconds = min(self.longest_s, self.rng.expovariate(5 / self.longest_s) + 1)

        async def wait() -> None:
            await trio.sleep(seconds)
            if not self._healed:
                end()

        waiting: Callable[[], Awaitable[None]] = wait
        self.nursery.start_soon(waiting)
