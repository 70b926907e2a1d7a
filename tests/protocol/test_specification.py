"""The written specification says what the code does: its tables are read and compared."""

import re
from pathlib import Path

from roamd.protocol.calls import Service
from roamd.protocol.codes import GoodbyeCode, Reconnect, reconnect_after
from roamd.protocol.frames import RULES, FrameType
from roamd.protocol.ledger import EntryKind
from roamd.protocol.messages import MANY, AnswerStatus

TEXT = (Path(__file__).resolve().parents[2] / "roamd" / "protocol" / "README.md").read_text(encoding="utf-8")
AGAIN = {"B": Reconnect.BACK_OFF, "U": Reconnect.AFTER_UNTIL, "N": Reconnect.NEVER_BY_ITSELF, "L": Reconnect.LATE}


def rows(section: int) -> list[list[str]]:
    """The cells of all table rows of a section that begin with a number."""
    part = re.split(r"^## ", TEXT, flags=re.MULTILINE)[section]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")
    ]
    return [cells for cells in lines if re.match(r"\d+", cells[0])]


def squeezed(name: str) -> str:
    return name.replace("_", "").replace(" ", "").upper()


def test_the_table_of_frames_is_the_table_in_the_code() -> None:
    written = {int(cells[0]): cells for cells in rows(2) if len(cells) == 5 and cells[0].isdigit()}
    assert set(written) == set(RULES)
    for number, rule in RULES.items():
        _, name, lane, largest, payload = written[number]
        assert name.upper() == squeezed(FrameType(number).name)
        assert int(lane.split()[0]) == rule.lane
        assert largest == f"{rule.max_payload // 1024} KiB"
        most = re.fullmatch(r"array of 1 to (\d+)", payload)
        assert (int(most[1]) if most else None) == MANY.get(FrameType(number))


def test_the_table_of_goodbye_codes_is_the_table_in_the_code() -> None:
    written = {int(cells[0]): (cells[1], AGAIN[cells[2]]) for cells in rows(13)}
    assert written == {int(code): (code.name, reconnect_after(code)) for code in GoodbyeCode}


def test_every_code_in_brackets_exists() -> None:
    assert set(re.findall(r"\[([A-Z_]{4,})\]", TEXT)) <= set(GoodbyeCode.__members__)


def test_statuses_and_services_are_those_in_the_code() -> None:
    written = [(int(cells[0]), cells[1]) for cells in rows(9)]
    assert written[: len(AnswerStatus)] == [(int(status), status.name) for status in AnswerStatus]
    assert [(number, squeezed(name)) for number, name in written[len(AnswerStatus) :]] == [
        (int(service), squeezed(service.name)) for service in Service
    ]


def test_every_kind_of_entry_is_named_with_its_number() -> None:
    for kind in EntryKind:
        assert re.search(rf"\b{int(kind)} (\| )?{kind.name}\b", TEXT), kind
