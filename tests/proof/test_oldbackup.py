"""What `scripts/oldbackup` looks at, in two companies without processes; that restores work there: tests/processes."""

from collections.abc import Iterator

import pytest

from tests.model import bodies
from tests.proof.oldbackup import Place, places, used_twice
from tests.support.roaming import Company, StillClock, captured, carry


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    with captured():
        yield


@pytest.fixture
def pair() -> tuple[Company, Company]:
    clock = StillClock()
    cso, csp = Company(1, "DEABC", "cso", clock=clock), Company(2, "FRRMD", "csp", clock=clock)
    cso.meets(csp, "rmd")
    csp.meets(cso, "abc")
    return cso, csp


def seen(cso: Company, csp: Company) -> set[tuple[Place, bytes]]:
    return cso.store.read(lambda cx: places(cx.run, "cso", "csp")) | csp.store.read(
        lambda cx: places(cx.run, "csp", "cso")
    )


def hand_in(cso: Company, *numbers: int) -> None:
    for number in numbers:
        cso.hand_in(bodies.cdr(id=f"C-{number:04}"))


def test_both_sides_say_the_same_of_each_place(pair: tuple[Company, Company]) -> None:
    cso, csp = pair
    hand_in(cso, 1, 2, 3)
    carry(cso, csp)
    assert cso.store.read(lambda cx: places(cx.run, "cso", "csp")) == seen(cso, csp)
    assert sorted(place[2] for place, _ in seen(cso, csp)) == [1, 2, 3]
    assert used_twice(seen(cso, csp)) == []


def test_a_planted_author_that_goes_on_as_if_it_had_not_been_restored_is_caught(pair: tuple[Company, Company]) -> None:
    cso, csp = pair
    hand_in(cso, 1)
    carry(cso, csp)
    backup = cso.store.snapshot_bytes()
    hand_in(cso, 2)
    carry(cso, csp)
    before = seen(cso, csp)
    restored = cso.restored(backup)
    hand_in(restored, 3)
    carry(restored, csp)  # nothing is mended before it
    ((author, _, sequence),) = used_twice(before, seen(restored, csp))
    assert (author, sequence) == ("cso", 2)
