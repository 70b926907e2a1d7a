"""What proves a record to a third party: checked by openssl alone, and by ourselves."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from roamd.errors import Conflict, NotFound
from roamd.protocol.ledger import EntryKind, LedgerItem
from roamd.roaming.ledger.chain import append_items_txn, own_chain_txn
from roamd.roaming.ledger.desk import LedgerDesk
from roamd.roaming.operations import ExportEvidence, VerifyLedgers
from roamd.storage import ledgers
from tests.model import bodies
from tests.support.roaming import Company, LedgerLine, Told, answer_of, carry

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command is not installed")


def desk(company: Company, start: Callable[..., None] = lambda *_: None) -> LedgerDesk:
    return LedgerDesk(company.store, company.directory, company.signer, start)


def hand_in(cso: Company, *numbers: int) -> None:
    for number in numbers:
        cso.hand_in(bodies.cdr(id=f"C-{number:04}"))


def export(company: Company, number: int) -> dict[str, bytes]:
    files: dict[str, bytes] = answer_of(desk(company).export, ExportEvidence(f"C-{number:04}"))
    return files


def check(files: dict[str, bytes], folder: Path) -> tuple[int, str]:
    """Run verify.sh as an auditor would."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    done = subprocess.run(["sh", str(folder / "verify.sh")], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


@needs_openssl
@pytest.mark.parametrize("number", [1, 3, 5])
def test_openssl_verifies_what_either_side_exports(cso: Company, csp: Company, number: int, tmp_path: Path) -> None:
    hand_in(cso, 1, 2, 3)
    carry(cso, csp)
    hand_in(cso, 4, 5)
    carry(cso, csp)
    for company in (cso, csp):
        folder = tmp_path / company.party
        folder.mkdir()
        files = export(company, number)
        assert files["body.json"] == bodies.text(bodies.cdr(id=f"C-{number:04}"))
        code, output = check(files, folder)
        assert code == 0, output
        assert output.endswith("evidence: ok\n")
        assert f"author: {cso.identity.endpoint_id}" in output
        assert f"receiver: {csp.identity.endpoint_id}" in output
        assert "NOT OK" not in output


@needs_openssl
def test_an_erased_record_still_verifies_without_its_body(cso: Company, csp: Company, tmp_path: Path) -> None:
    hand_in(cso, 1, 2)
    carry(cso, csp)
    (chain,) = cso.chains(own=True)
    cso.store.write(lambda cx: ledgers.erase_entry_txn(cx, chain.chain_id, 1))
    files = export(cso, 1)
    assert not {"body.json", "salt.bin"} & set(files)
    code, output = check(files, tmp_path)
    assert code == 0, output
    assert "erased: the body is gone" in output


def changed(data: bytes, place: int = -1) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + (data[place + 1 :] if place != -1 else b"")


@needs_openssl
@pytest.mark.parametrize(
    "name",
    ["body.json", "salt.bin", "entry-000000000001.bin", "entry-000000000002.bin", "head.bin", "head.sig", "receipt.bin",
     "receipt.sig"],
)  # fmt: skip
def test_one_changed_bit_anywhere_is_found(cso: Company, csp: Company, name: str, tmp_path: Path) -> None:
    hand_in(cso, 1, 2)
    carry(cso, csp)
    files = export(cso, 1)
    code, output = check(files | {name: changed(files[name])}, tmp_path)
    assert code != 0, output
    assert "evidence: ok" not in output


@needs_openssl
def test_the_certificate_of_somebody_else_is_found(cso: Company, csp: Company, tmp_path: Path) -> None:
    hand_in(cso, 1)
    carry(cso, csp)
    files = export(cso, 1)
    code, output = check(files | {"author.crt": files["receiver.crt"]}, tmp_path)
    assert code != 0
    assert "NOT OK" in output


