"""Drivers who ask what is held of them, or to be forgotten."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from roamd.cli.client import Api, quoted
from roamd.cli.files import exists_already, write_private
from roamd.cli.output import (
    cell,
    counted,
    items_of,
    note,
    print_json,
    show,
    table,
    wants_json,
)
from roamd.errors import UsageError

WALK_S: Final = 3600.0
"""Everything that is stored is read, and large stores take minutes."""

COLUMNS: Final = (
    "request", "peer", "erased_at", "asked", "erased", "kept", "kept_until", "unknown", "refused", "waiting", "unasked",
)  # fmt: skip


def export(options: argparse.Namespace) -> int:
    """`roamd subject export`: one JSON file, which only its owner may read."""
    path = Path(options.file)
    if options.file != "-" and path.exists():
        raise exists_already(path)
    answer = Api.of(options).post("/v1/subjects/export", _named(options), answer_s=WALK_S)
    if options.file == "-":
        print_json(answer)
        return 0
    write_private(path, json.dumps(answer, ensure_ascii=False, indent=2).encode() + b"\n")
    found = {name: len(value) for name, value in answer.items() if isinstance(value, list)}
    show(options, {"file": str(path), "found": found}, lambda _: print(f"{path}: {_all_counted(found)}"))
    return 0


def _named(options: argparse.Namespace) -> dict[str, Any]:
    """The driver, as the API wants him named. Raises UsageError."""
    if not (options.uid or options.contract):
        raise UsageError("Which driver? Name --uid (with --type unless it is an RFID card), or --contract, or both.")
    named = {"type": options.type, "uid": options.uid, "contract_id": options.contract}
    return {name: value for name, value in named.items() if value is not None}


def _all_counted(found: Mapping[str, int]) -> str:
    words = [counted(count, name.replace("_", " ")) for name, count in found.items() if count]
    return ", ".join(words) or "nothing is held of this driver"


# --- forgetting ---------------------------------------------------------------------------------------------------


def erase(options: argparse.Namespace) -> int:
    """`roamd subject erase`"""
    body = _named(options) | {"force": options.force, "keep_records": options.keep_records}
    answer = Api.of(options).post("/v1/subjects/erase", body, answer_s=WALK_S)
    if wants_json(options):
        print_json(answer)
    else:
        _say_erased(answer)
    return 0


def _say_erased(answer: Mapping[str, Any]) -> None:
    print(f"Erased: {_all_counted(answer['erased'])}.")
    if answer.get("kept_records"):
        print(f"Kept: {counted(answer['kept_records'], 'ledger entries')}.")
    for peer, count in answer["asked"].items():
        print(f"Asked {cell(peer)} to erase {counted(count, 'entries')}: roamd subject erasures {answer['request']}")
    for place in answer["mentions"]:
        print(f"Left, for it only mentions one of the numbers: {cell(place)}")
    for other in answer["others"]:
        print(f"A token of this driver has another number, too: {cell(other)}")
    for path in answer["backups"]:
        print(f"Still holds the data: {cell(path)}")
    if not answer["log_emptied"]:
        note("The database's log could not be emptied while somebody reads it; erase once more later.")
    note(answer["note"])


def erasures(options: argparse.Namespace) -> int:
    """`roamd subject erasures`: what partners answered."""
    path = "/v1/subjects/erasures" + (f"/{quoted(options.request)}" if options.request else "")
    answer = Api.of(options).get(path)
    show(options, answer, lambda found: table(items_of(found), COLUMNS, "No partner was asked to erase anything."))
    return 0
