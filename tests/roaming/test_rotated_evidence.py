"""Evidence under replaced keys: whatever of the succession is changed, both checks find it, offline."""

import json
import runpy
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roamd.roaming.ledger.desk import LedgerDesk
from roamd.roaming.operations import ExportEvidence
from roamd.trust.succession import statement, succession_of_own
from tests.roaming.test_bundle import SCRIPT, bundle
from tests.roaming.test_turning import OVERLAP_MS, hand_in, learn, replace_key
from tests.support.roaming import Company, answer_of, carry

FILES = ["author-0.crt", "author-1.old.sig"]


@pytest.fixture
def check() -> Callable[[bytes], str]:
    found: Callable[[bytes], str] = runpy.run_path(str(SCRIPT))["check"]
    return found


@pytest.fixture
def twice(cso: Company, csp: Company) -> tuple[Company, Company]:
    """C-1, C-2 and C-3 were billed under the CSO's first, second and third key; the CSP has replaced its key, too."""
    hand_in(cso, 1)
    carry(cso, csp)
    for number, company, key in ((2, cso, 20), (0, csp, 21), (3, cso, 22)):
        replace_key(company, key)
        learn(csp, "abc", cso)
        learn(cso, "rmd", csp)
        hand_in(cso, *[number] * bool(number))
        assert carry(cso, csp).closed == []
    return cso, csp


def exported(company: Company, number: int, where: Path) -> Path:
    """The files for OpenSSL, of one record."""
    desk = LedgerDesk(company.store, company.directory, company.signer, lambda *_: None)
    where.mkdir()
    for name, content in answer_of(desk.export, ExportEvidence(f"C-{number}")).items():
        (where / name).write_bytes(content)
    return where


def verdict(where: Path) -> str:
    done = subprocess.run(["sh", where / "verify.sh"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) is done.stdout.endswith("evidence: ok\n")
    return done.stdout + done.stderr


@pytest.mark.parametrize("number", [1, 3])
def test_each_epochs_evidence_holds_after_two_rotations(
    twice: tuple[Company, Company], tmp_path: Path, check: Callable[[bytes], str], number: int
) -> None:
    for company in twice:
        assert check(bundle(company, f"C-{number}")) == "DELIVERED"
    told = verdict(exported(twice[number % 2], number, tmp_path / "evidence"))
    assert told.endswith("evidence: ok\n"), told
    assert told.count("the author's key") == number - 1
    assert told.count("the receiver's key") == (number == 3)


def tampered(whole: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The author's side of a bundle, changed in every way that a forger might like."""
    first, second = whole["successors"]
    for field in first:
        yield f"{field} of the other step", whole | {"successors": [first | {field: second[field]}, second]}
        yield f"{field} of another endpoint", whole | {"successors": [first | {field: other["successors"][0][field]}]}
    yield "other order", whole | {"successors": [second, first]}
    yield "the first step left out", whole | {"successors": [second]}
    yield "cut short", whole | {"successors": [first]}
    yield "forgotten", whole | {"successors": []}
    yield "begun in the middle", whole | {"key": first["key"], "successors": [second]}
    yield "another endpoint's", whole | {"successors": other["successors"]}
    yield "another name", whole | {"endpoint_id": other["endpoint_id"]}
    yield "one more", whole | {"successors": [first, second, second]}


def test_a_bundle_with_a_changed_succession_is_no_evidence(
    twice: tuple[Company, Company], check: Callable[[bytes], str]
) -> None:
    evidence = json.loads(bundle(twice[0], "C-3"))
    for what, author in tampered(evidence["author"], evidence["receiver"]):
        changed = json.dumps(evidence | {"author": author}, ensure_ascii=False, indent=1) + "\n"
        with pytest.raises(ValueError):  # noqa: PT011 - each is found by another check
            pytest.fail(f"{what}: {check(changed.encode())}")


@pytest.mark.parametrize("name", FILES)
def test_openssl_finds_a_file_of_another_endpoint_in_the_succession(
    twice: tuple[Company, Company], tmp_path: Path, name: str
) -> None:
    where = exported(twice[0], 3, tmp_path / "evidence")
    (where / name).write_bytes((where / name.replace("author", "receiver")).read_bytes())
    assert "NOT OK" in verdict(where)


def test_openssl_finds_a_statement_that_the_old_key_did_not_sign(
    twice: tuple[Company, Company], tmp_path: Path
) -> None:
    """The newest key alone names itself the successor of the first."""
    where = exported(twice[0], 3, tmp_path / "evidence")
    own = succession_of_own(twice[0].identity)
    document = (where / "author-2.txt").read_text().split(" ")
    forged = statement(own.endpoint_id, 2, (document[5], document[6]), (1, OVERLAP_MS))
    (where / "author-2.txt").write_text(forged)
    (where / "author-2.new.sig").write_bytes(twice[0].identity.sign(forged.encode()))
    (where / "author-2.old.sig").write_bytes(twice[0].identity.sign(forged.encode()))
    assert "NOT OK: the author's key 2" in verdict(where)
