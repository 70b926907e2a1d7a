"""Drivers who ask what is held of them, or to be forgotten."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ExportSubject:
    """Everything that is held of a driver, named by type and uid, contract id, or both. Reply: JSON-able dict."""

    type: str | None = None
    uid: str | None = field(default=None, repr=False)
    contract_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class EraseSubject:
    """Erase it, and ask the peers to do the same. Reply: privacy.erase.Erasing.

    Conflict, with nothing erased, while records must be kept by law or were not delivered yet, or something of his goes
    on: unless `force`. `keep_records` erases all but service records.
    """

    type: str | None = None
    uid: str | None = field(default=None, repr=False)
    contract_id: str | None = field(default=None, repr=False)
    keep_records: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class ListErasures:
    """What peers answered, by request and peer. Reply: list of dicts; NotFound for a request that asked nobody."""

    request: str | None = None
