"""Service records, the ledgers that prove them, and what still waits."""

import argparse
import base64
import binascii
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from roamd.cli.client import Api, quoted
from roamd.cli.files import write_private
from roamd.cli.output import cell, details, items_of, note, print_json, show, table, wants_json
from roamd.errors import OperatorError, UsageError

VERIFY_S: Final = 3600.0
"""A ledger of many years is walked entry by entry."""

COLUMNS: Final = ("record_id", "kind", "direction", "peer", "state", "reason", "updated_at")
QUEUE_COLUMNS: Final = ("peer", "accepted", "settled", "queued", "parked", "oldest_at")

_DONE: Final = {
    "retry": "{record} is tried again.",
    "reroute": "{record} is tried again with {to}.",
    "drop": "{record} is given up.",
    "accept": "{record} is accepted.",
    "final": "{record} is final.",
    "dispute": "{record} is disputed.",
    "credit": "{record} is credited.",
}


def listing(options: argparse.Namespace) -> int:
    """`roamd records`"""
    if options.limit < 1:
        raise UsageError("--limit: at least 1.")
    query = {name: getattr(options, name) for name in ("state", "peer", "after", "limit")}
    answer = Api.of(options).get("/v1/records", **query)
    show(options, answer, _say_page)
    return 0


def _say_page(answer: Mapping[str, Any]) -> None:
    table(items_of(answer), COLUMNS, "There are no such records.")
    if answer.get("next"):
        note(f"More: roamd records --after {answer['next']}")


def show_one(options: argparse.Namespace) -> int:
    """`roamd records show`"""
    show(options, Api.of(options).get(f"/v1/records/{quoted(options.record)}"), details)
    return 0


def act(options: argparse.Namespace) -> int:
    """`roamd records retry | reroute | drop | accept | dispute | final`"""
    answer = Api.of(options).post(f"/v1/records/{quoted(options.record)}/{options.action}", _body(options))
    done = _DONE[options.action].format(record=cell(options.record), to=cell(options.to))
    show(options, answer, lambda _: print(done))
    return 0


def _body(options: argparse.Namespace) -> dict[str, Any] | None:
    match options.action:
        case "reroute":
            return {"peer": options.to}
        case "accept" | "final":
            return {"detail": options.detail}
        case "dispute":
            return {"reason": options.reason, "detail": options.detail, "evidence": options.evidence}
    return None


def credit(options: argparse.Namespace) -> int:
    """`roamd records credit`: the files' own text goes out, so that no number is written anew."""
    body = b'{"credit":' + _text(options.file)
    if options.replacement is not None:
        body += b',"replacement":' + _text(options.replacement)
    headers = {"OCPI-Version": options.ocpi_version}
    answer = Api.of(options).post(f"/v1/records/{quoted(options.record)}/credit", body + b"}", headers=headers)
    show(options, answer, lambda _: print(_DONE["credit"].format(record=cell(options.record))))
    return 0


def _text(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}.") from None


# --- ledgers ----------------------------------------------------------------------------------------------------


def verify(options: argparse.Namespace) -> int:
    """`roamd ledger verify`: 1 when anything does not hold."""
    answer = Api.of(options).get("/v1/ledger/verify", answer_s=VERIFY_S, peer=options.peer)
    show(options, answer, details)
    if not answer.get("ok"):
        raise OperatorError(
            "The ledgers do not verify. Keep the database as it is, and compare with the partner's ledger."
        )
    return 0


def export(options: argparse.Namespace) -> int:
    """`roamd ledger export`: the evidence as files, or as one file where the name ends with .json."""
    if options.directory.endswith(".json"):
        return _export_bundle(options)
    directory = Path(options.directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OperatorError(f"{directory} is not empty; nothing was written. Name a directory that is new or empty.")
    answer = Api.of(options).get(f"/v1/records/{quoted(options.record)}/evidence")
    files = _decoded(answer)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    if wants_json(options):
        print_json({"directory": str(directory), "files": sorted(files)})
    else:
        print(*(directory / name for name in sorted(files)), sep="\n")
    return 0


def _export_bundle(options: argparse.Namespace) -> int:
    """The file exactly as the daemon wrote it: each of its bytes is checked later."""
    path = Path(options.directory)
    data = Api.of(options).text(f"/v1/records/{quoted(options.record)}/evidence", form="bundle")
    write_private(path, data)
    show(options, {"file": str(path)}, lambda _: print(f"{path}: check it with scripts/verify-evidence {path}"))
    return 0


def _decoded(answer: Mapping[str, Any]) -> dict[str, bytes]:
    """The files by name. A name is never a path: whatever the answer says, nothing is written elsewhere."""
    try:
        files = {name: base64.b64decode(text, validate=True) for name, text in answer["files"].items()}
    except (KeyError, AttributeError, TypeError, binascii.Error):
        raise OperatorError("The daemon's answer holds no evidence that can be read.") from None
    if any(Path(name).name != name or name in ("", ".", "..") for name in files):
        raise OperatorError("The daemon's answer names files outside the directory; nothing was written.")
    return files


# --- the queue --------------------------------------------------------------------------------------------------


def queue(options: argparse.Namespace) -> int:
    """`roamd queue`"""
    answer = Api.of(options).get("/v1/queue")
    show(options, answer, lambda found: table(_by_peer(found), QUEUE_COLUMNS, "There are no records yet."))
    return 0


def _by_peer(answer: Any) -> list[dict[str, Any]]:
    """The API may key the rows by peer instead of listing them."""
    found = answer.get("peers", answer) if isinstance(answer, Mapping) and "items" not in answer else answer
    if isinstance(found, Mapping) and "items" not in found:
        return [{"peer": peer, **row} for peer, row in found.items() if isinstance(row, Mapping)]
    return items_of(found)


def shape(options: argparse.Namespace) -> int:
    """`roamd queue shape`"""
    show(options, Api.of(options).get("/v1/queue/shape"), details)
    return 0
