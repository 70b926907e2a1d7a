"""What needs no key: is it alive, does it serve, what does it measure. And the API's own description."""

from aiohttp import web

from roamd.backend.context import Api
from roamd.backend.problems import problem, problem_response
from roamd.backend.requests import value_answer
from roamd.backend.routes import Answer, Route


class Health:
    """The handlers and their routes."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def livez(self, request: web.Request) -> web.Response:
        """The loop turns, or this would not be answered."""
        return value_answer({"status": "alive"})

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether the daemon serves; peers do not matter."""
        lacking = self._api.settings.readiness()
        if lacking is None:
            return value_answer({"status": "ready"})
        return problem_response(problem(503, "not-ready", lacking))

    async def metrics(self, request: web.Request) -> web.Response:
        """The Prometheus text."""
        return web.Response(
            body=self._api.settings.metrics(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    def routes(self) -> list[Route]:
        """The table's rows."""
        tag, fine = "health", (Answer(200, "It is.", "Health"),)
        text = (Answer(200, "Metrics.", None, "text/plain"),)
        return [
            Route("GET", "/livez", self.livez, tag, "Is the process alive?", fine, is_open=True),
            Route("GET", "/readyz", self.readyz, tag, "Does it serve?", fine, is_open=True),
            Route("GET", "/metrics", self.metrics, tag, "Prometheus metrics.", text, is_open=True),
        ]
