"""`roamd restore`, on a real store."""

import json
import shutil
from pathlib import Path

import pytest

from roamd.cli import main
from roamd.storage import backup
from roamd.storage.store import Store

FLAGS = ["--party", "DE*ABC", "--role", "cso", "--name", "ABC", "--api", "127.0.0.1:1"]


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A directory whose daemon ran once."""
    directory = tmp_path / "abc"
    assert main(["init", str(directory), *FLAGS]) == 0
    Store.open(directory / "state" / "roamd.db", ballast_bytes=0).close()
    return directory


def test_a_backup_takes_the_databases_place_and_the_old_one_is_kept(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.db"
    backup.backup(stopped / "state" / "roamd.db", copy)
    capsys.readouterr()
    assert main(["restore", str(copy), "-c", str(stopped), "--json"]) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert Path(answer["moved_aside"]).exists()
    assert backup.check(stopped / "state" / "roamd.db") == []
    assert "Partners will see that this endpoint was rolled back" in said.err


def test_a_restore_into_a_fresh_directory_needs_no_former_database(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.db"
    backup.backup(stopped / "state" / "roamd.db", copy)
    shutil.rmtree(stopped / "state")
    assert main(["restore", str(copy), "-c", str(stopped)]) == 0
    assert "There was no database before" in capsys.readouterr().err


def test_what_is_no_backup_is_refused_and_nothing_changes(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in (stopped / "state").iterdir())
    (tmp_path / "copy.db").write_text("not a database")
    assert main(["restore", str(tmp_path / "copy.db"), "-c", str(stopped)]) == 1
    assert main(["restore", str(tmp_path / "none.db"), "-c", str(stopped)]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert {path.name for path in (stopped / "state").iterdir()} <= {*before, "roamd.db.lock"}


def test_a_store_in_use_is_refused(stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.db"
    backup.backup(stopped / "state" / "roamd.db", copy)
    store = Store.open(stopped / "state" / "roamd.db", ballast_bytes=0)
    try:
        assert main(["restore", str(copy), "-c", str(stopped)]) == 1
    finally:
        store.close()
    assert "stop it first" in capsys.readouterr().err
