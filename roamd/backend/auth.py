"""Who may talk to the API: the bearer key, and the checks against a browser that was tricked into it.

The API listens on loopback, where every web page that the operator's own browser shows can reach it. Two checks stop
that, both before the key is looked at: the `Host` must be a loopback name or a configured one (a page whose domain was
re-bound to 127.0.0.1 still sends its own domain), and an `Origin`, which browsers add and backends do not, must be the
API's own. Over a unix socket `Host` means nothing and is not looked at.
"""

import contextlib
import hmac
import ipaddress
import os
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final

from roamd.errors import ConfigError, Forbidden, RoamdError

KEY_BYTES: Final = 32
MIN_KEY_CHARACTERS: Final = 16
"""A shorter key in the file is a mistake, most likely an empty or cut file."""

MAX_REMEMBERED_HOSTS: Final = 64


class Unauthorized(RoamdError):
    """The key is missing or wrong."""

    code = "unauthorized"
    http_status = 401


def new_key(random: Callable[[int], bytes]) -> str:
    """A fresh API key."""
    return "rk_" + urlsafe_b64encode(random(KEY_BYTES)).decode().rstrip("=")


class KeyHolder:
    """The one key that opens the API. Rotation ends the old one at once."""

    def __init__(self, key: str, path: Path | None = None) -> None:
        """`path` is where a rotation writes the new key; None keeps it in memory only."""
        self._path = path
        self._expected = _header(key)

    @classmethod
    def load(cls, path: Path) -> "KeyHolder":
        """Read the key from its file. Raises ConfigError that says what to do."""
        try:
            key = path.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                [f"{path}: api.key_file: cannot be read ({error}); run `roamd api-key rotate`"]
            ) from error
        if len(key) < MIN_KEY_CHARACTERS:
            raise ConfigError([f"{path}: api.key_file: the key is too short; it needs {MIN_KEY_CHARACTERS} characters"])
        return cls(key, path)

    def matches(self, authorization: str) -> bool:
        """Whether an `Authorization` header carries the key, in a time that does not depend on where it differs."""
        presented = authorization.strip().encode("utf-8", "surrogateescape")
        if presented[:7].lower() == b"bearer ":
            presented = b"Bearer " + presented[7:].lstrip()
        return hmac.compare_digest(presented, self._expected)

    def rotate(self, random: Callable[[int], bytes]) -> str:
        """Make, keep and return a new key. The file is replaced as a whole; if that fails the old key stays."""
        key = new_key(random)
        if self._path is not None:
            write_secret(self._path, key + "\n")
        self._expected = _header(key)
        return key


def _header(key: str) -> bytes:
    return b"Bearer " + key.encode("ascii")


def write_secret(path: Path, text: str) -> None:
    """Replace a file atomically, readable by its owner alone, and on the disk before this returns."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # created 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class HostCheck:
    """Refuses requests that a browser was tricked into (see above)."""

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._good: set[str] = set()

    def check(self, names: frozenset[str], host: str | None, origin: str | None, local_address: str) -> None:
        """Raises Forbidden. `names` are the configured ones, `local_address` is where the connection came in."""
        if names is not self._names:  # a reload
            self._names, self._good = names, set()
        if host is None or (host not in self._good and not self._allowed(host, local_address)):
            raise Forbidden("This host name is not served; call the API by a loopback name.", code="host-not-allowed")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            raise Forbidden("Web pages may not call this API.", code="origin-not-allowed")

    def _allowed(self, host: str, local_address: str) -> bool:
        name = host_name(host)
        if name == local_address:  # not remembered: another connection may have come in elsewhere
            return True
        if name != "localhost" and name not in self._names and not _is_loopback(name):
            return False
        if len(self._good) < MAX_REMEMBERED_HOSTS:
            self._good.add(host)
        return True


def host_name(host: str) -> str:
    """A `Host` header's name in lower case, without port, brackets and closing dot; "" when it is no host."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        good = bracket and (not port or (port[0] == ":" and port[1:].isdigit()))
        return name.lower() if good else ""
    name, colon, port = host.partition(":")
    return name.lower().removesuffix(".") if not colon or port.isdigit() else ""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
