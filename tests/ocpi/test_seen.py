"""What an operator sees of the face: counts by backend and module, and a line for each refusal, without its words."""

from typing import Any

from prometheus_client import REGISTRY

from roamd import metrics
from roamd.backend.examples import TARIFF
from tests.support.ocpi import NAME, Desk, OcpiBackend, run_ocpi


def counted(name: str, **labels: str) -> float:
    assert REGISTRY is not metrics.registry
    return metrics.registry.get_sample_value(f"roamd_{name}_total", labels) or 0.0


def test_requests_are_counted_by_backend_module_and_status_and_refusals_logged(capsys: Any) -> None:
    def requests(module: str, status: str, backend: str = NAME) -> float:
        return counted("ocpi_requests", backend=backend, module=module, status=status)

    async def test(desk: Desk) -> None:
        before = [requests("tariffs", "1000"), requests("tariffs", "2001"), requests("documents", "2001", "")]
        await desk.need("PUT", "/emsp/2.3.0/tariffs/DE/ABC/T1", TARIFF)
        await desk.send("PUT", "/emsp/2.3.0/tariffs/DE/ABC/T1", {"secret": "word"})
        await desk.send("GET", "/versions", token="nobody's")
        await desk.send("GET", "/2.3.0/" + "x" * 50)
        after = [requests("tariffs", "1000"), requests("tariffs", "2001"), requests("documents", "2001", "")]
        assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
        lines = [line for line in capsys.readouterr().err.splitlines() if "ocpi_request_refused" in line]
        assert len(lines) == 1
        assert '"module":"tariffs"' in lines[0]
        assert "word" not in lines[0]

    run_ocpi(test, registered=True)


def test_calls_to_the_backend_are_counted_by_outcome() -> None:
    async def test(desk: Desk) -> None:
        good, refused = counted("ocpi_calls", backend=NAME, outcome="good"), 0.0
        await desk.register()
        assert counted("ocpi_calls", backend=NAME, outcome="good") == good + 2
        refused = counted("ocpi_calls", backend=NAME, outcome="refused")
        desk.backend.forms = ()
        await desk.send("PUT", "/2.2.1/credentials", desk.backend.credentials())
        assert counted("ocpi_calls", backend=NAME, outcome="refused") == refused + 1

    run_ocpi(test, backend=OcpiBackend())
