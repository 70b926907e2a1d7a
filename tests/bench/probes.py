"""The list of what is measured. A probe is a function of the stage that gives named figures; rows pick from them."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.load import Measured
from tests.bench.stage import Stage

Run = Callable[[Stage], Measured]


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to run. `once`: in the first round only, because it changes or costs too much to be repeated."""

    name: str
    run: Run
    once: bool = False
    on_demand: bool = False


PROBES: dict[str, Probe] = {}


def probe(name: str, *, once: bool = False, on_demand: bool = False) -> Callable[[Run], Run]:
    """Add a probe. One that is `on_demand` runs only when `--only` names it."""

    def add(run: Run) -> Run:
        PROBES[name] = Probe(name, run, once, on_demand)
        return run

    return add
