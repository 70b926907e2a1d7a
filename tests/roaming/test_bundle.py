"""One file that proves a record and its life: checked by the script that auditors are given, and by nothing else."""

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roamd.errors import Conflict, StoreDamaged
from roamd.roaming.ledger.desk import LedgerDesk
from roamd.roaming.operations import ExportEvidence
from roamd.storage import ledgers
from tests.model import bodies
from tests.roaming.test_lifecycle import a_credit, credit, exchange, judge
from tests.support.roaming import Company, LedgerLine, answer_of, carry

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify-evidence"


def bundle(company: Company, record: str = "C-1") -> bytes:
    desk = LedgerDesk(company.store, company.directory, company.signer, lambda *_: None)
    files: dict[str, bytes] = answer_of(desk.export, ExportEvidence(record, bundle=True))
    return files["evidence.json"]


@pytest.fixture(scope="module")
def check() -> Callable[[bytes], str]:
    """The script's own check, in this process: the record's state, or an exception."""
    found: Callable[[bytes], str] = runpy.run_path(str(SCRIPT))["check"]
    return found


@pytest.fixture
def delivered(cso: Company, csp: Company) -> tuple[Company, Company]:
    cso.hand_in(bodies.cdr(id="C-1"))
    cso.hand_in(bodies.cdr(id="C-9"))
    exchange(cso, csp)
    return cso, csp


