//! Measures the page with 1 000 workloads and 30 days of history, and prints the figures as JSON:
//! `cargo run --release -p headroom-api --example page_bench`, or `cargo xtask bench page`.
//!
//! The engine, the journal and the API are the real ones. The real controller lived through the past in coarse steps, of
//! which the journal holds what it would have kept: every change, the whole of the last quarter of an hour. The points that
//! charts are drawn from are put in beside it: of each hour for all workloads, of each minute of a week for those whose
//! charts are looked at and their neighbours.

#[path = "../tests/support/browser.rs"]
#[expect(dead_code, reason = "the tests of the page use all of it")]
mod browser;
#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "the tests of the API use all of it")]
mod support;

use browser::Browser;
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::units::Span;
use headroom_engine::driver::now;
use serde_json::{Value, json};
use support::{Past, Shop};

const WORKLOADS: usize = 1_000;
/// The longest stretch that the page shows.
const LENGTH: Span = Span::days(30);
/// What lies in the journal input by input.
const WHOLE: Span = Span::minutes(15);
/// Workloads with a point of each minute of a week, from `w-0451` on.
const MINUTELY: std::ops::Range<usize> = 450..550;
const WEEK: Span = Span::days(7);
/// The series of each workload.
const SERIES: [&str; 7] = [
    "rps",
    "p95",
    "replicas.ready",
    "replicas.wanted",
    "replicas.starting",
    "replicas.draining",
    "replicas.failed",
];
/// Times that each figure is taken; the middle one is given.
const TIMES: usize = 5;

/// How long the next picture takes after something was done to the page, once `shows` holds.
fn takes(act: &str, shows: &str) -> String {
    format!(
        "(async () => {{ const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done))); \
         await frame(); const begun = performance.now(); {act}; \
         do await frame(); while (!({shows})); return performance.now() - begun; }})()"
    )
}

async fn middle(page: &Browser, before: &str, act: &str, shows: &str) -> f64 {
    let mut seen = Vec::new();
    for _ in 0..TIMES {
        page.see(&format!("({before}, true)")).await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        seen.push(page.wait_for(&takes(act, shows)).await.as_f64().expect("milliseconds"));
    }
    seen.sort_by(f64::total_cmp);
    seen[TIMES / 2]
}

/// What the page read: for each route the KiB over the wire, the KiB unpacked, and the milliseconds, of its largest answer.
async fn sizes(page: &Browser) -> Value {
    page.see(
        "performance.getEntriesByType('resource').filter((e) => e.name.includes('/api/') && e.encodedBodySize).reduce((all, e) => { \
         const name = e.name.replace(/^.*v1.|\\?.*$/g, '').replace(/w-\\d+/, '*'); \
         if (!(all[name]?.[1] * 1024 > e.decodedBodySize)) all[name] = [e.encodedBodySize / 1024, e.decodedBodySize / 1024, e.duration].map(Math.round); \
         return all; }, {})",
    )
    .await
}

/// How long a step of the past is, so long before the present: six hours, then ten minutes, then five seconds.
fn step(left: Span) -> Span {
    if left > Span::days(2) {
        Span::hours(6)
    } else if left > WHOLE.plus(Span::minutes(10)) {
        Span::minutes(10)
    } else {
        Span::seconds(5)
    }
}

/// Puts points into the journal of a data directory.
fn fill(data: &std::path::Path) {
    let mut db = rusqlite::Connection::open(data.join("journal.db")).expect("the journal opens");
    let all = db.transaction().expect("it can be written");
    let mut ids = vec![[0_i64; SERIES.len()]; WORKLOADS];
    for (workload, ids) in ids.iter_mut().enumerate() {
        let workload = format!("w-{:04}", workload + 1);
        for (id, name) in ids.iter_mut().zip(SERIES) {
            all.execute("INSERT OR IGNORE INTO series (workload, name) VALUES (?1, ?2)", [&workload, name])
                .expect("a series");
            *id = all
                .query_row(
                    "SELECT id FROM series WHERE workload = ?1 AND name = ?2",
                    [&workload, name],
                    |r| r.get(0),
                )
                .expect("its number");
        }
    }
    points(&all, "point_1h", Span::hours(1), LENGTH, &ids, 0..WORKLOADS);
    points(&all, "point_1m", Span::minutes(1), WEEK, &ids, MINUTELY);
    all.commit().expect("the points are written");
}

/// One point of each series in each bucket, in the order in which the table holds them.
fn points(
    db: &rusqlite::Transaction<'_>,
    table: &str,
    bucket: Span,
    length: Span,
    ids: &[[i64; SERIES.len()]],
    workloads: std::ops::Range<usize>,
) {
    let mut insert = db
        .prepare(&format!(
            "INSERT OR IGNORE INTO {table} (bucket, series, count, last, min, max, sum) VALUES (?1, ?2, 60, ?3, ?4, ?5, ?6)"
        ))
        .expect("a table of points");
    let number = |at: headroom_core::units::Timestamp| at.as_millis() / bucket.as_millis().cast_signed();
    let names: Vec<_> = workloads.clone().map(|i| format!("w-{:04}", i + 1)).collect();
    for n in number(now().minus(length))..number(now().minus(WHOLE)) {
        #[expect(clippy::cast_precision_loss, reason = "minutes since 1970")]
        let minutes = (n * bucket.as_millis().cast_signed()) as f64 / 60_000.0;
        for (workload, name) in workloads.clone().zip(&names) {
            let load = support::demand(name, minutes).unwrap_or_default();
            let ready = (load / 100.0).ceil().max(1.0);
            let values = [load, 0.08 + load / (ready * 2_000.0), ready, ready, 0.0, 0.0, 0.0];
            for (place, value) in values.into_iter().enumerate() {
                let spread = (place < 2).then_some(value * 0.1);
                let [least, most] = [spread.map(|s| value - s), spread.map(|s| value + s)];
                insert
                    .execute(rusqlite::params![
                        n,
                        ids[workload][place],
                        value,
                        least,
                        most,
                        spread.map(|_| value * 60.0)
                    ])
                    .expect("a point");
            }
        }
    }
}

