"""Reads the configuration in layers: roamd.toml, conf.d/*.toml by name, environment, flags; later wins.

Nothing stops at the first fault. Every layer is read, every key is checked, and only then does `load` raise, with one
ready line per fault: `file:line: section.key: what is wrong; what would be right`.
"""

import difflib
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from roamd.config.locate import line_of, locate
from roamd.config.schema import REQUIRED, SECTIONS, TABLES, Config, Key, LinkSection, PairingSection, keys_of
from roamd.config.values import LINK_PORT, Address, UnixAddress, Wrong, shown
from roamd.errors import ConfigError

PREFIX: Final = "ROAMD__"
PAIRING_PORT: Final = LINK_PORT + 1
MAX_FILE: Final = 64 * 1024
"""A thousand partners with their addresses fit; a larger file is a mistake, and is not read into memory."""

MAX_DOTS: Final = 64
"""On one line. The library's parser takes memory with the square of a dotted key's parts: 17 GB for 128 KiB of `a.`."""

MAX_FAULTS: Final = 100
"""More lines than this tell nobody more."""

Where = Callable[[tuple[str, ...]], str]
"""Says where a key was set, as a fault's line begins."""


@dataclass(slots=True)
class _Reader:
    """Collects values and faults; `set_by` remembers where the winning value of each key stands."""

    path: Path
    values: dict[tuple[str, str], Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    set_by: dict[tuple[str, ...], str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    unread: bool = False

    def fault(self, where: str, name: str, message: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(f"{where}: {name}: {message}")

    def place(self, path: tuple[str, ...]) -> str:
        return self.set_by.get(path) or self.set_by.get(path[:-1]) or f"{self.path}:1"


def load(path: Path, environ: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Config:
    """The checked configuration. `flags` are by dotted key, `{"link.listen": "..."}`. Raises ConfigError."""
    reader = _Reader(path.absolute())
    for file in _files(reader):
        _take_file(reader, file)
    _take_environment(reader, environ)
    _take_flags(reader, flags or {}, {})
    return _built(reader)


def from_flags(path: Path, flags: Mapping[str, object], names: Mapping[str, str]) -> Config:
    """What a file at `path` with just these values would give; faults call them by `names`. Raises ConfigError."""
    reader = _Reader(path.absolute())
    _take_flags(reader, flags, names)
    return _built(reader)


def _built(reader: _Reader) -> Config:
    config = _build(reader)
    if reader.faults or config is None:
        raise ConfigError(reader.faults)
    return config


# --- layers -----------------------------------------------------------------------------------------------------


def _files(reader: _Reader) -> list[Path]:
    more = reader.path.parent / "conf.d"
    try:
        names = sorted(one for one in more.iterdir() if one.suffix == ".toml" and not one.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        reader.faults.append(f"{more}: {_reason(error)}; let the user that runs roamd read it")
        names = []
    return [reader.path, *names]


def _take_file(reader: _Reader, file: Path) -> None:
    text = _read(reader, file)
    document = None if text is None else _parse(reader, file, text)
    if text is None or document is None:
        # What a file would have set is unknown now, so nothing is called missing on top of its own fault.
        reader.unread = True
        return
    lines = locate(text)
    _take_document(reader, document, lambda key: f"{file}:{line_of(lines, key)}")


def _parse(reader: _Reader, file: Path, text: str) -> dict[str, Any] | None:
    if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
        reader.faults.append(f"{file}:1: it has a line with more than {MAX_DOTS} dots; write lists on several lines")
        return None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reader.faults.append(_syntax_fault(file, text, str(error)))
    except RecursionError:
        reader.faults.append(f"{file}:1: it is nested too deeply; write plain tables and keys")
    except ValueError:  # Python reads no number of thousands of digits, and says so in this way
        reader.faults.append(f"{file}:1: it has a number of far too many digits; no key takes one")
    return None


def _read(reader: _Reader, file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        reader.faults.append(f"{file}: there is no such file; `roamd init DIRECTORY ...` makes one")
        return None
    except OSError as error:
        reader.faults.append(f"{file}: {_reason(error)}; let the user that runs roamd read it")
        return None
    if len(data) > MAX_FILE:
        reader.faults.append(f"{file}: it is larger than 64 KiB; a configuration has a few kilobytes")
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reader.faults.append(f"{file}:{line}: it is not UTF-8; save it as UTF-8")
        return None


def _reason(error: OSError) -> str:
    return f"it cannot be read ({(error.strerror or 'unknown error').lower()})"


def _syntax_fault(file: Path, text: str, message: str) -> str:
    reason, _, place = message.partition(" (at ")
    words = place.rstrip(")").replace(",", "").split()
    line = words[1] if len(words) > 1 and words[0] == "line" else str(text.count("\n") + 1)
    return f"{file}:{line}: it is not TOML: {reason[:200]}; write key = value, with texts in double quotes"


def _take_document(reader: _Reader, document: Mapping[str, Any], where: Where) -> None:
    for section, content in document.items():
        if len(reader.faults) >= MAX_FAULTS:
            return
        if section not in SECTIONS:
            reader.fault(where((section,)), section, f"there is no such section{_meant(section, SECTIONS)}")
        elif section in TABLES:
            _take_tables(reader, section, content, where)
        elif isinstance(content, dict):
            _take_section(reader, section, content, where)
        else:
            reader.fault(
                where((section,)), section, f"{shown(content)} is not a section; write [{section}] and keys below"
            )


def _take_section(reader: _Reader, section: str, content: Mapping[str, Any], where: Where) -> None:
    for name, value in content.items():
        if len(reader.faults) < MAX_FAULTS:
            _take(reader, section, name, value, where((section, name)))


def _take(reader: _Reader, section: str, name: str, value: object, where: str) -> None:
    known = keys_of(SECTIONS[section])
    if name not in known:
        reader.fault(where, f"{section}.{name}", f"there is no such key{_meant(name, known)}")
        return
    reader.values[section, name] = value
    reader.set_by[section, name] = where


def _take_tables(reader: _Reader, section: str, content: object, where: Where) -> None:
    if not isinstance(content, list) or not all(isinstance(table, dict) for table in content):
        reader.fault(where((section,)), section, f"it is not a list of tables; write [[{section}]] and keys below")
        return
    known = keys_of(TABLES[section])
    reader.tables[section] = content
    for index, table in enumerate(content):
        reader.set_by[section, str(index)] = where((section, str(index)))
        for name in table if len(reader.faults) < MAX_FAULTS else ():
            place = where((section, str(index), name))
            reader.set_by[section, str(index), name] = place
            if name not in known:
                reader.fault(place, f"{section}.{name}", f"there is no such key{_meant(name, known)}")


def _meant(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _take_environment(reader: _Reader, environ: Mapping[str, str]) -> None:
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        section, _, name = variable.removeprefix(PREFIX).lower().partition("__")
        if section not in SECTIONS or section in TABLES or name not in keys_of(SECTIONS[section]):
            remedy = "it is ROAMD__SECTION__KEY, and lists of tables stand in files only"
            reader.fault(f"environment {variable}", f"{section}.{name}".rstrip("."), f"there is no such key; {remedy}")
            continue
        key = keys_of(SECTIONS[section])[name]
        _take(reader, section, name, _from_text(key, environ[variable]), f"environment {variable}")


def _take_flags(reader: _Reader, flags: Mapping[str, object], names: Mapping[str, str]) -> None:
    for dotted, value in flags.items():
        section, _, name = dotted.partition(".")
        where = names.get(dotted, "flag --set")
        if section not in SECTIONS or section in TABLES or name not in keys_of(SECTIONS[section]):
            reader.fault(where, dotted, "there is no such key; it is SECTION.KEY, as in roamd.toml")
            continue
        _take(reader, section, name, _from_text(keys_of(SECTIONS[section])[name], value), where)


def _from_text(key: Key, value: object) -> object:
    """Numbers, booleans and lists are written as in TOML; a list also as `a,b`. What cannot be read stays text."""
    if not isinstance(value, str) or key.kind.is_text:
        return value
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except (ValueError, KeyError, RecursionError):  # a TOMLDecodeError is a ValueError
        pass
    return [part.strip() for part in value.split(",")] if isinstance(key.default, list) or _is_list(key) else value


def _is_list(key: Key) -> bool:
    return isinstance(key.example, list)


# --- building ---------------------------------------------------------------------------------------------------


def _build(reader: _Reader) -> Config | None:
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        if name in TABLES:
            sections[name] = tuple(_built_tables(reader, name, kind))
        else:
            sections[name] = kind(**_built_keys(reader, name, kind))
    if reader.faults:
        return None
    sections["pairing"] = _with_pairing_defaults(sections["link"], sections["pairing"])
    config = Config(**sections, path=reader.path)
    _cross_check(reader, config)
    return config


def _built_keys(reader: _Reader, section: str, kind: type) -> dict[str, Any]:
    return {
        name: _checked(reader, key, reader.values.get((section, name), key.default), (section, name))
        for name, key in keys_of(kind).items()
    }


def _built_tables(reader: _Reader, section: str, kind: type) -> Iterator[Any]:
    known = keys_of(kind)
    for index, table in enumerate(reader.tables.get(section, ())):
        yield kind(
            **{
                name: _checked(reader, key, table.get(name, key.default), (section, str(index), name))
                for name, key in known.items()
            }
        )


def _checked(reader: _Reader, key: Key, value: object, path: tuple[str, ...]) -> Any:
    name = f"{path[0]}.{path[-1]}"
    if value is REQUIRED:
        example = shown(key.example) if isinstance(key.example, str) else str(key.example).replace("'", '"')
        if not reader.unread:
            reader.fault(reader.place(path), name, f"it is missing; write {path[-1]} = {example}")
        return None
    try:
        taken = key.kind.take(value)
    except Wrong as wrong:
        reader.fault(reader.place(path), name, str(wrong))
        return None
    return _absolute(taken, reader.path.parent) if key.kind.is_path else taken


def _absolute(value: Any, directory: Path) -> Any:
    if isinstance(value, UnixAddress):
        return UnixAddress(directory / value.path)
    return directory / value if isinstance(value, Path) else value


def _with_pairing_defaults(link: LinkSection, pairing: PairingSection) -> PairingSection:
    # The loader's table lets `listen` be empty; from here on it never is.
    given: Address | None = pairing.listen
    listen = given or Address(link.listen.host, PAIRING_PORT if link.listen.port else 0)
    advertise = pairing.advertise
    if advertise is None and link.advertise is not None:
        advertise = Address(link.advertise.host, listen.port or PAIRING_PORT)
    return replace(pairing, listen=listen, advertise=advertise)


def _cross_check(reader: _Reader, config: Config) -> None:
    if config.link.listen.port and config.pairing.listen.port == config.link.listen.port:
        reader.fault(
            reader.place(("pairing", "listen")), "pairing.listen", "links use this port; pairing needs one of its own"
        )
    if config.backend.key and not config.backend.url:
        reader.fault(
            reader.place(("backend", "key")), "backend.key", "there is no backend.url; write it, or remove the key"
        )
    labels = [webhook.label for webhook in config.webhooks]
    for index, label in enumerate(labels):
        if label in labels[:index]:
            place = reader.place(("webhooks", str(index)))
            reader.fault(place, "webhooks.name", "two webhooks have this name or URL; give each a name of its own")
