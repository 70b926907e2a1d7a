"""The story's assertion, and its time."""

import time


class StoryError(Exception):
    """Something was not as the story says; the text is one plain sentence."""


def check(holds: object, otherwise: str) -> None:
    """The story's assertion: raises StoryError with the sentence given."""
    if not holds:
        raise StoryError(otherwise)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
