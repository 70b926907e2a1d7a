"""What a key's value may be: each kind takes what TOML gives, says what would be right, and writes itself back."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

LINK_PORT: Final = 63119
"""The port of IEC 63119-2's roaming link; also what an address without a port means."""

_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?")
_IPV6: Final = re.compile(r"[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?")


class Wrong(ValueError):
    """A value that cannot be used: the message says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port; prints as it is written, `[::1]:63119`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket; prints as it is written, `unix:/run/roamd/api.sock`."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class Kind:
    """`take` turns the TOML value into the typed one or raises Wrong; `is_text`: the environment gives it as it is."""

    take: Callable[[Any], Any]
    is_text: bool = True
    is_path: bool = False


# --- addresses --------------------------------------------------------------------------------------------------


def parse_address(text: str, *, lowest_port: int = 1) -> Address:
    """Read `host:port` or `[v6]:port`. Raises Wrong."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal():
        raise Wrong(f'{shown(text)} has no port; write host:port, such as "0.0.0.0:{LINK_PORT}"')
    if not lowest_port <= int(port) <= 65535:
        raise Wrong(f"port {port[:12]} does not exist; a port is {lowest_port} to 65535")
    return Address(_host(host), int(port))


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]") and _IPV6.fullmatch(text[1:-1]):
        return text[1:-1]
    if ":" in text:
        raise Wrong(f"{shown(text)} is no host; an IPv6 address stands in brackets, [::1]:{LINK_PORT}")
    if not _HOST.fullmatch(text):
        raise Wrong(f"{shown(text)} is no host; write a name or an IP address")
    return text


def _listen(value: object) -> Address:
    # Port 0 lets the system choose; the daemon then says which.
    return parse_address(_text(value), lowest_port=0)


def _advertise(value: object) -> Address | None:
    text = _text(value)
    if not text:
        return None
    address = parse_address(text)
    if address.host in ("0.0.0.0", "::"):  # noqa: S104 - recognised in order to refuse it
        raise Wrong(
            f"{address.host} is where to listen, not where to be found; write the name or address that partners use"
        )
    return address


def _listen_optional(value: object) -> Address | None:
    return _listen(value) if _text(value) else None


def _api(value: object) -> Address | UnixAddress:
    text = _text(value)
    if not text.startswith("unix:"):
        return parse_address(text, lowest_port=0)
    if text == "unix:":
        raise Wrong('a socket needs a path; write "unix:/run/roamd/api.sock"')
    return UnixAddress(Path(text.removeprefix("unix:")))


# --- plain values -----------------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """A value as a fault shows it: short, and safe on a terminal."""
    text = json.dumps(value) if isinstance(value, str | int | float | bool) else f"a {_toml_type(value)}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _toml_type(value: object) -> str:
    names = {dict: "table", list: "list", str: "text", bool: "true or false", int: "number", float: "number"}
    return names.get(type(value), "date or time")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"{shown(value)} is not text; put it in quotes")
    if not value.isprintable():
        raise Wrong("it contains control characters; write plain text")
    return value


def text(longest: int, *, required: bool = False) -> Kind:
    """Printable text of bounded length."""

    def take(value: object) -> str:
        read = _text(value)
        if len(read) > longest:
            raise Wrong(f"it has {len(read)} characters; at most {longest} are taken")
        if required and not read.strip():
            raise Wrong("it is empty; write a value")
        return read

    return Kind(take)


def number(lowest: float, highest: float, *, whole: bool = True) -> Kind:
    """A number between two ends, both included."""

    def take(value: object) -> float:
        fits = isinstance(value, int) or (isinstance(value, float) and not whole)
        if isinstance(value, bool) or not fits:
            raise Wrong(f"{shown(value)} is not a {'whole ' if whole else ''}number; write {lowest:g} to {highest:g}")
        assert isinstance(value, int | float)  # noqa: S101 - for the type checkers
        if not lowest <= value <= highest:
            raise Wrong(f"{value} is out of range; write {lowest:g} to {highest:g}")
        return value if whole else float(value)

    return Kind(take, is_text=False)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"{shown(value)} is neither true nor false; write one of them, without quotes")
    return value


def choice(*allowed: str) -> Kind:
    """One of a few words."""

    def take(value: object) -> str:
        if value not in allowed:
            raise Wrong(f"{shown(value)} is not known; write {listed(allowed)}")
        return str(value)

    return Kind(take)


def listed(words: Sequence[str]) -> str:
    """`"a", "b" or "c"`."""
    quoted = [json.dumps(word) for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def many(element: Callable[[str], str], *, at_least: int = 0, example: str = "[]") -> Kind:
    """A list of texts, each read by `element`; doubles are refused, because they are mostly slips."""

    def take(value: object) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise Wrong(f"{shown(value)} is not a list; write {example}")
        read = tuple(element(_text(item)) for item in value)
        if len(read) < at_least:
            raise Wrong(f"it is empty; write at least {at_least}, such as {example}")
        if len(set(read)) < len(read):
            raise Wrong("it names something twice; write each once")
        return read

    return Kind(take, is_text=False)


def _url(value: object) -> str:
    read = _text(value)
    if not read:
        return read
    if not _is_plain_url(read):
        raise Wrong(f'{shown(read)} is no plain web address; write "https://host:port/path"')
    return read.rstrip("/")


def _is_plain_url(text: str) -> bool:
    """Whether it has a host, and nothing that a path cannot be added to."""
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return named and not (parts.username or parts.query or parts.fragment)


def _required_url(value: object) -> str:
    read = _url(value)
    if not read:
        raise Wrong('it is empty; write "https://host:port/path"')
    return read


def _path(value: object) -> Path:
    read = _text(value)
    if not read:
        raise Wrong("it is empty; write a path")
    return Path(read)


LISTEN: Final = Kind(_listen)
LISTEN_OPTIONAL: Final = Kind(_listen_optional)
ADVERTISE: Final = Kind(_advertise)
API: Final = Kind(_api, is_path=True)
BOOLEAN: Final = Kind(_boolean, is_text=False)
URL: Final = Kind(_url)
REQUIRED_URL: Final = Kind(_required_url)
PATH: Final = Kind(_path, is_path=True)


# --- writing back -----------------------------------------------------------------------------------------------


def to_toml(value: object) -> str:
    """The value as TOML text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(to_toml, value))}]"
    # JSON's escapes are TOML's, but for the surrogate pairs that only arise without ensure_ascii=False.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
