"""Several storms side by side, each over a world of its own in a process of its own, and one table of them all.

A dialler waits before it dials a partner again whose links break, so one pair of daemons loses about one link a
second, however hard the weather; thousands of broken links take several pairs. Nothing is shared between the worlds:
each is judged by itself, and the sums only say how much there was.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import IO, Any

from roamd.demo.processes import interrupts_later
from tests.support import progress

GREATEST = ("slowest answer, ms", "seconds of storm", "seconds in all")
"""Of these the greatest is told; all others are added up."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much happens in a storm; `seed` is that of the first of several."""

    kills: int
    records: int
    changes: int
    links: int
    seed: int

    def shares(self, worlds: int) -> list["Size"]:
        """As much in all, dealt out evenly, under seeds that follow one another."""
        return [
            Size(**{name: dealt(getattr(self, name), worlds, at) for name in WORK}, seed=self.seed + at)
            for at in range(worlds)
        ]


WORK = tuple(field.name for field in fields(Size) if field.name != "seed")


def dealt(amount: int, hands: int, at: int) -> int:
    """What the hand `at` gets of the amount."""
    return amount * (at + 1) // hands - amount * at // hands


def side_by_side(size: Size, worlds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All of them, as the JSON that one storm prints: `ok`, `figures` and `faults`, each with its seed."""
    with interrupts_later():
        storms = [(share.seed, _started(share)) for share in size.shares(worlds)]
    tellers = [_Teller(seed, storm.stderr, say) for seed, storm in storms if storm.stderr is not None]
    for teller in tellers:
        teller.start()
    try:
        outcomes = [_outcome(seed, storm.outcome()) for seed, storm in storms]
    except KeyboardInterrupt:
        _end(storms)
        raise
    finally:
        for teller in tellers:
            teller.join()
    return summed(outcomes)


def _end(storms: Sequence[tuple[int, "_Storm"]]) -> None:
    """Interrupt them all, and wait until each has ended its daemons and says how far it was."""
    for _, storm in storms:
        storm.terminate()
    for _, storm in storms:
        storm.wait()
    progress.keep(f"each of {len(storms)} worlds has said what was counted in it")


class _Storm(subprocess.Popen[str]):
    """One storm's process; stderr is read by a thread, stdout is one line of JSON at its end."""

    def outcome(self) -> dict[str, Any]:
        assert self.stdout is not None
        text = self.stdout.read()
        code = self.wait()
        try:
            outcome: dict[str, Any] = json.loads(text)
        except ValueError:
            return {"ok": False, "figures": {}, "faults": [f"the storm itself ended with {code}"]}
        return outcome | {"ok": outcome["ok"] and code == 0}


def _started(size: Size) -> _Storm:
    sizes = [text for name in (*WORK, "seed") for text in (f"--{name}", str(getattr(size, name)))]
    command = [sys.executable, "-m", "tests.support.script", "storm", "tests.storm", "--json", *sizes]
    # In a session of its own Ctrl-C does not reach it: it is ended once, by us.
    return _Storm(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


class _Teller(threading.Thread):
    """Passes on what a storm says, under its seed."""

    def __init__(self, seed: int, source: IO[str], say: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        self._seed, self._source, self._say = seed, source, say

    def run(self) -> None:
        for line in self._source:
            if not line.startswith("seed "):
                self._say(f"[{self._seed}] {line.rstrip()}")


def _outcome(seed: int, outcome: dict[str, Any]) -> dict[str, Any]:
    return outcome | {"faults": [f"seed {seed}: {fault}" for fault in outcome["faults"]]}


def summed(outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One outcome of several; it is good only if every one is."""
    figures: dict[str, Any] = {"worlds": len(outcomes)}
    for outcome in outcomes:
        for name, value in outcome["figures"].items():
            figures[name] = _joined(name, figures.get(name), value)
    return {
        "ok": all(outcome["ok"] for outcome in outcomes),
        "figures": figures,
        "faults": [fault for outcome in outcomes for fault in outcome["faults"]],
    }


def _joined(name: str, so_far: Any, value: Any) -> Any:
    if name == "seed":
        return f"{so_far}, {value}" if so_far else str(value)
    if isinstance(value, dict):
        return {part: (so_far or {}).get(part, 0) + value.get(part, 0) for part in {**(so_far or {}), **value}}
    if so_far is None or value is None:
        return value if so_far is None else so_far
    return max(so_far, value) if name in GREATEST else so_far + value
