"""The chart: a hand-written SVG, because bars need no library. Each bar is how many times better than its yardstick."""

import math
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LEFT, RIGHT, LINE, TOP = 960, 330, 130, 22, 70
GOOD, POOR, GRID = "#2f6f4f", "#a65c32", "#c8c8c8"
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def drawn(told: list[dict[str, Any]], machine: str) -> str:
    """The SVG text: one bar a case that has a yardstick, on a logarithmic scale around 1."""
    bars = [case for case in told if case["ratio"]]
    if not bars:
        return _svg(TOP, [])
    low = min(1.0, *(case["ratio"] for case in bars)) / 1.3
    high = max(1.0, *(case["ratio"] for case in bars)) * 1.3
    scale = _scale(low, high)
    height = TOP + LINE * len(bars) + 20
    parts = [
        _text(12, 24, "roamd beside its yardsticks, measured in the same run", size=16),
        _text(12, 44, f"times better (log scale); {machine}", size=12),
        *(_grid(scale(step), height, step) for step in STEPS if low < step < high),
        *(part for place, case in enumerate(bars) for part in _bar(case, TOP + 6 + LINE * place, scale)),
    ]
    return _svg(height, parts)


def _scale(low: float, high: float) -> Any:
    width = (WIDTH - LEFT - RIGHT) / (math.log(high) - math.log(low))
    return lambda ratio: LEFT + (math.log(ratio) - math.log(low)) * width


def _bar(case: dict[str, Any], top: int, scale: Any) -> list[str]:
    one, end = scale(1.0), scale(case["ratio"])
    left, width = min(one, end), max(1.0, abs(end - one))
    colour = GOOD if case["ratio"] >= 1 else POOR
    return [
        _text(LEFT - 8, top + 12, case["name"], anchor="end"),
        f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="15" fill="{colour}"/>',
        _text(max(one, end) + 5, top + 12, f"{case['ratio']:.2g} x {case['yardstick']['name']}", size=10),
    ]


def _grid(x: float, height: int, step: float) -> str:
    label = _text(x, TOP - 6, f"{step:g}", anchor="middle", size=10)
    return f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - 10}" stroke="{GRID}"/>' + label


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: int, parts: list[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{height}" fill="white"/>', *parts, "</svg>"]) + "\n"


def write(path: Path, told: list[dict[str, Any]], machine: str) -> None:
    """Draw into a file."""
    path.write_text(drawn(told, machine), "utf-8")
