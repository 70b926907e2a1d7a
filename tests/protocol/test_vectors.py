"""The published vectors: read by ours, and by an independent reader that knows only the specification and msgpack."""

import json
import shutil
import subprocess
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from struct import pack, unpack_from
from typing import Any

import msgpack
import pytest
import zstandard

from roamd.errors import ProtocolError
from roamd.protocol.bulk import unpack_feed_chunk, unpack_ledger_batch
from roamd.protocol.connection import Connection
from roamd.protocol.events import Answers, BulkLedger, Calls, Cancels, FeedAcks, HelloReceived, PeerSaidGoodbye, WentUp
from roamd.protocol.frames import MAX_PAYLOAD
from roamd.protocol.messages import DECODERS, decode
from roamd.protocol.states import State
from tests.support.wire import CLOCK_MS, LISTENER, hello

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "vectors"


def vectors(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def plain(value: Any) -> Any:
    """The vectors' notation as msgpack's own types: objects with field names become arrays by position."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if set(value) == {"hex"} else [plain(element) for element in value.values()]
    return [plain(element) for element in value] if isinstance(value, list) else value


def openssl_accepts(public_key: str, document: bytes, signature: bytes, folder: Path) -> bool:
    """As an auditor would: `openssl dgst -sha256 -verify key.pem -signature signature document`."""
    names = {"key.pem": public_key.encode(), "signature": signature, "document": document}
    for name, content in names.items():
        (folder / name).write_bytes(content)
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    command = [openssl, "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "document"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 0


def without_compressed(value: Any) -> Any:
    """zstd promises the same content, not the same bytes from every release."""
    return {part: {key: field for key, field in row.items() if key != "payload"} for part, row in value.items()}


@pytest.mark.parametrize(
    "name", ["frames", "messages", "calls", "ledger", "bulk", "link", "filter", "malformed", "sealing"]
)
def test_the_script_makes_the_same_files_again(name: str) -> None:
    loader = SourceFileLoader("make_vectors", str(ROOT / "scripts" / "vectors"))
    spec = spec_from_loader("make_vectors", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    made = json.loads(module.text_of(name))
    if name == "bulk":
        assert without_compressed(made) == without_compressed(vectors(name))
    else:
        assert made == vectors(name)


@pytest.mark.parametrize("row", vectors("frames"), ids=lambda row: f"type {row['type']}")
def test_frames_are_as_the_specification_draws_them(row: dict[str, Any]) -> None:
    payload = bytes.fromhex(row["payload"])
    flags = row["lane"] | (0x40 if row["more"] else 0)
    assert pack(">IBBI", len(payload), row["type"], flags, row["sequence"]) + payload == bytes.fromhex(row["frame"])


@pytest.mark.parametrize("row", vectors("messages"), ids=lambda row: row["name"])
def test_an_independent_library_writes_and_reads_the_same_payloads(row: dict[str, Any]) -> None:
    payload = bytes.fromhex(row["payload"])
    assert msgpack.packb(plain(row["fields"])) == payload
    assert msgpack.unpackb(payload) == plain(row["fields"])
    assert decode(row["type"], payload)


def test_every_message_type_has_a_vector() -> None:
    assert {row["type"] for row in vectors("messages")} == set(DECODERS)


@pytest.mark.parametrize("row", vectors("calls"), ids=lambda row: row["name"])
def test_bodies_of_calls_are_plain_msgpack_too(row: dict[str, Any]) -> None:
    assert msgpack.packb(plain(row["fields"])) == bytes.fromhex(row["body"])


def test_the_chain_is_recomputed_from_the_items_alone() -> None:
    ledger = vectors("ledger")
    previous = bytes(32)
    for row in ledger["items"]:
        kind, name, salt, body, committed, _ = plain({key: row[key] for key in list(row)[:6]})
        committed = committed or sha256(salt + body).digest()
        entry = b"roamd entry 1\0\0\0" + pack(
            ">Q32sHH32s", row["sequence"], previous, kind, len(name.encode()), committed
        )
        entry += name.encode()
        previous = sha256(entry).digest()
        assert (entry.hex(), previous.hex()) == (row["entry"], row["hash"])
    for magic, part in ((b"roamd head 1", "head"), (b"roamd receipt 1", "receipt")):
        names = ledger["author"]["endpoint_id"] + ledger["receiver"]["endpoint_id"]
        document = magic.ljust(16, b"\0") + names.encode() + bytes.fromhex(ledger["epoch"])
        document += pack(">Q32sQ", len(ledger["items"]), previous, ledger[part]["time_ms"])
        assert document.hex() == ledger[part]["document"]


@pytest.mark.parametrize(("part", "signer"), [("head", "author"), ("receipt", "receiver")])
def test_openssl_checks_heads_and_receipts(part: str, signer: str, tmp_path: Path) -> None:
    ledger = vectors("ledger")
    document, signature = bytes.fromhex(ledger[part]["document"]), bytes.fromhex(ledger[part]["signature"])
    key = ledger[signer]["public_key"]
    assert openssl_accepts(key, document, signature, tmp_path)
    assert not openssl_accepts(key, document[:-1] + b"\xff", signature, tmp_path)


def test_an_epoch_opening_names_the_old_head() -> None:
    ledger = vectors("ledger")
    body = bytes.fromhex(ledger["next_epoch_opening"]["body"]["hex"])
    last = ledger["items"][-1]
    assert body == bytes.fromhex(ledger["epoch"]) + pack(">Q", last["sequence"]) + bytes.fromhex(last["hash"]) + b"\0"
    assert bytes.fromhex(ledger["next_epoch_opening"]["entry"])[16:56] == pack(">Q", 1) + bytes(32)


def test_bulk_payloads_hold_the_raw_items() -> None:
    for name, place in (("ledger_batch", 5), ("feed_chunk", 3)):
        row = vectors("bulk")[name]
        raw_size, data = msgpack.unpackb(bytes.fromhex(row["payload"]))[place : place + 2]
        raw = zstandard.ZstdDecompressor().decompress(data)
        assert (len(raw), raw.hex()) == (raw_size, row["raw"])
        assert msgpack.unpackb(raw) == plain(row["items"])
    assert unpack_ledger_batch(bytes.fromhex(vectors("bulk")["ledger_batch"]["payload"])).last_sequence == 2
    assert unpack_feed_chunk(bytes.fromhex(vectors("bulk")["feed_chunk"]["payload"])).items[1].body is None


def test_the_recorded_link_is_understood_flush_by_flush(tmp_path: Path) -> None:
    """Only the listener is ours; the dialler's bytes come from the file."""
    recorded = vectors("link")
    flushes = [bytes.fromhex(row["bytes"]) for row in recorded["flushes"] if row["from"] == "dialler"]
    replies = [bytes.fromhex(row["bytes"]) for row in recorded["flushes"] if row["from"] == "listener"]
    own_hello = decode(1, replies[0][10:])
    listener = Connection(False, own_hello, 0.0, expected_endpoint=recorded["dialler"]["endpoint_id"])
    assert listener.data_to_send() == replies[0]
    events = listener.receive_data(flushes[0] + flushes[1], 0.0, CLOCK_MS)
    leaves = [bytes.fromhex(recorded[name]["leaf_sha256"]) for name in ("listener", "dialler")]
    assert listener.own_proof_document(*leaves).hex() == recorded["proofs"]["listener"]["document"]
    document = listener.peer_proof_document(*leaves)
    assert document.hex() == recorded["proofs"]["dialler"]["document"]
    signature = bytes.fromhex(recorded["proofs"]["dialler"]["signature"])
    assert openssl_accepts(recorded["dialler"]["public_key"], document, signature, tmp_path)
    events += listener.send_proof(bytes.fromhex(recorded["proofs"]["listener"]["signature"]), 0.0)
    assert listener.data_to_send() == replies[1]
    events += listener.proof_verified(0.0, CLOCK_MS)
    for flush in flushes[2:]:
        events += listener.receive_data(flush, 0.0, CLOCK_MS)
    kinds = [type(event) for event in events if type(event).__name__ != "ProofReceived"]
    assert kinds == [HelloReceived, WentUp, Calls, Cancels, BulkLedger, PeerSaidGoodbye]
    assert len(next(event for event in events if isinstance(event, BulkLedger)).payload) > 48 * 1024


def test_the_recorded_replies_are_what_a_dialler_of_ours_expects() -> None:
    recorded = vectors("link")
    own_hello = decode(1, bytes.fromhex(recorded["flushes"][0]["bytes"])[10:])
    dialler = Connection(True, own_hello, 0.0)
    replies = [bytes.fromhex(row["bytes"]) for row in recorded["flushes"] if row["from"] == "listener"]
    dialler.receive_data(replies[0], 0.0, CLOCK_MS)
    dialler.send_proof(b"signature", 0.0)
    dialler.receive_data(replies[1], 0.0, CLOCK_MS)
    dialler.proof_verified(0.0, CLOCK_MS)
    dialler.send_calls(decode(16, call_payload(recorded)))
    dialler.data_to_send(0)
    events = dialler.receive_data(replies[2], 0.0, CLOCK_MS)
    assert {type(event) for event in events} >= {Answers, FeedAcks}


def call_payload(recorded: Any) -> bytes:
    """The payload of the one Call frame in the recorded link."""
    for row in recorded["flushes"]:
        data, at = bytes.fromhex(row["bytes"]), 0
        while at < len(data):
            length, type_ = unpack_from(">IB", data, at)
            assert length <= MAX_PAYLOAD
            if type_ == 16:
                return data[at + 10 : at + 10 + length]
            at += 10 + length
    raise AssertionError("there is no call")


@pytest.mark.parametrize("row", vectors("malformed"), ids=lambda row: row["what"])
def test_malformed_streams_end_with_their_code(row: dict[str, Any]) -> None:
    connection = Connection(False, hello(LISTENER), 0.0)
    with pytest.raises(ProtocolError) as caught:
        connection.receive_data(bytes.fromhex(row["bytes"]), 0.0, CLOCK_MS)
    assert caught.value.goodbye == row["goodbye"]
    assert connection.state is State.LEAVING
