"""By which ways a peer is reached: per function an ordered list, of which the first that is up is taken.

A bilateral pair has the list with one entry, `direct`. The other entries are labels of peers that are clearing houses:
they carry what two endpoints seal for each other, and are trusted with nothing but that. Lists may differ by function
(mixed mode: authorizations go direct when they can, records through the clearing house).
"""

from collections.abc import Iterable, Mapping
from typing import Final

from roamd.errors import Fault, Malformed

DIRECT: Final = "direct"
"""No peer has this label as a route: a peer that is called so cannot be one."""

CALLS, LEDGER, FEEDS = "calls", "ledger", "feeds"
FUNCTIONS: Final = (CALLS, LEDGER, FEEDS)

MAX_ROUTES: Final = 4

Routes = Mapping[str, tuple[str, ...]]
"""By function; a function that is not named goes direct."""


def routes_for(routes: Routes, function: str) -> tuple[str, ...]:
    """The list of one function, the best first."""
    return routes.get(function, (DIRECT,))


def every_route(routes: Routes) -> tuple[str, ...]:
    """All that some function may take, without repeats."""
    return tuple(dict.fromkeys(route for function in FUNCTIONS for route in routes_for(routes, function)))


def clearing_houses(routes: Routes) -> tuple[str, ...]:
    """The labels of those among them."""
    return tuple(route for route in every_route(routes) if route != DIRECT)


def checked_routes(wanted: Mapping[str, Iterable[str]], known: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """What an operator wants, by function; `known` are the labels of clearing houses. Malformed with every fault."""
    may_be = {DIRECT, *known}
    faults = [
        fault for function, routes in wanted.items() for fault in _faults(function, tuple(routes), frozenset(may_be))
    ]
    if faults:
        raise Malformed(tuple(faults))
    checked = {function: tuple(routes) for function, routes in wanted.items()}
    return {function: routes for function, routes in checked.items() if routes != (DIRECT,)}


def _faults(function: str, routes: tuple[str, ...], may_be: frozenset[str]) -> list[Fault]:
    path = f"$.{function}"
    if function not in FUNCTIONS:
        return [Fault(path, f"not a function; these are: {', '.join(FUNCTIONS)}", "unknown")]
    if not 0 < len(routes) <= MAX_ROUTES or len(set(routes)) < len(routes):
        return [Fault(path, f"1 to {MAX_ROUTES} different routes", "routes")]
    return [
        Fault(
            path,
            f"{route!r} is no clearing house that we are paired with; write {' or '.join(sorted(may_be))}",
            "route",
        )
        for route in routes
        if route not in may_be
    ]
