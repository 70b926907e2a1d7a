"""A small synchronous client of a daemon's local API, for the demo and for tests of whole processes."""

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

T = TypeVar("T")

REQUEST_S = 35.0
"""Above the longest deadline that an authorization may ask for (30 s)."""

PAUSE_S = 0.02
"""Between two looks while waiting; a look costs the daemon a few hundred microseconds."""


class NotAnsweredError(Exception):
    """The API could not be reached, or broke off."""


class RefusedError(Exception):
    """The API said no where the caller needed a yes; the text has the problem's title, detail and paths."""


class TooLateError(Exception):
    """What was waited for did not happen in time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API; `body` is the parsed JSON, or the text where it is none."""

    status: int
    headers: dict[str, str]
    body: Any


class Api:
    """The local API at `address` (`host:port`), with the key read from `key_file` at each request."""

    def __init__(self, address: str, key_file: Path | None = None) -> None:
        self.address = address
        self.key_file = key_file

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Reply:
        """Send one request on a connection of its own. `body` is JSON-able, or bytes to send as they are."""
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.address, timeout=REQUEST_S)
        try:
            connection.request(method, path, payload, self._headers(payload) | (headers or {}))
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers), _parsed(response.read()))
        except (OSError, http.client.HTTPException) as error:
            raise NotAnsweredError(f"the API at {self.address} does not answer: {error}") from error
        finally:
            connection.close()

    def _headers(self, payload: bytes | None) -> dict[str, str]:
        headers = {"Content-Type": "application/json"} if payload is not None else {}
        if self.key_file is not None:
            headers["Authorization"] = f"Bearer {self.key_file.read_text().strip()}"
        return headers

    def need(self, method: str, path: str, body: object = None) -> Any:
        """The body of a successful answer. Raises RefusedError with the problem's words on any other."""
        reply = self.request(method, path, body)
        if not 200 <= reply.status < 300:
            raise RefusedError(f"{method} {path} was answered {reply.status}: {_problem(reply.body)}")
        return reply.body

    def get(self, path: str) -> Any:
        """`need` of a GET."""
        return self.need("GET", path)

    def find(self, path: str) -> Any:
        """The body of a GET, or None where there is no such thing (yet)."""
        reply = self.request("GET", path)
        return reply.body if reply.status == 200 else None

    def items(self, path: str) -> list[Any]:
        """Every item of a list, following its cursor. Events keep giving cursors, so an empty page ends it too."""
        items: list[Any] = []
        joint = "&" if "?" in path else "?"
        page = self.get(path)
        while page["items"]:
            items += page["items"]
            if not page.get("next"):
                break
            page = self.get(f"{path}{joint}after={quote(page['next'], safe='')}")
        return items

    def ready(self) -> bool:
        """Whether `/readyz` says 200."""
        try:
            return self.request("GET", "/readyz").status == 200
        except NotAnsweredError:
            return False


def wait_until(
    what: str, look: Callable[[], T | None], within_s: float, pause: Callable[[float], object] = time.sleep
) -> T:
    """Look until there is something to return; raises TooLateError, which says `what` did not happen."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise TooLateError(f"{what} did not happen within {within_s:g} s")
        pause(PAUSE_S)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace")


def _problem(body: Any) -> str:
    if not isinstance(body, dict):
        return str(body)[:200]
    named: list[dict[str, str]] = body.get("faults") or body.get("errors") or []
    faults = [f"{fault.get('path')}: {fault.get('message')}" for fault in named]
    detail = str(body.get("detail") or body.get("title") or body)
    return "; ".join([detail, *(fault for fault in faults if fault not in detail)])
