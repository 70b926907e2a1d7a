"""A small storm in each run of the tests; `scripts/storm` makes large ones. And: a storm finds what it must find."""

import sys
from pathlib import Path

import pytest

from roamd.demo.processes import ROAMD
from tests.storm.__main__ import Size, rage

SMALL = Size(kills=3, records=100, changes=60, links=2, seed=1)
CALM = Size(kills=0, records=10, changes=10, links=0, seed=1)


def silence(_: str) -> None:
    """Nobody watches."""


def test_a_small_storm_loses_and_doubles_nothing(tmp_path: Path) -> None:
    verdict = rage(SMALL, silence, tmp_path, ROAMD)
    assert verdict.faults == []
    figures = verdict.figures
    assert (figures["records accepted"], figures["records settled"], figures["records parked"]) == (100, 98, 2)
    assert figures["object changes"] == 60
    assert sum(figures["kills"].values()) >= 3
    assert figures["broken links"] >= 2


@pytest.mark.parametrize(
    ("fault", "size", "found"),
    [("acknowledge-early", SMALL, "records are lost"), ("tell-twice", CALM, "backend twice")],
)
def test_a_storm_finds_a_planted_fault(tmp_path: Path, fault: str, size: Size, found: str) -> None:
    command = (sys.executable, "-m", "tests.storm.planted", fault)
    verdict = rage(size, silence, tmp_path, command)
    assert any(found in sentence for sentence in verdict.faults), verdict.faults
