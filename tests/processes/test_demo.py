"""The demo with the real command and real daemons, as `scripts/demo` runs it."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from roamd.demo import main
from roamd.demo.processes import ROAMD, child_environment
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
    assert "both print the same statement, byte for byte, and both have signed it" in ended.stderr
    assert (summary["records"], summary["receipted"], summary["ledgers"]) == (11, 11, 2)
    if multicast_trouble("127.0.0.1") is None:
        assert "(mdns); no name, no trust" in ended.stderr


def test_without_multicast_it_uses_static_candidates_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("roamd.demo.story.multicast_trouble", lambda _interface: "switched off by this test")
    code = main([])
    out = capsys.readouterr().out
    assert code == 0, out
    assert "no multicast on loopback here (switched off by this test): static candidates instead of mDNS" in out
    assert "(config); no name, no trust" in out


@pytest.mark.skipif(NO_CURL, reason="no curl on this machine")
def test_kept_its_curl_lines_work_and_ctrl_c_is_a_good_end(tmp_path: Path) -> None:
    with DemoProcess([*ROAMD, "demo"], tmp_path) as demo:
        demo.start("--keep")
        assert demo.run_printed_curl_lines() >= 7
        demo.process.send_signal(signal.SIGINT)
        demo.process.communicate(timeout=30)
    assert demo.process.returncode == 0
    assert list(tmp_path.iterdir()) == []
