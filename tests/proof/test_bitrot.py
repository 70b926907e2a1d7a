"""Fifty flips on every run of the tests; `scripts/bitrot` does a thousand. And flips at chosen places."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from roamd import log
from tests.proof import bitrot
from tests.proof.bitrot import Ledger, build, flipped, inspect, measure
from tests.proof.report import seeded


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    log.configure("critical")
    yield
    log.configure("info")


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return build(tmp_path_factory.mktemp("bitrot") / "store.db", 20, seeded(4, "ledger"))


def place_of(ledger: Ledger, text: bytes) -> int:
    at = ledger.path.read_bytes().find(text)
    assert at > 0
    return at


def test_every_flip_is_found_and_none_is_served(ledger: Ledger) -> None:
    report = measure(ledger, 50, seeded(9, "flips"), lambda line: None)
    assert report.faults == []
    assert report.figures["found by ledger verify"] > 20


@pytest.mark.parametrize("name", ["OUT-3", "IN-3"])
def test_a_flipped_body_is_found_refused_and_not_sent(ledger: Ledger, name: str) -> None:
    direction = name.partition("-")[0].lower()
    with flipped(ledger, place_of(ledger, ledger.bodies[direction, name][:200]) + 50, 1) as copy:
        seen = inspect(ledger, copy)
    assert seen.found
    assert seen.served is None
    assert seen.refused > 0


def test_a_planted_server_of_unchecked_bodies_is_caught(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roamd.roaming.events.sound_body", lambda row, body: body)
    monkeypatch.setattr("roamd.roaming.records.sound_entry", lambda cx, chain_id, sequence: None)
    with flipped(ledger, place_of(ledger, ledger.bodies["in", "IN-5"][:200]) + 50, 0) as copy:
        seen = inspect(ledger, copy)
    assert seen.served is not None


def test_a_planted_sender_of_unchecked_entries_is_caught(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roamd.roaming.ledger.chain.body_holds", lambda row: True)
    with flipped(ledger, place_of(ledger, ledger.bodies["out", "OUT-5"][:200]) + 50, 0) as copy:
        seen = inspect(ledger, copy)
    assert seen.served == "a batch whose head does not hold" or seen.served == "a batch"


def test_a_planted_verifier_that_looks_at_no_body_is_caught(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roamd.roaming.ledger.desk.body_holds", lambda row: True)
    places = [place_of(ledger, body[:200]) + 60 for body in ledger.bodies.values()]
    monkeypatch.setattr(bitrot, "flips", lambda ledger, count, random: [(place, 2) for place in places[:count]])
    report = measure(ledger, 5, seeded(1, "flips"), lambda line: None)
    assert sum("was not found" in fault for fault in report.faults) == 5


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert bitrot.main(["--flips", "10", "--records", "20", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["figures"]["flips"] == 10
