"""Fleets of real daemons for tests of whole processes: one for a test alone, and a pair that modules share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemons import Company, Fleet

TROUBLE = ("Traceback", "daemon_failed", "link_failed", "request_failed")
"""What stands in a log only when something of ours is wrong."""


def trouble_in(log: Path) -> list[str]:
    """The lines of a daemon's log that must not be there."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return [line for line in lines if any(sign in line for sign in TROUBLE)]


@pytest.fixture
def fleet(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Companies that end with the test; after a failed test their logs are printed. No log may have a traceback."""
    failed_before = request.session.testsfailed
    with Fleet(tmp_path) as fleet:
        yield fleet
        if request.session.testsfailed > failed_before:
            print(fleet.logs())  # noqa: T201 -- pytest shows it beside the failure
    assert [trouble_in(daemon.log_file) for daemon in fleet.children.daemons] == [[]] * len(fleet.children.daemons)


PARTIES = {
    "cso": ("BE*RMC", "BE*BEC", "SE*EVC", "NL*ALF", "DE*ALL", "NL*ALL", "NL*STK", "CA*FLO"),
    "csp": ("FR*RMD", "NL*TNM", "DE*TNM", "NL*TST"),
}
"""With those whom the sample objects name, so that each has a company here that may publish it."""


@dataclass
class Pair:
    """Two companies that are linked; tests that share them leave them so."""

    fleet: Fleet
    cso: Company
    csp: Company

    def arrived(self, follower: Company, path: str) -> Any:
        """Wait for an object of the other one at `follower`; its parsed body."""
        label = next(iter(follower.partners.values()))
        return self.fleet.wait_until(f"{path} arriving", lambda: follower.api.find(f"/v1/peers/{label}/{path}"))

    def is_settled(self) -> bool:
        """Whether nothing waits at either side: no record, and no object that the other one has not taken."""
        return all(
            company.api.get("/v1/status")["records"]["queued"] == 0 and all(_in_sync(company).values())
            for company in (self.cso, self.csp)
        )

    def trouble(self) -> list[str]:
        """What must not stand in their logs."""
        return trouble_in(self.cso.daemon.log_file) + trouble_in(self.csp.daemon.log_file)


def _in_sync(company: Company) -> dict[str, bool]:
    """By feed, whether its partner has all that it published."""
    (label,) = company.partners.values()
    feeds: dict[str, bool] = company.api.get(f"/v1/peers/{label}")["feeds"]["in_sync"]
    return feeds


def _settings(role: str) -> str:
    parties = ", ".join(f'"{party}"' for party in PARTIES[role])
    return f"[discovery]\nmdns = false\n\n[endpoint]\nparties = [{parties}]\n"


@contextmanager
def _linked(room: Path) -> Iterator[Pair]:
    with Fleet(room) as fleet:
        cso, csp = (fleet.company(role, PARTIES[role][0], settings=_settings(role)) for role in ("cso", "csp"))
        fleet.start(cso, csp)
        fleet.pair(cso, csp)
        yield Pair(fleet, cso, csp)


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with _linked(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture(scope="module")
def pair(_shared: Pair) -> Iterator[Pair]:
    """A CSO and a CSP with a link that is up. Modules share them, one after the other, each with ids of its own."""
    _shared.fleet.wait_until("earlier records being settled", _shared.is_settled)
    yield _shared
    assert _shared.trouble() == []


@pytest.fixture(scope="module")
def own_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The same for a module alone, which may leave in them what it likes."""
    with _linked(tmp_path_factory.mktemp("own-pair")) as pair:
        yield pair
        assert pair.trouble() == []
