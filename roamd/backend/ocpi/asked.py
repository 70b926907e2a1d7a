"""One request to the face, taken apart: the path without its slashes, who asks, and whom the headers name."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from roamd.backend.ocpi.backends import Presented
from roamd.backend.ocpi.envelope import invalid
from roamd.model.ids.party import party_of
from roamd.model.times import parse_time, time_ms

VERSIONS: Final = ("2.2.1", "2.3.0")
FACES: Final = ("cpo", "emsp")
MAX_SEGMENTS: Final = 10


_party_of: Final = lru_cache(1000)(party_of)
"""Every request names the same few."""


def segments_of(raw_path: str) -> list[str]:
    """The parts of a path, decoded; slashes at the end and double ones mean nothing."""
    return [unquote(part) for part in raw_path.split("/") if part]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to a functional module. `path` is what stands behind the module's own address."""

    request: web.Request = field(repr=False)
    presented: Presented
    base: str
    face: str
    version: str
    module: str
    path: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def endpoint(self) -> str:
        """The module's own address."""
        return f"{self.base}/{self.face}/{self.version}/{self.module}"

    async def body(self) -> bytes:
        """The whole body."""
        return await self.request.read()

    def query(self, name: str) -> str | None:
        """A parameter, None when it is empty."""
        return self.request.query.get(name) or None

    def number(self, name: str, default: int) -> int:
        """A whole number among the parameters; what is none counts as not given."""
        text = (self.query(name) or "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def moment(self, name: str) -> int | None:
        """A DateTime among the parameters, in milliseconds. An offset's plus arrives as a space."""
        text = self.query(name)
        if text is None:
            return None
        read = text.strip() if parse_time(text.strip()) else text.strip().replace(" ", "+")
        if parse_time(read) is None:
            raise invalid(f"{name}: is no DateTime such as 2026-11-22T12:00:00Z")
        return time_ms(read)

    def party(self, which: str) -> str | None:
        """The party that the routing headers name as `to` or `from`; None when they name none."""
        headers = self.request.headers
        country = headers.get(f"OCPI-{which}-country-code", "").strip().upper()
        party_id = headers.get(f"OCPI-{which}-party-id", "").strip().upper()
        return _party_of(country, party_id)
