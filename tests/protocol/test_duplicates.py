"""Both sides decide alike which of two links stays, whatever order they saw them come up in."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from roamd.protocol.codes import GoodbyeCode
from roamd.protocol.duplicates import LinkFacts, resolve

SMALL, LARGE = "A" * 56, "B" * 56


def link(dialler: str, order: int, run: bytes = b"run", instance: bytes = b"instance") -> LinkFacts:
    return LinkFacts(dialler, instance, run, order)


def test_the_link_that_the_smaller_endpoint_dialled_stays() -> None:
    by_small, by_large = link(SMALL, 1), link(LARGE, 2)
    verdict = resolve(SMALL, LARGE, by_small, by_large)
    assert verdict is not None
    assert (verdict.stays, verdict.closes) == (by_small, by_large)
    assert verdict.code is GoodbyeCode.DUPLICATE


def test_of_two_links_with_the_same_dialler_the_newest_stays() -> None:
    for dialler in (SMALL, LARGE):
        verdict = resolve(SMALL, LARGE, link(dialler, 5), link(dialler, 4))
        assert verdict is not None
        assert verdict.stays.order == 5


def test_a_new_run_replaces_the_older_one_whoever_dialled() -> None:
    for own, peer in ((SMALL, LARGE), (LARGE, SMALL)):
        old, new = link(SMALL, 1, b"old"), link(LARGE, 2, b"new")
        verdict = resolve(own, peer, old, new)
        assert verdict is not None
        assert (verdict.stays, verdict.we_close, verdict.code) == (new, True, GoodbyeCode.REPLACED)


def test_links_of_different_instances_do_not_compete() -> None:
    assert resolve(SMALL, LARGE, link(SMALL, 1, instance=b"one"), link(SMALL, 2, instance=b"two")) is None


@given(st.sampled_from([SMALL, LARGE]), st.sampled_from([SMALL, LARGE]), st.booleans())
def test_exactly_one_side_closes_and_never_both_links_are_closed(one: str, other: str, seen_alike: bool) -> None:
    """Two links with different diallers may come up in another order at each side; the verdict must not care."""
    first, second = link(one, 1), link(other, 2)
    at_small = resolve(SMALL, LARGE, first, second)
    crossed = not seen_alike and one != other
    mirrored = (replace(first, order=2), replace(second, order=1)) if crossed else (first, second)
    at_large = resolve(LARGE, SMALL, *mirrored)
    assert at_small is not None
    assert at_large is not None
    assert at_small.we_close
    assert not at_large.we_close
    if one != other:
        assert at_small.closes.dialler == at_large.closes.dialler == LARGE
