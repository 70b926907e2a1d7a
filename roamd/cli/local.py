"""Commands that need no running daemon: run, demo, restore."""

import argparse
import gc
import os
import sys
import time
from pathlib import Path

from roamd.cli.client import Api, load_config
from roamd.cli.output import note, show
from roamd.config import Config
from roamd.errors import OperatorError, Unreachable


def run(options: argparse.Namespace) -> int:
    """Be the daemon."""
    config = load_config(options)
    gc.disable()  # what is imported stays: to walk it again and again made a start a tenth longer
    from roamd.daemon import main  # here: it brings in everything

    gc.enable()
    return main.run(config)


def demo(options: argparse.Namespace) -> int:
    """Show it."""
    from roamd.demo import main

    return main(options.arguments)


def restore(options: argparse.Namespace) -> int:
    """Put a backup in the database's place."""
    config = load_config(options)
    _refuse_while_running(config)
    from roamd.storage import backup  # here: no other command needs it

    config.endpoint.state.mkdir(mode=0o700, exist_ok=True)
    aside = backup.restore(Path(options.file), config.database, time.time_ns() // 1_000_000)
    for path in config.endpoint.state.iterdir():
        hand_over(path, config.path)
    answer = {"restored": str(config.database), "from": options.file, "moved_aside": str(aside) if aside else None}
    show(options, answer, lambda _: print(f"Restored {config.database} from {options.file}."))
    _say_what_follows(aside)
    return 0


def hand_over(path: Path, owner_of: Path) -> None:
    """What root wrote belongs to whom its neighbour belongs to, so that the service's own user can use it."""
    if os.geteuid() == 0:
        owner = owner_of.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _refuse_while_running(config: Config) -> None:
    try:
        Api(config).get("/livez", answer_s=5.0)
    except Unreachable:
        return
    except OperatorError:
        # Something does answer there, or the key does not fit: the store itself refuses if the daemon holds it.
        return
    raise OperatorError("The daemon is running. Stop it, restore, and start it again.")


def _say_what_follows(aside: Path | None) -> None:
    note(f"The former database is kept as {aside}." if aside else "There was no database before.")
    note(
        "The next start begins a new run. Partners will see that this endpoint was rolled back: they are sent every "
        "published object anew, ledgers go on in a new epoch that names the old one, and what partners still hold of "
        "the forgotten time is fetched from them. Records handed in since the backup and never sent must be handed in "
        "again. Leave identity.key, identity.crt and identity.succession as they are: an earlier key is refused."
    )
    sys.stderr.flush()
