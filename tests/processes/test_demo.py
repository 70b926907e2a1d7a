"""The demo with the real command and real daemons, as `scripts/demo` runs it."""

import io
import json
import signal
import subprocess
from pathlib import Path

import pytest

from roamd.demo import cast, story
from roamd.demo.processes import ROAMD, Children, child_environment
from roamd.demo.timeline import Timeline
from roamd.discovery.multicast import multicast_trouble
from tests.support.demo_process import NO_CURL, DemoProcess

pytest.importorskip("roamd.daemon.main", reason="the daemon is not built yet")


def test_the_whole_story_is_told_to_its_end() -> None:
    ended = subprocess.run(
        [*ROAMD, "demo", "--full", "--json"],
        capture_output=True, text=True, timeout=180, env=child_environment(), check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout)
    for told in (
        "both print the same statement, byte for byte, and both have signed it",
        "Demo Taxi (FRRMT), vouched by demo-hub; no address, no trust",
        "link to demo-taxi is UP, through demo-hub",
        "neither card, contract nor bill stands in its ",
        "evidence: ok, signed by the two alone",
        "RMP-CDR-0002 went through demo-hub: entry 2 of the same chain, receipted",
    ):
        assert told in ended.stderr
    assert (summary["records"], summary["receipted"], summary["ledgers"]) == (13, 13, 2)
    if multicast_trouble("127.0.0.1") is None:
        assert "(mdns); no name, no trust" in ended.stderr


def test_without_multicast_it_uses_static_candidates_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roamd.demo.story.multicast_trouble", lambda _interface: "switched off by this test")
    out = io.StringIO()
    with cast.new_room() as room, Children() as children:
        told = cast.Story(Timeline(out), children, Path(room))
        for step in story.STEPS[: story.STEPS.index(story.find_each_other) + 1]:
            step(told)
    assert "no multicast on loopback here (switched off by this test): static candidates" in out.getvalue()
    assert "(config); no name, no trust" in out.getvalue()


@pytest.mark.skipif(NO_CURL, reason="no curl on this machine")
def test_kept_its_curl_lines_work_and_ctrl_c_is_a_good_end(tmp_path: Path) -> None:
    with DemoProcess([*ROAMD, "demo"], tmp_path) as demo:
        demo.start("--keep")
        assert demo.run_printed_curl_lines() >= 7
        demo.process.send_signal(signal.SIGINT)
        demo.process.communicate(timeout=30)
    assert demo.process.returncode == 0
    assert list(tmp_path.iterdir()) == []
