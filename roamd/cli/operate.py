"""The daemon itself: how it is, what came in, backup, reload, its key."""

import argparse
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from roamd.cli.client import Api, load_config
from roamd.cli.local import hand_over
from roamd.cli.output import cell, details, items_of, note, show, table, wants_json
from roamd.errors import ConfigError, Unreachable, UsageError

RELOAD_S: Final = 60.0
BACKUP_S: Final = 3600.0
"""A large database on a slow disk."""


def status(options: argparse.Namespace) -> int:
    """`roamd status`"""
    show(options, Api.of(options).get("/v1/status"), details)
    return 0


DECISION_COLUMNS: Final = ("at", "direction", "peer", "decision", "source", "reason", "elapsed_ms", "authorization_id")


def decisions(options: argparse.Namespace) -> int:
    """`roamd decisions`; only --json shows whose card it was."""
    if options.limit < 1:
        raise UsageError("--limit: at least 1.")
    query = {"peer": options.peer, "authorization_id": options.id, "after": options.after, "limit": options.limit}
    newest = None if options.after or options.id else "true"
    answer = Api.of(options).get("/v1/decisions", **query, newest=newest)
    show(options, answer, lambda found: table(items_of(found), DECISION_COLUMNS, "Nothing was decided yet."))
    return 0


def reload(options: argparse.Namespace) -> int:
    """`roamd reload`: 78 and the faults when the configuration cannot be used; then nothing has changed."""
    answer = Api.of(options).post("/v1/reload", answer_s=RELOAD_S)
    show(options, answer, _say_reload)
    return 0


def _say_reload(answer: Mapping[str, Any]) -> None:
    print("The configuration is in use.")
    if answer.get("restart_needed"):
        note(f"These keys wait for the next start: {cell(answer['restart_needed'])}")


def backup(options: argparse.Namespace) -> int:
    """`roamd backup`; the daemon writes the file, so its path must not depend on where we are."""
    path = Path(options.file).absolute()
    answer = Api.of(options).post("/v1/backup", {"path": str(path)}, answer_s=BACKUP_S)
    show(
        options,
        answer,
        lambda _: print(
            f"Backed up to {path}. It holds personal data; keep it as safe as the database. The company's keys are not "
            "in it: keep copies of identity.key, identity.crt and, once a key was replaced, identity.succession."
        ),
    )
    return 0


def rotate(options: argparse.Namespace) -> int:
    """`roamd api-key rotate`; with the daemon stopped, or the key lost, the file is written here."""
    config = load_config(options)
    path = config.api.key_file
    try:
        Api(config).post("/v1/api-key/rotate")
    except (Unreachable, ConfigError):
        from roamd.backend.auth import new_key, write_secret  # here: heavy, and seldom needed

        write_secret(path, new_key(os.urandom) + "\n")
        hand_over(path, config.path)
        note("The daemon does not answer; a daemon that does run takes the key at its next start.")
    show(options, {"key_file": str(path)}, lambda _: print(f"The new key is in {path}; the old one is void."))
    return 0


# --- events -----------------------------------------------------------------------------------------------------


def events(options: argparse.Namespace) -> int:
    """`roamd events`"""
    if options.limit < 1:
        raise UsageError("--limit: at least 1.")
    api = Api.of(options)
    if options.follow:
        _follow(options, api)
        return 0
    answer = api.get("/v1/events", after=options.after, limit=options.limit)
    show(options, answer, _say_page)
    return 0


def _say_page(answer: Mapping[str, Any]) -> None:
    for event in items_of(answer):
        _say_event(event)
    if not items_of(answer):
        note("There are no events.")


def _follow(options: argparse.Namespace, api: Api) -> None:
    for event in read_events(api.lines("/v1/events", after=options.after)):
        if wants_json(options):
            print(event, flush=True)
        else:
            _say_event(_parsed(event))
    raise Unreachable("The daemon ended the stream of events; it may have been stopped.")


def _parsed(data: str) -> dict[str, Any]:
    event = json.loads(data)
    return event if isinstance(event, dict) else {"data": event}


def read_events(lines: Iterable[str]) -> Iterator[str]:
    """The data of each server-sent event; comments, which only keep the line open, are passed over."""
    data: list[str] = []
    for line in lines:
        text = line.rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text.removeprefix("data:").removeprefix(" "))
        elif not text and data:
            yield "\n".join(data)
            data = []


def _say_event(event: Mapping[str, Any]) -> None:
    data = event.get("data")
    about = data if isinstance(data, Mapping) else {"data": data}
    # The whole record rides in a record's events; a line shows its id.
    rest = " ".join(f"{key}={cell(value)}" for key, value in about.items() if key != "record")
    print(f"{cell(event.get('at'))}  {cell(event.get('type'))}  {cell(event.get('peer'))}  {rest}", flush=True)
