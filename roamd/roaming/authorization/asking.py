"""One authorization under way: what is known of it, boiled down to the facts of the decision table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from roamd.model.credentials import Way, is_random_uid
from roamd.model.decision import DOMAIN, Facts
from roamd.protocol.calls import AuthorizeAnswer
from roamd.roaming.authorization.answers import ORDER
from roamd.roaming.authorization.reservations import Held
from roamd.roaming.deadlines import Timer
from roamd.roaming.directory import Peer
from roamd.roaming.grants import Granted
from roamd.roaming.operations import AuthorizationReply, Authorize
from roamd.roaming.whitelist import Listed

Done = Callable[[AuthorizationReply], None]

FIRST, PATIENCE, LAST = DOMAIN["when"]
_RULES = frozenset({"ALWAYS", "ALLOWED", "ALLOWED_OFFLINE", "NEVER"})


@dataclass(slots=True)
class Asking:
    """`type` is folded, `uid` canonical; `owners` own the contract id's prefix. `waves` are yet to be asked.

    `silent` has who gave no answer, and why, by label. `using` is the grant whose use is being committed.
    """

    operation: Authorize
    id: bytes
    began_at: float
    deadline_at: float
    done: Done
    type: str
    uid: str
    way: Way
    owners: tuple[Peer, ...]
    listed: Sequence[Listed]
    granted: list[Granted]
    reservation: str = "none"
    held: Held | None = None
    body: bytes = b""
    waves: list[Sequence[Peer]] = field(default_factory=list)
    open: dict[bytes, Peer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answers: list[tuple[Peer, AuthorizeAnswer]] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)
    timers: list[Timer] = field(default_factory=list)
    using: Granted | None = None
    over: bool = False

    # --- facts ---

    def facts(self, when: str, *, offline: bool) -> Facts:
        """What the table is asked with."""
        listing = self.listing(when)
        word, valid = ("none", "unknown") if not self.listed else self._listing_words(when, listing)
        return Facts(
            when,
            "nothing" if when == FIRST else self._told(),
            self.reservation,
            self._grant_word(when) if self.granted else "none",
            word,
            valid,
            "yes" if offline else "no",
        )

    def _told(self) -> str:
        best = self.best()
        if best is not None and best[1].decision != "UNKNOWN":
            return "permission" if best[1].decision == "ALLOWED" else "refusal"
        if self.open or self.silent:
            return "silence"
        return "nobody" if best is None else "unknown"

    def best(self) -> tuple[Peer, AuthorizeAnswer] | None:
        """ALLOWED, else the most telling refusal."""
        if len(self.answers) == 1:
            return self.answers[0]
        return min(self.answers, key=lambda pair: ORDER[pair[1].decision], default=None)

    def _is_silent(self, peer: Peer) -> bool:
        return peer.label in self.silent or peer in self.open.values()

    def _listings(self, when: str) -> list[Listed]:
        """Those that count: all at first, then those of CSPs that have not spoken."""
        if not self.way.listed or is_random_uid(self.type, self.uid):
            return []
        return [one for one in self.listed if when == FIRST or self._is_silent(one.peer)]

    def listing(self, when: str) -> Listed | None:
        """The one that counts: with two CSPs claiming a card the whitelist must not choose between them."""
        listings = self._listings(when) if self.listed else []
        return listings[0] if len(listings) == 1 else None

    def _listing_words(self, when: str, listing: Listed | None) -> tuple[str, str]:
        if listing is None:
            return "unsure" if self._listings(when) else "none", "unknown"
        rule = listing.entry.whitelist
        return rule if rule in _RULES else "NEVER", "yes" if listing.entry.valid else "no"

    def grants(self, when: str) -> list[Granted]:
        """Grants that count now, those that are not revoked."""
        return [one for one in self._grants(when) if not one.view.revoked]

    def _grants(self, when: str) -> list[Granted]:
        return [one for one in self.granted if when == FIRST or self._is_silent(one.peer)]

    def _grant_word(self, when: str) -> str:
        counting = self._grants(when)
        holding = [one for one in counting if not one.view.revoked]
        if not holding:
            return "revoked" if counting else "none"
        return "at-once" if any(one.view.at_once for one in holding) else "offline"

    @property
    def may_be_let_in(self) -> bool:
        """Whether anything known beforehand could let the driver in when the patience is over."""
        return bool(self.granted) or self.reservation == "own" or any(one.entry.valid for one in self.listed)

    def knowing(self) -> list[Peer]:
        """The CSPs that list or have granted the credential."""
        return [*(one.peer for one in self.listed), *(one.peer for one in self.granted)]

    # --- the end ---

    def finish(self) -> None:
        """It is decided: nothing of it fires any more."""
        self.over = True
        for timer in self.timers:
            timer.cancel()
