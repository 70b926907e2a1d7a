"""The harness itself, against the stand-in for roamd: what it starts it ends, and a failure shows the logs."""

import contextlib
import sys
from pathlib import Path

import pytest

from roamd.demo.processes import DaemonDiedError
from tests.support.daemons import Fleet

FAKE = [sys.executable, str(Path(__file__).parent.parent / "support" / "fake_roamd.py")]


def test_two_companies_start_pair_die_and_come_back(tmp_path: Path) -> None:
    with Fleet(tmp_path, FAKE) as fleet:
        cso, csp = fleet.company("cso", "BE*RMC"), fleet.company("csp", "FR*RMD")
        fleet.start(cso, csp)
        fleet.pair(cso, csp)
        csp.daemon.kill()
        assert not csp.daemon.running
        assert not cso.link_is_up(csp)
        fleet.start(csp)
        fleet.wait_linked(cso, csp)
    assert not cso.daemon.running
    assert not csp.daemon.running


def test_a_failure_shows_what_each_daemon_wrote_last(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(RuntimeError), Fleet(tmp_path, FAKE) as fleet:
        cso = fleet.company("cso", "BE*RMC", backend=False)
        cso.daemon.log_file.write_text('{"event": "link_lost"}\n')
        raise RuntimeError
    assert '--- cso wrote last\n{"event": "link_lost"}\n' in capfd.readouterr().err


def test_a_daemon_that_ends_at_its_start_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAULT", "dies")
    with Fleet(tmp_path, FAKE) as fleet, pytest.raises(DaemonDiedError, match="cso ended with 78"):
        fleet.start(fleet.company("cso", "BE*RMC", backend=False))


def test_a_stopped_daemon_says_how_it_ended(tmp_path: Path) -> None:
    with Fleet(tmp_path, FAKE) as fleet:
        cso = fleet.company("cso", "BE*RMC", backend=False)
        fleet.start(cso)
        assert cso.daemon.stop() == -15, "the stand-in takes no care of SIGTERM"
