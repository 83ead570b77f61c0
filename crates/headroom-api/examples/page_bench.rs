//! Measures the page with 1 000 workloads and 30 days of history, and prints the figures as JSON:
//! `cargo run --release -p headroom-api --example page_bench`, or `cargo xtask bench page`.
//!
//! The past is measured once an hour: the points that 7 and 30 days are drawn from. The engine, the journal and the API
//! are the real ones.

#[path = "../tests/support/browser.rs"]
#[expect(dead_code, reason = "the tests of the page use all of it")]
mod browser;
#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "the tests of the API use all of it")]
mod support;

use browser::Browser;
use headroom_core::fleet::{Fleet, FleetDocument};
use headroom_core::units::Span;
use serde_json::{Value, json};
use support::Shop;

const WORKLOADS: usize = 1_000;
const PAST: Span = Span::days(30);
const STEP: Span = Span::hours(1);
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
    let shop = Shop::open_with(crowd(WORKLOADS), "127.0.0.1:0", PAST, STEP).await;
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
    page.go("?workload#/w/w-0500").await;
    page.until("document.querySelector('.chart path')").await;
    let range = middle(
        &page,
        "document.querySelector('[data-range=\"7d\"]').click()",
        "document.querySelector('[data-range=\"30d\"]').click()",
        "document.querySelector('[data-range=\"30d\"]').getAttribute('aria-pressed') === 'true'",
    )
    .await;
    let point = "document.querySelector('svg.plot').dispatchEvent(new PointerEvent('pointermove', { clientX: 400 + Math.random() * 200, clientY: 400, bubbles: true }))";
    let crosshair = middle(&page, "0", point, "document.querySelector('.cursor:not(.hidden)')").await;
    let sizes = page
        .see(
            "Object.fromEntries(performance.getEntriesByType('resource').filter((e) => e.name.includes('/api/')).map((e) => [e.name.replace(/^.*v1.|\\?.*$/g, ''), [Math.round(e.encodedBodySize / 1024), Math.round(e.decodedBodySize / 1024), Math.round(e.duration)]]))",
        )
        .await;
    let figures = json!({
        "workloads": WORKLOADS,
        "firstPaintMs": paints[TIMES / 2],
        "listShownMs": lists[TIMES / 2],
        "filterMs": filter,
        "sortMs": sorted,
        "rangeMs": range,
        "crosshairMs": crosshair,
        "answersKibCompressedWholeAndMs": sizes,
    });
    println!("{}", serde_json::to_string_pretty::<Value>(&figures).expect("JSON"));
    page.close(&[]).await;
    shop.close().await;
}
