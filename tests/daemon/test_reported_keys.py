"""What the operator is told of keys: our own, who knows the next one, and those of a partner."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from roamd.daemon.reports import Reports
from roamd.storage import meta
from roamd.trust.identity import Identity
from roamd.trust.succession import appoint, key_id
from tests.support.roaming import Company
from tests.support.trust import identity

OVERLAP_MS = 1_000_000
NEXT = identity(40)


@pytest.fixture
def cso() -> Company:
    return Company(1, "DEABC", "cso")


@pytest.fixture
def csp(cso: Company) -> Company:
    company = Company(2, "FRRMD", "csp", clock=cso.clock)
    cso.meets(company, "rmd")
    return company


def announced(company: Company) -> Identity:
    now_ms = company.clock.now_ms()
    packed = appoint(company.identity, NEXT, now_ms, now_ms + OVERLAP_MS).packed()
    return replace(company.identity, succession=packed)


def switched(company: Company) -> Identity:
    return replace(NEXT, endpoint_id=company.identity.endpoint_id, succession=announced(company).succession)


def reports(company: Company, identity: Identity) -> Reports:
    """All that these reports look at is real: store, directory, clock."""
    endpoint = SimpleNamespace(name="ABC", parties=("DEABC",), roles=("cso",))
    parts: dict[str, Any] = {
        "config": lambda: SimpleNamespace(endpoint=endpoint, link=SimpleNamespace(advertise=None)),
        "contexts": SimpleNamespace(identity=identity, leaf=SimpleNamespace(not_after_ms=0)),
        "domains": dict,
        "mdns": str,
        "clock_jumps": int,
    }
    unused: Any = None
    return Reports(
        clock=company.clock, store=company.store, directory=company.directory, peering=unused, board=unused,
        calls=unused, began_at=0.0, **parts,
    )  # fmt: skip


def holds(company: Company, label: str, number: int) -> None:
    company.store.write(lambda cx: meta.set_txn(cx, f"successors-held:{label}", str(number)))


@pytest.mark.parametrize("state", ["PAIRED", "SUSPENDED", "PENDING"])
def test_whoever_does_not_know_the_next_key_is_named(cso: Company, csp: Company, state: str) -> None:
    cso.directory.put(cso.peer("rmd").row._replace(state=state))
    told = reports(cso, announced(cso)).identity()
    assert (told["announced"], told["overlap_over"], told["not_told"]) == (True, False, ["rmd"])
    holds(cso, "rmd", 1)
    assert reports(cso, announced(cso)).identity()["not_told"] == []


def test_a_late_switch_is_said(cso: Company) -> None:
    waiting = announced(cso)
    cso.clock.wall_ms += OVERLAP_MS + 1
    assert reports(cso, waiting).identity()["overlap_over"]


def test_keys_without_a_successor_have_nobody_to_tell(cso: Company, csp: Company) -> None:
    told = reports(cso, cso.identity).identity()
    assert (told["announced"], told["overlap_over"], told["not_told"]) == (False, False, [])
    assert reports(cso, cso.identity).status()["alarms"] == []


def test_who_refuses_the_key_in_use_is_an_alarm_until_it_knows_it(cso: Company, csp: Company) -> None:
    assert reports(cso, announced(cso)).status()["alarms"] == []
    (alarm,) = reports(cso, switched(cso)).status()["alarms"]
    assert alarm.startswith("rmd: ")
    assert "refuses it: pair anew" in alarm
    holds(cso, "rmd", 1)
    assert reports(cso, switched(cso)).status()["alarms"] == []


def test_a_partners_keys_are_shown(cso: Company, csp: Company) -> None:
    report, row = reports(cso, cso.identity), cso.peer("rmd").row
    first = key_id(row.identity_der)
    assert report._identity_of(cso.peer("rmd")) == {
        "number": 0, "key_id": first, "next_key_id": None, "old_keys_taken": 0,
    }  # fmt: skip
    cso.directory.put(row._replace(succession=announced(csp).succession))
    following = key_id(NEXT.certificate_der)
    assert report._identity_of(cso.peer("rmd"))["next_key_id"] == following
    cso.directory.put(row._replace(succession=announced(csp).succession, identity_der=NEXT.certificate_der))
    assert report._identity_of(cso.peer("rmd")) == {
        "number": 1, "key_id": following, "next_key_id": None, "old_keys_taken": 1,
    }  # fmt: skip
    cso.clock.wall_ms += OVERLAP_MS + 1
    assert report._identity_of(cso.peer("rmd"))["old_keys_taken"] == 0
