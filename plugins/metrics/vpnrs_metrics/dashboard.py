"""The dashboard as data: every panel with its queries. `python -m vpnrs_metrics.dashboard` writes dashboard.json.

`$__rate_interval` and `$instance` are Grafana's to fill in; a query here stands in the file as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WHERE = 'instance=~"$instance"'
_RATE = "$__rate_interval"
_WIDTH, _HEIGHT, _PER_ROW = 8, 8, 3


@dataclass(frozen=True)
class Panel:
    """`queries` are (legend, PromQL). `unit` is one of Grafana's."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"


def _rate(metric: str, more: str = "") -> str:
    return f"rate({metric}{{{_WHERE}{more}}}[{_RATE}])"


def _is(metric: str) -> str:
    return f"{metric}{{{_WHERE}}}"


def _quantile(of: float, metric: str) -> str:
    # Heartbeats come every ten seconds: shorter windows would be empty now and then.
    return f"histogram_quantile({of}, sum by (instance, le) (increase({metric}_bucket{{{_WHERE}}}[5m])))"


PANELS: Sequence[Panel] = (
    Panel(
        "Instances",
        "none",
        [("{{instance_name}} ({{role}}, {{version}}, {{transport}})", _is("vpnrs_instance_info"))],
        "stat",
    ),
    Panel("Up since", "s", [("{{instance}}", f"time() - {_is('vpnrs_start_time_seconds')}")], "stat"),
    Panel(
        "Tunnel of clients",
        "s",
        [("{{instance}} connected", _is("vpnrs_connected")), ("{{instance}} for", _is("vpnrs_connected_seconds"))],
        "stat",
    ),
    Panel(
        "Throughput",
        "bps",
        [
            ("{{instance}} ingress", f"8 * {_rate('vpnrs_ingress_bytes_total')}"),
            ("{{instance}} egress", f"8 * {_rate('vpnrs_egress_bytes_total')}"),
        ],
    ),
    Panel(
        "Packets",
        "pps",
        [
            ("{{instance}} ingress", _rate("vpnrs_ingress_packets_total")),
            ("{{instance}} egress", _rate("vpnrs_egress_packets_total")),
        ],
    ),
    Panel(
        "Drops by reason",
        "pps",
        [("{{instance}} {{reason}}", f"topk(10, {_rate('vpnrs_dropped_packets_total')})")],
    ),
    Panel("Sessions", "none", [("{{instance}} {{state}}", _is("vpnrs_sessions"))]),
    Panel(
        "Address pools in use",
        "percentunit",
        [("{{instance}} {{pool}}", f"{_is('vpnrs_pool_leased')} / {_is('vpnrs_pool_leasable')}")],
    ),
    Panel(
        "Sessions opened, resumed, ended",
        "ops",
        [
            ("{{instance}} opened", _rate("vpnrs_sessions_opened_total")),
            ("{{instance}} resumed", _rate("vpnrs_sessions_resumed_total")),
            ("{{instance}} closed", _rate("vpnrs_sessions_closed_total")),
        ],
    ),
    Panel(
        "Round trips of heartbeats",
        "s",
        [
            ("{{instance}} median", _quantile(0.5, "vpnrs_rtt_seconds")),
            ("{{instance}} 95 %", _quantile(0.95, "vpnrs_rtt_seconds")),
        ],
    ),
    Panel(
        "Handshakes",
        "s",
        [
            ("{{instance}} median", _quantile(0.5, "vpnrs_handshake_seconds")),
            ("{{instance}} 95 %", _quantile(0.95, "vpnrs_handshake_seconds")),
        ],
    ),
    Panel(
        "Client's link: round trip",
        "s",
        [
            ("{{instance}}", _is("vpnrs_link_rtt_seconds")),
            ("{{instance}} variation", _is("vpnrs_link_rtt_variation_seconds")),
        ],
    ),
    Panel(
        "Loss of QUIC packets",
        "percentunit",
        [
            (
                "{{instance}}",
                f"{_rate('vpnrs_quic_packets_lost_total')} / ({_rate('vpnrs_quic_packets_sent_total')} > 0)",
            )
        ],
    ),
    Panel("Client's congestion window", "bytes", [("{{instance}}", _is("vpnrs_link_congestion_window_bytes"))]),
    Panel(
        "Waiting in queues and stages",
        "bytes",
        [("{{instance}} queues", _is("vpnrs_queued_bytes")), ("{{instance}} {{plugin}}", _is("vpnrs_held_bytes"))],
    ),
    Panel(
        "Reconnects and changes of path",
        "none",
        [
            ("{{instance}} reconnects", f"increase(vpnrs_reconnects_total{{{_WHERE}}}[5m])"),
            ("{{instance}} migrations", f"increase(vpnrs_migrations_total{{{_WHERE}}}[5m])"),
        ],
    ),
    Panel(
        "Refused and failed attempts",
        "ops",
        [
            ("{{instance}} refused: {{code}}", f"topk(5, {_rate('vpnrs_attempts_refused_total')})"),
            ("{{instance}} failed: {{code}}", f"topk(5, {_rate('vpnrs_connect_failures_total')})"),
        ],
    ),
    Panel("Events", "ops", [("{{instance}} {{event}}", f"topk(10, {_rate('vpnrs_events_total')})")]),
    Panel(
        "UDP datagrams",
        "pps",
        [
            ("{{instance}} in", _rate("vpnrs_udp_packets_in_total")),
            ("{{instance}} out", _rate("vpnrs_udp_packets_out_total")),
            ("{{instance}} lost", _rate("vpnrs_udp_packets_lost_total")),
        ],
    ),
    Panel(
        "TUN frames",
        "pps",
        [
            ("{{instance}} read", _rate("vpnrs_tun_frames_read_total")),
            ("{{instance}} written", _rate("vpnrs_tun_frames_written_total")),
        ],
    ),
    Panel("Links", "none", [("{{instance}}", _is("vpnrs_links"))]),
    Panel("Memory", "bytes", [("{{instance}}", _is("vpnrs_resident_memory_bytes"))]),
    Panel("CPU", "percentunit", [("{{instance}}", _rate("process_cpu_seconds_total"))]),
    Panel(
        "Failures of plugins",
        "none",
        [("{{instance}} {{plugin}}", f"increase(vpnrs_plugin_failures_total{{{_WHERE}}}[5m])")],
    ),
    Panel(
        "First credential expires in",
        "s",
        [("{{instance}}", f"{_is('vpnrs_next_expiry_timestamp_seconds')} - time()")],
        "stat",
    ),
    Panel(
        "Busiest sessions (with `sessions = true`)",
        "bps",
        [
            ("{{principal}} ingress", f"topk(5, 8 * {_rate('vpnrs_session_ingress_bytes_total')})"),
            ("{{principal}} egress", f"topk(5, 8 * {_rate('vpnrs_session_egress_bytes_total')})"),
        ],
    ),
    Panel("Time of a scrape", "s", [("{{instance}} 95 %", _quantile(0.95, "vpnrs_metrics_scrape_seconds"))]),
)


def dashboard() -> dict[str, Any]:
    """What Grafana imports (schema version 39, Grafana 10 and later)."""
    return {
        "title": "vpnrs",
        "uid": "vpnrs",
        "tags": ["vpnrs"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _instances()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _instances() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "Instance",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": "label_values(vpnrs_instance_info, instance)", "refId": "instances"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    return {
        "id": number + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": _SOURCE,
        "gridPos": {
            "x": number % _PER_ROW * _WIDTH,
            "y": number // _PER_ROW * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + order),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for order, (legend, query) in enumerate(panel.queries)
        ],
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("dashboard.json").write_text(text())
