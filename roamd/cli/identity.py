"""`roamd identity`: with which key the company signs, and how that key is replaced in good time.

Theory of operation. `rotate` makes the next key beside the present one and a statement that both keys sign. From its
next start on the daemon tells every partner; `roamd identity` shows who knows. When all do, `switch` puts the next key
in the present one's place, and the daemon uses it from its next start. Nothing is lost between any two steps: each file
is written whole or not at all, and each command goes on where it was cut off.
"""

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from roamd.cli.client import Api, load_config
from roamd.cli.files import sync_directory
from roamd.cli.local import hand_over
from roamd.cli.output import cell, items_of, note, show, table
from roamd.config.schema import Config
from roamd.errors import ConfigError, OperatorError, UsageError

if TYPE_CHECKING:
    from roamd.trust.identity import Identity
    from roamd.trust.succession import Succession

DAY_MS: Final = 24 * 3600 * 1000
MAX_DAYS: Final = 365
COLUMNS: Final = ("number", "state", "key_id", "made_at", "taken_until")


@dataclass(frozen=True, slots=True)
class _Files:
    """Where the keys are; the next ones lie beside the present ones until the switch."""

    key: Path
    certificate: Path
    succession: Path

    @classmethod
    def of(cls, config: Config, key: str | None) -> "_Files":
        endpoint = config.endpoint
        return cls(Path(key) if key else endpoint.identity_key, endpoint.identity_crt, endpoint.identity_succession)

    @property
    def next_key(self) -> Path:
        from roamd.trust.succession import next_key_of  # here: heavy

        return next_key_of(self.key)

    @property
    def next_certificate(self) -> Path:
        from roamd.trust.succession import next_certificate_of  # here: heavy

        return next_certificate_of(self.certificate)

    def load(self) -> "tuple[Identity, Succession]":
        """The present identity and all that is known of it; ConfigError says what is wrong with a file."""
        from roamd.trust.succession import load_identity, succession_of_own  # here: heavy

        identity = load_identity(self.key, self.certificate, self.succession)
        return identity, succession_of_own(identity)


def status(options: argparse.Namespace) -> int:
    """`roamd identity`"""
    show(options, Api.of(options).get("/v1/identity"), _say)
    return 0


def _say(answer: Mapping[str, Any]) -> None:
    print(f"Endpoint id: {cell(answer.get('endpoint_id'))}")
    table(items_of(answer.get("keys", [])), COLUMNS, "")
    waiting, announced = answer.get("not_told", []), answer.get("announced")
    if waiting:
        which, so = ("next key yet", "") if announced else ("key in use", ", and refuse it: pair with them anew")
        note(f"These partners do not know the {which}{so}: {cell(waiting)}")
    elif announced:
        note("Every partner knows the next key: `roamd identity switch` puts it to use.")
    if answer.get("overlap_over"):
        note(
            "The switch is late, and nothing breaks: the present key is taken until then. From the switch on partners "
            "take the next key alone."
        )


def rotate(options: argparse.Namespace) -> int:
    """`roamd identity rotate`: the next key, and the statement that both keys sign."""
    from roamd.trust.succession import MAX_STEPS, appoint  # here: heavy

    if not 1 <= options.overlap_days <= MAX_DAYS:
        raise UsageError(f"--overlap-days: 1 to {MAX_DAYS}.")
    files = _Files.of(load_config(options), options.key)
    identity, succession = files.load()
    if succession.announced is not None:
        raise OperatorError(
            "The next key is made already; `roamd identity` shows who knows it, `switch` puts it to use."
        )
    if len(succession.steps) == MAX_STEPS:
        raise OperatorError(f"This identity was replaced {MAX_STEPS} times, which is all that there is room for.")
    now_ms = time.time_ns() // 1_000_000
    # One that is there was made before we were cut off.
    following = _made_before(files) if files.next_key.exists() else _make(files, now_ms)
    appointed = appoint(identity, following, now_ms, now_ms + options.overlap_days * DAY_MS)
    _replace(files.succession, appointed)
    hand_over(files.succession, files.certificate)
    answer = {"endpoint_id": identity.endpoint_id, "next_key": str(files.next_key), "days": options.overlap_days}
    show(options, answer, lambda _: _say_rotated(files))
    return 0


