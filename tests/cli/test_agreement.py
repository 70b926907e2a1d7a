"""`roamd agreement`: what it asks, and what a person reads."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_api import FakeApi, Roamd, refusal

PATH = "/v1/peers/xyz/agreement"
TODAY: dict[str, Any] = {
    "peer": "xyz", "source": "preset", "number": None, "clauses": {"us.feeds": ["locations"], "dispute_above": None},
    "proposals": [], "newer_preset": ["us.feeds: adds reservations"],
}  # fmt: skip
OPEN: dict[str, Any] = {
    "number": 2, "state": "PROPOSED", "proposed_by": "them",
    "differences": [{"clause": "dispute_days", "before": 30, "after": 45, "words": "dispute_days: 30 becomes 45"}],
    "faults": [{"path": "them.parties", "message": "NLQQQ is qqq's (NLQQQ)\x1b[2J", "code": "overlap"}],
}  # fmt: skip


@pytest.fixture
def roamd(roamd: Roamd) -> Roamd:
    return lambda *words: roamd("agreement", *words)


def test_show_says_what_rules_and_what_a_proposal_would_change(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes[f"GET {PATH}"] = {**TODAY, "proposals": [OPEN]}
    assert roamd("show", "xyz") == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "xyz: the preset; nothing is signed",
        "us.feeds       locations",
        "dispute_above  -",
        "",
        "Agreement 2, the partner proposes:",
        "  dispute_days: 30 becomes 45",
        "  cannot be signed: them.parties: NLQQQ is qqq's (NLQQQ)\\x1b[2J",
    ]
    assert "us.feeds: adds reservations" in err


def test_show_with_a_number_shows_one_document(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    shown = {**OPEN, "clauses": {"dispute_days": 45}, "document": "{}", "signatures": {"us": None, "them": "MEUC"}}
    api.routes[f"GET {PATH}/2"] = shown
    assert roamd("show", "xyz", "2") == 0
    assert "signatures.them  MEUC" in capsys.readouterr().out
    assert roamd("show", "xyz", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out) == shown


def test_history_is_a_table(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes[f"GET {PATH}/history"] = {"items": [OPEN], "next": None}
    assert roamd("history", "xyz") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["2", "PROPOSED", "them"]


def test_propose_sends_clauses_as_they_are_written(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes[f"POST {PATH}/proposals"] = (201, {**OPEN, "number": 1, "proposed_by": "us", "faults": []})
    words = ("--set", "dispute_days=45", "--set", "tolerance = 0.02", "--add", "us.parties=DE*XYZ",
             "--remove", "them.services=reserve,unlock-connector", "--base", "preset")  # fmt: skip
    assert roamd("propose", "xyz", *words) == 0
    assert api.asked[-1][1] == {
        "clauses": {"dispute_days": "45", "tolerance": "0.02"},
        "add": {"us.parties": "DE*XYZ"},
        "remove": {"them.services": "reserve,unlock-connector"},
        "base": "preset",
        "check": False,
    }
    assert capsys.readouterr().out.splitlines() == [
        "Agreement 1 is on its way to xyz. What it changes:", "  dispute_days: 30 becomes 45"
    ]  # fmt: skip


def test_what_show_prints_as_json_can_be_edited_and_proposed(
    roamd: Roamd, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes[f"POST {PATH}/proposals"] = {"number": None, "state": "CHECKED", "differences": []}
    file = tmp_path / "clauses.json"
    file.write_text(json.dumps(TODAY))
    assert roamd("propose", "xyz", "--check", "--file", str(file), "--set", "us.feeds=tariffs") == 0
    assert api.asked[-1][1]["clauses"] == {"us.feeds": "tariffs", "dispute_above": None}
    assert "nothing; it makes what holds today an agreement of both" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"dispute_days": 45}'))
    assert roamd("propose", "xyz", "--file", "-") == 0
    assert api.asked[-1][1]["clauses"] == {"dispute_days": 45}


@pytest.mark.parametrize(
    "words",
    [("--set", "dispute_days"), ("--set", "a=1", "--set", "a=2"), ("--file", "/nowhere"), ("--base", "wishes")],
)
def test_words_that_are_off_are_a_usage_error(roamd: Roamd, api: FakeApi, words: tuple[str, ...]) -> None:
    assert roamd("propose", "xyz", *words) == 2
    assert api.asked == []


@pytest.mark.parametrize("text", ["[]", "not json", '"a"'])
def test_a_file_that_has_no_clauses_is_a_usage_error(roamd: Roamd, tmp_path: Path, text: str) -> None:
    (tmp_path / "file").write_text(text)
    assert roamd("propose", "xyz", "--file", str(tmp_path / "file")) == 2


def test_every_faulty_clause_is_printed(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    detail = "These clauses cannot be:\ntolerance: must be a decimal number\nwings: is no clause"
    api.routes[f"POST {PATH}/proposals"] = refusal(422, "malformed", detail)
    assert roamd("propose", "xyz", "--set", "tolerance=-1") == 1
    assert capsys.readouterr().err.splitlines() == [f"roamd: {line}" for line in detail.splitlines()]


@pytest.mark.parametrize(
    ("words", "body", "said"),
    [
        (("accept", "xyz", "2"), None, "Agreement 2 is signed by both: IN_FORCE."),
        (("decline", "xyz", "2", "--reason", "no"), {"reason": "no"}, "Agreement 2 is declined: DECLINED."),
    ],
)
def test_accept_and_decline(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], body: Any, said: str
) -> None:
    route = f"POST {PATH}/proposals/2/{words[0]}"
    api.routes[route] = {"number": 2, "state": said.split(": ")[1].rstrip(".")}
    assert roamd(*words) == 0
    assert api.asked == [(route, body)]
    assert capsys.readouterr().out.strip() == said
