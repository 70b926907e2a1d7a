"""The commands that ask the daemon: what they ask, what they print, and their exit codes."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roamd.backend.problems import problem
from roamd.cli import main
from roamd.cli.operate import read_events
from roamd.errors import Fault, Malformed
from tests.support.fake_api import KEY, FakeApi, Roamd, Steps, configured, refusal

CHECKOUT = Path(__file__).parents[2]
WORDS = "apple river stone cloud tiger seven"
PEER = {"peer": "xyz", "name": "XYZ", "parties": ["NLXYZ"], "state": "PAIRED", "link": "UP", "endpoint_id": "A" * 56}

# --- asking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "route", "body"),
    [
        ("status", "GET /v1/status", None),
        ("peers", "GET /v1/peers", None),
        ("peers show xyz", "GET /v1/peers/xyz", None),
        ("peers confirm xyz", "POST /v1/peers/xyz/confirm", None),
        ("peers suspend xyz", "POST /v1/peers/xyz/suspend", None),
        ("peers resume xyz", "POST /v1/peers/xyz/resume", None),
        ("peers retry xyz", "POST /v1/peers/xyz/retry", None),
        ("peers remove xyz", "POST /v1/peers/xyz/remove", {"park": False}),
        ("peers keyed xyz on", "POST /v1/peers/xyz/keyed", {"keyed": True}),
        ("peers pseudonyms xyz on", "POST /v1/peers/xyz/pseudonyms", {"pseudonyms": True}),
        ("peers pseudonyms xyz off", "POST /v1/peers/xyz/pseudonyms", {"pseudonyms": False}),
        ("peers keyed xyz off", "POST /v1/peers/xyz/keyed", {"keyed": False}),
        ("peers remove xyz --park", "POST /v1/peers/xyz/remove", {"park": True}),
        (
            "peers routes xyz --calls direct,hub --ledger hub",
            "POST /v1/peers/xyz/routes",
            {"calls": ["direct", "hub"], "ledger": ["hub"]},
        ),
        ("peers introduce xyz on", "POST /v1/peers/xyz/introduce", {"introduce": True}),
        ("peers introduce xyz off", "POST /v1/peers/xyz/introduce", {"introduce": False}),
        ("candidates", "GET /v1/candidates", None),
        ("records --state PARKED --peer xyz --limit 5", "GET /v1/records?state=PARKED&peer=xyz&limit=5", None),
        ("records show A/1", "GET /v1/records/A%2F1", None),
        ("records retry r1", "POST /v1/records/r1/retry", None),
        ("records reroute r1 xyz", "POST /v1/records/r1/reroute", {"peer": "xyz"}),
        ("records drop r1", "POST /v1/records/r1/drop", None),
        ("queue", "GET /v1/queue", None),
        ("queue shape", "GET /v1/queue/shape", None),
        ("events --after c1 --limit 7", "GET /v1/events?after=c1&limit=7", None),
        ("reload", "POST /v1/reload", None),
        ("agreement history xyz", "GET /v1/peers/xyz/agreement/history", None),
    ],
)
def test_each_command_asks_its_own_question(roamd: Roamd, api: FakeApi, words: str, route: str, body: object) -> None:
    api.routes[route.partition("?")[0]] = {}
    assert roamd(*words.split()) == 0
    assert api.asked == [(route, body)]


@pytest.mark.parametrize(
    "words", ["status", "peers", "peers show xyz", "records", "queue", "queue shape", "candidates"]
)
def test_json_is_the_answer_itself_in_one_line(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    answer = {"items": [{"peer": "xyz", "name": "Ä"}], "next": None}
    for route in ("status", "peers", "peers/xyz", "records", "queue", "queue/shape", "candidates"):
        api.routes[f"GET /v1/{route}"] = answer
    assert roamd(*words.split(), "--json") == 0
    out = capsys.readouterr().out
    assert json.loads(out) == answer
    assert out.count("\n") == 1


def test_peers_are_a_plain_aligned_table_in_a_pipe(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes["GET /v1/peers"] = {"items": [PEER, {**PEER, "peer": "other", "link": "DOWN"}], "next": None}
    roamd("peers")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["PEER", "NAME", "PARTIES", "STATE", "LINK", "ENDPOINT", "ID"]
    assert lines[1].split()[:5] == ["xyz", "XYZ", "NLXYZ", "PAIRED", "UP"]
    assert lines[1].index("PAIRED") == lines[2].index("PAIRED")


def test_a_strangers_name_cannot_drive_the_terminal(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes["GET /v1/candidates"] = {"items": [{"name": "\x1b[2Jevil\u202e", "address": "a\nb"}]}
    roamd("candidates")
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert len(out.splitlines()) == 2


def test_a_unix_socket_works_as_tcp_does(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeApi({"GET /v1/status": {"state": "ready"}}, socket_path=directory / "api.sock") as api:
        assert main(["status", "-c", str(configured(directory, api.address))]) == 0
    assert capsys.readouterr().out == "state  ready\n"


# --- pairing ----------------------------------------------------------------------------------------------------


def test_an_invitation_stands_alone_on_stdout(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    invitation = {"line": "roamd-invite-1.ABC", "expires_at": "2026-11-23T12:00:00Z", "address": "a.example:63120"}
    api.routes["POST /v1/invites"] = (201, invitation)
    assert roamd("invite", "--auto", "--hours", "2") == 0
    said = capsys.readouterr()
    assert said.out == "roamd-invite-1.ABC\n"
    assert "a.example:63120" in said.err
    assert "confirm" not in said.err
    assert api.asked == [("POST /v1/invites", {"auto": True, "hours": 2.0})]


def test_a_pairing_that_waits_prints_the_words_and_exits_75(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes["POST /v1/pairings"] = {**PEER, "words": WORDS, "state": "PENDING"}
    assert roamd("pair", "roamd-invite-1.ABC") == 75
    said = capsys.readouterr()
    assert f"words: {WORDS}" in said.out
    assert "waiting for confirmation" in said.err
    assert api.asked == [("POST /v1/pairings", {"line": "roamd-invite-1.ABC"})]


def test_a_pairing_that_is_done_exits_0(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /v1/pairings"] = {**PEER, "words": WORDS.split()}
    assert roamd("pair", "LINE", "--label", "partner") == 0
    assert f"words: {WORDS}" in capsys.readouterr().out
    assert api.asked[0][1] == {"line": "LINE", "label": "partner"}


def test_a_pairing_under_way_is_asked_for_until_there_are_words(roamd: Roamd, api: FakeApi) -> None:
    api.routes["POST /v1/pairings"] = {"peer": "xyz", "state": "PENDING"}
    api.routes["GET /v1/pairings/xyz"] = Steps([{"peer": "xyz", "state": "PENDING"}, {**PEER, "words": WORDS}])
    assert roamd("pair", "LINE") == 0
    assert [route for route, _ in api.asked[1:]] == ["GET /v1/pairings/xyz"] * 2


def test_the_line_can_come_from_stdin(roamd: Roamd, api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.routes["POST /v1/pairings"] = {**PEER, "words": WORDS}
    monkeypatch.setattr("sys.stdin", io.StringIO("  roamd-invite-1.XYZ\n"))
    assert roamd("pair", "-") == 0
    assert api.asked[0][1] == {"line": "roamd-invite-1.XYZ"}


# --- records ----------------------------------------------------------------------------------------------------


def test_a_page_of_records_says_how_to_go_on(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    record = {
        "record_id": "r1",
        "kind": "CDR",
        "direction": "out",
        "peer": None,
        "state": "PARKED",
        "reason": "no owner",
    }
    api.routes["GET /v1/records"] = {"items": [record], "next": "c9"}
    assert roamd("records") == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split() == ["r1", "CDR", "out", "-", "PARKED", "no", "owner"]
    assert "--after c9" in said.err


def test_the_queue_is_shown_by_peer(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["GET /v1/queue"] = {"xyz": {"accepted": 3, "settled": 1, "queued": 1, "parked": 1, "oldest_at": "t"}}
    assert roamd("queue") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["xyz", "3", "1", "1", "1", "t"]


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, 1)])
def test_a_ledger_that_does_not_verify_fails(roamd: Roamd, api: FakeApi, ok: bool, code: int) -> None:
    api.routes["GET /v1/ledger/verify"] = {"ok": ok, "entries": 3}
    assert roamd("ledger", "verify", "--peer", "xyz") == code
    assert api.asked == [("GET /v1/ledger/verify?peer=xyz", None)]


def test_evidence_becomes_files(roamd: Roamd, api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"body.json": b'{"id":"r1"}', "head.sig": b"\x30\x45\xff"}
    encoded = {name: base64.b64encode(content).decode() for name, content in files.items()}
    api.routes["GET /v1/records/r1/evidence"] = {"files": encoded}
    assert roamd("ledger", "export", "r1", str(tmp_path / "out")) == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files
    assert str(tmp_path / "out" / "body.json") in capsys.readouterr().out
    assert roamd("ledger", "export", "r1", str(tmp_path / "out")) == 1


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "..", "", "a/b"])
def test_evidence_never_leaves_its_directory(roamd: Roamd, api: FakeApi, tmp_path: Path, name: str) -> None:
    api.routes["GET /v1/records/r1/evidence"] = {"files": {"good": "YQ==", name: "YQ=="}}
    assert roamd("ledger", "export", "r1", str(tmp_path / "out")) == 1
    assert not (tmp_path / "out").exists()


def test_a_name_that_ends_with_json_gets_one_file_byte_for_byte(
    roamd: Roamd, api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes["GET /v1/records/r1/evidence"] = {"format": "roamd evidence 1", "é": ["as it is"]}
    file = tmp_path / "r1.json"
    assert roamd("ledger", "export", "r1", str(file)) == 0
    assert json.loads(file.read_bytes()) == {"format": "roamd evidence 1", "é": ["as it is"]}
    assert api.asked == [("GET /v1/records/r1/evidence?form=bundle", None)]
    assert f"verify-evidence {file}" in capsys.readouterr().out
    assert file.stat().st_mode & 0o777 == 0o600
    assert roamd("ledger", "export", "r1", str(file)) == 1, "what is there is not overwritten"


def test_decisions_shows_the_newest_and_whose_card_it_was_only_as_json(
    api: FakeApi, roamd: Roamd, capsys: pytest.CaptureFixture[str]
) -> None:
    one: dict[str, Any] = {"authorization_id": "ab12", "at": "2026-11-22T10:00:00Z", "direction": "out", "peer": "xyz"}
    one |= {"source": "GRANT", "decision": "ALLOWED", "reason": "", "elapsed_ms": 3.5, "uid": "04E2A1B2C3D480"}
    api.routes["GET /v1/decisions"] = {"items": [one], "next": None}
    assert roamd("decisions", "--peer", "xyz") == 0
    shown = capsys.readouterr().out
    assert "GRANT" in shown
    assert "04E2A1B2C3D480" not in shown
    assert api.asked[-1][0] == "GET /v1/decisions?peer=xyz&limit=100&newest=true"
    assert roamd("decisions", "--id", "ab12", "--json") == 0
    assert "04E2A1B2C3D480" in capsys.readouterr().out
    assert api.asked[-1][0] == "GET /v1/decisions?authorization_id=ab12&limit=100"
    assert roamd("decisions", "--limit", "0") == 2


# --- operating --------------------------------------------------------------------------------------------------


def test_a_refused_reload_prints_every_fault_and_exits_78(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = ["roamd.toml:3: link.lisen: there is no such key", "roamd.toml:9: log.level: 3 is not known"]
    api.routes["POST /v1/reload"] = refusal(422, "config", "The configuration has faults.", faults)
    assert roamd("reload") == 78
    assert capsys.readouterr().err.splitlines() == [f"roamd: {fault}" for fault in faults]


MONTH = Fault("month", "must be a month such as 2026-10")
LIMIT = Fault("limit", "must be from 1 to 1000")
CLAUSES = Malformed(
    (MONTH, LIMIT), "These cannot be:\nmonth: must be a month such as 2026-10\nlimit: must be from 1 to 1000"
)


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (Malformed((MONTH,)), ["month: must be a month such as 2026-10"]),
        (Malformed((MONTH, LIMIT)), ["month: must be a month such as 2026-10", "limit: must be from 1 to 1000"]),
        (Malformed((MONTH,), "This is no statement."), ["month: must be a month such as 2026-10"]),
        (CLAUSES, str(CLAUSES).split("\n")),
        (Malformed((Fault("a", "b\x1b[2J"), MONTH)), ["a: b\\x1b[2J", "month: must be a month such as 2026-10"]),
    ],
)
def test_a_refusal_names_each_fault_on_a_line_of_its_own(
    roamd: Roamd, api: FakeApi, error: Malformed, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = problem(error.http_status, error.code, str(error), error.faults)
    api.routes["GET /v1/status"] = (error.http_status, msgspec.to_builtins(shown))
    assert roamd("status") == 1
    assert capsys.readouterr().err.splitlines() == [f"roamd: {line}" for line in lines]


def test_a_reload_says_what_waits_for_a_restart(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /v1/reload"] = {"restart_needed": ["link.listen"]}
    assert roamd("reload") == 0
    assert "link.listen" in capsys.readouterr().err


def test_a_backup_is_named_by_its_whole_path(
    roamd: Roamd, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.routes["POST /v1/backup"] = {}
    monkeypatch.chdir(tmp_path)
    assert roamd("backup", "copy.db") == 0
    assert api.asked[0][1] == {"path": str(tmp_path / "copy.db")}


def test_a_restore_beside_a_running_daemon_is_refused(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes["GET /livez"] = {"status": "ok"}
    assert roamd("restore", "copy.db") == 1
    assert "The daemon is running" in capsys.readouterr().err


def test_a_new_key_is_asked_of_the_daemon(roamd: Roamd, api: FakeApi, directory: Path) -> None:
    api.routes["POST /v1/api-key/rotate"] = {"key_file": "x"}
    assert roamd("api-key", "rotate") == 0
    assert (directory / "api.key").read_text() == KEY + "\n"


@pytest.mark.parametrize("lost", [True, False])
def test_without_a_daemon_a_new_key_is_written_here(directory: Path, lost: bool) -> None:
    if lost:
        (directory / "api.key").unlink()
    assert main(["api-key", "rotate", "-c", str(configured(directory, unused_address()))]) == 0
    written = directory / "api.key"
    assert written.read_text().strip() != KEY
    assert written.stat().st_mode & 0o077 == 0


def test_following_prints_each_event_until_the_daemon_ends(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"record_id": "r1", "state": "DELIVERED", "record": {"big": "body"}}
    event = {"id": "1", "at": "2026-11-22T12:00:00Z", "peer": "xyz", "type": "record.state", "data": data}
    api.routes["GET /v1/events"] = f": hello\n\nid: 1\nevent: x\ndata: {json.dumps(event)}\n\n: still here\n\n".encode()
    assert roamd("events", "--follow") == 69
    out = capsys.readouterr().out
    assert out == "2026-11-22T12:00:00Z  record.state  xyz  record_id=r1 state=DELIVERED\n"


def test_an_event_may_come_in_several_lines() -> None:
    lines = ["data: a\r\n", "data:b\n", ":x\n", "\n", "\n", "data: c\n", "\n", "data: never ended\n"]
    assert list(read_events(lines)) == ["a\nb", "c"]


# --- what goes wrong --------------------------------------------------------------------------------------------


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (refusal(404, "not-found", "There is no peer xyz."), 1, "There is no peer xyz."),
        (refusal(409, "conflict", "Three records are queued; use --park."), 1, "Three records are queued"),
        (refusal(503, "try-again", "Not yet."), 75, "Not yet."),
        (refusal(400, "usage", "No such label."), 2, "No such label."),
        ((200, b"<html>"), 1, "is not roamd"),
        ((500, b"<html>"), 1, "is not roamd (status 500)"),
        ((502, []), 1, "is not roamd (status 502)"),
    ],
)
def test_a_refusal_is_a_sentence_and_an_exit_code(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str], answer: Any, code: int, said: str
) -> None:
    api.routes["GET /v1/peers/xyz"] = answer
    assert roamd("peers", "show", "xyz") == code
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("roamd: ")
    assert err.count("\n") == 1


def test_a_daemon_that_is_not_there_exits_69_and_says_how_to_start_it(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configured(directory, unused_address())
    assert main(["status", "-c", str(path)]) == 69
    assert f"roamd run -c {path}" in capsys.readouterr().err


def test_a_socket_that_is_not_there_exits_69(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "-c", str(configured(directory, f"unix:{directory}/none.sock"))]) == 69
    assert "no such file" in capsys.readouterr().err


def test_another_daemons_key_is_told(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.key = "another"
    assert roamd("status") == 1
    assert "does not take the key" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\xfe", b"line\nline"])
def test_a_key_file_that_holds_no_key_is_told(
    roamd: Roamd, directory: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    (directory / "api.key").unlink()
    if content is not None:
        (directory / "api.key").write_bytes(content)
    assert roamd("status") == 78
    assert "roamd api-key rotate" in capsys.readouterr().err


def test_no_configuration_named_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROAMD_CONFIG", raising=False)
    assert main(["status"]) == 2
    assert "ROAMD_CONFIG" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["bogus"], ["peers", "bogus"], ["init"], ["ledger"], ["records", "--limit", "x"]]
)
def test_unknown_words_are_usage_errors(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(words) == 2
    assert "usage:" in capsys.readouterr().err


def test_ctrl_c_ends_quietly(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("roamd.cli.operate.status", interrupted)
    assert main(["status"]) == 130
    assert capsys.readouterr().err == ""


def test_a_fault_of_our_own_is_a_sentence_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(options: object) -> int:
        raise ZeroDivisionError("oops\x1b")

    monkeypatch.setattr("roamd.cli.operate.status", broken)
    assert main(["status"]) == 1
    assert capsys.readouterr().err == (
        "roamd: This is a fault of roamd itself, please report it: ZeroDivisionError: oops\\x1b\n"
    )


# --- as a process -----------------------------------------------------------------------------------------------


def process(*arguments: str, **more: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "roamd", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **more}, cwd=CHECKOUT
    )


def test_status_brings_in_no_heavy_library_and_so_answers_at_once(api: FakeApi, directory: Path) -> None:
    api.routes["GET /v1/status"] = {"state": "ready"}
    path = configured(directory, api.address)
    program = (
        "import sys; from roamd.cli import main; code = main(['status', '-c', sys.argv[1]]);"
        "heavy = {'trio', 'asyncio', 'aiohttp', 'cryptography', 'structlog', 'apsw', 'msgspec'} & set(sys.modules);"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, cwd=CHECKOUT, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    # 0.1 s where nothing else runs; the bound leaves room for a busy machine.
    assert time.monotonic() - began < 2


def test_a_reader_that_leaves_ends_the_command_quietly(api: FakeApi, directory: Path) -> None:
    api.routes["GET /v1/records"] = {"items": [{"record_id": "x" * 1000}] * 1000, "next": None}
    with process("records", "-c", str(configured(directory, api.address))) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.wait() == 1
        assert running.stderr.read() == ""


def test_a_terminal_without_utf8_shows_escapes(api: FakeApi, directory: Path) -> None:
    api.routes["GET /v1/peers"] = {"items": [{**PEER, "name": "Ölstraße 🚗"}]}
    with process("peers", "-c", str(configured(directory, api.address)), PYTHONIOENCODING="ascii") as running:
        out, err = running.communicate()
    assert (running.returncode, err) == (0, "")
    assert "\\xd6lstra\\xdfe" in out


def test_the_version_is_printed() -> None:
    with process("--version") as running:
        assert running.communicate()[0] == "roamd 0.1.0\n"
