"""The company's own systems that speak OCPI: how they stand, what was learned of them, and a test of one."""

import argparse
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from roamd.cli.client import Api
from roamd.cli.output import cell, items_of, note, show, table
from roamd.errors import OperatorError

TEST_S = 180.0
"""A dozen calls of ten seconds each, where nothing answers."""


def listing(options: argparse.Namespace) -> int:
    """`roamd ocpi`"""
    answer = Api.of(options).get("/v1/ocpi")
    rows = [_row(item) for item in items_of(answer)]
    columns = ("name", "registered", "version", "endpoints", "quirks", "losses")
    show(options, answer, lambda _: table(rows, columns, "No [[ocpi]] is configured."))
    return 0


def _row(item: Mapping[str, Any]) -> dict[str, Any]:
    counted = sum(loss["count"] for loss in item["losses"])
    return {
        **item,
        "endpoints": len(item.get("endpoints", ())),
        "quirks": len(item["quirks"]),
        "losses": counted,
    }


def test(options: argparse.Namespace) -> int:
    """`roamd ocpi test NAME`: 1 when a step failed."""
    answer = Api.of(options).post(f"/v1/ocpi/{quote(options.name, safe='')}/test", answer_s=TEST_S)
    show(options, answer, _say_test)
    return 0 if answer["ok"] else 1


def _say_test(answer: Mapping[str, Any]) -> None:
    for step in answer["steps"]:
        print(f"{'ok    ' if step['ok'] else 'FAILED'}  {cell(step['step']):<22}  {cell(step['what'])}")
        if step.get("todo"):
            print(f"        {'':<22}  -> {cell(step['todo'])}")
    note("Everything that was tried works." if answer["ok"] else "Something is wrong; what to do stands beside it.")


def losses(options: argparse.Namespace) -> int:
    """`roamd ocpi losses [NAME]`: the rules; with a name, what they cost since the daemon's start."""
    if options.name is None:
        rows = _rules()
        show(options, {"items": rows}, lambda _: _say_rules(rows))
        return 0
    found = _one(options)
    columns = ("count", "module", "rule", "what", "why")
    show(options, {"items": found["losses"]}, lambda _: table(found["losses"], columns, "Nothing was lost."))
    return 0


def _rules() -> list[dict[str, Any]]:
    from roamd.model.ocpi.convert_rules import RULES  # here: no other command needs it

    return [
        {"rule": rule.code, "to": rule.target, "loses": rule.loses, "where": rule.where, "what": rule.what}
        | ({"why": rule.why} if rule.why else {})
        for rule in RULES.values()
    ]


def _say_rules(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{'loses' if row['loses'] else 'keeps'}  to {row['to']:<5}  {row['where']}: {row['what']}")
        if row["loses"]:
            print(f"                 because {row['why']}")
    note("What neither version knows is kept as it is; numbers that are not calculated keep their spelling.")


def quirks(options: argparse.Namespace) -> int:
    """`roamd ocpi quirks [NAME]`"""
    items = items_of(Api.of(options).get("/v1/ocpi")) if options.name is None else [_one(options)]
    rows = [{"backend": item["name"], **quirk} for item in items for quirk in item["quirks"]]
    columns = ("backend", "quirk", "since", "what")
    show(options, {"items": rows}, lambda _: table(rows, columns, "None was met."))
    return 0


def removals(options: argparse.Namespace) -> int:
    """`roamd ocpi removals [NAME MODULE]`: what is held back; with both names it is removed, and 1 if there is none."""
    api = Api.of(options)
    if options.name is None or options.module is None:
        items = items_of(api.get("/v1/ocpi"))
        rows = [{"backend": item["name"], **held} for item in items for held in item["removals"]]
        columns = ("backend", "module", "missing", "listed")
        show(options, {"items": rows}, lambda _: table(rows, columns, "Nothing is held back."))
        return 0
    answer = api.post(f"/v1/ocpi/{quote(options.name, safe='')}/removals", {"module": options.module})
    show(options, answer, lambda _: note(f"{answer['removed']} removed."))
    return 0 if answer["removed"] else 1


def _one(options: argparse.Namespace) -> dict[str, Any]:
    items = items_of(Api.of(options).get("/v1/ocpi"))
    for item in items:
        if item["name"] == options.name:
            return item
    known = ", ".join(item["name"] for item in items)
    raise OperatorError(f"No [[ocpi]] has the name {options.name}. " + (f"There are: {known}." if known else ""))
