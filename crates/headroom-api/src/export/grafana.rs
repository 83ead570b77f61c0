//! The Grafana dashboard (A37, B15): instances per tier, scaling events as annotations, cost and its impact,
//! utilisation, what was foreseen, safety, the health of sources and of the controller itself.

use serde_json::{Value, json};

/// Grafana lays panels out on 24 columns.
const COLUMNS: u32 = 24;

/// What every query is narrowed to by the reader's choice.
const CHOSEN: &str = "workload=~\"$workload\"";

/// A panel: title, unit as Grafana calls it, queries with their legends, and what it shows.
struct Panel {
    title: &'static str,
    kind: &'static str,
    unit: &'static str,
    width: u32,
    about: &'static str,
    queries: &'static [(&'static str, &'static str)],
}

/// `{}` in a query stands for the choice of workloads.
const PANELS: &[Panel] = &[
    Panel {
        title: "Ready replicas",
        kind: "stat",
        unit: "short",
        width: 4,
        about: "Replicas that take traffic.",
        queries: &[("sum(headroom_replicas{state=\"ready\",{}})", "ready")],
    },
    Panel {
        title: "Cost an hour",
        kind: "stat",
        unit: "currencyUSD",
        width: 4,
        about: "What the replicas that exist cost an hour, where their price is known.",
        queries: &[("sum(headroom_cost_dollars_per_hour{{}})", "an hour")],
    },
    Panel {
        title: "Saved against the maximum",
        kind: "stat",
        unit: "currencyUSD",
        width: 4,
        about: "What running every workload at its maximum would cost an hour more: the impact of scaling.",
        queries: &[(
            "sum(headroom_price_dollars_per_hour{{}} * on(instance, workload) headroom_replicas_max) - \
             sum(headroom_cost_dollars_per_hour{{}})",
            "an hour",
        )],
    },
    Panel {
        title: "Held back",
        kind: "stat",
        unit: "short",
        width: 4,
        about: "Workloads whose latest decision a guard moved or refused.",
        queries: &[("count(count by (workload) (headroom_guard_bound{{}})) or vector(0)", "workloads")],
    },
    Panel {
        title: "Signals down",
        kind: "stat",
        unit: "short",
        width: 4,
        about: "Signals that a fault keeps from being read.",
        queries: &[("count(headroom_signal_up{{}} == 0) or vector(0)", "signals")],
    },
    Panel {
        title: "Frozen",
        kind: "stat",
        unit: "short",
        width: 4,
        about: "Workloads a person asked to be left alone.",
        queries: &[("sum(headroom_frozen{{}})", "workloads")],
    },
    Panel {
        title: "Instances per tier",
        kind: "timeseries",
        unit: "short",
        width: 12,
        about: "Ready replicas by tier.",
        queries: &[("sum by (tier) (headroom_replicas{state=\"ready\",{}})", "{{tier}}")],
    },
    Panel {
        title: "Asked for and ready",
        kind: "timeseries",
        unit: "short",
        width: 12,
        about: "The count asked for, the count that takes traffic, and the bounds.",
        queries: &[
            ("headroom_replicas_desired{{}}", "{{workload}} asked for"),
            ("headroom_replicas{state=\"ready\",{}}", "{{workload}} ready"),
            ("headroom_replicas_max{{}}", "{{workload}} at most"),
        ],
    },
    Panel {
        title: "Scaling events",
        kind: "timeseries",
        unit: "short",
        width: 12,
        about: "Orders to targets by how they ended.",
        queries: &[(
            "sum by (workload, result) (increase(headroom_actions_total{{}}[$__rate_interval]))",
            "{{workload}} {{result}}",
        )],
    },
    Panel {
        title: "What strategies want",
        kind: "timeseries",
        unit: "short",
        width: 12,
        about: "Each strategy's want, floor or ceiling.",
        queries: &[(
            "headroom_strategy_wanted_replicas{{}}",
            "{{workload}} {{strategy}} #{{index}} {{advice}}",
        )],
    },
    Panel {
        title: "Cost",
        kind: "timeseries",
        unit: "currencyUSD",
        width: 12,
        about: "What the replicas cost an hour, by tier.",
        queries: &[("sum by (tier) (headroom_cost_dollars_per_hour{{}})", "{{tier}}")],
    },
    Panel {
        title: "Spent since the controller started",
        kind: "timeseries",
        unit: "currencyUSD",
        width: 12,
        about: "By workload.",
        queries: &[("headroom_cost_dollars_total{{}}", "{{workload}}")],
    },
    Panel {
        title: "Forecast",
        kind: "timeseries",
        unit: "short",
        width: 12,
        about: "The load beside what was foreseen of this moment, up to its 95 % quantile, and what is foreseen of an hour \
                ahead.",
        queries: &[
            (
                "headroom_signal_value{{}} and on(instance, workload, signal) headroom_forecast_load{ahead=\"0\"}",
                "{{workload}} {{signal}}",
            ),
            ("headroom_forecast_load{ahead=\"0\",level=\"0.5\",{}}", "{{workload}} foreseen"),
            ("headroom_forecast_load{ahead=\"0\",level=\"0.95\",{}}", "{{workload}} 95 % below"),
            ("headroom_forecast_load{ahead=\"1h\",level=\"0.95\",{}}", "{{workload}} in an hour, 95 % below"),
        ],
    },
    Panel {
        title: "Forecast error",
        kind: "timeseries",
        unit: "short",
        width: 12,
        about: "Loss of forecasts that came due beside the best simple one; above 1 they are demoted and don't count. And \
                the share of loads within the 95 % quantile.",
        queries: &[
            ("headroom_forecast_loss{{}} / (headroom_forecast_naive_loss > 0)", "{{workload}} loss / simple"),
            (
                "headroom_near_forecast_loss{{}} / (headroom_near_forecast_naive_loss > 0)",
                "{{workload}} seconds ahead: loss / simple",
            ),
            ("headroom_forecast_held_ratio{{}}", "{{workload}} within 95 %"),
            ("headroom_forecast_demoted{{}}", "{{workload}} demoted"),
        ],
    },
    Panel {
        title: "Utilisation",
        kind: "timeseries",
        unit: "percentunit",
        width: 8,
        about: "Signals that are shares of a whole, and the share of the maximum that is in use.",
        queries: &[
            ("headroom_signal_value{unit=\"ratio\",{}}", "{{workload}} {{signal}}"),
            (
                "headroom_replicas{state=\"ready\",{}} / on(instance, workload) headroom_replicas_max",
                "{{workload}} of its maximum",
            ),
        ],
    },
    Panel {
        title: "Load",
        kind: "timeseries",
        unit: "short",
        width: 8,
        about: "Requests a second, queues and other amounts.",
        queries: &[("headroom_signal_value{unit=~\"per_second|count\",{}}", "{{workload}} {{signal}}")],
    },
    Panel {
        title: "Latency",
        kind: "timeseries",
        unit: "s",
        width: 8,
        about: "Signals that are times.",
        queries: &[("headroom_signal_value{unit=\"seconds\",{}}", "{{workload}} {{signal}}")],
    },
    Panel {
        title: "Safety: guards that bind",
        kind: "timeseries",
        unit: "short",
        width: 12,
        about: "How many workloads each guard holds back now.",
        queries: &[("sum by (guard) (headroom_guard_bound{{}})", "{{guard}}")],
    },
    Panel {
        title: "Decisions",
        kind: "timeseries",
        unit: "short",
        width: 12,
        about: "Recorded decisions by outcome and reason.",
        queries: &[(
            "sum by (outcome, reason) (increase(headroom_decisions_total{{}}[$__rate_interval]))",
            "{{outcome}}: {{reason}}",
        )],
    },
    Panel {
        title: "Age of signals",
        kind: "timeseries",
        unit: "s",
        width: 8,
        about: "How old the last value of each signal is.",
        queries: &[("headroom_signal_age_seconds{{}}", "{{workload}} {{signal}}")],
    },
    Panel {
        title: "Sources",
        kind: "timeseries",
        unit: "s",
        width: 8,
        about: "How long ago each source was heard.",
        queries: &[("time() - headroom_source_last_news_timestamp_seconds", "{{source}}")],
    },
    Panel {
        title: "The controller's rounds",
        kind: "timeseries",
        unit: "s",
        width: 8,
        about: "99 of 100 rounds took no longer.",
        queries: &[
            (
                "histogram_quantile(0.99, sum by (le) (rate(headroom_tick_duration_seconds_bucket[$__rate_interval])))",
                "round",
            ),
            (
                "histogram_quantile(0.99, sum by (le) \
                 (rate(headroom_journal_commit_duration_seconds_bucket[$__rate_interval])))",
                "commit",
            ),
        ],
    },
];

