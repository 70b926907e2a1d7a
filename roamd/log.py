"""One JSON line per event on stderr, for journald; on a terminal a readable, coloured line.

`log.info("record_delivered", peer=..., message_id=...)`: a static past-tense name and keys, never a sentence.

What may be relied on:
- A value cannot forge a line, drive a terminal or flood the journal: control, bidirectional and surrogate characters
  are escaped, long texts are cut and say how much is missing.
- A value that is not a plain JSON type is logged as its `str`; so `roamd.model.personal.Personal` comes out masked,
  also where it is a subclass of `str`.
- A line that cannot be written (closed or broken stderr) is dropped: logging never brings the daemon down.
- A line below the level costs one comparison; no value is looked at.

`configure` may be called again at any time (a reload changes the level); loggers that were made before follow.
"""

import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, TextIO

import msgspec
import structlog

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

MAX_TEXT: Final = 2048
"""Characters kept of one value: enough for any id, path or message, short enough for journald's field."""

MAX_TRACEBACK: Final = 16_384

MAX_ITEMS: Final = 64
"""Elements kept of one list or mapping."""

MAX_DEPTH: Final = 4

_INT64: Final = 1 << 63

_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_ESCAPE_CHARACTERS: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

Event = MutableMapping[str, Any]
Renderer = Callable[[Event], str]


# --- making values safe -----------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """The text with everything that could drive a terminal or hide in a line written out, `\\x1b` and `\\u202e`."""
    return text if text.isprintable() else _UNSAFE.sub(_escape_one, text)


def _escape_one(match: re.Match[str]) -> str:
    character = match.group()
    named = _ESCAPE_CHARACTERS.get(character)
    if named is not None:
        return named
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _text(value: str, limit: int = MAX_TEXT) -> str:
    if len(value) > limit:
        return f"{escaped(value[:limit])}… ({len(value) - limit} more characters)"
    return escaped(value)


def _safe(value: object, depth: int = 0) -> object:
    """The value as plain JSON types. Types are compared exactly: a subclass speaks through its own `str`."""
    kind = type(value)
    if kind is str:
        return _text(value)  # type: ignore[arg-type]  # mypy does not narrow by an exact type in a variable
    if kind in (float, bool) or value is None:
        return value
    if kind is int:
        return value if -_INT64 <= value < _INT64 else str(value)  # type: ignore[operator]  # as above
    if kind is bytes:
        return f"<{len(value)} bytes>"  # type: ignore[arg-type]  # as above
    if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
        return [_safe(item, depth + 1) for item in list(value)[:MAX_ITEMS]]
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {_text(str(key)): _safe(item, depth + 1) for key, item in list(value.items())[:MAX_ITEMS]}
    return _text(_spoken(value))


