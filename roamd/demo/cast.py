"""Who is in the story, and what its steps share."""

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from roamd.demo.client import Api, wait_until
from roamd.demo.processes import ROAMD, Backend, Children, Daemon, init_daemon
from roamd.demo.timeline import Timeline

T = TypeVar("T")

COUNTED = ("authorizations", "objects", "commands", "records", "receipted", "ledgers")
"""What the summary counts, zero where the story did not come so far."""

PATIENCE_S = 15.0
"""How long to wait for one thing: enough for a machine under load; most take milliseconds."""


@dataclass
class Company:
    """One company: its name, its daemon, its simulated backend if it has one, and what it calls its partner."""

    name: str
    daemon: Daemon
    system: Backend | None
    partner: str = ""

    @property
    def api(self) -> Api:
        return self.daemon.api

    @property
    def backend(self) -> Backend:
        """The simulated backend of a company that was founded with one."""
        assert self.system is not None, f"{self.name} has no backend"  # noqa: S101 -- a fault of the story itself
        return self.system

    def named(self, other: "Company") -> Any:
        """How it shows another company among its peers; None as long as it does not."""
        return next((peer for peer in self.api.get("/v1/peers")["items"] if peer["name"] == other.name), None)


@dataclass
class Story:
    """What the steps share. `children` ends every process when the story is over, however it ends."""

    timeline: Timeline
    children: Children
    room: Path
    command: Sequence[str] = ROAMD
    patience_s: float = PATIENCE_S
    counts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(COUNTED, 0)))
    full: bool = False
    reference: str | None = None
    mdns_trouble: str | None = None

    cso: Company = field(init=False)
    csp: Company = field(init=False)
    house: Company = field(init=False)
    park: Company = field(init=False)
    taxi: Company = field(init=False)

    @property
    def companies(self) -> tuple[Company, Company]:
        return self.cso, self.csp

    def tell(self, who: Company | None, what: str) -> None:
        self.timeline.tell(who.name if who else "demo", what)

    def wait_until(self, what: str, look: Callable[[], T | None]) -> T:
        """Look until there is something; raises TooLateError when the patience ends."""
        return wait_until(what, look, self.patience_s)


def found(
    story: Story, role: str, name: str, party: str, *, directory: str = "", backend: bool = True, advertise: bool = True
) -> Company:
    """A company that does not run yet; without `advertise` no partner can dial it."""
    served = story.children.backend() if backend else None
    daemon = init_daemon(
        story.room / (directory or role),
        party=party,
        role=role,
        name=name,
        backend_url=served.url if served else None,
        advertise=advertise,
        command=story.command,
    )
    company = Company(name, story.children.own(daemon), served)
    systems = f"; backend at {served.url}" if served else ""
    story.tell(company, f"`roamd init` made {daemon.directory} for {party}, role {role}{systems}")
    return company


def new_room() -> "tempfile.TemporaryDirectory[str]":
    """Where the directories live while the demo runs."""
    return tempfile.TemporaryDirectory(prefix="roamd-demo-")
