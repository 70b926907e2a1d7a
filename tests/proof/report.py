"""What the scripts of the proof have in common: sizes from the command line, progress, a table, an honest exit code."""

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Say = Callable[[str], None]


@dataclass
class Report:
    """Figures in order, and every sentence that must not be true. Without such a sentence the run passed."""

    figures: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.faults

    def must(self, holds: object, otherwise: str) -> None:
        if not holds:
            self.faults.append(otherwise)

    def as_json(self) -> str:
        return json.dumps({"ok": self.ok, **vars(self)}, default=str)

    def table(self) -> str:
        width = max(map(len, [*self.figures, *self.skipped]), default=0)
        rows = [f"  {name:<{width}}  {_cell(value)}" for name, value in self.figures.items()]
        rows += [f"  {name:<{width}}  skipped: {reason}" for name, reason in self.skipped.items()]
        return "\n".join([*rows, *(f"FAULT: {fault}" for fault in self.faults)])


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """With what all scripts take."""
    made = argparse.ArgumentParser(
        prog=f"scripts/{name}", description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--seed", type=int, default=1, help="the same seed draws the same")
    made.add_argument("--json", action="store_true", help="print the figures as JSON")
    return made


def finish(name: str, options: argparse.Namespace, report: Report) -> int:
    """Print the outcome; the exit code."""
    if options.json:
        sys.stdout.write(report.as_json() + "\n")
    else:
        sys.stdout.write(report.table() + f"\n{name}: {'ok' if report.ok else 'FAILED'}\n")
    return 0 if report.ok else 1


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def seeded(seed: int, what: str) -> random.Random:
    """Randomness of its own for each thing that is drawn, so that one does not shift the other."""
    return random.Random(f"{seed}/{what}")  # noqa: S311 - faults need no secrets
