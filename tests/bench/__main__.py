"""`scripts/bench`: measures, prints the table, writes JSON and the chart.

Exit status 0 whether or not targets are met: time on a shared machine gates nothing.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.bench import chart, machine, report
from tests.bench.load import Measured
from tests.bench.probes import PROBES, Probe
from tests.bench.rows import ROWS
from tests.bench.stage import Stage
from tests.support.progress import say
from tests.support.sizes import above_zero, whole

MODULES = (
    "authorization_probes",
    "face_probes",
    "record_probes",
    "mixed_probes",
    "link_probes",
    "feed_probes",
    "filter_probes",
    "routes_probes",
    "daemon_probes",
    "large_probes",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; the exit status."""
    options = _options(argv)
    for name in MODULES:
        import_module(f"tests.bench.{name}")
    chosen = _chosen(options.only)
    if not chosen:
        say(f"there is no probe {options.only!r}; these are: {', '.join(sorted(PROBES))}")
        return 2
    found, failed = _measure(chosen, options.rounds, options.seconds)
    told = report.cases(found)
    sys.stdout.write(report.table(told) + "\n")
    _keep(options, told, found)
    for name, why in failed.items():
        say(f"{name} could not be measured: {why}")
    return 1 if failed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="measure roamd beside what could do its job")
    parser.add_argument("--only", metavar="NAME", help="probes whose name begins so, with what they stand beside")
    parser.add_argument("--rounds", type=whole(1), default=3, help="how often each is measured; the median counts (3)")
    parser.add_argument("--seconds", type=above_zero, default=1.5, help="how long a load lasts (1.5)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the figures as JSON")
    parser.add_argument("--chart", metavar="FILE", type=Path, help="draw the ratios as SVG")
    parser.add_argument("--compare", metavar="FILE", type=Path, help="show ratios to an earlier run's JSON")
    return parser.parse_args(argv)


def _chosen(only: str | None) -> list[Probe]:
    """What to run: all, or those named and the yardsticks that they need."""
    if only is None:
        return [probe for probe in PROBES.values() if not probe.on_demand]
    named = {name for name in PROBES if name.startswith(only)}
    beside = {row.beside[0] for row in ROWS if row.beside and row.probe in named}
    return [probe for name, probe in PROBES.items() if name in named | beside]


def _measure(chosen: Sequence[Probe], rounds: int, seconds: float) -> tuple[dict[str, list[Measured]], dict[str, str]]:
    """All probes, round after round; one that fails is told of and left out from then on."""
    found: dict[str, list[Measured]] = defaultdict(list)
    failed: dict[str, str] = {}
    with Stage(seconds) as stage:
        for turn in range(rounds):
            for probe in chosen:
                if probe.name in failed or (probe.once and turn):
                    continue
                began = time.monotonic()
                try:
                    found[probe.name].append(probe.run(stage))
                except Exception as error:  # noqa: BLE001 -- the edge: one probe's failure must not lose the others
                    failed[probe.name] = f"{type(error).__name__}: {error}"
                say(f"round {turn + 1}/{rounds}  {probe.name}  {time.monotonic() - began:.1f} s")
    return found, failed


def _keep(options: argparse.Namespace, told: list[dict[str, Any]], found: dict[str, list[Measured]]) -> None:
    described = machine.described()
    if options.compare is not None:
        earlier = json.loads(options.compare.read_text("utf-8"))["cases"]
        sys.stdout.write(f"\nbeside {options.compare}:\n{report.compared(told, earlier)}\n")
    if options.out is not None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        whole = {**described, "at": at, "rounds": options.rounds, "cases": told, "probes": found}
        options.out.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    if options.chart is not None:
        about: Any = described["machine"]
        chart.write(options.chart, told, f"{about['cores']} cores, {about['cpu']}, commit {described['commit']}")


if __name__ == "__main__":
    sys.exit(main())
