"""What a log line promises: it cannot be forged, it masks, it never fails, and below its level it costs nothing."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal

import pytest

from roamd import log


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    written = io.StringIO()
    log.configure("info", written, console=False)
    yield written
    log.configure("info", None)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class MaskedText(str):
    """As `Personal` might be: a str whose text is not for everybody."""

    __slots__ = ()

    def __str__(self) -> str:
        return "DE-***"


def test_a_line_begins_with_time_level_and_name(stream: io.StringIO) -> None:
    log.get_logger(peer="abc").info("record_delivered", message_id="m1", duration_ms=1.5)
    (line,) = lines(stream)
    assert list(line) == ["timestamp", "level", "event", "peer", "message_id", "duration_ms"]
    assert line["level"] == "info"
    assert str(line["timestamp"]).endswith("Z")
    assert len(str(line["timestamp"])) == len("2026-11-22T12:00:00.123Z")


def test_a_line_below_the_level_is_not_even_looked_at(stream: io.StringIO) -> None:
    class Explosive:
        def __str__(self) -> str:
            raise AssertionError("looked at")

    log.get_logger().debug("value_seen", value=Explosive())
    assert stream.getvalue() == ""


def test_a_new_level_reaches_loggers_made_before(stream: io.StringIO) -> None:
    logger = log.get_logger()
    log.configure("error", stream, console=False)
    logger.warning("hidden_line")
    log.configure("debug", stream, console=False)
    logger.debug("shown_line")
    assert [line["event"] for line in lines(stream)] == ["shown_line"]


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2Jx", "x\u202ey", "\x9b31m", "\u2028", "\ud800", "\r\x00\x7f"])
@pytest.mark.parametrize("console", [False, True])
def test_no_value_can_forge_a_line_or_drive_a_terminal(
    stream: io.StringIO, text: str, console: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    log.configure("info", stream, console=console)
    log.get_logger().info(text, key=text, nested=[{text: text}])
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()


def test_a_megabyte_is_cut_and_says_so(stream: io.StringIO) -> None:
    log.get_logger().info("text_seen", text="x" * 1_000_000, many=list(range(100_000)))
    (line,) = lines(stream)
    assert str(line["text"]).endswith(f"({1_000_000 - log.MAX_TEXT} more characters)")
    assert len(stream.getvalue()) < 4 * log.MAX_TEXT


def test_values_that_are_no_json_speak_through_their_str(stream: io.StringIO) -> None:
    log.get_logger().info(
        "mask_tried", uid=MaskedText("DE-ABC-C12345678"), cost=Decimal("1.50"), key=b"secret", big=1 << 70
    )
    (line,) = lines(stream)
    assert line["uid"] == "DE-***"
    assert line["cost"] == "1.50"
    assert line["key"] == "<6 bytes>"
    assert line["big"] == str(1 << 70)
    assert "C12345678" not in stream.getvalue()


def test_a_value_whose_str_fails_does_not_lose_the_line(stream: io.StringIO) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    log.get_logger().info("value_seen", value=Broken())
    assert lines(stream)[0]["value"] == "<Broken>"


def test_an_exception_is_one_line_with_its_traceback_as_a_key(stream: io.StringIO) -> None:
    try:
        json.loads("bad\nnews")
    except ValueError:
        log.get_logger().exception("task_failed", peer="abc")
    (line,) = lines(stream)
    assert str(line["error"]).startswith("JSONDecodeError: Expecting value")
    assert "Traceback" in str(line["traceback"])
    assert line["peer"] == "abc"


def test_the_console_shows_a_traceback_below_its_line(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    log.configure("info", stream, console=True)
    try:
        int("bad")
    except ValueError:
        log.get_logger().exception("task_failed")
    first, *rest = stream.getvalue().splitlines()
    assert "error    task_failed error=" in first
    assert rest[0] == "    Traceback (most recent call last):"


def test_keys_cannot_replace_the_time_or_the_level(stream: io.StringIO) -> None:
    log.get_logger().info("value_seen", level="debug", timestamp="never")
    assert lines(stream)[0]["level"] == "info"


def test_a_bound_logger_adds_its_keys_and_leaves_the_first_alone(stream: io.StringIO) -> None:
    first = log.get_logger(peer="abc")
    first.bind(link=7).info("link_opened")
    first.info("peer_seen")
    assert [line.get("link") for line in lines(stream)] == [7, None]


def test_a_closed_stream_is_survived() -> None:
    closed = io.StringIO()
    closed.close()
    log.configure("info", closed, console=False)
    log.get_logger().error("nobody_listens")
    log.configure("info", None)


def test_libraries_that_use_logging_are_taken_over(stream: io.StringIO) -> None:
    logging.getLogger("somelib").warning("cannot %s\n", "x")
    logging.getLogger("somelib").info("chatter")
    assert [(line["event"], line["logger"], line["message"]) for line in lines(stream)] == [
        ("library_logged", "somelib", "cannot x\\n"),
    ]


def test_a_warning_of_a_library_is_a_line_as_well() -> None:
    """In a process of its own: the test runner takes warnings itself."""
    code = "import warnings; from roamd import log; log.configure('info'); warnings.warn('odd\\nserial number')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (line["event"], line["level"], line["logger"]) == ("library_logged", "warning", "py.warnings")
    assert "UserWarning: odd\\nserial number" in line["message"]


def test_configuring_twice_does_not_double_the_lines(stream: io.StringIO) -> None:
    log.configure("info", stream, console=False)
    logging.getLogger("somelib").warning("once")
    assert len(lines(stream)) == 1


def test_a_library_that_formats_wrongly_still_gets_its_line(stream: io.StringIO) -> None:
    record = logging.LogRecord("somelib", logging.ERROR, "", 0, "wrong %s %s", ("arguments",), None)
    log._Adopted().emit(record)
    assert lines(stream)[0]["message"] == "wrong %s %s"
