"""What the backend reads of all that happened."""

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """Everything that came in, in order. Reply: EventPage at once, perhaps empty (waiting is the reader's)."""

    after: str | None = None
    limit: int = 100


class Event(msgspec.Struct, frozen=True):
    """One thing that came in. `data` is ready JSON text."""

    id: str
    cursor: str
    at: str
    peer: str | None
    type: str
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class EventPage:
    """`next` is always a cursor, also when there are no items. `more`: the page ended before the events did."""

    items: list[Event]
    next: str
    more: bool


@dataclass(frozen=True, slots=True)
class AcknowledgeEvents:
    """Let events up to the cursor be deleted after 24 h. Reply: None."""

    cursor: str


@dataclass(frozen=True, slots=True)
class WebhookPosition:
    """Get (`cursor` None) or set how far a webhook has come. Reply: cursor."""

    name: str
    cursor: str | None = None
