"""Drivers with their numbers in many spellings, and what two companies hold of them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from roamd.errors import RoamdError
from roamd.model.ids.contract import check_character
from roamd.model.objects import check_object, check_record
from roamd.roaming.operations import Idempotency, PostRecords, PutObject
from tests.model import bodies
from tests.support.assemblies import RunningDaemon

CSO, CSP = "DEABC", "FRXYZ"


@dataclass(frozen=True)
class Driver:
    """One driver of the CSP."""

    number: int

    @property
    def uid(self) -> str:
        return f"04A1B2{self.number:08X}"

    @property
    def canonical(self) -> str:
        return f"FRXYZC{self.number:08}"

    @property
    def name(self) -> str:
        return f"Visual name of {self.number:04}"

    def contract(self, spelling: int = 0) -> str:
        """With separators, without, without check character, in lower case."""
        body, check = self.canonical, check_character(self.canonical)
        spelled = (f"FR-XYZ-{body[5:]}-{check}", body + check, body, f"fr*xyz*{body[5:].lower()}")
        return spelled[spelling % len(spelled)]

    def written(self, spelling: int = 0) -> str:
        """The uid plain, with colons, or in lower case with dashes."""
        pairs = re.findall("..", self.uid)
        return (self.uid, ":".join(pairs), "-".join(pairs).lower())[spelling % 3]

    def token(self, **changes: Any) -> dict[str, Any]:
        whose = {"country_code": "FR", "party_id": "XYZ", "uid": self.written(1), "contract_id": self.contract()}
        return bodies.token(**whose, visual_number=self.name, issuer=f"Issuer of {self.number:04}", **changes)

    def cdr_token(self, spelling: int = 0) -> dict[str, Any]:
        return {
            "country_code": "FR",
            "party_id": "XYZ",
            "type": "RFID",
            "uid": self.written(spelling),
            "contract_id": self.contract(spelling),
        }

    def cdr(self, number: int) -> dict[str, Any]:
        reference = f"REF-{number}"
        return bodies.cdr(
            id=f"CDR-{number:05}", session_id=f"S-{number:05}", cdr_token=self.cdr_token(number),
            authorization_reference=reference,
        )  # fmt: skip

    def session(self, number: int, **changes: Any) -> dict[str, Any]:
        return bodies.session(id=f"S-{number:05}", cdr_token=self.cdr_token(number), status="COMPLETED", **changes)

    @property
    def traces(self) -> "re.Pattern[bytes]":
        """Every spelling of every value that is his alone, as bytes of a file may hold it."""
        uid = b"[:\\- ]?".join(re.findall(rb"..", self.uid.encode()))
        contract = rb"FR[*-]?XYZ[*-]?" + self.canonical[5:].encode()
        names = re.escape(self.name).encode() + b"|Issuer of " + f"{self.number:04}".encode()
        return re.compile(b"(?i)" + b"|".join((uid, contract, names)))


def bytes_on_disk(daemon: RunningDaemon) -> bytes:
    """Every byte of the database, its log and the log's index."""
    database: Path = daemon.assembly.config.database
    return b"".join(database.with_name(database.name + suffix).read_bytes() for suffix in ("", "-wal", "-shm"))


async def ask(daemon: RunningDaemon, operation: object) -> Any:
    """What the core replies; raises what it refuses with."""
    replies: list[Any] = []
    replied = trio.Event()

    def reply(value: Any) -> None:
        replies.append(value)
        replied.set()

    daemon.assembly.core.operations.handle(operation, reply)
    with trio.fail_after(60):
        await replied.wait()
    if isinstance(replies[0], RoamdError):
        raise replies[0]
    return replies[0]


async def publish(daemon: RunningDaemon, feed: str, party: str, value: dict[str, Any]) -> None:
    checked = check_object(feed, "2.3.0", bodies.text(value), own_parties=frozenset({party}))
    await ask(daemon, PutObject(feed, checked))


async def hand_in(daemon: RunningDaemon, values: list[dict[str, Any]], key: str | None = None) -> list[Any]:
    """Post records a thousand at a time."""
    checked = [check_record("2.3.0", bodies.text(value), own_parties=frozenset({CSO})) for value in values]
    replies = []
    for at in range(0, len(checked), 1000):
        idempotency = Idempotency(f"{key}-{at}", b"hash") if key else None
        replies += await ask(daemon, PostRecords(tuple(checked[at : at + 1000]), None, idempotency))
    return replies
