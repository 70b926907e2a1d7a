"""The search in what a process holds: it finds what is there, wherever it is, and nothing else."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roamd.demo import spying
from roamd.demo.cast import Company
from roamd.demo.client import Api
from roamd.demo.processes import Daemon

HOLDS = "held = bytes(reversed(b'yromem-ni')); print(flush=True); import sys; sys.stdin.read()"
"""The word is not on the command line, and only once it was made in memory."""


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """Its process holds one word, its database and its log another one each."""
    directory = tmp_path / "hub"
    (directory / "state").mkdir(parents=True)
    (directory / "state" / "roamd.db-wal").write_bytes(b"\0in-database\0")
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        daemon = Daemon(directory, Api("127.0.0.1:1"), "127.0.0.1:2", process=process)
        daemon.log_file.write_text("in-log")
        yield Company("Hub", daemon, None)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc on this machine")
def test_memory_database_and_log_are_searched(company: Company) -> None:
    where, held = spying.found_in(company, ("in-memory", "in-database", "in-log", "no" + "where"))
    assert where == "memory, database or log"
    assert held == {"in-memory", "in-database", "in-log"}


def test_where_memory_is_closed_the_story_does_not_say_that_it_was_searched(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_pid: int, _wanted: dict[str, bytes]) -> Iterator[str]:
        raise PermissionError

    monkeypatch.setattr(spying, "_in_memory", closed)
    assert spying.found_in(company, ("in-memory", "in-log")) == ("database or log", {"in-log"})


def test_what_was_refused_does_not_count_as_passed_on(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    told = """\
# TYPE roamd_relayed_envelopes_total counter
roamd_relayed_envelopes_total{outcome="passed-on",peer="park"} 12.0
roamd_relayed_envelopes_total{outcome="not-paired",peer="park"} 3.0
roamd_relayed_envelopes_total{outcome="not-paired",peer="stranger"} 1.0
# TYPE roamd_relayed_bytes_total counter
roamd_relayed_bytes_total{peer="park"} 6819.0
"""
    monkeypatch.setattr(Api, "get", lambda _api, _path: told)
    assert spying.relayed(company) == {"park": (12, 6819)}
