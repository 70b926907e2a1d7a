"""What a clerk sees: the statement of a month as text, CSV and PDF, the same on both sides."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from roamd.cli.pdf import COLUMNS, LINES, text_pdf
from tests.support.fake_api import FakeApi, Roamd

ROOT = "ab" * 32
KIND = {"kind": "CDR", "records": 2, "energy_kwh": "31.25", "before_taxes": "10.00", "after_taxes": "11.90"}
DISPUTED = KIND | {"records": 1, "taxes": []}
LINE = {
    "author": "A" * 56, "party": "DEABC", "record_id": "C-1", "kind": "CDR", "day": "2026-10-02", "standing": "COUNTED",
    "currency": "EUR", "energy_kwh": "31.25", "before_taxes": "10.00", "taxes": [{"tax": "VAT 19%", "amount": "1.90"}],
    "after_taxes": "11.90", "commitment": "cd" * 32,
}  # fmt: skip
ANSWER: dict[str, Any] = {
    "peer": "xyz",
    "month": "2026-10",
    "state": "PROPOSED",
    "root": ROOT,
    "statement": {
        "format": "roamd statement 1",
        "month": "2026-10",
        "between": ["A" * 56, "B" * 56],
        "records": 3,
        "root": ROOT,
        "sections": [
            {
                "author": "A" * 56,
                "parties": ["DEABC"],
                "currency": "EUR",
                "kinds": [
                    KIND | {"taxes": [{"tax": "VAT 19%", "records": 2, "before_taxes": "10.00", "amount": "1.90"}]}
                ],
                "before_taxes": "10.00",
                "after_taxes": "11.90",
                "disputed": [DISPUTED],
            }
        ],
    },
    "signed": {"us": None, "peer": {"root": ROOT, "at": "2026-11-02T10:00:00Z", "sequence": 9}},
    "lines": [LINE, LINE | {"record_id": "=HYPERLINK(1)", "before_taxes": "-10.00"}],
}
ROUND: dict[str, Any] = {
    "peer": "xyz", "ok": True, "groups": 3, "records": 40, "differed": 17, "repaired": {"entries": 0, "records": 17},
    "repaired_there": {"entries": 1, "records": 0}, "under_way": 0, "left": 0, "faults": [],
    "differences": [
        {"author": "peer", "kind": "CDR", "day": "2026-10-02", "party": "DEABC", "record_id": "C-1", "here": None,
         "there": "DELIVERED", "result": "repaired here"},
    ],
}  # fmt: skip


@pytest.fixture
def api(api: FakeApi) -> FakeApi:
    api.routes["GET /v1/peers/xyz/statements/2026-10"] = ANSWER
    return api


def test_a_statement_is_a_plain_table_that_names_no_side_as_us(
    roamd: Roamd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert roamd("statement", "xyz", "2026-10") == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "Statement 2026-10: 3 records, by the UTC day on which each ended",
        f"  between  {'A' * 56}",
        f"  between  {'B' * 56}",
        f"  root     {ROOT}",
        "",
        "Records of DEABC in EUR",
        f"  author   {'A' * 56}",
        "  kind                        records            kWh     before taxes      after taxes",
        "  CDR                               2          31.25            10.00            11.90",
        "    VAT 19%                         2                           10.00             1.90",
        "  total                                                         10.00            11.90",
        "  disputed, and not counted:",
        "  kind                        records            kWh     before taxes      after taxes",
        "  CDR                               1          31.25            10.00            11.90",
    ]
    assert told.err == "The partner has signed it; sign it with --sign if it is right.\n"


def test_signing_signs_what_is_shown(roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.routes["POST /v1/peers/xyz/statements/2026-10"] = ANSWER | {"state": "AGREED"}
    assert roamd("statement", "xyz", "2026-10", "--sign") == 0
    assert api.asked[-1] == ("POST /v1/peers/xyz/statements/2026-10", {"root": ROOT})
    assert "Both have signed it." in capsys.readouterr().err


def test_the_list_goes_to_a_csv_that_is_no_formula(roamd: Roamd, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    assert roamd("statement", "xyz", "2026-10", "--csv", str(file)) == 0
    first, second = csv.DictReader(io.StringIO(file.read_text()))
    assert (first["record_id"], first["taxes"], first["after_taxes"]) == ("C-1", "VAT 19%: 1.90", "11.90")
    assert (second["record_id"], second["before_taxes"]) == ("'=HYPERLINK(1)", "-10.00")
    assert file.stat().st_mode & 0o777 == 0o600
    assert roamd("statement", "xyz", "2026-10", "--csv", str(file)) == 1, "what is there is not overwritten"


def test_statement_and_list_go_to_a_pdf_with_the_same_bytes_each_time(roamd: Roamd, tmp_path: Path) -> None:
    files = [tmp_path / "one.pdf", tmp_path / "two.pdf"]
    for file in files:
        assert roamd("statement", "xyz", "2026-10", "--pdf", str(file)) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert b"(Statement 2026-10: 3 records" in files[0].read_bytes()
    assert b"=HYPERLINK\\(1\\)" in files[0].read_bytes()


def test_the_months_are_listed_and_a_file_needs_one(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    months = {"items": [{"month": "2026-10", "state": "OPEN", "root": ROOT}], "next": None}
    api.routes["GET /v1/peers/xyz/statements"] = months
    assert roamd("statement", "xyz") == 0
    assert "2026-10" in capsys.readouterr().out
    assert roamd("statement", "xyz", "--csv", "x.csv") == 2
    capsys.readouterr()
    assert roamd("statement", "xyz", "--json") == 0
    assert json.loads(capsys.readouterr().out) == months


def test_differences_are_named_beside_the_statement(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ROUND["differences"][0]
    api.routes["GET /v1/peers/xyz/statements/2026-10"] = ANSWER | {"state": "DIFFERS", "differences": [one]}
    assert roamd("statement", "xyz", "2026-10") == 0
    assert "differs: CDR C-1 of DEABC: here missing, there DELIVERED" in capsys.readouterr().err


def test_a_round_says_what_came_back_and_fails_when_something_is_left(
    roamd: Roamd, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.routes["POST /v1/peers/xyz/reconcile"] = ROUND
    assert roamd("reconcile", "xyz") == 0
    told = capsys.readouterr().out
    assert "Compared 40 records in 3 groups; 17 differed." in told
    assert "Put right here: 17 records, 0 ledger entries." in told
    assert "repaired here" in told
    api.routes["POST /v1/peers/xyz/reconcile"] = ROUND | {"ok": False, "left": 1, "faults": ["3 entries"]}
    assert roamd("reconcile", "xyz") == 1
    said = capsys.readouterr()
    assert "Put right there: 0 records, 1 ledger entry." in said.out
    assert "Left: 2 differences" in said.err


# --- the file format --------------------------------------------------------------------------------------------


def objects(data: bytes) -> dict[int, bytes]:
    """The file read as a reader does: from its end, by the table of places."""
    start = int(re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)[1])  # type: ignore[index]
    head, *rows = data[start:].split(b"trailer")[0].splitlines()[1:]
    assert (head, len(rows)) == (b"0 %d" % len(rows), len(rows))
    assert all(len(row) == 19 for row in rows), "each row has 20 bytes with its line end"
    found = {}
    for number, row in enumerate(rows[1:], 1):
        place = int(row[:10])
        begin = b"%d 0 obj\n" % number
        assert data[place : place + len(begin)] == begin
        found[number] = data[place + len(begin) : data.index(b"\nendobj", place)]
    return found


def test_every_object_of_the_pdf_stands_where_the_table_says() -> None:
    found = objects(text_pdf(["one", "two (three) \\"]))
    assert found[1].startswith(b"<< /Type /Catalog /Pages 2 0 R")
    assert b"/Count 1" in found[2]
    assert b"(two \\(three\\) \\\\) '" in found[5]
    length = int(re.search(rb"/Length (\d+)", found[5])[1])  # type: ignore[index]
    assert found[5].split(b"stream\n", 1)[1][:length].endswith(b"Tj ET")
    assert found[5].split(b"stream\n", 1)[1][length:] == b"\nendstream"


def test_long_texts_go_on_on_further_pages_and_long_lines_in_further_lines() -> None:
    found = objects(text_pdf(["x" * (COLUMNS + 1), *(f"line {number}" for number in range(2 * LINES))]))
    assert b"/Count 3" in found[2]
    assert b"/Kids [4 0 R 6 0 R 8 0 R]" in found[2]
    assert b"(1 / 3)" in found[5]
    assert found[5].count(b" '\n") == LINES
    assert b"(x) '" in found[5]
    assert objects(text_pdf([]))[5].count(b" '\n") == 1


def test_letters_of_western_europe_are_shown_and_others_leave_a_mark() -> None:
    found = objects(text_pdf(["Zürich 5 € \x1b[0m 東京"]))
    assert "(Zürich 5 € ?[0m ??) '".encode("cp1252") in found[5]
