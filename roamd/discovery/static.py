"""Candidates that the operator wrote down: `[[candidates]]` in the configuration."""

from collections.abc import Iterable

from roamd.config.schema import StaticCandidate
from roamd.discovery.finder import Report, Sighting


class StaticFinder:
    """Reports what is configured and is done. Runs on any loop, or none: it never waits."""

    def __init__(self, configured: Iterable[StaticCandidate]) -> None:
        self._sightings = tuple(
            Sighting("config", candidate.address, (candidate.address,), candidate.endpoint_id)
            for candidate in configured
        )

    async def run(self, report: Report) -> None:
        """Report all at once and return."""
        self.report_nowait(report)

    def report_nowait(self, report: Report) -> None:
        """The same for a caller that is not in a coroutine."""
        for sighting in self._sightings:
            report(sighting)
