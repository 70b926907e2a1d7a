"""The demo with the real command and real daemons, as `scripts/demo` runs it."""

import io
import signal
from pathlib import Path

import pytest

from roamd.demo import cast, story
from roamd.demo.processes import ROAMD, Children
from roamd.demo.timeline import Timeline
from roamd.discovery.multicast import multicast_trouble
from tests.support.demo_process import LAST_LINE, NO_CURL, DemoProcess


def test_the_whole_story_is_told_its_curl_lines_work_and_ctrl_c_is_a_good_end(tmp_path: Path) -> None:
    with DemoProcess([*ROAMD, "demo"], tmp_path) as demo:
        demo.start("--full", "--keep")
        lines = demo.read_to(LAST_LINE)
        assert NO_CURL or demo.run_curl_lines(lines) >= 7
        demo.process.send_signal(signal.SIGINT)
        demo.process.communicate(timeout=30)
    assert demo.process.returncode == 0
    assert list(tmp_path.iterdir()) == []
    text = "\n".join(lines)
    for told in (
        "both print the same statement, byte for byte, and both have signed it",
        "Demo Taxi (FRRMT), vouched by demo-hub; no address, no trust",
        "link to demo-taxi is UP, through demo-hub",
        "neither card, contract nor bill stands in its ",
        "evidence: ok, signed by the two alone",
        "RMP-CDR-0002 went through demo-hub: entry 2 of the same chain, receipted",
        "13 records delivered once, 13 receipted, 2 ledgers verified",
    ):
        assert told in text
    if multicast_trouble("127.0.0.1") is None:
        assert "(mdns); no name, no trust" in text


def test_without_multicast_it_uses_static_candidates_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roamd.demo.story.multicast_trouble", lambda _interface: "switched off by this test")
    out = io.StringIO()
    with cast.new_room() as room, Children() as children:
        told = cast.Story(Timeline(out), children, Path(room))
        for step in story.STEPS[: story.STEPS.index(story.find_each_other) + 1]:
            step(told)
    assert "no multicast on loopback here (switched off by this test): static candidates" in out.getvalue()
    assert "(config); no name, no trust" in out.getvalue()
