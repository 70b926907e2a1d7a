"""The real objects that stand beside the checkout, where they do."""

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "shared" / "samples"
REASON = "the samples are not beside this checkout"
FEED_OF = {"Location": "locations", "Tariff": "tariffs", "Session": "sessions", "Token": "user-credentials"}
RECORDS = ("CDR",)


@dataclass(frozen=True)
class Sample:
    """One file: its class, its version and the paths of what deviates from the model."""

    name: str
    kind: str
    ocpi: str
    defects: tuple[str, ...]

    @property
    def data(self) -> bytes:
        return (FOLDER / self.name).read_bytes()


def samples() -> list[Sample]:
    """Every whole object of the classes that roamd checks; empty where there are none."""
    if not (FOLDER / "index.json").exists():
        return []
    index = json.loads((FOLDER / "index.json").read_text())
    kinds = {*FEED_OF, *RECORDS, "EVSE"}
    return [
        Sample(name, row["object"], "2.2.1" if "ocpi-2.2.1" in name else "2.3.0", tuple(row["defects"]))
        for name, row in index.items()
        if row["object"] in kinds and not row["partial"]
    ]
