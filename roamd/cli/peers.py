"""Partners: who is paired, who is seen, and how two endpoints become partners."""

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from roamd.cli.client import Api, quoted
from roamd.cli.output import cell, details, items_of, note, safe, show, table
from roamd.errors import OperatorError, TryAgain, UsageError

PAIR_S: Final = 10.0
"""How long `pair` waits for the partner; whoever types it is watching."""

JOIN_S: Final = 60.0
"""A handshake is four requests, and each may take ten seconds."""

ASK_AGAIN_S: Final = 0.2

PEER_COLUMNS: Final = ("peer", "name", "parties", "state", "link", "endpoint_id")
ROUTE_COLUMNS: Final = ("function", "routes", "now")
CANDIDATE_COLUMNS: Final = (
    "endpoint_id", "peer", "name", "parties", "address", "addresses", "source", "sources", "vouched_by", "seen_at",
)  # fmt: skip

_DONE: Final = {
    "confirm": "{} is confirmed.",
    "suspend": "{} is suspended; its link is closed until `roamd peers resume {}`.",
    "resume": "{} is no longer suspended.",
    "remove": "{} is removed.",
    "retry": "{} is being dialled.",
}


def listing(options: argparse.Namespace) -> int:
    """`roamd peers`"""
    answer = Api.of(options).get("/v1/peers")
    show(options, answer, lambda found: table(items_of(found), PEER_COLUMNS, "There are no partners yet: roamd invite"))
    return 0


def show_one(options: argparse.Namespace) -> int:
    """`roamd peers show`"""
    show(options, Api.of(options).get(f"/v1/peers/{quoted(options.peer)}"), details)
    return 0


def act(options: argparse.Namespace) -> int:
    """`roamd peers confirm | suspend | resume | remove | retry`"""
    body = {"park": options.park} if options.action == "remove" else None
    answer = Api.of(options).post(f"/v1/peers/{quoted(options.peer)}/{options.action}", body)
    done = _DONE[options.action].format(safe(options.peer), safe(options.peer))
    show(options, answer, lambda _: print(done))
    return 0


def add_ocpi(options: argparse.Namespace) -> int:
    """`roamd peers add-ocpi`: register at a partner that does not run roamd."""
    given: str = options.token
    token = (sys.stdin.readline() if given == "-" else given).strip()
    if not token:
        raise UsageError("There is no token: write it, or - and give it on stdin.")
    wanted = {"url": options.url, "token": token, "our_url": options.our_url, "label": options.label}
    body = {name: value for name, value in wanted.items() if value is not None} | {"private": options.private}
    answer = Api.of(options).post("/v1/peers", body, answer_s=JOIN_S)
    show(options, answer, lambda found: print(safe(f"{found['peer']} is registered: {cell(found['parties'])}.")))
    return 0


def fields(options: argparse.Namespace) -> int:
    """`roamd peers fields`"""
    body = {"feed": options.feed, "withhold": options.field}
    answer = Api.of(options).post(f"/v1/peers/{quoted(options.peer)}/fields", body)
    withheld = ", ".join(options.field) or "no field"
    done = f"{options.peer} is sent {options.feed} without: {withheld}."
    show(options, answer, lambda _: print(safe(done)))
    return 0


def routes(options: argparse.Namespace) -> int:
    """`roamd peers routes`"""
    given = {function: getattr(options, function) for function in ("calls", "ledger", "feeds")}
    wanted = {function: text.split(",") for function, text in given.items() if text is not None}
    path = f"/v1/peers/{quoted(options.peer)}"
    answer = Api.of(options).post(f"{path}/routes", wanted) if wanted else Api.of(options).get(path)
    show(options, answer, lambda found: table(found.get("routes", []), ROUTE_COLUMNS, "There are none."))
    return 0


def keyed(options: argparse.Namespace) -> int:
    """`roamd peers keyed`"""
    answer = Api.of(options).post(f"/v1/peers/{quoted(options.peer)}/keyed", {"keyed": options.keyed == "on"})
    form = "as hashes under its own key" if options.keyed == "on" else "with their numbers"
    show(options, answer, lambda _: print(safe(f"{options.peer} is sent user-credentials {form}.")))
    return 0


