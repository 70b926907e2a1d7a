"""Commands to a partner, and their results."""

from dataclasses import dataclass, field

import msgspec

from roamd.model.commands import CheckedCommand
from roamd.roaming.operations.general import Idempotency


@dataclass(frozen=True, slots=True)
class AnswerTo:
    """Which backend at the OCPI face wants to hear, and at which address of its own, what becomes of a command."""

    backend: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Ask a peer to do something at its station. Reply: CommandReply, at the latest when `deadline_ms` is over.

    To `peer`, else the peer of `party`, else who shows us the location or session. `timeout_s` and `late`: see
    `model.commands`. `answer_to` is committed with the command (ListResults).
    """

    command: CheckedCommand
    peer: str | None = None
    party: str | None = None
    deadline_ms: int = 5000
    timeout_s: int = 120
    late: str = "STOP"
    idempotency: Idempotency | None = None
    traceparent: str | None = None
    answer_to: AnswerTo | None = None


class CommandReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a command stands. `result` is what was answered at once, None while nothing was."""

    command_id: str
    command: str
    direction: str
    peer: str
    party: str
    state: str
    result: str | None
    asked_at: str
    updated_at: str
    reason: str | None = None
    authorization_reference: str | None = None
    session_id: str | None = None
    expires_at: str | None = None
    late: str | None = None
    profile: msgspec.Raw | None = None


@dataclass(frozen=True, slots=True)
class ReportCommand:
    """Our backend tells what has become of a peer's command. Reply: CommandReply; Conflict when that cannot be."""

    command_id: str
    state: str
    reason: str | None = None
    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class GetCommand:
    """One command. Reply: CommandReply."""

    command_id: str
    direction: str | None = None


@dataclass(frozen=True, slots=True)
class ListCommands:
    """Commands, newest last. Reply: Page of CommandReply."""

    after: str | None = None
    limit: int = 100
    peer: str | None = None
    direction: str | None = None
    authorization_reference: str | None = None
