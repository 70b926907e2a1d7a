"""What two companies owe each other for a month, and holding both sides' records against each other.

What is printed of a statement, and its CSV and PDF, names no side as "us": in sync both companies print the same bytes.
"""

import argparse
import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from roamd.cli.client import Api, quoted
from roamd.cli.files import write_private
from roamd.cli.output import counted, note, print_json, safe, table, wants_json
from roamd.cli.pdf import text_pdf
from roamd.errors import OperatorError, UsageError

ROUND_S: Final = 600.0
"""Two ledgers of many years are held against each other."""

COLUMNS: Final = (
    "author", "party", "record_id", "kind", "day", "standing", "currency", "energy_kwh", "before_taxes", "taxes",
    "after_taxes", "commitment",
)  # fmt: skip
DIFFERENCES: Final = ("author", "kind", "day", "party", "record_id", "here", "there", "result")

_SIGNED: Final = {
    "OPEN": "Nobody has signed this statement.",
    "SIGNED": "We have signed it; the partner has not.",
    "PROPOSED": "The partner has signed it; sign it with --sign if it is right.",
    "AGREED": "Both have signed it.",
    "DIFFERS": "The partner has signed another statement.",
}


# --- reconciling ------------------------------------------------------------------------------------------------


def reconcile(options: argparse.Namespace) -> int:
    """`roamd reconcile`: 1 when something still differs."""
    answer = Api.of(options).post(f"/v1/peers/{quoted(options.peer)}/reconcile", answer_s=ROUND_S)
    if wants_json(options):
        print_json(answer)
    else:
        _say_round(answer)
    if not answer["ok"]:
        left = answer["left"] + len(answer["faults"])
        raise OperatorError(f"Left: {counted(left, 'differences')}; both sides' logs tell more.")
    return 0


def _say_round(answer: Mapping[str, Any]) -> None:
    records, groups = counted(answer["records"], "records"), counted(answer["groups"], "groups")
    print(f"Compared {records} in {groups}; {answer['differed']} differed.")
    for where, what in (("here", answer["repaired"]), ("there", answer["repaired_there"])):
        print(
            f"Put right {where}: {counted(what['records'], 'records')}, {counted(what['entries'], 'ledger entries')}."
        )
    if answer["under_way"]:
        print(f"Under way: {answer['under_way']}.")
    for fault in answer["faults"]:
        print(f"Left: {safe(fault)}")
    if answer["differences"]:
        table(answer["differences"], DIFFERENCES, "")


# --- statements -------------------------------------------------------------------------------------------------


def statement(options: argparse.Namespace) -> int:
    """`roamd statement PEER [MONTH]`"""
    api, path = Api.of(options), f"/v1/peers/{quoted(options.peer)}/statements"
    if options.month is None:
        if options.sign or options.csv or options.pdf:
            raise UsageError("Which month? Such as: roamd statement PEER 2026-10.")
        return _months(options, api.get(path))
    path += f"/{quoted(options.month)}"
    answer = api.get(path, answer_s=ROUND_S, lines="true", compare="true")
    if options.sign:
        signed = api.post(path, {"root": answer["root"]}, answer_s=ROUND_S)
        answer |= {name: signed[name] for name in ("state", "signed")}
    if options.csv:
        write_private(Path(options.csv), as_csv(answer).encode())
    if options.pdf:
        write_private(Path(options.pdf), text_pdf(list(as_text(answer, with_list=True))))
    if wants_json(options):
        print_json(answer)
    else:
        print(*as_text(answer), sep="\n")
    _say_signed(answer)
    return 0


def _months(options: argparse.Namespace, answer: Mapping[str, Any]) -> int:
    if wants_json(options):
        print_json(answer)
    else:
        table(answer["items"], ("month", "state", "root"), "There are no records with this partner yet.")
    return 0


def _say_signed(answer: Mapping[str, Any]) -> None:
    """Beside the statement, on stderr: this differs between the two sides."""
    note(_SIGNED.get(str(answer["state"]), str(answer["state"])))
    for each in answer.get("differences") or ():
        places = f"here {each['here'] or 'missing'}, there {each['there'] or 'missing'}"
        note(f"differs: {each['kind']} {each['record_id']} of {each['party']}: {places}")
    if answer.get("differences_why"):
        note(f"Why: {answer['differences_why']}")


# --- how it looks -----------------------------------------------------------------------------------------------


def as_text(answer: Mapping[str, Any], *, with_list: bool = False) -> Iterator[str]:
    """The statement in lines, the same on both sides."""
    made = answer["statement"]
    yield f"Statement {made['month']}: {counted(made['records'], 'records')}, by the UTC day on which each ended"
    yield from (f"  between  {safe(name)}" for name in made["between"])
    yield f"  root     {safe(made['root'])}"
    for section in made["sections"]:
        yield ""
        yield f"Records of {', '.join(map(safe, section['parties']))} in {safe(section['currency'])}"
        yield f"  author   {safe(section['author'])}"
        yield from _kinds(section["kinds"])
        yield _row("total", "", "", section["before_taxes"], section["after_taxes"])
        if section["disputed"]:
            yield "  disputed, and not counted:"
            yield from _kinds(section["disputed"])
    if with_list and answer.get("lines"):
        yield ""
        yield from _list(answer["lines"])


def _kinds(kinds: list[dict[str, Any]]) -> Iterator[str]:
    yield _row("kind", "records", "kWh", "before taxes", "after taxes")
    for kind in kinds:
        yield _row(kind["kind"], kind["records"], kind["energy_kwh"], kind["before_taxes"], kind["after_taxes"])
        for tax in kind["taxes"]:
            name = tax["tax"] or "no taxes stated"
            yield _row(f"  {name}", tax["records"], "", tax["before_taxes"], tax["amount"])


def _row(name: object, records: object, energy: object, before: object, after: object) -> str:
    cells = (f"{safe(str(name)):<26}", f"{records:>8}", f"{energy:>14}", f"{before:>16}", f"{after:>16}")
    return f"  {' '.join(map(str, cells))}".rstrip()


def _list(lines: list[dict[str, Any]]) -> Iterator[str]:
    names = ("party", "record_id", "kind", "day", "standing", "energy_kwh", "before_taxes", "after_taxes", "currency")
    yield _line(["party", "record", "kind", "day", "standing", "kWh", "before taxes", "after taxes", ""])
    for line in lines:
        yield _line([safe(str(line[name])) for name in names])


def _line(cells: list[str]) -> str:
    party, record, kind, day, standing, energy, before, after, currency = cells
    words = f"{party:<6} {record:<39} {kind:<6} {day:<10} {standing:<8}"
    return f"{words} {energy:>12} {before:>14} {after:>14} {currency}".rstrip()


def as_csv(answer: Mapping[str, Any]) -> str:
    """The list, a line per record. Texts of strangers are kept from being formulas in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # RFC 4180
    writer.writerow(COLUMNS)
    for line in answer.get("lines") or ():
        taxes = "; ".join(f"{tax['tax']}: {tax['amount']}" for tax in line["taxes"])
        writer.writerow([_cell(name, {**line, "taxes": taxes}[name]) for name in COLUMNS])
    return out.getvalue()


_NUMBERS: Final = ("energy_kwh", "before_taxes", "after_taxes")


def _cell(name: str, value: str) -> str:
    is_formula = name not in _NUMBERS and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if is_formula else value
