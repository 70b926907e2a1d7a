"""`roamd subject`: what it asks, what it writes, and that it never puts a driver into a URL or another's hands."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roamd.cli import main
from tests.support.fake_api import KEY, FakeApi, refusal

UID = "04A1B2C3D4E5F6"
ERASED = {
    "request": "ab12", "erased": {"entries": 3}, "kept_records": 0, "mentions": [{"table": "objects", "id": "LOC"}],
    "others": [{"uid": "04FF"}], "asked": {"xyz": 3}, "backups": ["/var/backups/roamd.db"], "log_emptied": False,
    "note": "Partners decide.",
}  # fmt: skip


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    with FakeApi() as fake:
        endpoint = '[endpoint]\nparties = ["DE*ABC"]\nroles = ["cso"]\nname = "ABC"\n'
        (tmp_path / "roamd.toml").write_text(f'{endpoint}[api]\nlisten = "{fake.address}"\n')
        (tmp_path / "api.key").write_text(KEY + "\n")
        yield fake


def roamd(directory: Path, *words: str) -> int:
    return main([*words, "-c", str(directory)])


def test_an_export_is_a_new_file_that_only_its_owner_reads(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, Any] = {
        "identifiers": [{}],
        "ledger_entries": [{}, {}],
        "events": [],
        "records_without_place": [{}],
    }
    answer = {"made_at": "2026-01-05T09:00:00Z", **found}
    api.routes["POST /v1/subjects/export"] = answer
    file = tmp_path / "driver.json"
    assert roamd(tmp_path, "subject", "export", "--uid", UID, str(file)) == 0
    assert api.asked == [("POST /v1/subjects/export", {"uid": UID})]
    assert json.loads(file.read_text()) == answer
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert capsys.readouterr().out == f"{file}: 1 identifier, 2 ledger entries, 1 record without place\n"
    assert roamd(tmp_path, "subject", "export", "--uid", UID, str(file)) == 1, "never over another file"
    assert roamd(tmp_path, "subject", "export", "--contract", "FR-XYZ-1", "-", "--json") == 0
    assert json.loads(capsys.readouterr().out) == answer


def test_an_erasure_says_what_was_done_and_where_the_data_still_is(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes["POST /v1/subjects/erase"] = ERASED
    words = ("subject", "erase", "--type", "APP_USER", "--uid", UID, "--contract", "FR-XYZ-1", "--force")
    assert roamd(tmp_path, *words) == 0
    named = {"type": "APP_USER", "uid": UID, "contract_id": "FR-XYZ-1"}
    assert api.asked == [("POST /v1/subjects/erase", {**named, "force": True, "keep_records": False})]
    shown = capsys.readouterr()
    for words_shown in ("3 entries", "Asked xyz", "LOC", "04FF", "/var/backups/roamd.db"):
        assert words_shown in shown.out
    assert "could not be emptied" in shown.err
    assert "Partners decide." in shown.err
    assert UID not in shown.out + shown.err


def test_a_refusal_is_told_and_fails(api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /v1/subjects/erase"] = refusal(409, "must-be-kept", "Nothing was erased: the law.")
    assert roamd(tmp_path, "subject", "erase", "--uid", UID, "--keep-records") == 1
    assert "Nothing was erased: the law." in capsys.readouterr().err


def test_nobody_is_no_subject(api: FakeApi, tmp_path: Path) -> None:
    assert roamd(tmp_path, "subject", "erase", "--type", "RFID") == 2
    assert roamd(tmp_path, "subject", "export", str(tmp_path / "x")) == 2
    assert not api.asked


def test_what_partners_answered_is_a_table(api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"request": "ab12", "peer": "xyz", "asked": 3, "erased": 1, "kept": 2, "kept_until": "2036-01-05T09:00:00Z"}
    api.routes["GET /v1/subjects/erasures/ab12"] = {"items": [row], "next": None}
    assert roamd(tmp_path, "subject", "erasures", "ab12") == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["ab12", "xyz", "3", "1", "2", "2036-01-05T09:00:00Z"]
