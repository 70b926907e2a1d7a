"""The bench's own arithmetic: medians, ratios, targets, and a chart that is well-formed. Nothing here is timed."""

from xml.etree import ElementTree as Tree

from tests.bench import chart, report
from tests.bench.load import measured
from tests.bench.rows import Row

RATE = Row("rate", "ours", "per_s", "/s", least=100, beside=("theirs", "per_s"), times=2)
COST = Row("cost", "ours", "cpu_s_per_1000", "CPU s/1,000", most=0.5, beside=("theirs", "cpu_s_per_1000"))
FOUND = {
    "ours": [{"per_s": rate, "cpu_s_per_1000": 0.4} for rate in (90.0, 300.0, 200.0)],
    "theirs": [{"per_s": 50.0, "cpu_s_per_1000": 0.8}],
}


def test_a_case_is_the_median_of_its_rounds_beside_its_yardstick() -> None:
    rate, cost = report.cases(FOUND, (RATE, COST))
    assert (rate["value"], rate["ratio"], rate["met"], rate["spread"]) == (200.0, 4.0, True, 1.05)
    assert (cost["value"], cost["ratio"], cost["met"]) == (0.4, 2.0, True), "a cost of half is twice as good"


def test_a_target_that_is_missed_says_so_and_one_without_its_yardstick_says_nothing() -> None:
    (missed,) = report.cases({"ours": [{"per_s": 99.0}], "theirs": [{"per_s": 1.0}]}, (RATE,))
    (unknown,) = report.cases({"ours": [{"per_s": 300.0}]}, (RATE,))
    assert (missed["met"], unknown["met"], unknown["ratio"]) == (False, None, None)


def test_what_was_not_measured_is_no_case() -> None:
    assert report.cases({}, (RATE, COST)) == []


def test_an_earlier_run_is_compared_case_by_case() -> None:
    told = report.cases(FOUND, (RATE,))
    assert report.compared(told, [{"name": "rate", "value": 100.0}]) == "  2.00 times  rate: 100 -> 200 /s"
    assert report.compared(told, [{"name": "other", "value": 100.0}]) == ""


def test_the_chart_is_xml_with_a_bar_for_each_case_that_has_a_yardstick() -> None:
    told = report.cases(FOUND, (RATE, COST))
    svg = Tree.fromstring(chart.drawn(told, "a <machine> & more"))  # noqa: S314 -- our own text
    bars = list(svg.iter("{http://www.w3.org/2000/svg}rect"))
    assert len(bars) == 1 + len(told)
    assert Tree.fromstring(chart.drawn([], "nothing")) is not None  # noqa: S314 -- our own text


def test_percentiles_are_of_what_was_answered() -> None:
    found = measured([1_000_000 * number for number in range(1, 101)], 2.0, 0.5)
    assert (found["per_s"], found["cpu_s_per_1000"]) == (50.0, 5.0)
    assert (found["p50_ms"], found["p99_ms"]) == (50.5, 100.0)
