"""The demo's story against a stand-in for roamd: it tells what happened, notices what did not, and leaves nothing."""

import io
import json
import os
import re
import signal
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from roamd.demo import cast, main, story
from roamd.demo.processes import Backend, Children
from roamd.demo.timeline import Timeline
from tests.support.backend import running_backend
from tests.support.daemons import BackendHere
from tests.support.demo_process import NO_CURL, DemoProcess

HERE = Path(__file__).parent
FAKE = [sys.executable, str(HERE.parent / "support" / "fake_roamd.py")]
SHORT_S = 0.9
"""Patience where a fault is to be noticed; elsewhere the demo's own, because the machine may be busy."""

DEMO = f"import sys; from roamd.demo import main; sys.exit(main(sys.argv[1:], command={FAKE!r}))"


def tell(*options: str, patience_s: float = 15.0) -> int:
    return main(list(options), command=FAKE, patience_s=patience_s)


@pytest.fixture(autouse=True)
def _room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The demo's temporary directory in ours, and nothing left there or running from there afterwards.

    Where the demo runs in this process its backends do so, too: that is much quicker.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ExitStack() as backends:
        monkeypatch.setattr(Backend, "start", lambda: BackendHere(backends.enter_context(running_backend())[1]))
        yield
    assert list(tmp_path.iterdir()) == []
    assert processes_that_name(str(tmp_path)) == []


def processes_that_name(text: str) -> list[int]:
    if not Path("/proc/self/cmdline").exists():
        return []
    mine = os.getpid()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            named = text in (entry / "cmdline").read_text()
        except OSError:
            continue
        if named and int(entry.name) != mine:
            found.append(int(entry.name))
    return found


def test_the_whole_story_ends_well_and_says_so_last_and_every_line_has_its_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert tell() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith(
        "demo: ok (3 authorizations, 4 objects mirrored, 4 commands done, "
        "11 records delivered once, 11 receipted, 2 ledgers verified"
    )
    assert not any("\x1b" in line for line in lines), "no colour in a pipe"
    told = [line for line in lines if line.startswith(" ")]
    assert len(told) > 20
    assert all(re.match(r" +\d+\.\d\d s  (Demo CSO|Demo CSP|demo) +\S", line) for line in told)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("dies", "the daemon of cso ended with 78 before it was ready"),
        ("sleeps", "cso being ready did not happen within 0.9 s"),
        ("garbles", "locations RMC-CANAL arrived changed"),
        ("doubles", "the CSP got RMC-CDR-0001 more than once"),
        ("forgets", "the receipt for 10 CDRs did not happen within 0.9 s"),
    ],
)
def test_what_goes_wrong_is_one_sentence_with_the_last_log_lines(
    fault: str, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", fault)
    assert tell(patience_s=SHORT_S) == 1
    out = capsys.readouterr().out
    last = out.splitlines()[-1]
    assert last.startswith("demo: failed after ")
    assert last.endswith(sentence)
    assert "--- the last lines that the daemon of cso wrote" in out
    assert "Traceback" not in out
    assert ("config_refused" in out) == (fault == "dies")


def test_the_json_summary_stands_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell("--json") == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary["ok"] is True
    assert summary["records"] == summary["receipted"] == 11
    assert "demo: ok" in captured.err


def test_the_json_summary_of_a_failure_says_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAULT", "dies")
    assert tell("--json") == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["ok"], summary["failure"]) == (False, "the daemon of cso ended with 78 before it was ready")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[DemoProcess]:
    with DemoProcess([sys.executable, "-c", DEMO], tmp_path) as started:
        yield started


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_in_the_middle_it_ends_its_children_and_says_130(demo: DemoProcess, how: signal.Signals) -> None:
    demo.start(fault="sleeps")
    demo.read_to("Both daemons start")
    demo.process.send_signal(how)
    rest, _ = demo.process.communicate(timeout=20)
    assert demo.process.returncode == 130
    assert rest.endswith("demo: interrupted; the daemons and their backends were ended\n")
    assert "Traceback" not in rest


@pytest.mark.skipif(NO_CURL, reason="no curl on this machine")
def test_kept_it_prints_curl_lines_that_work_and_ends_well_on_ctrl_c(demo: DemoProcess) -> None:
    demo.start("--keep")
    assert demo.run_printed_curl_lines() >= 7
    demo.process.send_signal(signal.SIGINT)
    demo.process.communicate(timeout=20)
    assert demo.process.returncode == 0


@pytest.mark.parametrize("trouble", [None, "switched off by this test"])
def test_each_daemon_is_told_how_to_look_around_and_the_timeline_says_when_there_is_no_multicast(
    trouble: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roamd.demo.story.multicast_trouble", lambda _interface: trouble)
    out = io.StringIO()
    with cast.new_room() as room, Children() as children:
        told = cast.Story(Timeline(out), children, Path(room), FAKE)
        for step in story.STEPS[: story.STEPS.index(story.find_each_other) + 1]:
            step(told)
        settings = [tomllib.loads((one.directory / "conf.d" / "demo.toml").read_text()) for one in children.daemons]
        links = [daemon.link_address for daemon in children.daemons]
    if trouble is None:
        assert settings == [{"discovery": {"mdns": True}}] * 2
    else:
        assert settings == [
            {"discovery": {"mdns": False}, "candidates": [{"address": other}]} for other in reversed(links)
        ]
    assert ("static candidates instead of mDNS" in out.getvalue()) == (trouble is not None)
