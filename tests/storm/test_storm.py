"""A small storm in each run of the tests; `scripts/storm` makes large ones. And: a storm finds what it must find."""

import sys
from pathlib import Path

import pytest

from roamd.demo.processes import ROAMD
from tests.storm.__main__ import rage
from tests.storm.worlds import Size, summed

SMALL = Size(kills=3, records=100, changes=60, links=2, seed=1)
CALM = Size(kills=0, records=10, changes=10, links=0, seed=1)
SHORT = Size(kills=2, records=60, changes=10, links=0, seed=4)
"""Both blows fall on the CSO, which acknowledges, and soon after its work was let out."""


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
    [("acknowledge-early", SHORT, "records are lost"), ("tell-twice", CALM, "backend twice")],
)
def test_a_storm_finds_a_planted_fault(tmp_path: Path, fault: str, size: Size, found: str) -> None:
    command = (sys.executable, "-m", "tests.storm.planted", fault)
    verdict = rage(size, silence, tmp_path, command)
    assert any(found in sentence for sentence in verdict.faults), verdict.faults


def test_storms_side_by_side_share_the_work_and_are_judged_as_one() -> None:
    shares = Size(kills=0, records=10, changes=7, links=4, seed=5).shares(3)
    assert [share.seed for share in shares] == [5, 6, 7]
    assert [sum(getattr(share, name) for share in shares) for name in ("kills", "records", "changes", "links")] == [
        0, 10, 7, 4,
    ]  # fmt: skip
    good = {
        "ok": True,
        "figures": {"seed": 5, "kills": {"cso": 1}, "records lost": 0, "seconds in all": 9},
        "faults": [],
    }
    bad = {"ok": False, "figures": {"seed": 6, "kills": {"csp": 2}, "records lost": 1}, "faults": ["seed 6: lost"]}
    together = summed([good, bad])
    assert (together["ok"], together["faults"]) == (False, ["seed 6: lost"])
    assert together["figures"] == {
        "worlds": 2, "seed": "5, 6", "kills": {"cso": 1, "csp": 2}, "records lost": 1, "seconds in all": 9,
    }  # fmt: skip
