"""python -m tests.interop [--json] LIBRARY=PYTHON LIBRARY=PYTHON: both ways round."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.interop.story import Step, Story, play
from tests.support import progress
from tests.support.daemons import Fleet

PUSHES = {"extrawest_ocpi": True, "py_ocpi": False}
"""py_ocpi's push expects version details to be an array, which they are not; so its lists are fetched."""


def _out(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/ocpi-interop")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("library", nargs="+", metavar="LIBRARY=PYTHON")
    options = parser.parse_args(words)
    libraries = {name: Path(python) for name, _, python in (each.partition("=") for each in options.library)}
    names = list(libraries)
    rounds = [(names[0], names[-1]), (names[-1], names[0])] if len(names) > 1 else [(names[0], names[0])]
    told = [_round(cpo, emsp, libraries, quiet=options.json) for cpo, emsp in rounds]
    if options.json:
        _out(json.dumps({"ok": all(each["ok"] for each in told), "rounds": told}, indent=2))
    return 0 if all(each["ok"] for each in told) else 1


def _round(cpo: str, emsp: str, libraries: dict[str, Path], *, quiet: bool) -> dict[str, Any]:
    done: Counter[bool] = Counter()

    def say(step: Step) -> None:
        done[step.ok] += 1
        progress.keep(f"{cpo} and {emsp}: {done.total()} steps, {done[False]} failed")
        if not quiet:
            _out(f"  {'ok    ' if step.ok else 'FAILED'}  {step.name}: {step.seen}")

    if not quiet:
        _out(f"{cpo} is the CPO's backend, {emsp} the eMSP's")
    with tempfile.TemporaryDirectory(prefix="roamd-interop-") as room, Fleet(Path(room)) as fleet:
        chosen = {"cpo": (cpo, libraries[cpo]), "emsp": (emsp, libraries[emsp])}
        story: Story = asyncio.run(play(fleet, chosen, pushes=PUSHES.get(cpo, False), say=say))
        quirks = story.quirks()
        ok = all(step.ok for step in story.steps)
        if not ok and not quiet:
            _out(fleet.logs())
    for who, met in quirks.items():
        if not quiet:
            _out(f"  quirks met of {who}: {', '.join(met) or 'none'}")
    steps = [{"step": step.name, "ok": step.ok, "seen": step.seen} for step in story.steps]
    return {"cpo": cpo, "emsp": emsp, "ok": ok, "steps": steps, "quirks": quirks}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
