"""The demo's small client, the waiting, and the timeline."""

import io
import json
from pathlib import Path

import pytest

from roamd.demo.client import Api, NotAnsweredError, RefusedError, TooLateError, _problem, wait_until
from roamd.demo.processes import child_environment, free_ports
from roamd.demo.timeline import Timeline, colours_wanted
from tests.support.backend import running_backend


def address(url: str) -> str:
    return url.removeprefix("http://").removesuffix("/roamd")


def test_the_key_is_read_at_each_request_so_a_rotated_one_works(tmp_path: Path) -> None:
    key = tmp_path / "api.key"
    with running_backend() as (backend, url):
        for secret in ("first", "second"):
            key.write_text(secret + "\n")
            Api(address(url), key).need("POST", "/roamd/command", {})
        assert [asked.authorization for asked in backend.asked] == ["Bearer first", "Bearer second"]


def test_a_refusal_is_raised_with_its_status_and_words() -> None:
    with running_backend() as (_backend, url), pytest.raises(RefusedError, match="GET /nowhere was answered 404"):
        Api(address(url)).get("/nowhere")


def test_what_is_not_there_is_none_for_who_looks_for_it() -> None:
    with running_backend() as (_backend, url):
        assert Api(address(url)).find("/nowhere") is None


def test_nobody_listening_is_not_answered_and_not_ready() -> None:
    api = Api(f"127.0.0.1:{free_ports(1)[0]}")
    assert not api.ready()
    with pytest.raises(NotAnsweredError, match="does not answer"):
        api.get("/readyz")


def test_a_problem_is_told_with_every_fault_and_its_path() -> None:
    problem = {"title": "Malformed", "detail": "1 fault", "faults": [{"path": "$.kwh", "message": "is required"}]}
    assert _problem(json.loads(json.dumps(problem))) == "1 fault; $.kwh: is required"


def test_waiting_ends_with_the_first_thing_found() -> None:
    looks = iter([None, False, "there"])
    assert wait_until("it", lambda: next(looks), 10, pause=lambda _s: None) == "there"


def test_waiting_in_vain_says_what_did_not_happen() -> None:
    with pytest.raises(TooLateError, match=r"^the link coming up did not happen within 0 s$"):
        wait_until("the link coming up", lambda: None, 0, pause=lambda _s: None)


def test_free_ports_differ() -> None:
    assert len(set(free_ports(20))) == 20


def test_settings_of_the_operators_shell_do_not_reach_the_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROAMD__LINK__LISTEN", "0.0.0.0:1")
    monkeypatch.setenv("ROAMD_CONFIG", "elsewhere.toml")
    assert not [name for name in child_environment() if name.startswith("ROAMD")]


def test_the_timeline_shows_elapsed_time_and_colours_only_where_wanted() -> None:
    moments = iter([100.0, 101.25, 101.25])
    plain, coloured = io.StringIO(), io.StringIO()
    timeline = Timeline(plain, colour=False, monotonic=lambda: next(moments))
    timeline.tell("Demo CSO", "is ready")
    assert plain.getvalue() == "   1.25 s  Demo CSO  is ready\n"
    Timeline(coloured, colour=True).end("demo: ok", ok=True)
    assert coloured.getvalue() == "\x1b[32mdemo: ok\x1b[0m\n"


def test_no_color_is_honoured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert colours_wanted(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours_wanted(Terminal())
    assert not colours_wanted(io.StringIO())
