"""Descriptors: signed, bounded, and refused when anything is off."""

from contextlib import suppress

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roamd.errors import NotTrusted
from roamd.trust.descriptor import Descriptor, encode_descriptor, is_address, verify_descriptor
from roamd.trust.documents import pack, unpack
from roamd.trust.sealing import SealingKey
from tests.support.trust import descriptor, descriptor_data, identity

OWN, OTHER = identity(0), identity(1)


def refusal(data: bytes) -> str:
    with pytest.raises(NotTrusted) as caught:
        verify_descriptor(data)
    return caught.value.reason


def forged(document: list[object] | bytes, algorithm: str = "ecdsa-p256-sha256") -> bytes:
    """Whatever document, with a good signature of OWN."""
    data = document if isinstance(document, bytes) else pack(document)
    return pack([algorithm, data, OWN.sign(data)])


def elements(**changes: object) -> list[object]:
    own: Descriptor = descriptor(OWN, **changes)
    return ["roamd descriptor 1", *(getattr(own, name) for name in Descriptor.__slots__)]


def test_a_descriptor_comes_back_as_it_was_signed() -> None:
    assert verify_descriptor(descriptor_data(OWN)) == descriptor(OWN)
    dial_only = descriptor(OWN, addresses=(), name="Größer Ladén", parties=("DEABC", "NLXYZ"), roles=("cso", "csp"))
    assert verify_descriptor(encode_descriptor(dial_only, OWN)) == dial_only
    sealed = descriptor(OWN, roles=("clearing-house",), sealing_key=SealingKey.of_seed(bytes(48)).public)
    assert verify_descriptor(encode_descriptor(sealed, OWN)) == sealed


def test_the_document_is_plain_msgpack_by_position() -> None:
    algorithm, document, signature = msgpack.unpackb(descriptor_data(OWN))
    assert algorithm == "ecdsa-p256-sha256"
    assert msgpack.unpackb(document)[:2] == ["roamd descriptor 1", OWN.endpoint_id]
    assert 68 <= len(signature) <= 72


def test_elements_of_a_later_version_are_ignored() -> None:
    assert verify_descriptor(forged([*elements(), "new", [1, 2]])) == descriptor(OWN)


def test_a_descriptor_of_a_version_without_sealing_keys_has_none() -> None:
    assert verify_descriptor(forged(elements()[:-1])) == descriptor(OWN, sealing_key=b"")


def test_nobody_signs_for_another() -> None:
    with pytest.raises(ValueError, match="signed by the endpoint"):
        encode_descriptor(descriptor(OTHER), OWN)
    stolen = [*elements()]
    stolen[1:3] = [OTHER.endpoint_id, OTHER.certificate_der]
    assert refusal(forged(stolen)) == "bad-signature"
    stolen[2] = OWN.certificate_der
    assert refusal(forged(stolen)) == "wrong-name"


SIGNED = descriptor_data(OWN)


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_no_changed_byte_passes(position: int, flip: int) -> None:
    data = bytearray(SIGNED)
    data[position] ^= flip
    with pytest.raises(NotTrusted):
        verify_descriptor(bytes(data))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "line\nbreak"},
        {"name": "\u202eesrever"},
        {"parties": ()},
        {"parties": ("DE*ABC",)},
        {"parties": ("deabc",)},
        {"parties": ("DEABC", "DEABC")},
        {"parties": tuple(f"DE{n:03}" for n in range(33))},
        {"roles": ("CSO",)},
        {"addresses": ("nowhere",)},
        {"addresses": ("host:0",)},
        {"addresses": ("host:65536",)},
        {"addresses": ("a b:1",)},
        {"sequence": -1},
        {"sequence": True},
        {"sequence": "1"},
        {"valid_until_ms": 1.5},
        {"sealing_key": bytes(65)},
        {"sealing_key": b"\x04"},
        {"sealing_key": "text"},
        {"sealing_key": None},
    ],
)
def test_a_signed_document_of_the_wrong_form_is_refused(changes: dict[str, object]) -> None:
    assert refusal(forged(elements(**changes))) == "malformed"


NO_DESCRIPTORS = {
    "nothing": b"",
    "an empty array": b"\x90",
    "a byte that means nothing": b"\xc1",
    "a packed empty array": pack([]),
    "an algorithm alone": pack(["ecdsa-p256-sha256"]),
    "a map": msgpack.packb({"a": 1}),
    "maps inside": msgpack.packb([{}, {}, {}]),
    "an extension type": msgpack.packb([msgpack.ExtType(1, b"")]),
    "arrays in arrays": b"\x91" * 10_000,
    "a length that is not there": b"\xdd\xff\xff\xff\xff",
    "text that is not UTF-8": b"\x93\xa1\xff",
    "something behind it": descriptor_data(OWN) + b"\0",
    "too much": b"x" * 20_000,
    "an empty document, signed": forged(b"\x90"),
    "another version, signed": forged(["roamd descriptor 2", *elements()[1:]]),
}


@pytest.mark.parametrize("data", NO_DESCRIPTORS.values(), ids=NO_DESCRIPTORS)
def test_what_is_no_descriptor_is_refused_without_a_traceback(data: bytes) -> None:
    assert refusal(data) == "malformed"


def test_an_unknown_algorithm_is_named() -> None:
    assert refusal(forged(elements(), algorithm="ed25519")) == "unknown-algorithm"


@given(st.binary(max_size=300))
def test_no_bytes_of_a_stranger_raise_anything_else(data: bytes) -> None:
    with suppress(NotTrusted):
        fields = unpack(data)
        fields.text(10)
        fields.texts(3, 10)
        fields.number()


@pytest.mark.parametrize("address", ["roam.example:63119", "192.0.2.1:1", "[2001:db8::1]:63119", "localhost:65535"])
def test_addresses_that_can_be_dialled(address: str) -> None:
    assert is_address(address)


@pytest.mark.parametrize(
    "address", ["", ":1", "host", "host:", "2001:db8::1:63119", "host:port", "host:1\n", "x" * 300 + ":1"]
)
def test_addresses_that_cannot(address: str) -> None:
    assert not is_address(address)