def pseudonyms(options: argparse.Namespace) -> int:
    """`roamd peers pseudonyms`"""
    on = options.pseudonyms == "on"
    answer = Api.of(options).post(f"/v1/peers/{quoted(options.peer)}/pseudonyms", {"pseudonyms": on})
    form = "names that only it knows" if on else "their own contract ids"
    show(options, answer, lambda _: print(safe(f"{options.peer} is told our contracts by {form}.")))
    return 0


def introduce(options: argparse.Namespace) -> int:
    """`roamd peers introduce`"""
    on = options.introduce == "on"
    answer = Api.of(options).post(f"/v1/peers/{quoted(options.peer)}/introduce", {"introduce": on})
    done = "and others with this are told of each other, as far as each allows it" if on else "is introduced to nobody"
    show(options, answer, lambda _: print(safe(f"{options.peer} {done}.")))
    return 0


def candidates(options: argparse.Namespace) -> int:
    """`roamd candidates`"""
    answer = Api.of(options).get("/v1/candidates")
    show(options, answer, lambda found: table(items_of(found), CANDIDATE_COLUMNS, "Nobody is seen at this time."))
    return 0


# --- pairing ----------------------------------------------------------------------------------------------------


def invite(options: argparse.Namespace) -> int:
    """`roamd invite`: the line alone on stdout, so that it can be piped; all else on stderr."""
    if not 0 < options.hours <= 24 * 30:
        raise UsageError("--hours: an invitation is good for more than 0 and at most 720 hours.")
    via = {} if options.via is None else {"via": options.via}
    answer = Api.of(options).post("/v1/invites", {"auto": options.auto, "hours": options.hours, **via})
    show(options, answer, lambda found: print(safe(found["line"]), flush=True))
    note(f"Good until {answer.get('expires_at')}, once, at {answer.get('address')}. Whoever has the line can use it.")
    note("The partner runs: roamd pair LINE")
    if not options.auto:
        note("Then compare the six words by phone, and confirm: roamd peers confirm PEER")
    return 0


def pair(options: argparse.Namespace) -> int:
    """`roamd pair`: never prompts; 0 when paired, 75 when the partner still has to confirm."""
    api = Api.of(options)
    wanted = {"line": _line(options.line), "label": options.label}
    until = time.monotonic() + PAIR_S
    answer = api.post(
        "/v1/pairings", {name: value for name, value in wanted.items() if value is not None}, answer_s=PAIR_S
    )
    while not answer.get("words") and time.monotonic() < until:
        time.sleep(ASK_AGAIN_S)
        answer = api.get(f"/v1/pairings/{quoted(str(answer['peer']))}", answer_s=PAIR_S)
    show(options, answer, _say_pairing)
    return _verdict(answer)


def _line(given: str) -> str:
    line = (sys.stdin.readline() if given == "-" else given).strip()
    if not line:
        raise UsageError("There is no invitation: write the line, or - and give it on stdin.")
    return line


def _say_pairing(answer: Mapping[str, Any]) -> None:
    words = answer.get("words")
    print(f"{cell(answer.get('peer'))}: {cell(answer.get('name'))} ({cell(answer.get('parties'))})")
    if words:
        print(f"words: {safe(words if isinstance(words, str) else ' '.join(words))}", flush=True)
        note("Both sides must see the same six words; compare them by phone.")


def _verdict(answer: Mapping[str, Any]) -> int:
    if answer.get("state") == "PAIRED":
        return 0
    if not answer.get("words"):
        raise TryAgain("The partner did not answer within 10 s; try again with the same line.")
    if answer.get("state") == "PENDING":
        raise TryAgain("waiting for confirmation: the partner compares the words and runs `roamd peers confirm`.")
    raise OperatorError(f"The pairing is {answer.get('state')}: {answer.get('reason', 'ask for a new invitation')}.")
