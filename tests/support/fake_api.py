"""The daemon's local API as the command line sees it: canned answers by route, and a record of what was asked.

It keeps the real one's manners that the command line relies on: the bearer key, problem+json, server-sent events.
"""

import json
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEY = "rk_a-key-of-some-length-for-tests"

Roamd = Callable[..., int]
"""The fixture `roamd`: a command's words, and its exit code."""


@dataclass
class FakeApi:
    """Answers `routes["GET /v1/status"]` (JSON value, (status, value) or a list of them, one a request)."""

    routes: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    key: str = KEY
    socket_path: Path | None = None

    def __enter__(self) -> "FakeApi":
        fake = self

        class Handler(_Handler):
            api = fake

        if self.socket_path is None:
            self._server: socketserver.BaseServer = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        else:
            self._server = _UnixServer(str(self.socket_path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        if self.socket_path is not None:
            return f"unix:{self.socket_path}"
        host, port = self._server.server_address[:2]
        return f"{host}:{port}"

    def answer(self, route: str) -> tuple[int, Any]:
        found = self.routes.get(route, (404, _problem(404, "not-found", f"There is no {route}.")))
        if isinstance(found, Steps):
            found = found.steps.pop(0) if len(found.steps) > 1 else found.steps[0]
        return found if isinstance(found, tuple) else (200, found)


@dataclass
class Steps:
    """One answer a request; the last one stays."""

    steps: list[Any]


def _problem(status: int, code: str, detail: str, faults: list[str] | None = None) -> dict[str, Any]:
    shown = [{"path": "", "message": text, "code": code} for text in faults or ()]
    return {"type": f"urn:{code}", "title": code, "status": status, "detail": detail, "code": code, "faults": shown}


def configured(directory: Path, address: str) -> Path:
    """The configuration, written there, of a daemon whose API is this one."""
    path = directory / "roamd.toml"
    endpoint = '[endpoint]\nparties = ["DE*ABC"]\nroles = ["cso"]\nname = "ABC"\n'
    path.write_text(f'{endpoint}[api]\nlisten = "{address}"\n')
    return path


def refusal(status: int, code: str, detail: str, faults: list[str] | None = None) -> tuple[int, dict[str, Any]]:
    """An answer that refuses."""
    return status, _problem(status, code, detail, faults)


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.api.asked.append((f"{self.command} {self.path}", json.loads(data) if data else None))
        if self.headers.get("Authorization") != f"Bearer {self.api.key}":
            self._send(401, _problem(401, "unauthorized", "No."))
            return
        self._send(*self.api.answer(f"{self.command} {self.path.partition('?')[0]}"))

    def _send(self, status: int, value: Any) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing: tests read what was asked."""