def test_there_is_no_evidence_before_there_is_a_receipt(cso: Company, csp: Company) -> None:
    hand_in(cso, 1)
    with pytest.raises(Conflict, match="No receipt covers"):
        export(cso, 1)
    LedgerLine(cso, csp, lose_receipts=True).begin().pump()
    with pytest.raises(Conflict, match="No receipt covers"):
        export(cso, 1)
    cso.hand_in(
        bodies.cdr(id="C-0002", cdr_token=bodies.cdr_token(contract_id="BE-BEC-C1", party_id="BEC", country_code="BE"))
    )
    with pytest.raises(Conflict, match="no place"):
        export(cso, 2)
    with pytest.raises(NotFound):
        export(cso, 3)


# --- verify -----------------------------------------------------------------------------------------------------


async def verified(company: Company, peer: str | None = None) -> dict[str, Any]:
    told = Told()
    async with trio.open_nursery() as nursery:
        desk(company, nursery.start_soon).verify(VerifyLedgers(peer), told)
    report: dict[str, Any] = told.one
    return report


async def test_whole_ledgers_verify_on_both_sides(cso: Company, csp: Company) -> None:
    hand_in(cso, *range(5))
    carry(cso, csp)
    for company, author in ((cso, "us"), (csp, "abc")):
        report = await verified(company)
        assert report["ok"]
        assert report["entries"] == 5
        assert [(chain["author"], chain["receipted"], chain["faults"]) for chain in report["chains"]] == [
            (author, 5, [])
        ]
    assert (await verified(cso, "rmd"))["ok"]
    with pytest.raises(NotFound):
        desk(cso).verify(VerifyLedgers("nobody"), Told())


DAMAGE = {
    "body": ("UPDATE entries SET body = X'7B7D' WHERE id & 255 = 2", "body of entry 2"),
    "hash": ("UPDATE entries SET hash = zeroblob(32) WHERE id & 255 = 2", "entry 2 does not have the hash"),
    "missing": ("DELETE FROM entries WHERE id & 255 = 2", "entries between 1 and 3 are missing"),
    "tail": ("DELETE FROM entries WHERE id & 255 = 3", "ends at 2 and not at its tail 3"),
    "signature": ("UPDATE marks SET time_ms = time_ms + 1 WHERE kind = 'receipt'", "signature of the receipt at 3"),
    "mark": ("UPDATE marks SET hash = zeroblob(32) WHERE kind = 'head'", "head at 3 is over something else"),
    "behind": (
        "INSERT INTO entries SELECT id + 2, 1, 'C', 1, commitment, hash, '', NULL, NULL FROM entries WHERE id & 7 = 3",
        "entries up to 5 stand behind its tail 3",
    ),
    "orphan": ("INSERT INTO marks VALUES (99, 'head', 1, zeroblob(32), 1, zeroblob(8))", "chain 99 has entries"),
}


@pytest.mark.parametrize("what", DAMAGE)
async def test_damage_is_named_with_its_place(cso: Company, csp: Company, what: str) -> None:
    hand_in(cso, 1, 2, 3)
    carry(cso, csp)
    statement, words = DAMAGE[what]
    cso.store.write(lambda cx: cx.run(statement))
    report = await verified(cso)
    assert not report["ok"]
    faults = report["faults"] + [fault for chain in report["chains"] for fault in chain["faults"]]
    assert any(words in fault for fault in faults), faults


async def test_what_comes_while_it_verifies_is_no_fault(cso: Company, csp: Company) -> None:
    hand_in(cso, 1, 2, 3)
    carry(cso, csp)
    told = Told()
    async with trio.open_nursery() as nursery:
        desk(cso, nursery.start_soon).verify(VerifyLedgers(), told)
        for number in range(4, 12):
            await trio.lowlevel.checkpoint()
            hand_in(cso, number)
            carry(cso, csp)
    assert told.one["ok"], told.one
    assert (await verified(cso))["entries"] == 11


async def test_an_erased_entry_is_counted_and_no_fault(cso: Company, csp: Company) -> None:
    item = LedgerItem(EntryKind.CDR, "C-1", commitment=b"c" * 32)
    cso.store.write(lambda cx: append_items_txn(cx, own_chain_txn(cx, "rmd", cso.random), [item], 1))
    report = await verified(cso)
    assert report["ok"]
    assert report["chains"][0]["erased"] == 1
