"""Objects as a backend reads them: in its own version, whichever the owner wrote them in.

What is stored stays as it is; a view is made for each answer and each push, and what it could not say is logged in one
line and counted for `roamd ocpi losses`.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from roamd.backend.ocpi.asked import Asked
from roamd.backend.ocpi.backends import Backend
from roamd.backend.ocpi.envelope import encode
from roamd.backend.ocpi.mend import with_nulls, without_nulls
from roamd.backend.ocpi.uids import with_turned
from roamd.log import get_logger
from roamd.model.body import merge_patch, with_fields
from roamd.model.jsontext import member, spans
from roamd.model.ocpi.convert import convert

log = get_logger(room="backend")

KINDS: Final = {
    "locations": "Location",
    "tariffs": "Tariff",
    "sessions": "Session",
    "cdrs": "CDR",
    "tokens": "Token",
}
PATHS_TOLD: Final = 10
_INDEX: Final = re.compile(r"\[\d+\]")


@dataclass(slots=True)
class View:
    """The conversions of one answer, or of one push. Leaving the block logs what they lost."""

    backend: Backend
    version: str
    module: str
    _lost: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __enter__(self) -> "View":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._lost:
            self._tell()

    def of(self, body: bytes, ocpi: str | None) -> bytes:
        """An object that its owner wrote in version `ocpi`; None for one that has no version."""
        kind = KINDS[self.module]
        if ocpi is not None and ocpi != self.version:
            body = self._converted(kind, body, ocpi, self.version)
        body = with_turned(self.backend.settings, self.module, body)
        match self.backend.settings.nulls:
            case "add":
                return with_nulls(kind, self.version, body)
            case "drop":
                return without_nulls(body)
        return body

    def back(self, kind: str, body: bytes, ocpi: str) -> bytes:
        """A part that this backend wrote, in the version in which the whole is stored."""
        return body if ocpi == self.version else self._converted(kind, body, self.version, ocpi)

    def patched(self, kind: str, stored: bytes, patch: bytes, ocpi: str) -> bytes:
        """What is stored in version `ocpi` with a patch by this backend; what the patch does not name keeps its bytes.

        Raises Malformed for a bad patch.
        """
        if ocpi == self.version:
            return merge_patch(stored, patch)
        shown, _ = convert(kind, stored, ocpi, self.version)
        merged = self._converted(kind, merge_patch(shown, patch), self.version, ocpi)
        named = {name: member(merged, name) for name, *_ in spans(patch)}
        gone = {name: None for name, text in named.items() if text is None}
        changed = with_fields(stored, {name: text for name, text in named.items() if text is not None})
        return merge_patch(changed, encode(gone)) if gone else changed

    def _converted(self, kind: str, body: bytes, source: str, target: str) -> bytes:
        text, losses = convert(kind, body, source, target)
        for loss in losses:
            self._lost[loss.code, _INDEX.sub("[]", loss.path)] += 1
            self.backend.losses[self.module, loss.code] += 1
        return text

    def _tell(self) -> None:
        told = [f"{path} {code} x{count}" for (code, path), count in self._lost.most_common(PATHS_TOLD)]
        log.info(
            "ocpi_answer_converted",
            backend=self.backend.settings.name,
            module=self.module,
            version=self.version,
            losses=self._lost.total(),
            paths=told,
        )


def view_for(asked: Asked) -> View:
    """For the answer to a request: in the version of its address."""
    return View(asked.presented.backend, asked.version, asked.module)
