"""A storm: both daemons are killed and their links broken again and again while records, objects and questions flow.

It ends when all work is acknowledged; then the weather clears, and what is there is held against what the companies'
own systems know. Nothing may be lost, nothing may be there twice, and both must have the same objects.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from roamd.demo.processes import ROAMD
from tests.storm.backends import Actor, Drivers, Inbox, Publishing, Quota, Settlement
from tests.storm.verdict import Verdict, judge_ledgers, judge_objects, judge_records, settle
from tests.storm.world import World, founded
from tests.storm.worlds import Size, side_by_side
from tests.support import progress
from tests.support.progress import say
from tests.support.sizes import whole

WRITERS = 3
KEYS = 40
CSO_FEEDS = ("locations", "tariffs", "sessions")
CSP_FEEDS = ("user-credentials",)
CSP_SHARE = 0.3
"""Of the object changes; the rest are the CSO's."""

CALM = 0.6
"""How often the link is waited for before the next blow: bulk should flow when it falls."""

TELL_S = 30.0

MOMENT_S = 0.25
"""A blow falls at a random moment within so long after its portion of work was let out."""


class Pace:
    """How fast the blows fall, and how long it will take at that pace."""

    def __init__(self, blows: int, now: Callable[[], float] = time.monotonic) -> None:
        self._blows, self._now = blows, now
        self._began = self._told_at = now()

    def is_due(self, number: int) -> bool:
        """Whether it is time for a line: at every twentieth part, and at least every half minute."""
        return number % max(1, self._blows // 20) == 0 or self._now() - self._told_at > TELL_S

    def told(self, number: int) -> str:
        """After so many blows."""
        self._told_at = self._now()
        rate = number / max(self._told_at - self._began, 1e-9)
        left_s = round((self._blows - number) / rate)
        return f"{number} of {self._blows} blows, {rate:.1f} a second, {left_s // 60} min {left_s % 60:02} s left"


class Storm:
    """One storm over one world; `rage` does everything and returns what was found."""

    def __init__(self, world: World, size: Size, say: Callable[[str], None]) -> None:
        self._world, self._size, self._say = world, size, say
        self._over = threading.Event()
        self._records, self._ours, self._theirs = Quota(), Quota(), Quota()
        self._settlement = Settlement(world.cso, self._records)
        self._publishers = (
            Publishing(world.cso, self._ours, CSO_FEEDS, KEYS),
            Publishing(world.csp, self._theirs, CSP_FEEDS, KEYS),
        )
        self._at_cso, self._at_csp = Inbox(world.cso, self._over), Inbox(world.csp, self._over)
        self._drivers = Drivers(world.cso, self._over)

    def rage(self) -> Verdict:
        try:
            return self._rage()
        except KeyboardInterrupt:
            progress.keep(self._tally())
            raise

    def _rage(self) -> Verdict:
        began = time.monotonic()
        workers, readers = self._workers(), self._readers()
        for actor in (*workers, *readers):
            actor.start()
        self._strike(workers)
        self._join(workers)
        raged_s = time.monotonic() - began
        self._say("the weather clears")
        verdict = Verdict()
        settle(self._world, verdict, self._publishers)
        self._over.set()
        self._join(readers)
        judge_records(self._world, verdict, self._settlement, self._at_cso, self._at_csp)
        judge_objects(self._world, verdict, self._publishers)
        judge_ledgers(self._world, verdict)
        verdict.figures = self._weather(raged_s, time.monotonic() - began) | verdict.figures
        return verdict

    def _workers(self) -> list[Actor]:
        settlers = [Actor(self._settlement.work, self._random(f"records {n}")) for n in range(WRITERS)]
        return settlers + [Actor(one.work, self._random(one.company.name)) for one in self._publishers]

    def _readers(self) -> list[Actor]:
        readers: tuple[Inbox | Drivers, ...] = (self._at_cso, self._at_csp, self._drivers)
        return [Actor(one.work, self._random("readers")) for one in readers]

    def _random(self, use: str) -> random.Random:
        return random.Random(f"{self._size.seed} {use}")  # noqa: S311 - chance, not secrecy

    def _strike(self, workers: list[Actor]) -> None:
        """Let the work out portion by portion, with a blow at a random moment of each."""
        rng = self._random("blows")
        blows = ["kill"] * self._size.kills + ["link"] * self._size.links
        rng.shuffle(blows)
        pace = Pace(len(blows))
        for number, blow in enumerate(blows, 1):
            self._release(number / (len(blows) + 1))
            if rng.random() < CALM:
                self._world.wait_linked()
            time.sleep(rng.uniform(0.0, MOMENT_S))
            if blow == "kill":
                if sum(self._world.kills.values()) < self._size.kills:  # one that died while starting counts as well
                    self._world.kill(rng.choice(self._world.companies), rng)
            else:
                self._world.break_link(rng)
            for actor in workers:
                actor.check()
            if pace.is_due(number):
                self._progress(pace.told(number))
        self._release(1.0)
        for quota in (self._records, self._ours, self._theirs):
            quota.close()

    def _release(self, share: float) -> None:
        theirs = round(self._size.changes * CSP_SHARE)
        self._records.release(round(self._size.records * share))
        self._ours.release(round((self._size.changes - theirs) * share))
        self._theirs.release(round(theirs * share))

    def _progress(self, pace: str) -> None:
        self._say(f"{pace}: {self._tally()}")

    def _tally(self) -> str:
        return (
            f"{sum(self._world.kills.values())} kills, {self._world.broken_links} broken links, "
            f"{self._records.done} records, {self._ours.done + self._theirs.done} changes, "
            f"{sum(self._drivers.sources.values())} questions"
        )

    def _join(self, actors: list[Actor]) -> None:
        for actor in actors:
            actor.join()
            actor.check()

    def _weather(self, raged_s: float, all_s: float) -> dict[str, object]:
        world = self._world
        return {
            "kills": dict(world.kills),
            "broken links": world.broken_links,
            "requests repeated by the backends": world.cso.retries + world.csp.retries,
            "events read": self._at_cso.count + self._at_csp.count,
            "questions answered, by source": dict(self._drivers.sources),
            "slowest answer, ms": round(self._drivers.slowest_ms, 1),
            "seconds of storm": round(raged_s, 1),
            "seconds in all": round(all_s, 1),
        }


def rage(size: Size, say: Callable[[str], None], room: Path, command: Sequence[str] = ROAMD) -> Verdict:
    """A whole storm in `room`; `command` is what runs the daemons."""
    with founded(room, command) as world:
        return Storm(world, size, say).rage()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/storm", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=whole(0), default=100, help="SIGKILLs of either daemon (100)")
    parser.add_argument("--records", type=whole(1), default=5000, help="CDRs that are handed in (5000)")
    parser.add_argument("--changes", type=whole(0), default=5000, help="object changes, at both sides (5000)")
    parser.add_argument("--links", type=whole(0), default=100, help="links broken by the network (100)")
    parser.add_argument("--seed", type=int, default=None, help="repeats a storm, as far as threads can (random)")
    parser.add_argument(
        "--worlds", type=whole(1), default=1, help="storms side by side, seeds from --seed on, that share the work (1)"
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    return parser.parse_args()


def _table(verdict: Verdict) -> str:
    width = max(map(len, verdict.figures))
    rows = [f"  {name:<{width}}  {_cell(value)}" for name, value in verdict.figures.items()]
    return "\n".join([*rows, *(f"FAULT: {fault}" for fault in verdict.faults)])


def _cell(value: object) -> str:
    return ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else str(value)


def main() -> int:
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    size = Size(options.kills, options.records, options.changes, options.links, seed)
    if options.worlds > 1:
        outcome = side_by_side(size, options.worlds, say)
        return _told(Verdict(outcome["figures"], outcome["faults"]), as_json=options.json)
    return _told(_one(size), as_json=options.json)


def _one(size: Size) -> Verdict:
    """A storm in a directory of its own, which is kept if anything is wrong."""
    say(f"seed {size.seed}")
    room = Path(tempfile.mkdtemp(prefix="roamd-storm-"))
    try:
        verdict = rage(size, say, room)
    except KeyboardInterrupt:
        shutil.rmtree(room)
        raise
    verdict.figures = {"seed": size.seed, **verdict.figures}
    if verdict.ok:
        shutil.rmtree(room)
    else:
        say(f"the daemons' directories and logs are kept in {room}")
    return verdict


def _told(verdict: Verdict, *, as_json: bool) -> int:
    sys.stdout.write((verdict.as_json() if as_json else _table(verdict)) + "\n")
    if not as_json:
        sys.stdout.write("storm: ok\n" if verdict.ok else "storm: FAILED\n")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    sys.exit(main())
