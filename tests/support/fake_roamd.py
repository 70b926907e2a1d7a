"""A stand-in for the `roamd` command and its daemon, as far as the demo drives them; no crypto, no link, no promises.

Two of them talk over their APIs (`/fake/...`). `FAKE_FAULT` in the environment makes it misbehave in ways that the
demo must notice: `dies` (at start), `sleeps` (is never ready), `doubles` (delivers records twice), `garbles` (mirrors
objects changed), `forgets` (loses what it queued for a dead peer).
"""

import argparse
import json
import os
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FAULT = os.environ.get("FAKE_FAULT", "")
WORDS = "able baker canal delta eager field"


def call(address: str, method: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(f"http://{address}{path}", json.dumps(body).encode(), method=method)
    with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 -- always http, just above
        return json.loads(response.read() or b"null")


def reachable(address: str) -> bool:
    try:
        call(address, "GET", "/readyz")
    except OSError:
        return False
    return True


class Daemon:
    """One company's state: own and mirrored objects, records, events; kept in a file so that it survives a kill."""

    def __init__(self, directory: Path) -> None:
        self.settings = json.loads((directory / "fake.json").read_text())
        self.file = directory / "state.json"
        self.lock = threading.RLock()
        empty: dict[str, Any] = {"peer": None, "own": {}, "mirror": {}, "records": {}, "events": []}
        empty |= {"commands": {}, "asked": []}
        self.state = json.loads(self.file.read_text()) if self.file.exists() else empty

    def save(self) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self.state))
        new.replace(self.file)

    def respond(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        with self.lock:
            answer = self.route(method, path.partition("?")[0].strip("/").split("/"), path, body)
            self.save()
            return answer

    def route(self, method: str, parts: list[str], path: str, body: Any) -> tuple[int, Any]:  # noqa: C901 -- a table
        match [method, *parts]:
            case ["GET", "readyz"]:
                return (503 if FAULT == "sleeps" else 200), {}
            case ["GET", "v1", "candidates"]:
                return 200, {"items": [{"addresses": [self.settings["other"]], "sources": ["fake"]}]}
            case ["GET", "v1", "peers", *rest] if len(rest) < 2:
                peers = [self.peer()] if self.state["peer"] else []
                return 200, (peers[0] if rest else {"items": peers})
            case ["GET", "v1", "peers", _, feed, object_id]:
                mirrored = self.state["mirror"].get(f"{feed}/{object_id}")
                return (200, mirrored) if mirrored else (404, {"title": "not here"})
            case ["POST", "v1", "authorizations"]:
                return 200, self.authorize(body)
            case ["POST", "v1", "records"]:
                records = body if isinstance(body, list) else [body]
                taken = [self.queue(record) for record in records]
                return 202, (taken if isinstance(body, list) else taken[0])
            case ["POST", "v1", "commands", command_id, "state"]:
                self.tell_peer(command_id, body["state"])
            case ["POST", "v1", "commands", command]:
                return 200, self.command(command, body)
            case ["GET", "v1", "commands", command_id]:
                return 200, self.state["commands"][command_id]
            case ["POST", "fake", "asked"]:
                self.state["asked"].append(body)
            case ["POST", "fake", "command"]:
                self.state["commands"][body["command_id"]] |= body
            case ["GET", "v1", "records", record_id]:
                return 200, self.state["records"][record_id]
            case ["GET", "v1", "events"]:
                return 200, {"items": [] if "after" in path else self.state["events"], "next": "end"}
            case ["PATCH", "v1", "locations", object_id, "evses", _]:
                location = self.state["own"][f"locations/{object_id}"]
                location["evses"][0] |= body
                return self.publish(f"locations/{object_id}", location)
            case ["DELETE", "v1", "grants", object_id]:
                return self.publish(f"grants/{object_id}", self.state["own"][f"grants/{object_id}"] | {"revoked": True})
            case ["PUT" | "PATCH", "v1", feed, object_id]:
                before = self.state["own"].get(f"{feed}/{object_id}", {}) if method == "PATCH" else {}
                return self.publish(f"{feed}/{object_id}", before | body)
            case ["POST", "fake", "peer"]:
                self.state["peer"] = body
            case ["POST", "fake", "mirror"]:
                self.state["mirror"][body["key"]] = body["object"] | ({"oops": 1} if FAULT == "garbles" else {})
            case ["POST", "fake", "receive"]:
                event = {"type": "record.received", "data": {"record_id": body["id"]}}
                self.state["events"] += [event] * (2 if FAULT == "doubles" else 1)
        return 200, {}

    def peer(self) -> dict[str, Any]:
        up = self.state["peer"]["confirmed"] and reachable(self.state["peer"]["api"])
        return {"peer": "partner", "words": WORDS, "link": "UP" if up else "DOWN", "state": "PAIRED"}

    def publish(self, key: str, body: Any) -> tuple[int, Any]:
        self.state["own"][key] = body
        if key.startswith("sessions/"):
            self.session_of_command(body)
        call(self.state["peer"]["api"], "POST", "/fake/mirror", {"key": key, "object": body})
        return 200, body

    def authorize(self, body: Any) -> dict[str, Any]:
        uid = body["credential"]["uid"]
        answer = {"decision": "ALLOWED", "source": "WHITELIST", "elapsed_ms": 1.5}
        if f"user-credentials/{uid}" in self.state["mirror"]:
            return answer
        if not reachable(self.state["peer"]["api"]):
            grants = [body for key, body in self.state["mirror"].items() if key.startswith("grants/")]
            if any(grant["uid"] == uid and not grant.get("revoked") for grant in grants):
                return answer | {"source": "GRANT"}
            return answer | {"decision": "NOT_ALLOWED", "source": "POLICY"}
        asked = call(self.state["peer"]["backend"].partition("//")[2].split("/")[0], "POST", "/x/authorize", body)
        return answer | {"source": "BACKEND"} | asked

    def command(self, command: str, body: Any) -> Any:
        command_id = f"{len(self.state['commands']) + 1:032x}"
        question = {"command_id": command_id, "command": command, "body": body}
        said = call(self.state["peer"]["backend"].partition("//")[2].split("/")[0], "POST", "/x/command", question)
        self.state["commands"][command_id] = question | said | {"state": "ACCEPTED"}
        call(self.state["peer"]["api"], "POST", "/fake/asked", question)
        return self.state["commands"][command_id]

    def tell_peer(self, command_id: str, state: str, session_id: str | None = None) -> None:
        told = {"command_id": command_id, "state": state, "session_id": session_id}
        call(self.state["peer"]["api"], "POST", "/fake/command", told)

    def session_of_command(self, session: Any) -> None:
        reference = session.get("authorization_reference")
        for asked in self.state["asked"]:
            if asked["command"] == "START_SESSION" and asked["body"]["authorization_reference"] == reference:
                self.tell_peer(asked["command_id"], "STARTED", session["id"])
            if asked["command"] == "STOP_SESSION" and session["status"] == "COMPLETED":
                self.tell_peer(asked["command_id"], "DONE", session["id"])

    def queue(self, record: Any) -> Any:
        self.state["records"][record["id"]] = {"record_id": record["id"], "state": "QUEUED", "peer": "partner"}
        threading.Thread(target=self.deliver, args=(record,), daemon=True).start()
        return self.state["records"][record["id"]]

    def deliver(self, record: Any) -> None:
        while True:
            try:
                call(self.state["peer"]["api"], "POST", "/fake/receive", record)
                break
            except OSError:
                if FAULT == "forgets":
                    return
                threading.Event().wait(0.05)
        with self.lock:
            self.state["records"][record["id"]]["state"] = "DELIVERED"


def serve(directory: Path) -> int:
    if FAULT == "dies":
        sys.stderr.write('{"event": "config_refused", "level": "error"}\n')
        return 78
    daemon = Daemon(directory)

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, body = daemon.respond(self.command, self.path, json.loads(content or b"null"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = respond  # noqa: N815 -- the library's names

        def log_message(self, *_args: object) -> None:
            pass

    host, _, port = daemon.settings["api"].partition(":")
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
    return 0


def init(directory: Path, flags: argparse.Namespace) -> int:
    directory.mkdir()
    (directory / "conf.d").mkdir()
    (directory / "api.key").write_text("secret\n")
    mine = {"api": flags.api, "backend": flags.backend, "link": flags.listen}
    (directory / "fake.json").write_text(json.dumps(mine | {"other": ""}))
    others = [other for other in directory.parent.glob("*/fake.json") if other.parent != directory]
    for other in others:  # the "network": both are told where the other one listens
        theirs = json.loads(other.read_text())
        other.write_text(json.dumps(theirs | {"other": mine["link"]}))
        (directory / "fake.json").write_text(json.dumps(mine | {"other": theirs["link"]}))
    return 0


def operate(settings: dict[str, Any], words: list[str]) -> int:
    api, me = settings["api"], {"api": settings["api"], "backend": settings["backend"]}
    match words:
        case ["invite"]:
            sys.stdout.write(f"roamd-invite-1.{json.dumps(me)}\n")
        case ["pair", line]:
            inviter = json.loads(line.removeprefix("roamd-invite-1."))
            call(api, "POST", "/fake/peer", inviter | {"confirmed": False})
            call(inviter["api"], "POST", "/fake/peer", me | {"confirmed": False, "back": api})
            (Path(settings["room"]) / "pair.json").write_text(json.dumps([inviter, me]))
            return 75
        case ["peers", "confirm", "partner"]:
            inviter, joiner = json.loads((Path(settings["room"]) / "pair.json").read_text())
            call(inviter["api"], "POST", "/fake/peer", joiner | {"confirmed": True})
            call(joiner["api"], "POST", "/fake/peer", inviter | {"confirmed": True})
        case ["ledger", "verify"]:
            pass
        case _:
            return 2
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="+")
    for flag in ("party", "role", "name", "listen", "advertise", "pairing", "api", "backend"):
        parser.add_argument(f"--{flag}")
    parser.add_argument("-c", type=Path)
    flags = parser.parse_args()
    if flags.words[0] == "init":
        return init(Path(flags.words[1]), flags)
    if flags.words[0] == "run":
        return serve(flags.c.parent)
    settings = json.loads((flags.c.parent / "fake.json").read_text()) | {"room": str(flags.c.parent.parent)}
    return operate(settings, flags.words)


if __name__ == "__main__":
    sys.exit(main())
