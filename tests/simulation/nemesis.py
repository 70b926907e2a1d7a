"""What goes wrong, and for how long. Each fault heals by itself after a while; the end of a run heals all."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import trio

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
    open: int = 0
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
            if node.store is not None:
                node.store.out_of_space = False

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
        if not copies or any(node.name in pair or self._recovers(node, pair) for pair in self.law.unreconciled):
            return f"{node.name} not"
        image = self.rng.choice(copies)
        self.nursery.start_soon(self._restore, node, image)
        return node.name

    def _recovers(self, node: Node, pair: frozenset[str]) -> bool:
        return any(partner.name in pair for partner in node.backend.partners)

    async def _restore(self, node: Node, image: bytes) -> None:
        await node.kill()
        node.image, node.restored, node.changed = image, True, True
        node.backend.forget_promises()
        self.law.was_restored(node)

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
