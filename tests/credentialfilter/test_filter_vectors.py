"""The published filters, read by one who knows only the specification."""

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[1] / "vectors" / "filter.json").read_text(encoding="utf-8")
)
KEY = bytes.fromhex(VECTORS["key"])


def digest_of(name: str) -> bytes:
    return sha256(b"roamd card 1\0\0\0\0" + name.encode()).digest()[:16]


def mark_of(name: str) -> bytes:
    aes = Cipher(algorithms.AES(KEY), modes.CBC(bytes(16))).encryptor()  # one block after zeros: AES itself
    return aes.update(digest_of(name)) + aes.finalize()


def values_in(body: dict[str, Any]) -> list[int]:
    """Bit by bit, as the specification tells it."""
    cards, content = body.get("cards", 0), base64.b64decode(body.get("filter", ""), validate=True)
    high, remainders = content[: (2 * cards + 7) // 8], content[(2 * cards + 7) // 8 :]
    values: list[int] = []
    bucket = 0
    for bit in "".join(f"{byte:08b}" for byte in high):
        if bit == "1":
            values.append(bucket * 256 + remainders[len(values)])
        else:
            bucket += 1
    assert len(values) == len(remainders) == cards
    return values


def value_of(name: str, cards: int) -> int:
    return int.from_bytes(mark_of(name)[:4], "little") * 256 * cards // 2**32


def test_names_have_their_digests() -> None:
    for row in VECTORS["names"]:
        assert digest_of(row["name"]).hex() == row["digest"]


@pytest.mark.parametrize("vector", VECTORS["objects"], ids=lambda vector: f"{vector['id']} of {len(vector['cards'])}")
def test_an_object_holds_its_cards_and_not_the_others(vector: dict[str, Any]) -> None:
    body = json.loads(vector["body"])
    assert (body["id"], body["key"], body.get("cards", 0)) == (vector["id"], VECTORS["key"], len(vector["cards"]))
    assert [mark_of(name).hex() for name in vector["cards"]] == vector["marks"]
    values = values_in(body)
    assert values == sorted(values) == vector["values"]
    assert all(value_of(name, len(values)) in values for name in vector["cards"])
    assert vector["not_in_it"]
    assert not any(values and value_of(name, len(values)) in values for name in vector["not_in_it"])


def test_a_segment_covers_the_digests_that_begin_with_its_number() -> None:
    [half] = [vector for vector in VECTORS["objects"] if vector["id"] == "1-1"]
    assert half["cards"]
    assert all(digest_of(name)[0] >= 128 for name in half["cards"])


def test_an_open_filter_says_so() -> None:
    assert json.loads(VECTORS["matches_all"])["matches_all"] is True
