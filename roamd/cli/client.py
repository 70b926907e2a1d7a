"""Talks to the running daemon over its local API, by TCP or unix socket, with the key beside the configuration."""

import argparse
import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from roamd.config import Address, Config, UnixAddress, load
from roamd.errors import ConfigError, OperatorError, TryAgain, Unreachable, UsageError

ANSWER_S: Final = 30.0
"""Far longer than any answer takes that does no heavy work; a daemon that is silent for so long is stuck."""

CONNECT_S: Final = 5.0


def config_path(options: argparse.Namespace) -> Path:
    """The file that -c or ROAMD_CONFIG names; a directory means the roamd.toml in it. Raises UsageError."""
    given = getattr(options, "config", None) or os.environ.get("ROAMD_CONFIG")
    if not given:
        raise UsageError("Which configuration? Name it with -c DIR/roamd.toml, or set ROAMD_CONFIG.")
    path = Path(given)
    return path / "roamd.toml" if path.is_dir() else path


def load_config(options: argparse.Namespace) -> Config:
    """The checked configuration of this command. Raises ConfigError and UsageError."""
    return load(config_path(options), os.environ, dict(map(_assignment, getattr(options, "set", ()))))


def _assignment(text: str) -> tuple[str, str]:
    dotted, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write SECTION.KEY=VALUE, such as log.level=debug.")
    return dotted.strip(), value.strip()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Api:
    """One operator's view of the daemon. Every method raises OperatorError with what to do."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._key = _read_key(config.api.key_file)

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Api":
        """The daemon of the configuration that the command names."""
        return cls(load_config(options))

    def get(self, path: str, *, answer_s: float = ANSWER_S, **query: object) -> Any:
        """The JSON of a GET; parameters that are None are left out."""
        return self._json("GET", path + _query(query), None, answer_s)

    def text(self, path: str, **query: object) -> bytes:
        """The body of a GET, byte for byte."""
        return self._bytes("GET", path + _query(query), None, ANSWER_S)

    def post(
        self, path: str, body: object = None, *, answer_s: float = ANSWER_S, headers: Mapping[str, str] | None = None
    ) -> Any:
        """The JSON of a POST; a body of bytes is sent as it is."""
        return self._json("POST", path, body, answer_s, headers)

    def lines(self, path: str, **query: object) -> Iterator[str]:
        """The lines of an answer as they come, for server-sent events; silence is no fault there."""
        connection = self._connection()
        try:
            with self._telling():
                response = self._ask(connection, "GET", path + _query(query), None, "text/event-stream", ANSWER_S)
                self._check(response)
                connection.sock.settimeout(None)
            while line := self._line(response):
                yield line
        finally:
            connection.close()

    def _line(self, response: http.client.HTTPResponse) -> str:
        with self._telling():
            return response.readline().decode("utf-8", "replace")

    def _json(
        self, method: str, path: str, body: object, answer_s: float, headers: Mapping[str, str] | None = None
    ) -> Any:
        answer = self._bytes(method, path, body, answer_s, headers)
        return _parsed(answer) if answer else {}

    def _bytes(
        self, method: str, path: str, body: object, answer_s: float, headers: Mapping[str, str] | None = None
    ) -> bytes:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = self._connection()
        try:
            with self._telling():
                response = self._ask(connection, method, path, data, "application/json", answer_s, headers)
                self._check(response)
                return response.read()
        finally:
            connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        data: bytes | None,
        accept: str,
        answer_s: float,
        more: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        connection.connect()
        connection.sock.settimeout(answer_s)
        headers = {"Authorization": f"Bearer {self._key}", "Accept": accept, **(more or {})}
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, path, data, headers)
        return connection.getresponse()

    def _check(self, response: http.client.HTTPResponse) -> None:
        if response.status >= 300:
            raise _refusal(response.status, response.read(), self._config)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What goes wrong between us and the daemon, as an error that says what to do."""
        try:
            yield
        except TimeoutError:
            raise Unreachable(
                f"The daemon at {self._config.api.listen} gives no answer; its log may say why."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _connection(self) -> http.client.HTTPConnection:
        listen = self._config.api.listen
        if isinstance(listen, UnixAddress):
            return _UnixConnection(listen.path, CONNECT_S)
        return http.client.HTTPConnection(_dialled(listen), listen.port, timeout=CONNECT_S)

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        place = f"The daemon at {self._config.api.listen} is not reachable ({reason.lower()})."
        if isinstance(error, PermissionError):
            return Unreachable(f"{place} Run this as a user that may use the socket.")
        return Unreachable(f"{place} Start it with: roamd run -c {self._config.path}")


def _dialled(listen: Address) -> str:
    """Where a wildcard listener is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104 - it is only recognised


def _read_key(path: Path) -> str:
    try:
        key = path.read_text("ascii").strip()
    except FileNotFoundError:
        raise ConfigError([f"{path}: there is no such file; `roamd api-key rotate` makes a new key"]) from None
    except PermissionError:
        raise OperatorError(f"{path} cannot be read: run this as the user that runs the daemon, or as root.") from None
    except (OSError, ValueError):
        raise ConfigError([f"{path}: it is no API key; `roamd api-key rotate` makes a new one"]) from None
    if not key.isprintable() or " " in key or not key:
        raise ConfigError([f"{path}: it is no API key; `roamd api-key rotate` makes a new one"])
    return key


def quoted(part: str) -> str:
    """A value as one segment of a path."""
    return quote(part, safe="")


def _query(query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else ""


def _parsed(answer: bytes) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        raise OperatorError("What answers at the API's address is not roamd; check api.listen.") from None


def _refusal(status: int, answer: bytes, config: Config) -> OperatorError:
    """The daemon's problem+json as the error that the operator sees, with the exit code that fits."""
    try:
        problem = json.loads(answer)
        detail, code = str(problem["detail"]), str(problem["code"])
        faults = [(str(fault.get("path", "")), str(fault.get("message", ""))) for fault in problem.get("faults", ())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return OperatorError(f"What answers at {config.api.listen} is not roamd (status {status}); check api.listen.")
    if status == 401:
        return OperatorError(f"The daemon does not take the key in {config.api.key_file}; is it another daemon's?")
    if code == ConfigError.code:
        return ConfigError([message for _, message in faults] or [detail])
    kind = {TryAgain.code: TryAgain, UsageError.code: UsageError}.get(code, OperatorError)
    if any(message not in detail for _, message in faults):
        detail = "\n".join(f"{path}: {message}" for path, message in faults)
    return kind(detail)
