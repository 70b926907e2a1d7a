"""`roamd init`: a directory that runs.

All is checked before anything is made, and nothing that exists is ever overwritten; if something fails half-way, what
was made is taken away again, so that the next try finds the directory as this one did.
"""

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from roamd.cli.files import sync_directory
from roamd.cli.output import note, show
from roamd.config import Config
from roamd.config.load import from_flags
from roamd.config.template import render
from roamd.errors import ConfigError, OperatorError, UsageError

if TYPE_CHECKING:
    from roamd.trust.identity import Identity

FLAGS: Final = {
    "endpoint.parties": "--party",
    "endpoint.roles": "--role",
    "endpoint.name": "--name",
    "link.listen": "--listen",
    "link.advertise": "--advertise",
    "pairing.listen": "--pairing",
    "pairing.advertise": "--advertise-pairing",
    "api.listen": "--api",
    "backend.url": "--backend",
}
"""Which flag sets which key."""


def init(options: argparse.Namespace) -> int:
    """Make the directory."""
    directory = Path(options.directory)
    values = _values(options)
    config = _checked(directory, values)
    _refuse_if_used(directory)
    identity = _make(directory, config, render(values))
    answer = {"directory": str(directory), "config": str(config.path), "endpoint_id": identity.endpoint_id}
    show(options, answer, lambda _: _say(directory, config, identity.endpoint_id))
    return 0


def _values(options: argparse.Namespace) -> dict[str, object]:
    given: dict[str, object] = {
        dotted: getattr(options, flag.removeprefix("--").replace("-", "_")) for dotted, flag in FLAGS.items()
    }
    return {dotted: value for dotted, value in given.items() if value is not None}


def _checked(directory: Path, values: dict[str, object]) -> Config:
    try:
        return from_flags(directory / "roamd.toml", values, FLAGS)
    except ConfigError as error:
        raise UsageError("\n".join(error.lines)) from None


def _refuse_if_used(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise OperatorError(f"{directory} is a file; nothing was changed. Name a directory that is not there yet.")
    if directory.exists() and any(directory.iterdir()):
        raise OperatorError(f"{directory} is not empty; nothing was changed. Name a directory that is new or empty.")


def _make(directory: Path, config: Config, text: str) -> "Identity":
    from roamd.backend.auth import new_key  # here: heavy, and no other command needs it
    from roamd.trust.identity import Identity

    existed = directory.exists()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[Path] = []
    try:
        identity = Identity.create(time.time_ns() // 1_000_000)
        made += [config.endpoint.identity_key, config.endpoint.identity_crt]
        identity.save(*made)
        for path, content in ((config.api.key_file, new_key(os.urandom)), (config.path, text.rstrip("\n"))):
            made.append(path)
            _write_new(path, content + "\n")
        config.endpoint.state.mkdir(mode=0o700)
    except BaseException:
        _undo(directory, made, existed=existed)
        raise
    sync_directory(directory)
    return identity


def _write_new(path: Path, text: str) -> None:
    """A new file for its owner alone: the configuration may come to hold the backend's key."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _undo(directory: Path, made: list[Path], *, existed: bool) -> None:
    for path in made:
        path.unlink(missing_ok=True)
    if not existed:
        directory.rmdir()


def _say(directory: Path, config: Config, endpoint_id: str) -> None:
    print(f"Made {directory} for {config.endpoint.name}.")
    print(f"Endpoint id: {endpoint_id}")
    print(f"Start it:    roamd run -c {config.path}")
    note(
        f"Keep a copy of {config.endpoint.identity_key} and identity.crt offline (cp to a medium that you lock away): "
        "whoever has the key is the company to its partners, and if it is lost so is the company's identity: every "
        "partner must pair again."
    )
    if config.link.advertise is None:
        note("Without --advertise this endpoint dials its partners and is never dialled; they must invite it.")
