"""Whose card is it: a hundred CSPs, a million cards, and who would be shown a card that is held against a reader.

The filters are the objects that a CSP publishes, mirrored in a store and loaded from there as at a start.
"""

import random
import statistics
import time
import tracemalloc
from dataclasses import dataclass

from roamd.model.agreement import preset
from roamd.model.credentials import canonical_uid
from roamd.model.filter import DIGEST, NEW, digest, index_at, names_of, write_segment
from roamd.model.keys import ObjectKey
from roamd.roaming.credentialfilter.own import FEED, OCPI, depth_for
from roamd.roaming.credentialfilter.theirs import TheirFilters
from roamd.roaming.directory import PAIRED, Directory, Peer
from roamd.storage import feeds
from roamd.storage.peers import PeerRow
from roamd.storage.store import Store
from tests.bench.load import Measured
from tests.bench.probes import probe
from tests.bench.stage import Stage

PEERS = 100
CARDS = 1_000_000
TAPS = 2_000
UID_BYTES = 7


@dataclass
class Street:
    """What a CSO holds, and some cards of each CSP."""

    filters: TheirFilters
    peers: list[Peer]
    own: list[str]
    load_s: float
    memory: int


def _uid(rng: random.Random) -> str:
    return rng.randbytes(UID_BYTES).hex().upper()


def _publish(store: Store, label: str, party: str, key: bytes, uids: list[str], rest: bytes) -> None:
    """The CSP's objects in our mirror: the cards of these uids, and others of which only the digests are known."""
    digests = rest + b"".join(digest(uid) for uid in uids)
    depth = depth_for(len(digests) // DIGEST, None)
    segments: list[list[bytes]] = [[] for _ in range(1 << depth)]
    for at in range(0, len(digests), DIGEST):
        one = digests[at : at + DIGEST]
        segments[index_at(depth, one)].append(one)
    objects = {f"{depth}-{index}": b"".join(cards) for index, cards in enumerate(segments)} | {NEW: b""}
    for name, cards in objects.items():
        body = write_segment(party, name, key, cards)
        store.write(
            lambda cx, name=name, body=body: feeds.mirror_put_txn(  # type: ignore[misc]  # mypy and defaults
                cx, label, FEED, ObjectKey(party, name), ocpi=OCPI, body=body, generation=0
            )
        )


def _row(label: str, party: str) -> PeerRow:
    return PeerRow(
        peer=label, endpoint_id=label, identity_der=b"", name=label, parties=(party,), state=PAIRED, address=None,
        descriptor=b"", descriptor_sequence=1, agreement_json=preset(["cso"], ["csp"], [party]).to_json(),
        rights_version=1, words="", paired_at_ms=0, joined_by_us=False,
    )  # fmt: skip


def _street() -> Street:
    rng = random.Random(1)  # noqa: S311 -- the same cards in every run
    store, directory, own = Store.open_memory(), Directory(), []
    for number in range(PEERS):
        party, label = f"FR{number:03}", f"csp-{number}"
        mine = [_uid(rng) for _ in range(TAPS // PEERS)]
        rest = rng.randbytes(DIGEST * (CARDS // PEERS - len(mine)))
        _publish(store, label, party, rng.randbytes(16), mine, rest)
        directory.put(_row(label, party))
        own += mine
    filters = TheirFilters(store, directory)
    began = time.process_time()
    filters.load()
    load_s = time.process_time() - began
    return Street(filters, list(directory), own, load_s, _held(store, directory))


def _held(store: Store, directory: Directory) -> int:
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        held = TheirFilters(store, directory)
        held.load()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def _taps(street: Street, uids: list[str]) -> tuple[list[int], list[float]]:
    """How many peers would be asked about each card, and the milliseconds that took."""
    asked, took = [], []
    for uid in uids:
        began = time.thread_time()
        waves = street.filters("RFID", canonical_uid("RFID", uid), street.peers)
        took.append((time.thread_time() - began) * 1000)
        asked.append(sum(map(len, waves)))
    return asked, took


@probe("whose-card", once=True)
def whose_card(stage: Stage) -> Measured:
    """Cards of the CSPs, each of one of them, and cards of nobody."""
    del stage
    street = _street()
    rng = random.Random(2)  # noqa: S311 -- the same strangers in every run
    known, took = _taps(street, street.own)
    strangers, _ = _taps(street, [_uid(rng) for _ in range(TAPS)])
    assert min(known) >= 1, "a driver was lost"
    wrong = sum(known) - len(known) + sum(strangers)
    return {
        "asked": statistics.mean(known),
        "asked_about_strangers": statistics.mean(strangers),
        "false_percent": 100 * wrong / ((len(known) + len(strangers)) * PEERS),
        "look_up_ms": statistics.median(took),
        "bytes_per_card": street.memory / CARDS,
        "load_s": street.load_s,
    }


@probe("card-filter", once=True)
def card_filter(stage: Stage) -> Measured:
    """The processor time of a CSP for a filter of a million cards: once for all peers, and then for each."""
    del stage
    rng = random.Random(3)  # noqa: S311
    sample = [_uid(rng) for _ in range(20_000)]
    began = time.thread_time()
    for uid in sample:
        digest(names_of(uid, None)[0].text)
    once = (time.thread_time() - began) / len(sample) * CARDS
    segments = 1 << depth_for(CARDS, None)
    cards = rng.randbytes(DIGEST * (CARDS // segments))
    longest, size = 0.0, 0
    began = before = time.thread_time()
    for index in range(segments):
        size += len(write_segment("FRRMD", f"0-{index}", rng.randbytes(16), cards)) * 3 // 4
        longest, before = max(longest, time.thread_time() - before), time.thread_time()
    each = time.thread_time() - began
    return {"once_s": once, "each_s": each, "segment_ms": longest * 1000, "bytes_per_card": size / CARDS}
