"""Checks what a backend hands in, and where that finds fault, mends it first (`mend`), unless it is to be strict.

A good object costs nothing: it is mended only after the check had something to say. What was met is counted with the
backend, for its list of quirks.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from roamd.backend.context import Api
from roamd.backend.ocpi.backends import Backend
from roamd.backend.ocpi.envelope import Refusal, encode
from roamd.backend.ocpi.mend import Mending, mend
from roamd.backend.ocpi.texts import object_text
from roamd.errors import Fault, Malformed, RoamdError
from roamd.model.jsontext import member
from roamd.model.objects import Checked, CheckedRecord, check_object, check_record
from roamd.model.roles import FEEDS
from roamd.roaming.operations import Driver, FindDriver, GetObject, StoredObject

MENDABLE: Final = frozenset({"pattern", "unknown-value"})
"""Codes of warnings that may be about something that can be mended."""


class _Result(Protocol):
    @property
    def warnings(self) -> tuple[Fault, ...]: ...


R = TypeVar("R", bound=_Result)


@dataclass(slots=True)
class Lenient:
    """Checks for all backends. `addressee` is the partner's party that a request was for, where it names one."""

    api: Api

    async def object(
        self,
        backend: Backend,
        feed: str,
        version: str,
        data: bytes,
        own: frozenset[str],
        path_id: str | None = None,
        addressee: str | None = None,
    ) -> Checked:
        """An object that is to be published. Raises Malformed with what is left to say, or TooLarge."""

        def check(text: bytes) -> Checked:
            return check_object(feed, version, text, own_parties=own, path_id=path_id)

        return await self._checked(backend, FEEDS[feed].object_class, version, data, check, addressee)

    async def record(self, backend: Backend, version: str, data: bytes, addressee: str | None = None) -> CheckedRecord:
        """A CDR. Raises as `object`."""

        def check(text: bytes) -> CheckedRecord:
            return check_record(version, text, own_parties=self.api.own_parties)

        return await self._checked(backend, "CDR", version, data, check, addressee)

    def part(
        self, backend: Backend, kind: str, version: str, data: bytes, *, whole: bool
    ) -> tuple[bytes, dict[str, Any]]:
        """The body of a PATCH, or of a PUT of a part (`whole`), as text and parsed. Raises Malformed or Refusal."""
        text, value = object_text(data)
        if backend.settings.strict:
            return text, value
        mending = Mending(version, fill=whole)
        mended = mend(kind, text, mending)
        if mended == text:
            return text, value
        note(backend, mending.met)
        return object_text(mended)

    async def _checked(
        self,
        backend: Backend,
        kind: str,
        version: str,
        data: bytes,
        check: Callable[[bytes], R],
        addressee: str | None,
    ) -> R:
        try:
            good = check(data)
        except Malformed as error:
            if backend.settings.strict:
                raise
            with contextlib.suppress(Malformed, Refusal):
                mended = await self._mended(backend, kind, version, data, check, addressee, error)
                if mended is not None:
                    return mended
            raise
        if backend.settings.strict or not any(each.code in MENDABLE for each in good.warnings):
            return good
        return await self._mended(backend, kind, version, data, check, addressee, None) or good

    async def _mended(
        self,
        backend: Backend,
        kind: str,
        version: str,
        data: bytes,
        check: Callable[[bytes], R],
        addressee: str | None,
        error: Malformed | None,
    ) -> R | None:
        """What it is when it is mended; None where there was nothing to mend, so that it is not checked in vain."""
        text, value = object_text(data)
        mending = Mending(version, fill=error is not None)
        if error is not None:
            await self._look_up(kind, value, mending, addressee)
        del value  # the check makes as much once more: of 256 KiB of empty objects 8 MiB each
        mended = mend(kind, text, mending)
        if mended == text:
            return None
        result = check(mended)
        note(backend, mending.met)
        return result

    # --- what is known beside the body --------------------------------------------------------------------------

    async def _look_up(self, kind: str, value: dict[str, Any], mending: Mending, addressee: str | None) -> None:
        if kind in ("Session", "CDR") and value.get("cdr_token") is None:
            mending.token = await self._token(kind, value, addressee)
        place = value.get("cdr_location")
        if kind == "CDR" and isinstance(place, dict) and isinstance(place.get("id"), str):
            stored = await self._stored("locations", place["id"])
            mending.location = None if stored is None else stored.body

    async def _token(self, kind: str, value: dict[str, Any], addressee: str | None) -> bytes | None:
        """Whose driver it is: as the session said before, as an authorization says, or as the request is addressed."""
        session = value.get("id") if kind == "Session" else value.get("session_id")
        stored = await self._stored("sessions", session) if isinstance(session, str) and session else None
        known = member(stored.body, "cdr_token") if stored is not None else None
        if known not in (None, b"null"):
            return known
        reference = value.get("authorization_reference")
        driver: Driver | None = None
        if isinstance(reference, str) and reference:
            driver = await self.api.core.ask(FindDriver(reference))
        if driver is None and addressee is not None:
            driver = Driver(addressee)
        return None if driver is None else cdr_token(driver)

    async def _stored(self, feed: str, id_: str) -> StoredObject | None:
        with contextlib.suppress(RoamdError):
            stored: StoredObject = await self.api.core.ask(GetObject(feed, id_))
            return stored
        return None


def cdr_token(driver: Driver) -> bytes:
    """A CdrToken of what is known of a driver."""
    return encode(
        {
            "country_code": driver.party[:2],
            "party_id": driver.party[2:],
            "uid": driver.uid or "#NA",
            "type": driver.type or "OTHER",
            "contract_id": driver.contract_id or driver.uid or "#NA",
        }
    )


def note(backend: Backend, met: set[str]) -> None:
    """Note what was met with the backend, for its list of quirks."""
    for name in sorted(met):
        backend.met(name)
