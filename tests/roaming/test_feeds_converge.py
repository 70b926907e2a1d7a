"""Whatever happens between a publisher and its followers, in sync each holds exactly what it is shown.

The model is a dictionary per follower. A step is anything that happens in the field: objects change, links fall in the
middle of a snapshot, processes start anew, either side comes back from a backup, tombstones are purged, rights change.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from roamd.model.agreement import Agreement
from roamd.model.keys import ObjectKey
from roamd.roaming import publisher as publisher_module
from roamd.storage import feeds
from tests.model import bodies
from tests.support.roaming import Company, FeedLine, StillClock

HOMES = ("FR-RMD", "NL-TNM", "BE-BEC")
OWNERS = {"FR-RMD": "rmd", "NL-TNM": "tnm", "BE-BEC": None}

Step = tuple[str, int, int]
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("tariff"), st.integers(0, 5), st.integers(0, 2)),
        st.tuples(st.just("session"), st.integers(0, 5), st.integers(0, 2)),
        st.tuples(st.sampled_from(["no-tariff", "no-session"]), st.integers(0, 5), st.just(0)),
        st.tuples(st.sampled_from(["link", "chunk", "chunk-lost", "all", "all"]), st.integers(0, 1), st.just(0)),
        st.tuples(st.sampled_from(["backup-follower", "restore-follower", "rights"]), st.integers(0, 1), st.just(0)),
        st.tuples(st.sampled_from(["restart", "backup", "restore", "purge"]), st.just(0), st.just(0)),
    ),
    min_size=10,
    max_size=60,
)


def session(number: int, home: str) -> dict[str, Any]:
    token = bodies.cdr_token(contract_id=f"{home}-C00000001-X", country_code=home[:2], party_id=home[3:])
    return bodies.session(id=f"S-{number}", cdr_token=token)


class Field:
    """A CSO and two CSPs, and what each of them should hold."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.cso = Company(1, "DEABC", "cso", clock=self.clock)
        self.csps = {
            "rmd": Company(2, "FRRMD", "csp", clock=self.clock),
            "tnm": Company(3, "NLTNM", "csp", clock=self.clock),
        }
        for label, csp in self.csps.items():
            self.cso.meets(csp, label)
            csp.meets(self.cso, "abc")
        self.lines: dict[str, FeedLine | None] = dict.fromkeys(self.csps)
        self.rights = dict.fromkeys(self.csps, 1)
        self.sees_bec = dict.fromkeys(self.csps, False)
        self.tariffs: dict[ObjectKey, bytes] = {}
        self.sessions: dict[ObjectKey, tuple[bytes, str]] = {}
        self.backup: tuple[bytes, dict[ObjectKey, bytes], dict[ObjectKey, tuple[bytes, str]]] | None = None
        self.backups: dict[str, bytes] = {}

    def take(self, step: Step) -> None:
        name, number, other = step
        label = ("rmd", "tnm")[number % 2]
        getattr(self, "_" + name.replace("-", "_"))(number, other, label)

    # --- the CSO's backend ---

    def _tariff(self, number: int, other: int, label: str) -> None:
        value = bodies.tariff(id=f"T-{number}", currency=("EUR", "SEK", "DKK")[other])
        self.cso.publish("tariffs", value)
        self.tariffs[ObjectKey("DEABC", f"T-{number}")] = bodies.text(value)
        self._wake()

    def _session(self, number: int, other: int, label: str) -> None:
        value = session(number, HOMES[other])
        self.cso.publish("sessions", value)
        self.sessions[ObjectKey("DEABC", f"S-{number}")] = (bodies.text(value), HOMES[other])
        self._wake()

    def _no_tariff(self, number: int, other: int, label: str) -> None:
        self.cso.withdraw("tariffs", ObjectKey("DEABC", f"T-{number}"))
        self.tariffs.pop(ObjectKey("DEABC", f"T-{number}"), None)
        self._wake()

    def _no_session(self, number: int, other: int, label: str) -> None:
        self.cso.withdraw("sessions", ObjectKey("DEABC", f"S-{number}"))
        self.sessions.pop(ObjectKey("DEABC", f"S-{number}"), None)
        self._wake()

    def _wake(self) -> None:
        for line in self.lines.values():
            if line is not None:
                line.wake_all()

    # --- links ---

    def _link(self, number: int, other: int, label: str) -> None:
        self.lines[label] = FeedLine(self.cso, self.csps[label])

    def _line(self, label: str) -> FeedLine:
        line = self.lines[label]
        if line is None:
            line = self.lines[label] = FeedLine(self.cso, self.csps[label])
        return line

    def _chunk(self, number: int, other: int, label: str) -> None:
        self._line(label).pump(at_most=1)

    def _chunk_lost(self, number: int, other: int, label: str) -> None:
        self._line(label).chunk()
        self.lines[label] = None

    def _all(self, number: int, other: int, label: str) -> None:
        self._line(label).pump()
        self.check(label)

    # --- starts, backups, rights ---

    def _restart(self, number: int, other: int, label: str) -> None:
        self.cso.begin_run()
        self.lines = dict.fromkeys(self.csps)

    def _backup(self, number: int, other: int, label: str) -> None:
        self.backup = self.cso.store.snapshot_bytes(), dict(self.tariffs), dict(self.sessions)

    def _restore(self, number: int, other: int, label: str) -> None:
        if self.backup is not None:
            image, self.tariffs, self.sessions = self.backup[0], dict(self.backup[1]), dict(self.backup[2])
            self.cso = self.cso.restored(image)
            self.lines = dict.fromkeys(self.csps)

    def _backup_follower(self, number: int, other: int, label: str) -> None:
        self.backups[label] = self.csps[label].store.snapshot_bytes()

    def _restore_follower(self, number: int, other: int, label: str) -> None:
        if label in self.backups:
            self.csps[label] = self.csps[label].restored(self.backups[label])
            self.lines[label] = None

    def _purge(self, number: int, other: int, label: str) -> None:
        self.clock.pass_by(1)
        self.cso.store.write(lambda cx: feeds.purge_tombstones_txn(cx, self.clock.now_ms()))

    def _rights(self, number: int, other: int, label: str) -> None:
        """The CSP gains or loses the contracts of BEC."""
        peer = self.cso.peer(label)
        own = tuple(peer.agreement.parties)
        self.sees_bec[label] = not self.sees_bec[label]
        changes = {"contract_prefixes": (*own, "BEBEC") if self.sees_bec[label] else own}
        fields = {name: getattr(peer.agreement, name) for name in Agreement.__struct_fields__}
        for each in self.csps:  # whose contracts they are changes for all of them
            row = self.cso.peer(each).row
            agreement = Agreement(**fields | changes).to_json() if each == label else row.agreement_json
            self.cso.directory.put(row._replace(rights_version=row.rights_version + 1, agreement_json=agreement))

    # --- the law ---

    def check(self, label: str) -> None:
        """In sync: byte for byte what is shown, and nothing else."""
        line = self.lines[label]
        assert line is not None
        assert line.closed == []
        assert all(line.publisher.in_sync().values())
        csp = self.csps[label]
        own = {"rmd": "FR-RMD", "tnm": "NL-TNM"}[label]
        homes = {own, "BE-BEC"} if self.sees_bec[label] else {own}
        assert csp.mirrored("abc", "tariffs") == self.tariffs
        assert csp.mirrored("abc", "sessions") == {
            key: body for key, (body, home) in self.sessions.items() if home in homes
        }

    def settle(self) -> None:
        for label in self.csps:
            self._link(0, 0, label)
            self._all(0, 0, label)


@settings(max_examples=120, deadline=None)
@given(STEPS, st.sampled_from([1, 2, 512]))
def test_in_sync_a_follower_holds_what_it_is_shown(steps: list[Step], rows: int) -> None:
    usual, publisher_module.MAX_ROWS = publisher_module.MAX_ROWS, rows
    try:
        field = Field()
        for step in steps:
            field.take(step)
        field.settle()
    finally:
        publisher_module.MAX_ROWS = usual
