"""Named values, counters, and the runs of the process.

A follower's cursor is (run id, version). Each start draws a random run id and commits it with the first version of
that run before anything is served. A cursor whose run is unknown, or whose version lies beyond that run's end, was
made by a future that a restored backup has forgotten; its holder needs a replacing snapshot.
"""

from roamd.storage.cx import Cx

RESTORED_AT = "restored-at"
"""Set by `backup.restore`: the daemon's next start learns that its store came from a backup."""


def get(cx: Cx, name: str) -> str | None:
    """The value kept under a name."""
    value: str | None = cx.value("SELECT value FROM meta WHERE name = ?", (name,))
    return value


def set_txn(cx: Cx, name: str, value: str) -> None:
    """Keep a value under a name."""
    cx.run(
        "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def delete_txn(cx: Cx, name: str) -> None:
    """Forget a name."""
    cx.run("DELETE FROM meta WHERE name = ?", (name,))


def take_restored_txn(cx: Cx) -> int | None:
    """When this store was restored from a backup, told once: the marker is taken away."""
    value = get(cx, RESTORED_AT)
    delete_txn(cx, RESTORED_AT)
    return None if value is None else int(value)


def counter(cx: Cx, name: str) -> int:
    """How far a counter has come; 0 when it never moved."""
    return cx.value("SELECT value FROM counters WHERE name = ?", (name,)) or 0


def counters(cx: Cx) -> dict[str, int]:
    """All counters that were ever made: a handful."""
    return dict(cx.run("SELECT name, value FROM counters"))


def next_txn(cx: Cx, name: str) -> int:
    """The next number of a counter made by the migrations."""
    number: int = cx.value("UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value", (name,))
    return number


def raise_txn(cx: Cx, name: str, value: int) -> None:
    """Lift a counter to a value; it never falls."""
    cx.run(
        "INSERT INTO counters (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE excluded.value > counters.value",
        (name, value),
    )


def newest_version(cx: Cx) -> int:
    """The newest version of any own object, 0 when there never was one."""
    return counter(cx, "version")


def begin_run_txn(cx: Cx, run_id: bytes, now_ms: int) -> int:
    """Note a start of the process; gives the first version that this run may make."""
    first = newest_version(cx) + 1
    cx.run("INSERT INTO runs (run_id, first_version, started_ms) VALUES (?, ?, ?)", (run_id, first, now_ms))
    return first


def run_end(cx: Cx, run_id: bytes) -> int | None:
    """The last version of a run (the newest version if it is the current one), or None when the run is unknown."""
    row = cx.one(
        "SELECT (SELECT first_version FROM runs WHERE ordinal > known.ordinal ORDER BY ordinal LIMIT 1)"
        " FROM runs AS known WHERE run_id = ?",
        (run_id,),
    )
    if row is None:
        return None
    return newest_version(cx) if row[0] is None else row[0] - 1
