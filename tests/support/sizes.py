"""What a script's sizes may be. A proof of nothing would pass, so a size that leaves nothing to prove is refused."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from typing import TypeVar

N = TypeVar("N", int, float)


def whole(least: int) -> Callable[[str], int]:
    """A type for argparse: whole numbers from `least` on."""

    def parse(text: str) -> int:
        number = _number(int, text)
        if number is None or number < least:
            raise ArgumentTypeError(f"a whole number, at least {least}: not {text!r}")
        return number

    return parse


def above_zero(text: str) -> float:
    """A type for argparse: a number above zero."""
    number = _number(float, text)
    if number is None or not 0 < number < math.inf:
        raise ArgumentTypeError(f"a number above zero: not {text!r}")
    return number


def seeds(text: str) -> range:
    """A type for argparse: `A..B` with both included, or one."""
    first, _, last = text.partition("..")
    low = _number(int, first)
    high = low if not last else _number(int, last)
    if low is None or high is None or not 0 <= low <= high:
        raise ArgumentTypeError(f"seeds are A..B, from the smaller to the larger: not {text!r}")
    return range(low, high + 1)


def some_of(known: Iterable[str]) -> Callable[[str], frozenset[str]]:
    """A type for argparse: some of these names, with commas between; all of them when there is none."""
    names = frozenset(known)

    def parse(text: str) -> frozenset[str]:
        chosen = frozenset(filter(None, map(str.strip, text.split(","))))
        if unknown := chosen - names:
            raise ArgumentTypeError(f"not known: {', '.join(sorted(unknown))}; known: {', '.join(sorted(names))}")
        return chosen or names

    return parse


def _number(kind: Callable[[str], N], text: str) -> N | None:
    try:
        return kind(text)
    except ValueError:
        return None
