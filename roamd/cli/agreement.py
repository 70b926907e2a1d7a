"""Agreements with partners: what rules, what is proposed, and the operator's word on it."""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from roamd.cli.client import Api, quoted
from roamd.cli.output import cell, details, items_of, note, safe, show, table
from roamd.errors import UsageError

COLUMNS: Final = ("number", "state", "proposed_by", "proposed_at", "decided_at", "valid_from", "valid_until", "reason")


def show_one(options: argparse.Namespace) -> int:
    """`roamd agreement show`"""
    path = _path(options) + (f"/{options.number}" if options.number is not None else "")
    show(options, Api.of(options).get(path), _say_today if options.number is None else _say_document)
    return 0


def history(options: argparse.Namespace) -> int:
    """`roamd agreement history`"""
    answer = Api.of(options).get(f"{_path(options)}/history")
    show(options, answer, lambda found: table(items_of(found), COLUMNS, "Nothing was ever proposed."))
    return 0


def propose(options: argparse.Namespace) -> int:
    """`roamd agreement propose`: 1 and every faulty clause when it cannot be."""
    body = {
        "clauses": {**_file(options.file), **_pairs(options.clause, "--set")},
        "add": _pairs(options.add, "--add"),
        "remove": _pairs(options.remove, "--remove"),
        "base": options.base,
        "check": options.check,
    }
    answer = Api.of(options).post(f"{_path(options)}/proposals", body)
    show(options, answer, lambda found: _say_proposed(options, found))
    return 0


def answer(options: argparse.Namespace) -> int:
    """`roamd agreement accept | decline`"""
    body = {"reason": options.reason} if options.action == "decline" else None
    path = f"{_path(options)}/proposals/{options.number}/{options.action}"
    found = Api.of(options).post(path, body)
    done = {"accept": "is signed by both", "decline": "is declined"}[options.action]
    show(options, found, lambda told: print(f"Agreement {told['number']} {done}: {cell(told['state'])}."))
    return 0


def _path(options: argparse.Namespace) -> str:
    return f"/v1/peers/{quoted(options.peer)}/agreement"


# --- what is given ----------------------------------------------------------------------------------------------


def _pairs(given: Iterable[str], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name in pairs:
            raise UsageError(f"{option} {text}: write CLAUSE=VALUE, such as dispute_days=45, each clause once.")
        pairs[name.strip()] = value.strip()
    return pairs


def _file(name: str | None) -> dict[str, Any]:
    """The clauses in a file: an object of clauses, or what `roamd agreement show --json` prints."""
    if name is None:
        return {}
    try:
        found = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--file {name}: it cannot be read as JSON ({error}).") from None
    if isinstance(found, dict) and isinstance(found.get("clauses"), dict):
        found = found["clauses"]
    if not isinstance(found, dict):
        raise UsageError(f"--file {name}: it must be an object of clauses.")
    return found


# --- what is shown ----------------------------------------------------------------------------------------------


def _say_today(found: Mapping[str, Any]) -> None:
    source = f"agreement {found['number']}" if found["number"] is not None else "the preset; nothing is signed"
    print(f"{cell(found['peer'])}: {source}")
    details(found["clauses"])
    for proposal in found["proposals"]:
        by = "the partner proposes" if proposal["proposed_by"] == "them" else "we propose"
        print(f"\nAgreement {proposal['number']}, {by}:")
        _say_lists(proposal)
    if found.get("newer_preset"):
        note("Today's preset has more than is in use; `roamd agreement propose` offers it:")
        for words in found["newer_preset"]:
            note(f"  {words}")


def _say_document(found: Mapping[str, Any]) -> None:
    lists = ("clauses", "differences", "faults", "document")
    details({name: value for name, value in found.items() if name not in lists})
    details(found["clauses"])
    _say_lists(found)


def _say_lists(found: Mapping[str, Any]) -> None:
    for difference in found.get("differences", ()):
        print(f"  {safe(difference['words'])}")
    for fault in found.get("faults", ()):
        print(f"  cannot be signed: {safe(fault['path'])}: {safe(fault['message'])}")


def _say_proposed(options: argparse.Namespace, found: Mapping[str, Any]) -> None:
    if options.check:
        print("It can be proposed. What it would change:")
    else:
        print(f"Agreement {found['number']} is on its way to {safe(options.peer)}. What it changes:")
    _say_lists(found)
    if not found.get("differences"):
        print("  nothing; it makes what holds today an agreement of both")
