"""From what the rounds found to the table, the JSON, and the comparison with an earlier run."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from tests.bench.load import Measured
from tests.bench.rows import ROWS, Row

Found = Mapping[str, list[Measured]]
"""Per probe, what each round found."""


def median_of(found: Found, probe: str, figure: str) -> float | None:
    """The median over the rounds; None where the probe did not run."""
    values = [one[figure] for one in found.get(probe, ()) if figure in one]
    return statistics.median(values) if values else None


def spread_of(found: Found, probe: str, figure: str) -> float:
    """How far the rounds lie apart, as a share of their median."""
    values = [one[figure] for one in found.get(probe, ()) if figure in one]
    middle = statistics.median(values) if values else 0.0
    return (max(values) - min(values)) / middle if middle else 0.0


def cases(found: Found, rows: Iterable[Row] = ROWS) -> list[dict[str, Any]]:
    """Every row that was measured."""
    told = []
    for row in rows:
        value = median_of(found, row.probe, row.figure)
        if value is not None:
            told.append(_case(found, row, value))
    return told


def _case(found: Found, row: Row, value: float) -> dict[str, Any]:
    yardstick = median_of(found, *row.beside) if row.beside else None
    ratio = row.ratio(value, yardstick) if yardstick else None
    return {
        "name": row.name,
        "value": _rounded(value),
        "unit": row.unit,
        "target": row.target or None,
        "met": row.met(value, ratio),
        "yardstick": {"name": row.beside[0], "value": _rounded(yardstick)} if row.beside and yardstick else None,
        "ratio": _rounded(ratio) if ratio else None,
        "spread": round(spread_of(found, row.probe, row.figure), 3),
        "cpu_s_per_1000": _rounded(median_of(found, row.probe, "cpu_s_per_1000")),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


HEADS = ("case", "value", "", "target", "met", "beside", "ratio", "spread")


def table(told: list[dict[str, Any]]) -> str:
    """For people."""
    lines = [HEADS, *(_line(case) for case in told)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _line(case: dict[str, Any]) -> tuple[str, ...]:
    met = {True: "yes", False: "NO", None: ""}[case["met"]]
    beside = f"{case['yardstick']['name']} {shown(case['yardstick']['value'])}" if case["yardstick"] else ""
    ratio = f"{case['ratio']:.2g}x" if case["ratio"] else ""
    return (
        case["name"], shown(case["value"]), case["unit"], case["target"] or "", met, beside, ratio,
        f"{case['spread']:.0%}",
    )  # fmt: skip


def shown(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def compared(told: list[dict[str, Any]], earlier: list[dict[str, Any]]) -> str:
    """Each case's value as a multiple of an earlier run's; only figures of the same machine can be compared."""
    before = {case["name"]: case["value"] for case in earlier}
    lines = [
        f"{case['value'] / before[case['name']]:6.2f} times  {case['name']}: {shown(before[case['name']])}"
        f" -> {shown(case['value'])} {case['unit']}"
        for case in told
        if before.get(case["name"])
    ]
    return "\n".join(lines)
