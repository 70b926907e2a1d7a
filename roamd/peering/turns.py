"""One task that lets every link send, in turn.

Theory of operation. Whoever puts something into a link's queues calls `add`; in the next pass of the scheduler each
such link has its turn. So what was queued in one pass leaves in one TLS write, and what concerns many links (a status
that a hundred peers follow) costs one wake-up and not one for each. A turn moves one payload each way and one write at
most and never blocks. After `TURNS_A_PASS` of them comes a pass of the scheduler, in which readers read and drivers
are answered, also while a thousand peers want their snapshots; who has more to do stands in line again, behind all
others. A link whose socket is full waits by itself (`peering.link`) and asks for a turn again when that is over;
nobody else is kept waiting by it. What fails in a turn ends that link alone.

An idle link owns no task but its reader, which is what thousands of them cost.
"""

import itertools
from typing import Final, Protocol

from roamd.roaming.waiting import Wake

TURNS_A_PASS: Final = 16
"""A turn with bulk takes a millisecond or two; a status that many follow, some 0.1."""


class Turner(Protocol):
    """Who may have a turn (`peering.link.Link`)."""

    def turn(self) -> bool:
        """Send what waits, as far as that goes at once; whether there is more to do. Does not block."""
        ...

    def fail(self, error: Exception) -> None:
        """`turn` has raised: end."""
        ...


class Turns:
    """See the module. `add` may be called before `run`, and from any task of the trio thread."""

    def __init__(self) -> None:
        self._waiting: dict[Turner, None] = {}
        self._work = Wake()

    def add(self, link: Turner) -> None:
        """This link has something to do. Several calls before its turn are one."""
        if not self._waiting:
            self._work.set()
        self._waiting[link] = None

    async def run(self) -> None:
        """Give turns until cancelled."""
        while True:
            await self._work.wait()  # a pass of the scheduler, also when there is more to do already
            self._round()
            if self._waiting:
                self._work.set()

    def _round(self) -> None:
        for link in list(itertools.islice(self._waiting, TURNS_A_PASS)):
            del self._waiting[link]
            try:
                more = link.turn()
            except Exception as error:  # noqa: BLE001 - the link's edge is in its `run`, where it is told apart and logged
                link.fail(error)
            else:
                if more:
                    self.add(link)
