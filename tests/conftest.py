"""How the tests share the machine: whatever starts daemons, takes ports or fills disks runs on one worker, in a row."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
ALONE = ("daemon", "demo", "discovery", "processes", "proof/test_scan.py", "storm")
"""Whose tests would otherwise see each other: by mDNS, by a port that was free a moment ago, by sheer load."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them for `pytest -n 2 --dist loadgroup` (scripts/test); without it the mark means nothing."""
    for item in items:
        place = item.path.relative_to(ROOT)
        if place.parts[0] in ALONE or place.as_posix() in ALONE:
            item.add_marker(pytest.mark.xdist_group("machine"))
