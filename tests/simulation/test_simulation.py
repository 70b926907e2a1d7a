"""Whole daemon cores under faults: the law holds after every step, all comes to rest, and a seed is a whole story."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from roamd import log
from tests.simulation.faults import PLANTED
from tests.simulation.simulation import Plan, simulate

CHECKOUT = Path(__file__).resolve().parents[2]
HOUR = Plan(nodes=6, seconds=3600, steps=200)
DAY = Plan(nodes=20, seconds=86_400, steps=600, heartbeat_s=900)


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """What the nodes log is not what is tested here."""
    log.configure("critical", io.StringIO())
    yield
    log.configure()


@pytest.mark.parametrize("seed", range(1, 5))
def test_the_law_holds_for_an_hour_of_everything_that_can_go_wrong(seed: int) -> None:
    result = simulate(HOUR, seed)
    assert result.error is None, "\n".join([*result.lines, result.error or ""])
    assert result.totals["queued"] == 0
    assert result.totals["settled"] + result.totals["parked"] == result.totals["records"] > 0


def test_a_seed_gives_the_same_trace_twice_and_another_seed_another_one() -> None:
    plan = replace(HOUR, steps=80)
    assert simulate(plan, 7).digest == simulate(plan, 7).digest != simulate(plan, 8).digest


def test_a_trace_does_not_depend_on_the_process() -> None:
    digests = set()
    for hash_seed in ("1", "2"):
        command = [sys.executable, "-m", "tests.simulation", "--nodes", "4", "--steps", "60", "--seeds", "3", "--json"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
        digests.add(json.loads(done.stdout.splitlines()[0])["digest"])
    assert len(digests) == 1


def test_twenty_endpoints_keep_the_law_over_a_day_of_cuts_and_restarts_twice_alike() -> None:
    plan = replace(DAY, allowed=frozenset({"cut", "reset", "restart", "kill", "crash"}))
    first, second = simulate(plan, 20), simulate(plan, 20)
    assert first.error is None, "\n".join([*first.lines, first.error or ""])
    assert first.digest == second.digest
    assert first.totals["settled"] > 100


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str) -> None:
    plan = replace(HOUR, allowed=frozenset({"reset", "kill", "crash"}))
    errors = (simulate(plan, seed, faults=PLANTED[fault]).error for seed in range(1, 6))
    assert "the law is broken" in next(filter(None, errors), "")
