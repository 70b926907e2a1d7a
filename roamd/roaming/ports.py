"""What the services need of the world, as Protocols; `daemon` joins them to the real thing, tests to an honest fake."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import msgspec

from roamd.errors import RoamdError

if TYPE_CHECKING:
    from roamd.roaming.directory import Peer

Reply = Callable[[Any], None]
"""Called once, on the trio thread, with the operation's reply or with a RoamdError (never raised across)."""


class Core(Protocol):
    """What the API talks to. The implementer promises that every reply comes exactly once."""

    def handle(self, operation: object, reply: Reply) -> None:
        """Take one operation (see `operations`); never blocks, may reply before it returns."""
        ...


class AuthorizeQuestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the home-CSP's backend is asked (`POST {backend.url}/authorize`, or over the stream)."""

    KIND: ClassVar[str] = "authorize"

    authorization_id: str
    peer: str
    party: str
    credential: dict[str, str | None]
    service: str
    deadline_ms: int
    expires_at: str
    location: dict[str, str | None] | None = None
    via: str | None = None
    """Not for our own backend, but for the partner with this label, which speaks plain OCPI (`routes`)."""

    @property
    def name(self) -> str:
        """The id under which it is answered on the stream."""
        return self.authorization_id


class BackendAnswer(msgspec.Struct, frozen=True):
    """The backend's decision; unknown fields are ignored. `decision` is checked by the asker."""

    decision: str
    reason: str | None = None
    authorization_reference: str | None = None
    valid_until: str | None = None
    location: msgspec.Raw | None = None
    info: msgspec.Raw | None = None


class CommandQuestion(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the visited-CSO's backend is told to do (`POST {backend.url}/command`, or over the stream).

    `timeout_s` is how long a start may take to have its effect, `late` what happens to one that has it later.
    """

    KIND: ClassVar[str] = "command"

    command_id: str
    peer: str
    party: str
    command: str
    ocpi: str
    body: msgspec.Raw
    deadline_ms: int
    expires_at: str
    timeout_s: int | None = None
    late: str | None = None

    @property
    def name(self) -> str:
        """The id under which it is answered on the stream."""
        return self.command_id


class CommandResult(msgspec.Struct, frozen=True):
    """What the backend says at once; unknown fields are ignored. `result` is checked by the asker.

    `profile` is the active charging profile, where that was asked for.
    """

    result: str
    reason: str | None = None
    profile: msgspec.Raw | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The backend gave none: `reason` says why in a few words (not configured, refused, late, status 500, ...).

    `asked` is False where the question surely never reached it, so that nothing can have been done.
    """

    reason: str
    asked: bool = field(default=True, compare=False)


Question = AuthorizeQuestion | CommandQuestion
Told = Callable[[Any], None]
"""Called with the backend's answer to a question (BackendAnswer, CommandResult), or NoAnswer."""


class Backend(Protocol):
    """The way to the operator's own systems.

    The implementer promises: `done` is called at most once per question and on the trio thread; a question is
    given up at its deadline; nothing is asked twice. It need not answer: the asker keeps its own time.
    """

    def ask_authorize(self, question: AuthorizeQuestion, done: Callable[[BackendAnswer | NoAnswer], None]) -> None:
        """Ask for a decision. `question.deadline_ms` counts from now."""
        ...

    def ask_command(self, question: CommandQuestion, done: Callable[[CommandResult | NoAnswer], None]) -> None:
        """Tell it to do something; by the same rules."""
        ...

    def events_arrived(self, newest: str) -> None:
        """Tell whoever waits for events that there are some up to this cursor."""
        ...


class Candidates(Protocol):
    """Whose card may it be, of the peers that may be asked, where neither a contract id nor a listing tells?

    The implementer gives waves: everyone in the first is asked at once, the next wave when the one before has not
    decided. It names peers out of `peers` only, each at most once; whom it leaves out is never shown the card. Called
    on the trio thread for every such authorization, so it must not block.
    """

    def __call__(self, type_: str, uid: str, peers: "Sequence[Peer]", /) -> "Sequence[Sequence[Peer]]":
        """The waves. `type_` and `uid` are canonical (`model.credentials`)."""
        ...


def everyone(type_: str, uid: str, peers: "Sequence[Peer]", /) -> "Sequence[Sequence[Peer]]":
    """All at once: what is done where nothing narrows it down."""
    del type_, uid
    return (peers,)


def is_error(reply: object) -> bool:
    """Whether a reply is a refusal."""
    return isinstance(reply, RoamdError)
