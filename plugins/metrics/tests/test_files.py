"""The dashboard and the alert rules that the package brings."""

from __future__ import annotations

import json
import re
from pathlib import Path

import vpnrs_metrics
from prometheus_kit import expressions, promtool
from vpnrs_metrics import dashboard
from vpnrs_metrics.commands import packaged

from vpnrs_core.testkit.instance import run_here

PACKAGE = Path(vpnrs_metrics.__file__).parent


def test_the_dashboards_file_is_what_its_panels_say():
    assert packaged("dashboard.json") == dashboard.text(), "run `python -m vpnrs_metrics.dashboard`"


def test_the_dashboard_is_one_that_grafana_can_lay_out():
    made = json.loads(packaged("dashboard.json"))
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in made["panels"]]
    assert len(set(places)) == len(places) == len(dashboard.PANELS)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in made["panels"])
    assert len({p["id"] for p in made["panels"]}) == len({p["title"] for p in made["panels"]}) == len(places)
    for panel in made["panels"]:
        for target in panel["targets"]:
            assert 'instance=~"$instance"' in target["expr"]


def test_every_query_is_promql(tmp_path):
    """As recording rules, promtool parses them."""
    rules = tmp_path / "rules.yml"
    queries = [query for found in expressions(packaged("dashboard.json")).values() for query in found]
    rules.write_text(json.dumps({"groups": [{"name": "q", "rules": [
        {"record": f"q:{n}", "expr": query} for n, query in enumerate(queries)
    ]}]}))  # fmt: skip
    checked = promtool("check", "rules", str(rules))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_promtool_accepts_the_rules():
    checked = promtool("check", "rules", str(PACKAGE / "alerts.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "9 rules found" in checked.stdout


def test_each_alert_fires_when_it_should_and_not_before(tmp_path):
    text = Path(__file__).with_name("alerts_test.yml").read_text()
    (tmp_path / "alerts.yml").write_text(packaged("alerts.yml"))
    (tmp_path / "test.yml").write_text(text)
    checked = promtool("test", "rules", str(tmp_path / "test.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    alerts = set(re.findall(r"alert: (\w+)", packaged("alerts.yml")))
    assert alerts == set(re.findall(r"alertname: (\w+)", text)), "every rule has a case"


def test_the_commands_print_the_files():
    for name, file in (("dashboard", "dashboard.json"), ("alerts", "alerts.yml")):
        assert run_here("metrics", name) == packaged(file)
