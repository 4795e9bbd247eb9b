"""The alerts of k8s/components/monitoring: valid, quiet for a healthy cluster, and each of them heard
when what it is about happens. promtool evaluates them over series given here."""
import os
import re
import subprocess

import pytest
import yaml

from conftest import ROOT

RULES = os.path.join(ROOT, "k8s", "components", "monitoring", "prometheusrule.yaml")
EVERY_S = 30
BREAK = 70 * 60 // EVERY_S           # what goes wrong does so after this time
LENGTH = BREAK + 65 * 60 // EVERY_S

# Of a healthy cluster, by member: a value for all time. pg-0 is the primary.
HEALTHY = {
    'pgha_build_info{version="1"}': (1, 1, 1),
    'pgha_role{role="primary"}': (1, 0, 0),
    'pgha_role{role="replica"}': (0, 1, 1),
    "pgha_streaming": (0, 1, 1),
    "pgha_sealed": (0, 0, 0),
    "pgha_failsafe": (0, 0, 0),
    "pgha_paused": (0, 0, 0),
    "pgha_pending_restart": (0, 0, 0),
    "pgha_lease_epoch": (3, 3, 3),
    'pgha_lag_bytes{kind="replay"}': (0, 100, 4e6),
    'pgha_slot_retained_bytes{slot="m_1"}': (1e6, 1e6, 1e6),
    "pgha_fences_total": (0, 1, 0),
    "pgha_postgres_crashes_total": (2, 0, 0),
    "pgha_agent_restarts_total": (0, 0, 1),
    "pgha_lease_renew_failures_total": (4, 0, 0),
    'pgha_clones_total{result="failed"}': (0, 1, 0),
    'pgha_rewinds_total{result="failed"}': (0, 0, 1),
    'pgha_config_reloads_total{result="failed"}': (1, 0, 0),
    'pgha_peer_refused_total{reason="unauthorized"}': (5, 0, 0),
    'pgha_lease_renew_seconds_bucket{le="0.01"}': ("0+7x", "0+0x", "0+0x"),
    'pgha_lease_renew_seconds_bucket{le="1.0"}': ("0+8x", "0+0x", "0+0x"),
    'pgha_lease_renew_seconds_bucket{le="5.0"}': ("0+8x", "0+0x", "0+0x"),
    'pgha_lease_renew_seconds_bucket{le="+Inf"}': ("0+8x", "0+0x", "0+0x"),
}
GONE = "stale"  # no longer scraped
ONE = "pg-1"
P, R = 'pgha_role{role="primary"}', 'pgha_role{role="replica"}'

# For each alert: what changes at the break, as {series: values of pg-0, pg-1, pg-2 or None for "as it
# was"}; after how many minutes it must be heard; its labels beside namespace and cluster. A value may
# be "+N", N more at each scrape.
FAULTS = {
    "PghadNoPrimary": ({P: (0, 0, 0)}, 2, {}),
    "PghadTwoPrimaries": ({P: (1, 1, 0)}, 3, {}),
    "PghadSealed": ({"pgha_sealed": (1, 0, 0)}, 3, {}),
    "PghadAlarm": ({'pgha_alarm{name="data-bad"}': (None, 1, None)}, 2,
                   {"pod": ONE, "name": "data-bad"}),
    "PghadMemberMissing": ({s: (None, GONE, None) for s in HEALTHY}, 7, {"pod": ONE}),
    "PghadReplicaNotStreaming": ({"pgha_streaming": (0, 0, 1)}, 6, {"pod": ONE}),
    "PghadReplicationLag": ({'pgha_lag_bytes{kind="replay"}': (0, 3e8, 0)}, 11, {"pod": ONE}),
    "PghadWalRetained": ({'pgha_slot_retained_bytes{slot="m_1"}': (None, 9e9, None)}, 6,
                         {"pod": ONE, "slot": "m_1"}),
    "PghadRepairFailed": ({'pgha_clones_total{result="failed"}': (None, "+1", None)}, 3, {"pod": ONE}),
    "PghadManyFailovers": ({"pgha_lease_epoch": (8, 8, 8)}, 2, {}),
    "PghadFenced": ({"pgha_fences_total": (None, 2, None)}, 1, {"pod": ONE}),
    "PghadPostgresCrashed": ({"pgha_postgres_crashes_total": (None, 1, None)}, 1, {"pod": ONE}),
    "PghadAgentRestarted": ({"pgha_agent_restarts_total": (None, 3, None)}, 1, {"pod": ONE}),
    "PghadFailsafe": ({"pgha_failsafe": (1, 0, 0)}, 2, {}),
    "PghadLeaseRenewalsFail": ({"pgha_lease_renew_failures_total": (None, "+1", None)}, 3, {"pod": ONE}),
    "PghadLeaseSlow": ({'pgha_lease_renew_seconds_bucket{le="5.0"}': ("+20", None, None),
                        'pgha_lease_renew_seconds_bucket{le="+Inf"}': ("+20", None, None)}, 21, {}),
    "PghadAccessDenied": ({'pgha_alarm{name="access-denied"}': (None, 1, None)}, 2, {"pod": ONE}),
    "PghadPeersRefused": ({'pgha_peer_refused_total{reason="unauthorized"}': (None, "+1", None)}, 12,
                          {"pod": ONE, "reason": "unauthorized"}),
    "PghadSettingsRefused": ({'pgha_config_reloads_total{result="failed"}': (None, 1, None)}, 1,
                             {"pod": ONE}),
    "PghadSettingsKept": ({'pgha_alarm{name="settings-kept"}': (None, 1, None)}, 62, {"pod": ONE}),
    "PghadPaused": ({"pgha_paused": (1, 1, 1)}, 62, {}),
    "PghadPendingRestart": ({"pgha_pending_restart": (0, 1, 0)}, 62, {"pod": ONE}),
}
CLUSTER = {"namespace": "db", "app_kubernetes_io_instance": "pg"}


