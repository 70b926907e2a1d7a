"""Runs whole endpoints in simulated time, under simulated faults, and holds them to the law after every step.

    scripts/simulate --nodes 20 --days 1 --seeds 1..10
    scripts/simulate --nodes 30 --steps 500 --seeds 1..200 --jobs 2
    scripts/simulate --nodes 300 --days 7 --steps 55000 --heartbeat 3600 --fault-share 0.02 --seeds 1

A failure prints its seed and the commit; the same command with `--seeds N..N --verbose` replays it, line by line, to
the same hash. Exit status 0 only if the law held for every seed. See tests/simulation/simulation.py.
"""

import argparse
import gc
import io
import json
import multiprocessing
import resource
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from roamd import log
from tests.simulation.simulation import ALL_FAULTS, Plan, Result, simulate
from tests.support import progress
from tests.support.sizes import above_zero, seeds, some_of, whole

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    options = parsed()
    plan = Plan(
        nodes=options.nodes,
        seconds=options.days * 86_400,
        steps=options.steps,
        degree=options.degree,
        heartbeat_s=options.heartbeat,
        fault_share=options.fault_share,
        allowed=options.faults,
    )
    began, count = time.monotonic(), len(options.seeds)
    run = partial(one, plan, verbose=options.verbose)
    if options.jobs > 1:
        spawned, deaf = multiprocessing.get_context("spawn"), (signal.SIGINT, signal.SIG_IGN)
        with spawned.Pool(options.jobs, signal.signal, deaf) as pool:  # Ctrl-C is ours; leaving the block ends them
            bad = reported(pool.imap(run, options.seeds), count, as_json=options.json)
    else:
        bad = reported(map(run, options.seeds), count, as_json=options.json)
    took_s = round(time.monotonic() - began, 1)
    if options.json:
        print(json.dumps({"seeds": count, "failed": bad, "seconds": took_s, "cpu_s": cpu_s(), "peak_mib": peak_mib()}))
    else:
        print(f"{count} seeds, {bad} failed, {took_s} s, {cpu_s()} s of CPU, {peak_mib()} MiB at most")
    return 1 if bad else 0


def reported(results: Iterable[Result], count: int, *, as_json: bool) -> int:
    """Print each result when it is there; how many broke the law."""
    bad = 0
    progress.keep(f"none of {count} seeds done")
    for number, result in enumerate(results, 1):
        bad += report(result, as_json)
        progress.keep(f"{number} of {count} seeds done, {bad} failed")
    return bad


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", type=whole(2), default=6, help="endpoints (6)")
    parser.add_argument("--days", type=above_zero, default=1 / 24, help="simulated days (an hour)")
    parser.add_argument("--seeds", type=seeds, default="1..5", help="A..B, both included")
    parser.add_argument("--steps", type=whole(1), default=300, help="things that backends do or that break (300)")
    parser.add_argument("--degree", type=whole(1), default=4, help="partners of each endpoint (4)")
    parser.add_argument("--heartbeat", type=above_zero, default=60.0, help="seconds between heartbeats (60)")
    parser.add_argument(
        "--faults",
        type=some_of(ALL_FAULTS),
        default="",
        help="names of the faults to use, with commas: " + ",".join(sorted(ALL_FAULTS)),
    )
    parser.add_argument(
        "--fault-share", type=float, default=0.25, help="the share of steps that break something (0.25)"
    )
    parser.add_argument("--jobs", type=whole(1), default=1, help="processes (1)")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each seed")
    parser.add_argument("--verbose", action="store_true", help="print each step")
    return parser.parse_args()


def one(plan: Plan, seed: int, *, verbose: bool) -> Result:
    """One seed; in a process of its own when there are several."""
    gc.freeze()  # the program itself is no garbage, and need not be looked through for it
    gc.set_threshold(1_000_000, 50, 100)  # a third of the time went into looking for cycles while they are still few
    log.configure("warning" if verbose else "critical", None if verbose else io.StringIO())
    try:
        return simulate(plan, seed, echo=verbose)
    finally:
        gc.collect()  # what 30 endpoints leave behind is ten megabytes


def report(result: Result, as_json: bool) -> int:
    """Print one result; 1 when the law was broken."""
    if as_json:
        print(json.dumps({name: value for name, value in asdict(result).items() if name != "lines"}), flush=True)
    elif result.error is None:
        totals = ", ".join(f"{value} {name}" for name, value in result.totals.items())
        print(
            f"seed {result.seed}: ok {result.digest[:16]}, at rest after {result.settled_s:.0f} s; {totals}", flush=True
        )
    else:
        print("\n".join(result.lines))
        print(f"seed {result.seed} at commit {commit()}: {result.error} (trace {result.digest[:16]})", flush=True)
    return int(result.error is not None)


def cpu_s() -> float:
    """What this process and its children that have ended used: says more than the time on a machine with others."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return round(sum(one.ru_utime + one.ru_stime for one in used), 1)


def peak_mib() -> int:
    """The most memory that this process, or the largest of its children, ever held."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) // 1024


def commit() -> str:
    """The commit of the checkout, for whoever replays the seed."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
