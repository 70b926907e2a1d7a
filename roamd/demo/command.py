"""The command `roamd demo`."""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from roamd.demo.cast import PATIENCE_S, Company, Story, new_room
from roamd.demo.checks import StoryError
from roamd.demo.client import NotAnsweredError, RefusedError, TooLateError
from roamd.demo.objects import EVSE_UID, LISTED_DRIVER, LOCATION_ID
from roamd.demo.processes import ROAMD, Children, CommandFailedError, DaemonDiedError
from roamd.demo.story import tell_all
from roamd.demo.timeline import Timeline, colours_wanted

FAILURES = (
    StoryError,
    TooLateError,
    NotAnsweredError,
    RefusedError,
    CommandFailedError,
    DaemonDiedError,
    subprocess.TimeoutExpired,
    OSError,
)
"""Everything that a step raises when the story does not go as told; their texts are sentences."""

UNEXPECTED = (LookupError, TypeError, ValueError)
"""What reading an answer of another form than the API promises raises."""

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


def main(argv: Sequence[str] | None = None, *, command: Sequence[str] = ROAMD, patience_s: float = PATIENCE_S) -> int:
    """Run the demo; the exit status. `command` is how `roamd` itself is called."""
    options = _parser().parse_args(argv)
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        return _run(options, command, patience_s)
    except KeyboardInterrupt:
        sys.stderr.write("demo: interrupted; the daemons and their backends were ended\n")
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roamd demo", description="Two companies meet, pair, roam and settle, on this machine and in seconds."
    )
    parser.add_argument("--keep", action="store_true", help="leave the daemons running until Ctrl-C, to play with")
    parser.add_argument(
        "--full",
        action="store_true",
        help="tell more: terms, a dispute, a statement; and a clearing house that can read nothing",
    )
    parser.add_argument("--json", action="store_true", help="print a summary as JSON; the timeline goes to stderr")
    return parser


def _interrupt(_number: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(options: argparse.Namespace, command: Sequence[str], patience_s: float) -> int:
    stream: TextIO = sys.stderr if options.json else sys.stdout
    timeline = Timeline(stream, colours_wanted(stream))
    with new_room() as room, Children() as children:
        story = Story(timeline, children, Path(room), command, patience_s, full=options.full)
        failure = _tell(story)
        if failure is not None:
            _explain(timeline, children, failure)
        _sum_up(story, failure, as_json=options.json)
        if options.keep and failure is None:
            _keep(story)
    return 0 if failure is None else 1


def _tell(story: Story) -> str | None:
    """Tell the story; what went wrong, as a sentence, or None."""
    try:
        tell_all(story)
    except FAILURES as error:
        return str(error)
    except UNEXPECTED as error:
        return f"an answer has not the form that the story expects: {type(error).__name__}: {error}"
    return None


def _explain(timeline: Timeline, children: Children, failure: str) -> None:
    for daemon in children.daemons:
        timeline.plain(f"--- the last lines that the daemon of {daemon.directory.name} wrote")
        for line in daemon.log_tail() or ["(none)"]:
            timeline.plain(line)
    timeline.plain(f"--- {failure}")


def _sum_up(story: Story, failure: str | None, *, as_json: bool) -> None:
    seconds = story.timeline.elapsed_s
    if as_json:
        summary = {"ok": failure is None, "failure": failure, "elapsed_s": round(seconds, 2), **story.counts}
        sys.stdout.write(json.dumps(summary) + "\n")
        sys.stdout.flush()
    if failure is not None:
        story.timeline.end(f"demo: failed after {seconds:.1f} s: {failure}", ok=False)
        return
    counts = story.counts
    story.timeline.end(
        f"demo: ok ({counts['authorizations']} authorizations, {counts['objects']} objects mirrored, "
        f"{counts['commands']} commands done, "
        f"{counts['records']} records delivered once, {counts['receipted']} receipted, "
        f"{counts['ledgers']} ledgers verified, {seconds:.1f} s)",
        ok=True,
    )


def _keep(story: Story) -> None:
    """Say how to play, and wait for Ctrl-C, which is the good end here."""
    for line in _invitation_to_play(story):
        story.timeline.plain(line)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _invitation_to_play(story: Story) -> list[str]:
    credential = {"type": "RFID", "uid": LISTED_DRIVER.uid, "contract_id": LISTED_DRIVER.contract_id}
    question = json.dumps({"credential": credential})
    status = '{"status": "AVAILABLE", "last_updated": "\'$(date -u +%Y-%m-%dT%H:%M:%SZ)\'"}'
    cso, csp = story.companies
    return [
        "",
        "The daemons keep running. Some things to try in another terminal:",
        "",
        f"# {cso.name}: its partner, and the records that it handed in",
        _curl(cso, "/v1/peers"),
        _curl(cso, "/v1/records"),
        f"# {cso.name}: a driver from the whitelist",
        _curl(cso, "/v1/authorizations", "POST", question),
        f"# {cso.name}: the EVSE is free again; {csp.name} sees it at once",
        _curl(cso, f"/v1/locations/{LOCATION_ID}/evses/{EVSE_UID}", "PATCH", status),
        _curl(csp, f"/v1/peers/{csp.partner}/locations/{LOCATION_ID}"),
        f"# {csp.name}: everything that came in; then its backend goes dumb, and what it was asked",
        _curl(csp, "/v1/events"),
        f'curl -sS -X PUT -d \'{{"mood": "silent"}}\' http://{csp.backend.control.address}/mood',
        f"curl -sS http://{csp.backend.control.address}/asked",
        "# as the operator",
        *(f"{_shell_command(company)} status -c {company.daemon.config}" for company in story.companies),
        *(_look_through_the_house(story) if story.full else []),
        "",
        "Ctrl-C ends them and removes their directories.",
    ]


def _look_through_the_house(story: Story) -> list[str]:
    park, house = story.park, story.house
    return [
        f"# {park.name}: by which ways it reaches {story.taxi.name}; {house.name}: what it counts of what it carries",
        f"{_shell_command(park)} peers routes {park.named(story.taxi)['peer']} -c {park.daemon.config}",
        f"curl -sS http://{house.api.address}/metrics",
    ]


def _shell_command(company: Company) -> str:
    return " ".join(company.daemon.command)


def _curl(company: Company, path: str, method: str = "GET", body: str | None = None) -> str:
    key = f'-H "Authorization: Bearer $(cat {company.daemon.directory / "api.key"})"'
    sent = f" -X {method} -H 'Content-Type: application/json' -d '{body}'" if body is not None else ""
    return f"curl -sS {key}{sent} 'http://{company.api.address}{path}'"
