"""What two companies have agreed on."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class GetAgreement:
    """What rules with a peer today, and what is proposed; with a number that document and its proof. Reply: dict."""

    peer: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class ListAgreements:
    """Every document that either proposed, by number. Reply: Page of dicts."""

    peer: str


@dataclass(frozen=True, slots=True)
class ProposeAgreement:
    """Propose what rules today with changes to its clauses (`model.clauses`). Reply: dict, after the commit.

    `base`: "preset" begins with all that the roles are for by today's tables, "agreement" with what is in force; None
    is the latter once something is signed. `add` and `remove` change lists. `check`: only look. Malformed names every
    clause that cannot be.
    """

    peer: str
    clauses: dict[str, Any] = field(default_factory=dict)
    add: dict[str, Any] = field(default_factory=dict)
    remove: dict[str, Any] = field(default_factory=dict)
    base: str | None = None
    check: bool = False


@dataclass(frozen=True, slots=True)
class AnswerAgreement:
    """Accept or decline a peer's proposal. Reply: dict, when it is committed and what it changes is in effect.

    Conflict, with every fault, for what cannot be signed; nothing is written then.
    """

    peer: str
    number: int
    accept: bool
    reason: str = ""