def _spoken(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an edge: whatever a foreign __str__ raises, the line is still wanted
        return f"<{type(value).__name__}>"


# --- rendering --------------------------------------------------------------------------------------------------

_encode_json: Final = msgspec.json.Encoder().encode


def render_json(event: Event) -> str:
    """One line of JSON: timestamp, level, event, then the keys in the order in which they were given."""
    return _encode_json(event).decode() + "\n"


_DIM, _BOLD, _RESET = "\x1b[2m", "\x1b[1m", "\x1b[0m"
_COLOURS: Final = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[31;1m",
}


def render_console(event: Event, *, colour: bool = True) -> str:
    """A line for people: time of day, level, name, `key=value`; a traceback follows below, indented."""
    rest = dict(event)
    at, level, name = rest.pop("timestamp"), rest.pop("level"), rest.pop("event")
    trace = rest.pop("traceback", None)
    pairs = " ".join(f"{_paint(key, _DIM, colour)}={_plain(value)}" for key, value in rest.items())
    shown = (
        _paint(at[11:23], _DIM, colour),
        _paint(f"{level:<8}", _COLOURS[level], colour),
        _paint(name, _BOLD, colour),
    )
    head = " ".join(shown)
    line = f"{head} {pairs}".rstrip() + "\n"
    return line if trace is None else line + "".join(f"    {part}\n" for part in trace.split("\n"))


def _paint(text: str, colour: str, on: bool) -> str:
    return f"{colour}{text}{_RESET}" if on else text


def _plain(value: object) -> str:
    if isinstance(value, str) and value and not re.search(r'[\s"=]', value):
        return value
    return _encode_json(value).decode()


# --- the one sink -----------------------------------------------------------------------------------------------


class _Stamp:
    """UTC timestamps with milliseconds; the part to the second is kept, because formatting it is what costs."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self) -> str:
        second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._prefix}.{nanoseconds // 1_000_000:03d}Z"


class _Sink:
    """Where all loggers write, from any thread. `stream` None means whatever `sys.stderr` is at that moment."""

    def __init__(self) -> None:
        self.threshold = LEVELS["info"]
        self.stream: TextIO | None = None
        self.renderer: Renderer = render_json
        self._stamp = _Stamp()
        self._lock = threading.Lock()

    def emit(self, level: str, name: str, bound: Mapping[str, Any], keys: Mapping[str, Any]) -> None:
        with self._lock:
            self._write(self.renderer(self._event(level, name, bound, keys)))

    def _event(self, level: str, name: str, bound: Mapping[str, Any], keys: Mapping[str, Any]) -> Event:
        event: Event = {"timestamp": self._stamp(), "level": level, "event": _text(name)}
        for source in (bound, keys):
            for key, value in source.items():
                if key == "exc_info":
                    _add_exception(event, value)
                elif key not in ("timestamp", "level", "event"):
                    event[key] = _safe(value)
        return event

    def _write(self, line: str) -> None:
        stream = self.stream or sys.stderr
        try:
            stream.write(line)
            stream.flush()
        except (OSError, ValueError, AttributeError):
            # A full or closed stderr, or none at all: nowhere is left to tell it.
            return


def _add_exception(event: Event, exc_info: object) -> None:
    error = sys.exc_info()[1] if exc_info is True else exc_info
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["error"] = _text(f"{type(error).__name__}: {_spoken(error)}")
        lines = "".join(traceback.format_exception(error))
        # The tail is the part that names the fault.
        event["traceback"] = "\n".join(map(escaped, lines[-MAX_TRACEBACK:].rstrip().split("\n")))


_sink: Final = _Sink()


class Logger(structlog.BoundLoggerBase):
    """A structlog bound logger; `bind(**keys)` gives one that carries more keys."""

    def debug(self, event: str, **keys: Any) -> None:
        """What only a developer asks for."""
        if _sink.threshold <= 10:
            _sink.emit("debug", event, self._context, keys)

    def info(self, event: str, **keys: Any) -> None:
        """What an operator wants to find later."""
        if _sink.threshold <= 20:
            _sink.emit("info", event, self._context, keys)

    def warning(self, event: str, **keys: Any) -> None:
        """What an operator should look at, though the daemon goes on by itself."""
        if _sink.threshold <= 30:
            _sink.emit("warning", event, self._context, keys)

    def error(self, event: str, **keys: Any) -> None:
        """What went wrong and needs someone."""
        if _sink.threshold <= 40:
            _sink.emit("error", event, self._context, keys)

    def exception(self, event: str, **keys: Any) -> None:
        """An error with the exception that is being handled, and its traceback."""
        self.error(event, **{"exc_info": True, **keys})

    def critical(self, event: str, **keys: Any) -> None:
        """Why the daemon ends."""
        _sink.emit("critical", event, self._context, keys)

    def bind(self, **keys: Any) -> "Logger":
        """This logger with more keys; the keys come in every line."""
        return Logger(None, [], {**self._context, **keys})


def get_logger(**bound: Any) -> Logger:
    """A logger whose lines all carry `bound`. Cheap; make one per module, link or peer."""
    return Logger(None, [], bound)


def configure(level: str = "info", stream: TextIO | None = None, *, console: bool | None = None) -> None:
    """Set level (a key of LEVELS) and stream (None: stderr) of all loggers, and take over the libraries' logging.

    `console` None means: readable lines if the stream is a terminal, else JSON. NO_COLOR is honoured.
    """
    _sink.threshold = LEVELS[level]
    _sink.stream = stream
    readable = _is_terminal(stream or sys.stderr) if console is None else console
    _sink.renderer = _console_renderer if readable else render_json
    _adopt_standard_logging(LEVELS[level])


def _console_renderer(event: Event) -> str:
    return render_console(event, colour="NO_COLOR" not in os.environ)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


# --- libraries that use the standard library's logging ----------------------------------------------------------


class _Adopted(logging.Handler):
    """Lines of libraries (asyncio, aiohttp, zeroconf) in our own form; their text becomes a key, never the name."""

    def emit(self, record: logging.LogRecord) -> None:
        keys: dict[str, Any] = {"logger": record.name, "message": _message(record)}
        if record.exc_info:
            keys["exc_info"] = record.exc_info
        _sink.emit(_nearest_level(record.levelno), "library_logged", {}, keys)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return str(record.msg)


def _nearest_level(number: int) -> str:
    return next((name for name, value in reversed(LEVELS.items()) if number >= value), "debug")


def _adopt_standard_logging(threshold: int) -> None:
    logging.captureWarnings(True)  # a library warns of a stranger's odd certificate: that would be no line of ours
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Adopted)] + [_Adopted()]
    # Libraries tell at INFO what is daily business; only from WARNING on does it concern the operator.
    root.setLevel(max(threshold, logging.WARNING) if threshold > LEVELS["debug"] else logging.DEBUG)