/// Where a target's count changed: drawn as annotations on every chart.
const EVENTS: &str = "changes(headroom_replicas_desired{{}}[$__interval]) > 0";

fn narrowed(query: &str) -> String {
    // `{{}}` stands for a whole selector, `{}` for one matcher among others.
    query.replace("{{}}", &format!("{{{CHOSEN}}}")).replace("{}", CHOSEN)
}

/// Every query of the dashboard, annotations and variables included, as Grafana would send it but for its variables.
#[must_use]
pub fn queries() -> Vec<String> {
    let panels = PANELS.iter().flat_map(|panel| panel.queries).map(|(query, _)| narrowed(query));
    panels.chain([narrowed(EVENTS)]).collect()
}

/// The dashboard, for Grafana's import.
#[must_use]
pub fn dashboard() -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let (mut x, mut y, mut row_height) = (0, 0, 0);
    let panels: Vec<_> = PANELS
        .iter()
        .zip(1_u32..)
        .map(|(panel, id)| {
            let height = if panel.kind == "stat" { 4 } else { 8 };
            if x + panel.width > COLUMNS {
                (x, y) = (0, y + row_height);
            }
            row_height = height;
            let place = json!({ "x": x, "y": y, "w": panel.width, "h": height });
            x += panel.width;
            let targets: Vec<_> = panel
                .queries
                .iter()
                .zip('A'..)
                .map(|((query, legend), letter)| {
                    json!({
                        "refId": letter.to_string(),
                        "datasource": source,
                        "expr": narrowed(query),
                        "legendFormat": legend
                    })
                })
                .collect();
            json!({
                "id": id,
                "title": panel.title,
                "description": panel.about,
                "type": panel.kind,
                "datasource": source,
                "gridPos": place,
                "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
                "targets": targets
            })
        })
        .collect();
    json!({
        "uid": "headroom",
        "title": "headroom",
        "tags": ["headroom"],
        "schemaVersion": 39,
        "editable": true,
        // All charts share the place of the reader's pointer.
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus" },
            {
                "name": "workload",
                "type": "query",
                "label": "Workload",
                "datasource": source,
                "query": "label_values(headroom_replicas_max, workload)",
                "refresh": 2,
                "multi": true,
                "includeAll": true,
                "allValue": ".*",
                "current": { "text": "All", "value": "$__all" }
            }
        ] },
        "annotations": { "list": [{
            "name": "Scaling events",
            "enable": true,
            "iconColor": "orange",
            "datasource": source,
            "expr": narrowed(EVENTS),
            "titleFormat": "{{workload}} was scaled",
            "step": "10s"
        }] },
        "panels": panels
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_do_not_overlap_and_stay_on_the_board() {
        let board = dashboard();
        let mut taken = std::collections::BTreeSet::new();
        for panel in board["panels"].as_array().unwrap() {
            let of = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(of("x") + of("w") <= u64::from(COLUMNS), "{panel}");
            for x in of("x")..of("x") + of("w") {
                for y in of("y")..of("y") + of("h") {
                    assert!(taken.insert((x, y)), "{} lies on another", panel["title"]);
                }
            }
        }
    }

    #[test]
    fn legends_keep_their_braces_and_queries_have_none_left() {
        assert!(
            queries().iter().all(|query| !query.contains("{}") && !query.contains("{{")),
            "{:?}",
            queries()
        );
        assert!(dashboard().to_string().contains("{{workload}} ready"));
    }
}
