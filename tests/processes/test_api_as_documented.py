"""Every operation of the OpenAPI document, asked a real daemon with good, odd and hostile values.

No answer is a 5xx, and each is one that the document promises: a documented status with a body of the documented form,
or a problem. The requests are drawn from a seed, so they are the same in every run.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from roamd.demo.client import Reply
from tests.fuzz.mutations import INTERESTING
from tests.processes.conftest import Pair
from tests.support.schema import faults

SEED = 20261122
EACH = 12
LEFT_OUT = {
    ("get", "/v1/stream"): "it is a WebSocket, with tests of its own",
    ("post", "/v1/api-key/rotate"): "the next request would have the wrong key",
    ("post", "/v1/backup"): "it writes to a path on this machine",
    ("get", "/metrics"): "it is text, with tests of its own",
}
NOT_NOW = {"wait": "it would wait"}
ODD_TEXTS = (
    "",
    "x" * 300,
    "%00",
    "\x00",
    "ü",
    "\U0001d518",
    "..",
    "a/b",
    "*",
    "' OR 1=1 --",
    "-1",
    "9" * 30,
    "null",
    "\ud800x",
)
ODD_HEADERS = ("", "x" * 300, "\xff", "2.3.0", "9.9", "*", '"1"', 'W/"', "a" * 4000)
ODD_VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**40, "", "x" * 5000, [], {}, [[]], {"a": 1}, "\ud800", "\x00")


@dataclass(frozen=True)
class Operation:
    """One row of the document."""

    method: str
    path: str
    told: dict[str, Any] = field(repr=False)

    def parameters(self, place: str) -> list[dict[str, Any]]:
        return [each for each in self.told["parameters"] if each["in"] == place and each["name"] not in NOT_NOW]

    @property
    def example(self) -> bytes | None:
        """The documented body, of the company that is asked here."""
        for media in self.told.get("requestBody", {}).get("content", {}).values():
            given = media["example"]
            text = given if isinstance(given, str) else json.dumps(given)
            return text.replace('"DE"', '"BE"').replace('"ABC"', '"RMC"').encode()
        return None


class Asker:
    """Draws requests for an operation."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - the same in every run is what is wanted

    def target(self, operation: Operation) -> str:
        path = operation.path
        for parameter in operation.parameters("path"):
            value = self._either(str(parameter["example"]), ODD_TEXTS)
            name = "{" + parameter["name"] + "}"
            path = path.replace(name, quote(value, safe="", errors="surrogatepass") or "-")
        chosen = [each for each in operation.parameters("query") if self.random.random() < 0.4]
        query = [(each["name"], self._of_schema(each["schema"])) for each in chosen]
        return path + ("?" + urlencode(query, errors="surrogatepass") if query else "")

    def headers(self, operation: Operation) -> dict[str, str]:
        chosen = [each for each in operation.parameters("header") if self.random.random() < 0.4]
        return {each["name"]: self.random.choice(ODD_HEADERS) for each in chosen}

    def body(self, operation: Operation) -> bytes | None:
        """The example, or the example with something else in one place, or what is no JSON at all."""
        example, luck = operation.example, self.random.random()
        if example is None:
            return self.random.choice([None, None, b"{}", b"\xff"])
        if luck < 0.2:
            return example
        if luck < 0.4:
            return self.random.choice(INTERESTING)
        try:
            return json.dumps(self._altered(json.loads(example))).encode()
        except ValueError:  # lines of JSON
            return example[: self.random.randrange(len(example))] + b"\n" + self.random.choice(INTERESTING)

    def _altered(self, value: Any) -> Any:
        if isinstance(value, dict) and value and self.random.random() < 0.85:
            name = self.random.choice([*value, "unknown"])
            return {**value, name: self._altered(value.get(name))}
        if isinstance(value, list) and value and self.random.random() < 0.7:
            return [self._altered(value[0]), *value[1:]] * self.random.randint(1, 3)
        return self.random.choice(ODD_VALUES)

    def _of_schema(self, schema: dict[str, Any]) -> str:
        good = [str(schema["default"])] if "default" in schema else [*map(str, schema.get("enum", ["1"]))]
        return self._either(self.random.choice(good), ODD_TEXTS)

    def _either(self, good: str, odd: tuple[str, ...]) -> str:
        return good if self.random.random() < 0.5 else self.random.choice(odd)


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, item in document["paths"].items():
        for method, told in item.items():
            if (method, path) not in LEFT_OUT:
                yield Operation(method, path, told)


def shortcomings(operation: Operation, reply: Reply, document: dict[str, Any]) -> list[str]:
    """In what an answer is not what the document says."""
    if reply.status >= 500:
        return [f"{reply.status}: {reply.body}"]
    told = operation.told["responses"].get(str(reply.status), operation.told["responses"]["default"])
    media = reply.headers.get("Content-Type", "").partition(";")[0]
    content = told.get("content", {})
    if not content:
        return [] if reply.body in (None, "", b"") else [f"{reply.status} with a body that is not documented"]
    if media not in content:
        return [f"{reply.status} as {media!r}, documented is {list(content)}"]
    return list(faults(reply.body, content[media]["schema"], document["components"]["schemas"]))


def test_every_answer_is_one_that_the_document_promises(own_pair: Pair) -> None:
    document = own_pair.cso.api.get("/v1/openapi.json")
    asker, found, statuses = Asker(SEED), [], set()
    for operation in operations(document):
        for _ in range(EACH):
            target, headers, body = asker.target(operation), asker.headers(operation), asker.body(operation)
            reply = own_pair.cso.api.request(operation.method.upper(), target, body, headers)
            statuses.add(reply.status)
            found += [
                f"{operation.method} {target!r} {headers} {body!r}: {each}"
                for each in shortcomings(operation, reply, document)
            ]
    assert found == [], "\n".join(found)
    assert {200, 202, 204, 404, 409, 422} <= statuses, "else the requests were too tame, or all alike"
    assert own_pair.cso.link_is_up(own_pair.csp)


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (500, {}, {"Content-Type": "application/problem+json"}),
        (404, {"title": "no code"}, {"Content-Type": "application/problem+json"}),
        (404, {}, {"Content-Type": "text/plain"}),
        (200, {"items": 5, "next": None}, {"Content-Type": "application/json"}),
    ],
)
def test_the_check_finds_what_it_is_to_find(own_pair: Pair, status: int, body: Any, headers: dict[str, str]) -> None:
    """A test of the test."""
    document = own_pair.cso.api.get("/v1/openapi.json")
    listing = Operation("get", "/v1/records", document["paths"]["/v1/records"]["get"])
    assert shortcomings(listing, Reply(status, headers, body), document)
