"""The one registry: what it shows, and that a removed peer leaves nothing behind."""

import re
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from roamd import metrics


def test_the_page_shows_help_type_and_value() -> None:
    metrics.object_refusals.labels("shown", "tariffs", "malformed").inc()  # of a peer that no other test counts for
    page = metrics.render().decode()
    assert 'roamd_object_refusals_total{feed="tariffs",peer="shown",reason="malformed"} 1.0' in page
    assert "# TYPE roamd_authorization_seconds histogram" in page


def test_a_forgotten_peer_leaves_no_series() -> None:
    metrics.link_up.labels("gone").set(1)
    metrics.calls.labels("gone", "ANSWERED").inc()
    metrics.calls.labels("kept", "ANSWERED").inc()
    metrics.forget_peer("gone")
    page = metrics.render().decode()
    assert '"gone"' not in page
    assert 'peer="kept"' in page


def test_no_metric_carries_a_personal_label() -> None:
    labels = set(re.findall(r'[{,](\w+)="', metrics.render().decode()))
    assert labels.isdisjoint({"uid", "contract_id", "credential", "driver", "record_id", "session_id"})


def test_every_metric_is_fed_by_somebody() -> None:
    """One that stands at zero for ever is a lie on a dashboard."""
    shown = [name for name, metric in vars(metrics).items() if isinstance(metric, metrics.PerPeer | MetricWrapperBase)]
    code = [path.read_text() for path in (Path(metrics.__file__).parent).rglob("*.py") if path.name != "metrics.py"]
    fed_at_home = {"start_time_seconds", "_build"}
    assert [
        name for name in shown if name not in fed_at_home and not any(f"metrics.{name}" in text for text in code)
    ] == []


def test_every_metric_with_a_peer_label_is_forgotten_with_it() -> None:
    assert not [metric for metric in vars(metrics).values() if "peer" in getattr(metric, "_labelnames", ())], "PerPeer"
    ours: list[metrics.PerPeer] = [metric for metric in vars(metrics).values() if isinstance(metric, metrics.PerPeer)]
    assert ours
    for metric in ours:
        metric.labels(*("gone" for _ in metric.label_names)).inc()
    assert metrics.render().decode().count('peer="gone"') >= len(ours)
    metrics.forget_peer("gone")
    assert 'peer="gone"' not in metrics.render().decode()


def test_a_line_by_peer_shows_from_its_first_mention_and_keeps_its_number() -> None:
    kept = metrics.link_bytes.labels("brief", "in")
    assert 'roamd_link_bytes_total{direction="in",peer="brief"} 0.0' in metrics.render().decode()
    kept.inc(5)
    metrics.link_bytes.labels("brief", "in").inc(2)
    assert 'roamd_link_bytes_total{direction="in",peer="brief"} 7.0' in metrics.render().decode()
    metrics.forget_peer("brief")


def test_a_line_by_peer_needs_all_its_labels() -> None:
    with pytest.raises(ValueError, match="link_bytes"):
        metrics.link_bytes.labels("brief")


def test_a_kept_child_is_the_metrics_own_and_goes_with_its_peer() -> None:
    metrics.child(metrics.calls, "brief", "ANSWERED").inc()
    metrics.child(metrics.calls, "brief", "ANSWERED").inc()
    assert 'roamd_calls_total{peer="brief",status="ANSWERED"} 2.0' in metrics.render().decode()
    metrics.forget_peer("brief")
    metrics.child(metrics.calls, "brief", "ANSWERED").inc()
    assert 'roamd_calls_total{peer="brief",status="ANSWERED"} 1.0' in metrics.render().decode()
    metrics.forget_peer("brief")


def test_what_is_tallied_shows_once_however_often_one_looks() -> None:
    for total in ("1.0", "2.0"):
        metrics.child(metrics.calls, "looked-at", "ANSWERED").inc()
        for _ in range(2):
            assert f'roamd_calls_total{{peer="looked-at",status="ANSWERED"}} {total}' in metrics.render().decode()
    metrics.forget_peer("looked-at")