/// A policy of `n` workloads that are all alike, `w-0001` and so on, in ten tiers.
fn crowd(n: usize) -> Fleet {
    let workload = |i: usize| {
        let settings = json!({
            "tier": format!("tier-{}", i % 10),
            "target": { "process": { "command": ["shop", "--port", "$PORT"] } },
            "price": "0.096 USD/h",
            "replicas": { "min": 1, "max": 20 },
            "signals": { "rps": { "push": { "unit": "perSecond" } }, "p95": { "push": { "unit": "seconds", "scope": "quality" } } },
            "strategies": [{ "targetTracking": { "signal": "rps", "perReplica": 100, "scaleInCooldown": "0s" } }]
        });
        (format!("w-{i:04}"), settings)
    };
    let workloads: serde_json::Map<String, serde_json::Value> = (1..=n).map(workload).collect();
    let document = json!({
        "apiVersion": "headroom.dev/v1alpha1",
        "kind": "Fleet",
        "metadata": { "name": "crowd" },
        "spec": { "workloads": workloads }
    });
    let document: FleetDocument = serde_json::from_value(document).expect("the policy reads");
    Fleet::new(document).expect("the policy is sound")
}

#[tokio::main]
async fn main() {
    let past = Past { length: LENGTH, step, whole: WHOLE };
    let shop = Shop::open_with(crowd(WORKLOADS), "127.0.0.1:0", past, fill).await;
    let Some(page) = Browser::open(shop.address).await else { return };
    let (mut paints, mut lists) = (Vec::new(), Vec::new());
    for again in 0..TIMES {
        page.go(&format!("?{again}#/")).await;
        page.until("performance.getEntriesByName('headroom.shown').length").await;
        let paint = page.see("performance.getEntriesByName('first-contentful-paint')[0]?.startTime").await;
        paints.push(paint.as_f64().expect("milliseconds"));
        let list = page.see("performance.getEntriesByName('headroom.shown')[0].startTime").await;
        lists.push(list.as_f64().expect("milliseconds"));
    }
    paints.sort_by(f64::total_cmp);
    lists.sort_by(f64::total_cmp);
    let type_in = |text: &str| {
        format!(
            "((i) => {{ i.value = '{text}'; i.dispatchEvent(new Event('input')); }})(document.querySelector('#filter'))"
        )
    };
    let filter =
        middle(&page, &type_in(""), &type_in("w-0999"), "document.querySelectorAll('a.row').length === 1")
            .await;
    page.see(&format!("({}, true)", type_in(""))).await;
    let sort = |by: &str| {
        format!(
            "((s) => {{ s.value = '{by}'; s.dispatchEvent(new Event('change')); }})(document.querySelector('#sort'))"
        )
    };
    let sorted =
        middle(&page, &sort("tier"), &sort("replicas"), "document.querySelectorAll('a.row').length >= 60")
            .await;
    let stream = page
        .wait_for(
            "(async () => { const stop = new AbortController(); setTimeout(() => stop.abort(), 10_000); let bytes = 0; \
             try { for await (const part of (await fetch('/api/v1/events', { signal: stop.signal })).body) bytes += part.length; } \
             catch { return Math.round(bytes / 10_240); } })()",
        )
        .await;
    let list = sizes(&page).await;
    page.go("?workload#/w/w-0500").await;
    page.until("document.querySelector('.chart path')").await;
    // From the click until the figures are there and drawn.
    let click = |range: &str| format!("document.querySelector('[data-range=\"{range}\"]').click()");
    let drawn = "performance.getEntriesByType('resource').some((e) => e.startTime >= begun && e.name.includes('/series?'))";
    let before = |range: &str| format!("(performance.clearResourceTimings(), {})", click(range));
    let week = middle(&page, &before("30d"), &click("7d"), drawn).await;
    let month = middle(&page, &before("7d"), &click("30d"), drawn).await;
    let point = "document.querySelector('svg.plot').dispatchEvent(new PointerEvent('pointermove', { clientX: 400 + Math.random() * 200, clientY: 400, bubbles: true }))";
    let crosshair = middle(&page, "0", point, "document.querySelector('.cursor:not(.hidden)')").await;
    let workload = sizes(&page).await;
    let figures = json!({
        "workloads": WORKLOADS,
        "firstPaintMs": paints[TIMES / 2],
        "listShownMs": lists[TIMES / 2],
        "filterMs": filter,
        "sortMs": sorted,
        "weekDrawnMs": week,
        "monthDrawnMs": month,
        "crosshairMs": crosshair,
        "streamKibPerSecond": stream,
        "listAnswersKibCompressedWholeAndMs": list,
        "workloadAnswersKibCompressedWholeAndMs": workload,
    });
    println!("{}", serde_json::to_string_pretty::<Value>(&figures).expect("JSON"));
    page.close(&[]).await;
    shop.close().await;
}