def spec():
    with open(RULES) as f:
        return yaml.safe_load(f)["spec"]


def rules():
    return {r["alert"]: r for g in spec()["groups"] for r in g["rules"]}


@pytest.fixture
def rules_file(tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec()))
    return tmp_path / "rules.yaml"


def promtool(*args):
    r = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stdout + r.stderr


def _part(value, n, start):
    if value is None or value == GONE:
        return f"{value or '_'} _x{n - 2}"
    if isinstance(value, str) and value.startswith("+"):
        return f"{start:g}{value}x{n - 1}"
    if isinstance(value, str):
        return f"{value}{n - 1}"
    return f"{value:g}x{n - 1}"


def _end(value):
    """The last value before the break."""
    if isinstance(value, str):
        first, step = re.match(r"(\d+)\+(\d+)x", value).groups()
        return int(first) + int(step) * (BREAK - 1)
    return value or 0


def series(changes):
    """promtool's input: three members, healthy until the break, then with the changes."""
    found = []
    for name in {**HEALTHY, **changes}:
        before = HEALTHY.get(name, (None,) * 3)
        after = changes.get(name, (None,) * 3)
        for i in range(3):
            if before[i] is None and after[i] is None:
                continue
            metric, _, labels = name.rstrip("}").partition("{")
            target = ",".join(f'{k}="{v}"' for k, v in {**CLUSTER, "pod": f"pg-{i}"}.items())
            later = after[i]
            if later is None:
                start, later = _end(before[i]), before[i]
                later = later if not isinstance(later, str) else "+" + later.split("+")[1].rstrip("x")
            else:
                start = _end(before[i])
            found.append({
                "series": f"{metric}{{{target}{',' if labels else ''}{labels}}}",
                "values": f"{_part(before[i], BREAK, 0)} {_part(later, LENGTH - BREAK, start)}"})
    return found


def firing(alert, labels):
    text = ",".join(f'{k}="{v}"' for k, v in
                    {"alertname": alert, "alertstate": "firing", **CLUSTER, **labels,
                     "severity": rules()[alert]["labels"]["severity"]}.items())
    return {"labels": f"ALERTS{{{text}}}", "value": 1}


def judge(rules_file, changes, expected, alert=None):
    """Whether exactly these alerts, or those of one name, are heard: {minutes after the break: alerts}."""
    which = f'alertname="{alert}",' if alert else ""
    test = {"rule_files": [str(rules_file)], "evaluation_interval": f"{EVERY_S}s", "tests": [{
        "interval": f"{EVERY_S}s", "input_series": series(changes),
        "promql_expr_test": [{"expr": f'ALERTS{{{which}alertstate="firing"}}',
                              "eval_time": f"{BREAK * EVERY_S + minutes * 60}s",
                              "exp_samples": alerts} for minutes, alerts in expected.items()]}]}
    path = rules_file.parent / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", path)


def test_promtool_takes_every_rule(rules_file):
    promtool("check", "rules", rules_file)


def test_a_healthy_cluster_is_quiet(rules_file):
    judge(rules_file, {}, {0: [], 60: []})


def test_a_switchover_is_quiet(rules_file):
    change = {P: (0, 1, 0), R: (1, 0, 1), "pgha_streaming": (1, 0, 1), "pgha_lease_epoch": (4, 4, 4)}
    judge(rules_file, change, {1: [], 20: []})


def test_a_cluster_whose_members_all_vanish(rules_file):
    """There is nobody left to say that there is no primary."""
    nothing = {s: (GONE, GONE, GONE) for s in HEALTHY}
    heard = [firing("PghadNoPrimary", {})]
    judge(rules_file, nothing, {0: [], 2: heard, 30: heard, 62: []}, "PghadNoPrimary")


def test_every_alert_has_a_fault_here():
    assert sorted(FAULTS) == sorted(rules())


@pytest.mark.parametrize("alert", FAULTS)
def test_a_fault_raises_its_alert_and_no_other(alert, rules_file):
    changes, minutes, labels = FAULTS[alert]
    waits = {0: []} if "for" in rules()[alert] else {}
    judge(rules_file, changes, {**waits, minutes: [firing(alert, labels)]})


def test_every_alert_has_its_place_in_the_runbooks():
    for name, rule in rules().items():
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        with open(os.path.join(ROOT, path)) as f:
            headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").rstrip().lower()).replace(" ", "-")
                        for line in f if line.startswith("#")}
        assert anchor in headings, f"{name}: {path} has no heading #{anchor}"
