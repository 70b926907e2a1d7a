"""No bytes of a stranger raise anything but an error of ours. `scripts/fuzz` runs the same for as long as one likes."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from roamd.errors import RoamdError
from tests.fuzz.mutations import inputs
from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(__file__).parent / "corpus"
EXAMPLES = 60
"""For each target in each run of the tests; always the same ones."""

each_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


def vectors(name: str) -> list[Path]:
    """The inputs that once did harm, and some that are at an edge."""
    return sorted((CORPUS / name).glob("*"))


def run(target: Target, data: bytes) -> None:
    with contextlib.suppress(RoamdError):
        target.run(data)


@each_target
def test_what_a_well_behaved_sender_makes_is_taken(target: Target) -> None:
    """Else the fuzzer would stand before a closed door and find nothing."""
    for seed in target.seeds():
        target.run(seed)


@each_target
def test_what_once_did_harm_does_none_any_more(target: Target) -> None:
    for vector in vectors(target.name):
        run(target, vector.read_bytes())


@each_target
def test_no_bytes_raise_anything_but_an_error_of_ours(target: Target) -> None:
    given_inputs = inputs([*target.seeds(), *(vector.read_bytes() for vector in vectors(target.name))])

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(given_inputs)
    def fuzz(data: bytes) -> None:
        run(target, data)

    fuzz()


def test_every_vector_belongs_to_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= TARGETS.keys()


def test_a_target_that_raises_something_else_is_noticed() -> None:
    """A test of the test: the harness lets nothing but our own errors pass."""

    def broken(data: bytes) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        run(Target("broken", broken, list), b"")
