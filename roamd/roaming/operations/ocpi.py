"""What the OCPI face asks of the core."""

from dataclasses import dataclass, field

from roamd.roaming.operations.commands import CommandReply


@dataclass(frozen=True, slots=True)
class ListRegistrations:
    """The backends that have registered at the OCPI face. Reply: dict of name to what KeepRegistration kept."""


@dataclass(frozen=True, slots=True)
class KeepRegistration:
    """Keep a backend's registration, or forget it (None). Reply: None, after the commit."""

    name: str
    registration: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FindDriver:
    """Whose driver an authorization reference stands for. Reply: Driver, or None."""

    reference: str


@dataclass(frozen=True, slots=True)
class Driver:
    """A partner's party, and of its driver's credential what is still known."""

    party: str
    type: str | None = None
    uid: str | None = field(default=None, repr=False)
    contract_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ListQuirks:
    """What was learned of the OCPI backends. Reply: list of (backend, quirk, first met in ms)."""


@dataclass(frozen=True, slots=True)
class KeepQuirk:
    """Keep that a backend was met with a quirk; repeated, it changes nothing. Reply: None, after the commit."""

    backend: str
    quirk: str


@dataclass(frozen=True, slots=True)
class NoteListed:
    """An OCPI backend's list named these (digests of keys) in this fetch of it. Reply: None, after the commit."""

    backend: str
    feed: str
    generation: int
    digests: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class FindUnlisted:
    """What the list named before, and not in this fetch. Reply: Unlisted."""

    backend: str
    feed: str
    generation: int


@dataclass(frozen=True, slots=True)
class Unlisted:
    """Digests of keys, and how many there are with those that were named."""

    total: int
    digests: frozenset[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForgetListed:
    """Forget what the list did not name in this fetch. Reply: None, after the commit."""

    backend: str
    feed: str
    generation: int


@dataclass(frozen=True, slots=True)
class ListResults:
    """The commands of a backend whose outcome it may still have to be told. Reply: list of PendingResult."""

    backend: str


@dataclass(frozen=True, slots=True)
class PendingResult:
    """Where to tell what became of a command, and what was `told` last ("" while nothing was).

    At `due_ms` silence counts as an outcome. `canceled`: the reservation that it made has been cancelled since, and
    not by a command of ours.
    """

    url: str = field(repr=False)
    told: str
    due_ms: int
    canceled: bool
    command: CommandReply


@dataclass(frozen=True, slots=True)
class MarkTold:
    """Note what a backend was told of its command; `last`: it need not be told anything more. Reply: None."""

    command_id: str
    told: str
    last: bool


@dataclass(frozen=True, slots=True)
class ListPartners:
    """Every paired endpoint with its parties. Reply: list of Partner."""


@dataclass(frozen=True, slots=True)
class Partner:
    """A paired endpoint. `since_ms` is when its link came up last, or when it was paired if it never did."""

    peer: str
    name: str
    parties: tuple[str, ...]
    roles: tuple[str, ...]
    state: str
    connected: bool
    since_ms: int