def test_the_script_is_short_and_needs_cryptography_alone() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) <= 150
    names = {line.split()[1].partition(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert names - set(sys.stdlib_module_names) == {"cryptography"}


def test_both_sides_files_tell_the_whole_life(
    delivered: tuple[Company, Company], check: Callable[[bytes], str], capsys: pytest.CaptureFixture[str]
) -> None:
    cso, csp = delivered
    assert check(bundle(cso)) == check(bundle(csp)) == "DELIVERED"
    judge(csp, "C-1", "DISPUTED", reason="price", detail="0.50 too much")
    exchange(cso, csp)
    cso.hand_in(bodies.cdr(id="C-10"))
    exchange(cso, csp)
    assert check(bundle(cso)) == check(bundle(csp)) == "DISPUTED"
    judge(csp, "C-1", "ACCEPTED")
    exchange(cso, csp)
    assert check(bundle(cso)) == check(bundle(csp)) == "ACCEPTED"
    credit(cso, a_credit())
    exchange(cso, csp)
    capsys.readouterr()
    assert check(bundle(cso)) == check(bundle(csp)) == "CREDITED"
    told = capsys.readouterr().out
    assert f"author: {cso.identity.endpoint_id}" in told
    assert f"receiver: {csp.identity.endpoint_id}" in told
    assert "0.50 too much" in told
    assert check(bundle(cso, "C-10")) == "DELIVERED", "a record of its own has no part in it"


def test_the_script_runs_alone_and_says_what_is_wrong(delivered: tuple[Company, Company], tmp_path: Path) -> None:
    file = tmp_path / "evidence.json"
    file.write_bytes(bundle(delivered[0]))

    def run() -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", str(SCRIPT), str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60)

    assert run().stdout.endswith("state: DELIVERED\nevidence: ok\n")
    file.write_bytes(file.read_bytes().replace(b'"C-1"', b'"C-2"'))
    done = run()
    assert done.returncode == 1
    assert re.fullmatch(r"NOT OK: .{20,}\n", done.stderr)


@pytest.mark.parametrize(
    ("proof", "mark", "field", "told"),
    [
        (0, "head", "signature", "the author's signature of the head over entry 2 of the author's chain"),
        (0, "receipt", "time_ms", "the receiver's signature of the receipt over entry 2 of the author's chain"),
        (1, "head", "time_ms", "the receiver's signature of the head over entry 1 of the receiver's chain"),
        (1, "receipt", "signature", "the author's signature of the receipt over entry 1 of the receiver's chain"),
    ],
)
def test_a_bad_signature_is_told_by_who_signed_what(
    delivered: tuple[Company, Company], check: Callable[[bytes], str], proof: int, mark: str, field: str, told: str
) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "ACCEPTED")
    exchange(cso, csp)
    value = json.loads(bundle(cso))
    stands, others = value["proofs"][proof][mark], value["proofs"][1 - proof][mark]
    stands[field] = others[field] if field == "signature" else stands[field] + 1
    with pytest.raises(ValueError, match=re.escape(told)):
        check((json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())


def test_another_key_than_the_name_says_is_told(
    delivered: tuple[Company, Company], check: Callable[[bytes], str]
) -> None:
    value = json.loads(bundle(delivered[0]))
    value["receiver"]["key"] = value["author"]["key"]
    with pytest.raises(ValueError, match="a name of another key"):
        check((json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())


def test_a_changed_byte_anywhere_makes_it_fail(
    delivered: tuple[Company, Company], check: Callable[[bytes], str]
) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "DISPUTED", reason="price")
    exchange(cso, csp)
    whole = bundle(cso)
    check(whole)
    survivors = []
    for place in range(0, len(whole), 3):
        for bit in (1, 32):
            changed = bytearray(whole)
            changed[place] ^= bit
            try:
                check(bytes(changed))
            except Exception:  # noqa: BLE001, S112 - whatever the script finds
                continue
            survivors.append((place, bit))
    assert not survivors


def test_a_piece_that_is_left_out_or_put_in_makes_it_fail(
    delivered: tuple[Company, Company], check: Callable[[bytes], str]
) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "ACCEPTED")
    exchange(cso, csp)

    def fails(change: Callable[[Any], object]) -> bool:
        value = json.loads(bundle(cso))
        change(value)
        try:
            check((json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())
        except Exception:  # noqa: BLE001 - whatever the script finds
            return True
        return False

    assert not fails(lambda value: None)
    assert fails(lambda value: value.update(note="paid"))
    assert fails(lambda value: value["proofs"].pop(0))
    assert fails(lambda value: value["proofs"][0]["entries"].pop())
    unsigned = {"kind": 1, "id": "C-99", "commitment": "00" * 32}
    assert fails(lambda value: value["proofs"][0]["entries"].append(unsigned))
    assert fails(lambda value: value["proofs"][1].update(by="author"))
    assert fails(lambda value: value.update(author=value["receiver"]))
    assert fails(lambda value: value["record"].update(party="DEXXX"))


def test_a_refusal_is_shown_with_what_it_refuses(cso: Company, csp: Company, check: Callable[[bytes], str]) -> None:
    csp.meets(cso, "abc", records_in=())
    cso.hand_in(bodies.cdr(id="C-1"))
    exchange(cso, csp)
    assert cso.states() == {"C-1": "PARKED"}
    assert check(bundle(cso)) == "REFUSED"


def test_an_erased_record_still_proves_that_it_was_there(
    delivered: tuple[Company, Company], check: Callable[[bytes], str]
) -> None:
    cso, csp = delivered
    judge(csp, "C-1", "ACCEPTED")
    exchange(cso, csp)
    (chain,) = cso.chains(own=True)
    cso.store.write(lambda cx: ledgers.erase_entry_txn(cx, chain.chain_id, 1))
    assert check(bundle(cso)) == "ACCEPTED"
    assert b"cdr_token" not in bundle(cso)


def test_words_of_another_epoch_keep_their_order(cso: Company, csp: Company, check: Callable[[bytes], str]) -> None:
    cso.hand_in(bodies.cdr(id="C-1"))
    exchange(cso, csp)
    judge(csp, "C-1", "DISPUTED", reason="price")
    exchange(cso, csp)
    csp.clock.wall_ms += 1000
    csp.store.write(lambda cx: _new_epoch(cx, csp))
    judge(csp, "C-1", "ACCEPTED")
    exchange(cso, csp)
    assert cso.states() == {"C-1": "ACCEPTED"}
    assert check(bundle(cso)) == "ACCEPTED"


def _new_epoch(cx: Any, company: Company) -> None:
    from roamd.protocol.ledger import EntryKind, EpochOpening, LedgerItem
    from roamd.roaming.ledger.chain import append_items_txn

    old = ledgers.current_chain(cx, "abc", own=True)
    assert old is not None
    ledgers.close_chain_txn(cx, old.chain_id)
    opening = EpochOpening(old.epoch, old.tail_sequence, old.tail_hash)
    chain = ledgers.open_chain_txn(cx, "abc", own=True, epoch=company.random(16))
    item = LedgerItem(EntryKind.EPOCH, opening.record_id(), company.random(16), opening.pack())
    append_items_txn(cx, chain, [item], company.clock.now_ms())


def test_what_is_not_receipted_is_not_in_it(cso: Company, csp: Company, check: Callable[[bytes], str]) -> None:
    cso.hand_in(bodies.cdr(id="C-1"))
    LedgerLine(cso, csp, lose_receipts=True).begin().pump()
    with pytest.raises(Conflict, match="No receipt"):
        bundle(cso)
    carry(cso, csp)
    judge(csp, "C-1", "ACCEPTED")
    assert check(bundle(csp)) == "DELIVERED", "its own last word is receipted by nobody"


def test_a_disk_that_changed_something_gives_no_evidence(delivered: tuple[Company, Company]) -> None:
    cso, _ = delivered
    cso.store.write(lambda cx: cx.run("UPDATE marks SET time_ms = time_ms + 1 WHERE kind = 'receipt'"))
    with pytest.raises(StoreDamaged, match="signature"):
        bundle(cso)
