"""What a clearing house learns of what it carries, and what becomes of a bill that somebody alters on the way.

Its metrics say who sent how much. Whether it can read any of it is looked up, with the rights of who runs it: in the
memory of its process (where the system shows that), its database and its log. The same search is made at the receiver,
where it must find everything; so it is no empty promise.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from prometheus_client.parser import text_string_to_metric_families

from roamd.demo.cast import Company, Story
from roamd.demo.checks import check
from roamd.demo.objects import SEALED_CDR, TAXI_DRIVER
from roamd.demo.processes import run_roamd
from roamd.demo.settle import VERIFY

PRICE: Final = '\\"before_taxes\\":9.0'
"""As it stands in the file, which has the record as a text within JSON."""

PIECE: Final = 1 << 22
"""Bytes of memory that are read at a time."""


def relayed(house: Company) -> dict[str, tuple[int, int]]:
    """Envelopes and bytes that it has passed on, by the label of their sender."""
    envelopes: dict[str, int] = {}
    sizes: dict[str, int] = {}
    families = text_string_to_metric_families(house.api.get("/metrics"))
    for sample in (sample for family in families for sample in family.samples):
        if sample.name == "roamd_relayed_envelopes_total" and sample.labels["outcome"] == "passed-on":
            envelopes[sample.labels["peer"]] = int(sample.value)
        elif sample.name == "roamd_relayed_bytes_total":
            sizes[sample.labels["peer"]] = int(sample.value)
    return {peer: (number, sizes[peer]) for peer, number in envelopes.items()}


def found_in(company: Company, words: Iterable[str]) -> tuple[str, set[str]]:
    """Where was looked, and which of the words stand there."""
    wanted = {word: word.encode() for word in words}
    daemon = company.daemon
    assert daemon.process is not None  # noqa: S101 -- it runs
    files = [daemon.log_file, *(file for file in (daemon.directory / "state").rglob("*") if file.is_file())]
    try:
        held, where = {*_in_memory(daemon.process.pid, wanted)}, "memory, database or log"
    except OSError:  # another system than Linux, or one that keeps even a child's memory to itself
        held, where = set[str](), "database or log"
    for file in files:
        content = file.read_bytes()
        held |= {word for word, data in wanted.items() if data in content}
    return where, held


def _in_memory(pid: int, wanted: dict[str, bytes]) -> Iterator[str]:
    """The words in what a process can write to (Linux, proc(5)); OSError where that cannot be read."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    longest = max(map(len, wanted.values()))
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps.splitlines():
            bounds, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            for at in range(start, end, PIECE):
                memory.seek(at)
                content = _read(memory, min(PIECE + longest, end - at))
                yield from (word for word, data in wanted.items() if data in content)


def _read(memory: BinaryIO, size: int) -> bytes:
    """Nothing where a page cannot be read."""
    try:
        return memory.read(size)
    except OSError:
        return b""


# --- the steps ----------------------------------------------------------------------------------------------------


def look_into_the_house(story: Story) -> None:
    """The clearing house knows who, when and how much, and nothing else."""
    passed = relayed(story.house)
    for label, (envelopes, size) in sorted(passed.items()):
        story.tell(story.house, f"its metrics: {envelopes} envelopes, {size} bytes, from {label}")
    check(len(passed) == 2, f"it should have carried for two and has for {len(passed)}")
    secrets = {TAXI_DRIVER.uid, TAXI_DRIVER.contract_id, SEALED_CDR}
    where, held = found_in(story.house, secrets)
    check(not held, f"{story.house.name} holds {', '.join(sorted(held))} of what it carried")
    _, known = found_in(story.taxi, secrets)
    check(
        known == secrets, f"the search does not find {', '.join(sorted(secrets - known))} at {story.taxi.name} either"
    )
    story.tell(story.house, f"neither card, contract nor bill stands in its {where}")
    story.tell(story.taxi, "the same search finds all three here")


def alter_the_proof(story: Story) -> None:
    """The bill's proof is the two companies' own: who changes a digit of it is found out."""
    bundle, forged = story.room / "sealed.json", story.room / "forged.json"
    story.taxi.daemon.run("ledger", "export", SEALED_CDR, str(bundle))
    proof = bundle.read_text()
    check(story.house.api.get("/v1/status")["endpoint_id"] not in proof, f"{story.house.name} has a part in the proof")
    if not VERIFY.exists():
        story.tell(story.taxi, f"`roamd ledger export {SEALED_CDR}` names the two alone; its checker is in the sources")
        return
    done = run_roamd(str(bundle), command=(sys.executable, str(VERIFY)))
    story.tell(story.taxi, f"`scripts/verify-evidence`: {done.out.strip().splitlines()[-1]}, signed by the two alone")
    forged.write_text(proof.replace(PRICE, PRICE.replace("9", "8")))
    check(forged.read_text() != proof, "the bill's price is not where it was looked for")
    refused = run_roamd(str(forged), command=(sys.executable, str(VERIFY)), expect=(1,))
    story.tell(story.taxi, f"the same for 8 EUR in the place of 9: {refused.err.strip().splitlines()[-1]}")
