"""Makes the face of its parts: what `serving` enters and `build` mounts."""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

from roamd.backend.context import Api
from roamd.backend.ocpi.authorize import TokensAndAuthorize
from roamd.backend.ocpi.backends import Backends, OcpiSettings
from roamd.backend.ocpi.caller import Caller, caller_session
from roamd.backend.ocpi.cdrs import PostedCdrs
from roamd.backend.ocpi.credentials import Credentials
from roamd.backend.ocpi.face import Face, Handler
from roamd.backend.ocpi.offered import ClientInfos, Offered, Snapshots
from roamd.backend.ocpi.partners import Partners
from roamd.backend.ocpi.received import Received


@contextlib.asynccontextmanager
async def ocpi_face(
    api: Api, settings: Sequence[OcpiSettings], random: Callable[[int], bytes]
) -> AsyncIterator[Face | None]:
    """The face for these backends, None when there are none; its connections are closed at the end."""
    if not settings:
        yield None
        return
    async with contextlib.AsyncExitStack() as stack:
        backends = Backends(api.core, api.clock, settings)
        callers = {
            backend.settings.name: Caller(
                backend, await stack.enter_async_context(caller_session(backend.settings.private)), random
            )
            for backend in backends
        }
        yield make_face(api, backends, callers, random)


def make_face(api: Api, backends: Backends, callers: dict[str, Caller], random: Callable[[int], bytes]) -> Face:
    """The face over ready parts."""
    partners = Partners(api)
    credentials = Credentials(api, backends, partners, callers, random)
    urls = {backend.settings.name: backend.settings.url for backend in backends}
    return Face(api, backends, credentials.handle, _modules(api, partners), urls, random)


def _modules(api: Api, partners: Partners) -> dict[tuple[str, str], Handler]:
    received, cdrs, infos = Received(api), PostedCdrs(api), ClientInfos(partners)
    offered = Offered(api, partners, Snapshots(api.clock.monotonic))
    tokens = TokensAndAuthorize(api, partners, offered)
    return {
        **{("cpo", module): offered.handle for module in ("locations", "tariffs", "sessions", "cdrs")},
        ("cpo", "tokens"): received.handle,
        **{("emsp", module): received.handle for module in ("locations", "tariffs", "sessions")},
        ("emsp", "cdrs"): cdrs.handle,
        ("emsp", "tokens"): tokens.handle,
        **{(face, "hubclientinfo"): infos.handle for face in ("cpo", "emsp")},
    }
