"""What all kinds of operations share, and the operator's requests by name."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The `Idempotency-Key` of a request and the SHA-256 of its body; another body under the key is a Conflict."""

    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list; `next` is the cursor of the following page, None at the end."""

    items: list[Any]
    next: str | None


@dataclass(frozen=True, slots=True)
class Operate:
    """The operator's requests, by name; arguments and replies are JSON-able dicts.

    status {} | identity {} | peers {} | peer {peer} | peers.confirm {peer} | peers.suspend {peer} | peers.resume
    {peer} | peers.remove {peer, park} | peers.retry {peer} | candidates {} | invite {auto, hours} | invites {} | pair
    {line, label} | pairing {peer} | queue {} | queue.shape {} | reload {} | backup {path} | ledger.chains {peer}
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