def _made_before(files: _Files) -> "Identity":
    from roamd.trust.identity import Identity  # here: heavy

    try:
        return Identity.load(files.next_key, files.next_certificate)
    except ConfigError as error:
        raise OperatorError(
            f"{files.next_key} was left behind and is of no use: {error} Nobody was told of it yet: delete it, "
            "and rotate again."
        ) from error


def _make(files: _Files, now_ms: int) -> "Identity":
    """The next key under its name only when its certificate is there, too: `_made_before` goes on from that."""
    from roamd.trust.identity import Identity  # here: heavy

    fresh = files.next_key.with_name(files.next_key.name + ".new")
    for left in (fresh, files.next_certificate):
        left.unlink(missing_ok=True)
    following = Identity.create(now_ms)
    following.save(fresh, files.next_certificate)
    hand_over(fresh, files.key)
    hand_over(files.next_certificate, files.certificate)
    os.rename(fresh, files.next_key)
    for made in (files.next_certificate, files.next_key):
        sync_directory(made.parent)
    return following


def _say_rotated(files: _Files) -> None:
    print(
        f"Made {files.next_key}, {files.next_certificate} and {files.succession}.\n"
        "1. Keep a copy of the three offline: a backup of the database holds no keys.\n"
        "2. Restart the daemon: it tells every partner which key comes next. The present one stays in use.\n"
        "3. `roamd identity` shows who knows. When all do: `roamd identity switch`, and restart again."
    )


def switch(options: argparse.Namespace) -> int:
    """`roamd identity switch`: the next key takes the present one's place, once every partner knows it."""
    files = _Files.of(load_config(options), options.key)
    if files.key.exists() and files.next_key.exists():
        identity, succession = files.load()
        if succession.announced is None:
            raise OperatorError("No next key was announced; `roamd identity rotate` makes one.")
        if not _follows(files, files.next_key):
            raise OperatorError(
                f"{files.next_key} and {files.next_certificate} are not what {files.succession} announces: put "
                "back the three from one backup."
            )
        _require_told(options)
        retired = files.key.with_name(f"identity-retired-{succession.in_use}.key")
        os.rename(files.key, retired)
    elif not _follows(files, files.key if files.key.exists() else files.next_key):
        raise OperatorError("There is no next key; `roamd identity rotate` makes one.")
    # Whatever of these two steps was done before we were cut off is not done again.
    for following, present in ((files.next_key, files.key), (files.next_certificate, files.certificate)):
        if following.exists():
            os.rename(following, present)
            sync_directory(present.parent)
    identity, succession = files.load()
    answer = {"endpoint_id": identity.endpoint_id, "number": succession.in_use}
    show(options, answer, lambda _: _say_switched(files, succession.in_use - 1))
    return 0


def _follows(files: _Files, key: Path) -> bool:
    """Whether this key and the next certificate are what the present key has named; other files are not put to use."""
    from roamd.trust.succession import load_identity  # here: heavy

    try:
        return bool(load_identity(key, files.next_certificate, files.succession).succession)
    except ConfigError:
        return False


def _require_told(options: argparse.Namespace) -> None:
    if options.force:
        return
    answer = Api.of(options).get("/v1/identity")
    if not answer.get("announced"):
        raise OperatorError("The daemon has told nobody of the next key yet: restart it, and look at `roamd identity`.")
    if answer.get("not_told"):
        raise OperatorError(
            f"These partners do not know the next key yet and would refuse it: {cell(answer['not_told'])}. Wait until "
            "they were reached (`roamd identity`), or use --force and pair with them anew."
        )


def _say_switched(files: _Files, retired: int) -> None:
    print(
        f"{files.key} is the new key now. Restart the daemon to use it.\n"
        f"The old one is kept beside it as identity-retired-{retired}.key: destroy it, and its copies, once the "
        "overlap is over."
    )


def _replace(path: Path, succession: "Succession") -> None:
    """The file as a whole, or as it was."""
    from roamd.trust.succession import as_text

    fresh = path.with_name(path.name + ".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w", encoding="ascii") as file:
        file.write(as_text(succession))
        file.flush()
        os.fsync(file.fileno())
    os.chmod(fresh, 0o644)  # whatever the umask is: the daemon must read it, and nothing in it is secret
    os.replace(fresh, path)
    sync_directory(path.parent)
