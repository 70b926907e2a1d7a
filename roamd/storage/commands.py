"""Commands that we asked of peers and that peers asked of us, with their answers: nothing is asked or done twice."""

# ruff: noqa: S608 - what is formatted into statements here are constants of this file; values are always bound

from typing import NamedTuple

from roamd.storage.cx import NO_LIMIT, Cx


class CommandRow(NamedTuple):
    """One command; `answer_status` None means that there is no answer yet. `id` 0 is a row that is not stored."""

    direction: str
    peer: str
    command_id: str
    command: str
    party: str
    station: str
    subject: str
    evse_uid: str | None
    state: str
    reason: str | None
    late: str
    authorization_reference: str | None
    session_id: str | None
    request_hash: bytes
    answer_status: int | None
    answer: bytes | None
    asked_ms: int
    expires_ms: int
    updated_ms: int
    due_ms: int | None
    id: int = 0


_COLUMNS = ", ".join(CommandRow._fields[:-1])
_MARKS = ", ".join("?" for _ in CommandRow._fields[:-1])
_SELECT = f"SELECT {_COLUMNS}, id FROM commands"


def insert_txn(cx: Cx, row: CommandRow) -> CommandRow:
    """Keep a new command; the row with its number."""
    return row._replace(id=cx.value(f"INSERT INTO commands ({_COLUMNS}) VALUES ({_MARKS}) RETURNING id", row[:-1]))


def update_txn(cx: Cx, row: CommandRow) -> None:
    """Keep what became of it."""
    cx.run(
        "UPDATE commands SET state = ?, reason = ?, session_id = ?, answer_status = ?, answer = ?, updated_ms = ?,"
        " due_ms = ? WHERE id = ?",
        (row.state, row.reason, row.session_id, row.answer_status, row.answer, row.updated_ms, row.due_ms, row.id),
    )


def get(cx: Cx, direction: str, peer: str, command_id: str) -> CommandRow | None:
    """The command of that id with that peer."""
    return _first(cx, "WHERE command_id = ? AND direction = ? AND peer = ?", (command_id, direction, peer))


def by_id(cx: Cx, row_id: int) -> CommandRow | None:
    """The command of that number."""
    return _first(cx, "WHERE id = ?", (row_id,))


def find(cx: Cx, command_id: str, direction: str | None = None) -> list[CommandRow]:
    """Commands of that id; ids are random, so more than one means that a peer repeats another's."""
    where = "WHERE command_id = ?" + (" AND direction = ?" if direction else "")
    return _rows(cx, where + " ORDER BY id", (command_id, *((direction,) if direction else ())))


def by_reference(cx: Cx, direction: str, reference: str) -> CommandRow | None:
    """The newest command that carried this authorization reference."""
    where = "WHERE authorization_reference = ? AND direction = ? ORDER BY id DESC LIMIT 1"
    return _first(cx, where, (reference, direction))


def starts_of(cx: Cx, reference: str) -> list[CommandRow]:
    """Starts asked of us that carried this authorization reference, the newest first."""
    where = "WHERE authorization_reference = ? AND direction = 'in' AND command = 'START_SESSION' ORDER BY id DESC"
    return _rows(cx, where, (reference,))


def peer_of_reference(cx: Cx, reference: str) -> str | None:
    """Which peer's command carried this authorization reference, the latest if several did."""
    where = "WHERE authorization_reference = ? AND direction = 'in' ORDER BY id DESC LIMIT 1"
    row = _first(cx, where, (reference,))
    return row.peer if row else None


def peers_of_reference(cx: Cx, reference: str) -> set[str]:
    """All whose commands carried this authorization reference."""
    sql = "SELECT peer FROM commands WHERE authorization_reference = ? AND direction = 'in'"
    return {row[0] for row in cx.run(sql, (reference,))}


def about(cx: Cx, direction: str, command: str, subject: str) -> list[CommandRow]:
    """Commands of a kind about a session, location or reservation, the newest first."""
    where = "WHERE subject = ? AND command = ? AND direction = ? ORDER BY id DESC"
    return _rows(cx, where, (subject, command, direction))


def reserving(cx: Cx, direction: str, kinds: tuple[str, ...], reservation_id: str) -> list[CommandRow]:
    """Commands of these kinds about a reservation (its folded id), the newest first."""
    return [row for kind in kinds for row in about(cx, direction, kind, reservation_id)]


def of_session(cx: Cx, direction: str, session_id: str) -> list[CommandRow]:
    """Starts that led to this session (its folded id), the newest first."""
    return _rows(
        cx,
        "WHERE UPPER(session_id) = ? AND direction = ? AND command = 'START_SESSION' ORDER BY id DESC",
        (session_id, direction),
    )


def page(
    cx: Cx, after: int, limit: int, *, direction: str | None, peer: str | None, reference: str | None
) -> list[CommandRow]:
    """A page of commands, oldest first."""
    named = [("direction", direction), ("peer", peer), ("authorization_reference", reference)]
    given = [(name, value) for name, value in named if value is not None]
    where = "".join(f" AND {name} = ?" for name, _ in given)
    return _rows(cx, f"WHERE id > ?{where} ORDER BY id LIMIT ?", (after, *(value for _, value in given), limit))


def unanswered(cx: Cx, direction: str, peer: str | None = None) -> list[CommandRow]:
    """Commands without an answer."""
    named = " AND peer = ?" if peer is not None else ""
    where = f"WHERE direction = ? AND answer_status IS NULL{named} ORDER BY id"
    return _rows(cx, where, (direction, *((peer,) if peer is not None else ())))


def due(cx: Cx) -> list[CommandRow]:
    """All that roamd has to look at again by itself."""
    return _rows(cx, "WHERE due_ms IS NOT NULL ORDER BY due_ms", ())


def purge_txn(cx: Cx, before_ms: int, limit: int = NO_LIMIT) -> list[CommandRow]:
    """Forget commands that nothing has happened to since, unless roamd still has to do with them; which they were.

    The first `limit` of them.
    """
    gone = _rows(cx, "WHERE updated_ms < ? AND due_ms IS NULL ORDER BY id LIMIT ?", (before_ms, limit))
    cx.many("DELETE FROM commands WHERE id = ?", [(row.id,) for row in gone])
    return gone


def _first(cx: Cx, where: str, params: tuple[object, ...]) -> CommandRow | None:
    row = cx.one(f"{_SELECT} {where}", params)
    return CommandRow._make(row) if row else None


def _rows(cx: Cx, where: str, params: tuple[object, ...]) -> list[CommandRow]:
    return [CommandRow._make(row) for row in cx.run(f"{_SELECT} {where}", params)]
