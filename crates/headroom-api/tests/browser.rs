//! The page in headless Chromium, driven over WebDriver.
//!
//! Needs Debian's packages `chromium` and `chromium-driver`. Without them the tests fail and say so, unless
//! `HEADROOM_SKIP_BROWSER=1` is set: a page that nobody looked at must not pass for one that works.

#[path = "support/browser.rs"]
#[expect(dead_code, reason = "pictures of the page need more of it")]
mod browser;
#[expect(dead_code, reason = "the tests of the API use all of it")]
mod support;

use std::future::Future;

use browser::Browser;
use headroom_core::controller::Measured;
use headroom_core::reading::Absence;
use headroom_core::units::Span;
use headroom_engine::ports::News;
use support::Shop;
use support::http::Ask;

/// How much of the story the shop has behind it.
const PAST: Span = Span::minutes(6);
/// The Escape key, as WebDriver writes it.
const ESCAPE: &str = "\u{e00c}";
/// The Enter key, as WebDriver writes it.
const ENTER: &str = "\u{e007}";

/// Opens the shop and a browser, and closes both. A refused token and a decision that is not there are part of it.
async fn looking_at_the_page<T: Future<Output = (Shop, Browser)>>(look: impl FnOnce(Shop, Browser) -> T) {
    let shop = Shop::open("127.0.0.1:0", PAST).await;
    let Some(browser) = Browser::open(shop.address).await else {
        eprintln!("skipped: there is no browser, and HEADROOM_SKIP_BROWSER=1");
        return;
    };
    let (shop, browser) = look(shop, browser).await;
    browser.close(&["401", "web-999999"]).await;
    shop.close().await;
}

/// A37: the instances per tier, on the page.
#[tokio::test(flavor = "multi_thread")]
async fn the_overview_lists_every_workload_and_live_charts_are_drawn() {
    looking_at_the_page(async |shop, page| {
        page.until("document.querySelectorAll('#workloads a.row').length === 7").await;
        let names = page.see("[...document.querySelectorAll('#workloads a.row b:first-child')].map(b => b.textContent)");
        let names = names.await.to_string();
        for name in ["web", "ads", "checkout", "payments", "search", "emails", "thumbnails"] {
            assert!(names.contains(name), "{name} is not in {names}");
        }
        page.until("document.querySelector('#live').classList.contains('live')").await;
        page.until("document.querySelector('[data-workload=web] .spark-line')?.getAttribute('d').length > 50").await;

        page.press("/thumb").await;
        page.until("document.querySelectorAll('#workloads > li').length === 1").await;

        page.click("[data-workload=thumbnails]").await;
        page.go("#/w/web").await;
        // Demand and capacity, replicas, latency, what each replica shows.
        page.until("document.querySelectorAll('.chart svg.plot').length === 4").await;
        page.press("1").await;
        page.until(
            "[...document.querySelectorAll('.chart')].every(c => [...c.querySelectorAll('path')].some(p => p.getAttribute('d').length > 20))",
        )
        .await;
        // Live: the last point moves on by itself.
        let before = page.see("document.querySelector('.chart path.line').getAttribute('d')").await;
        page.until(&format!("document.querySelector('.chart path.line').getAttribute('d') !== {before}")).await;
        // One crosshair for all charts, by keyboard as well.
        page.see("document.querySelector('svg.plot').focus()").await;
        page.press("\u{e012}\u{e012}").await;
        page.until("document.querySelectorAll('.cursor:not(.hidden)').length === 4").await;
        (shop, page)
    })
    .await;
}

/// C5: "why did nothing scale?" is answered on the page, step by step.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_unfolds_by_click_by_marker_and_by_keyboard() {
    looking_at_the_page(async |shop, page| {
        page.go("#/w/web").await;
        // Six minutes of history: nobody picked a range, so the shortest that holds them is shown.
        page.until("document.querySelector('[data-range=\"15m\"]')?.getAttribute('aria-pressed') === 'true'")
            .await;
        page.click(".timeline .item-head").await;
        page.until("document.querySelector('.item.open .chain')").await;
        page.until("location.hash.startsWith('#/d/web-')").await;
        // Signals, strategies, at least one move, the outcome.
        page.until("document.querySelectorAll('.item.open .chain > .link').length >= 4").await;
        let said = page.see("document.querySelector('.item.open .chain').innerText").await.to_string();
        assert!(said.contains("wants") && said.contains("a replica"), "{said}");
        page.until(
            "/at once|taken by the target/.test(document.querySelector('.item.open .chain').innerText)",
        )
        .await;

        page.press(ESCAPE).await;
        page.until("!document.querySelector('.item.open') && location.hash === '#/w/web'").await;

        // Down to the oldest, and from there back up.
        page.press("jjj").await;
        page.until("document.activeElement?.classList.contains('item-head')").await;
        page.press(ENTER).await;
        page.until("document.activeElement?.getAttribute('aria-expanded') === 'true'").await;
        let first = page.see("location.hash").await;
        page.press("k").await;
        page.until(&format!("location.hash !== {first} && document.querySelector('.item.open .chain')"))
            .await;

        page.press(ESCAPE).await;
        page.until("!document.querySelector('.item.open')").await;
        page.click(".lane .marker").await;
        page.until("document.querySelector('.item.open .chain') && document.querySelector('.chosen')").await;

        // A link to a decision opens it; a decision that is not there is said to be missing.
        page.go("#/d/web-1").await;
        page.until("document.querySelector('[data-decision=\"web-1\"].open .chain')").await;
        page.go("#/d/web-999999").await;
        page.until("document.querySelector('.message')?.innerText.includes('web-999999')").await;
        (shop, page)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_speaks_both_languages_is_light_and_dark_and_fits_a_phone() {
    looking_at_the_page(async |shop, page| {
        page.until("document.querySelector('.columns .panel-head h2').textContent === 'Workloads'").await;
        page.click("#language").await;
        page.until("document.documentElement.lang === 'ko' && document.querySelector('.columns .panel-head h2').textContent === '워크로드'")
            .await;
        page.go("#/d/web-2").await;
        page.until("/레플리카당/.test(document.querySelector('.item.open .chain')?.innerText)").await;
        page.until("document.querySelector('.headline').innerText.includes('유지') || /→|보류/.test(document.querySelector('.headline').innerText)")
            .await;

        let is_dark = "(([r, g, b]) => r + g + b < 150)(getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number))";
        page.prefer("light").await;
        page.until(&format!("!{is_dark}")).await;
        page.prefer("dark").await;
        page.until(is_dark).await;
        page.click("#theme").await;
        page.until(&format!("!{is_dark}")).await;

        for width in [360, 390] {
            page.resize(width, 800).await;
            for language in ["ko", "en"] {
                page.until("document.querySelector('#language')").await;
                if page.see("document.documentElement.lang").await != language {
                    page.press("l").await;
                }
                for place in ["#/", "#/w/web", "#/w/search", "#/d/web-2"] {
                    page.go(place).await;
                    page.until(&format!("document.querySelector('{}')", if place == "#/" { ".spark-line" } else { ".chart path" })).await;
                    let over = page.see("document.documentElement.scrollWidth - window.innerWidth").await;
                    assert!(over.as_f64().is_some_and(|px| px <= 0.0), "{place} at {width} px in {language}: {over} px too wide");
                }
            }
        }
        (shop, page)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_from_the_page_needs_the_token() {
    looking_at_the_page(async |shop, page| {
        let is_frozen = async || {
            let view = Ask::get(shop.address, "/api/v1/workloads/web").send().await.json();
            !view["freeze"].is_null()
        };
        let fill = |selector: &str, value: &str| {
            format!("(document.querySelector('{selector}').value = '{value}', true)")
        };
        page.go("#/w/web").await;
        page.click("#freeze").await;
        page.see(&fill("#why", "load test")).await;
        page.click("#freeze-do").await;
        page.until("document.querySelector('#token')").await;
        assert!(!is_frozen().await, "nothing is frozen without the token");

        page.see(&fill("#token", &"0".repeat(64))).await;
        page.click("#token-use").await;
        page.until("document.querySelector('#token-note')?.textContent.length > 0").await;
        assert!(!is_frozen().await, "nothing is frozen with a wrong token");

        page.see(&fill("#token", shop.token.reveal())).await;
        page.click("#token-use").await;
        page.until("document.querySelector('.callout.frozen')?.innerText.includes('load test')").await;
        assert!(is_frozen().await);

        page.click("#thaw").await;
        page.until("document.querySelector('#freeze')").await;
        assert!(!is_frozen().await);

        // The link that `headroom run` prints brings the token along, and it does not stay in the address.
        page.see("(sessionStorage.clear(), true)").await;
        page.go("?again").await;
        page.go(&format!("?again#token={}", shop.token.reveal())).await;
        page.until("sessionStorage.getItem('headroom.token')?.length === 64 && location.hash === '#/'").await;
        (shop, page)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_up_is_listed_and_answered_on_the_page() {
    looking_at_the_page(async |shop, page| {
        page.see(&format!("(sessionStorage.setItem('headroom.token', '{}'), true)", shop.token.reveal())).await;
        for (kind, name) in [("approval", "payments"), ("frozen", "search"), ("maximum", "ads")] {
            page.until(&format!("[...document.querySelectorAll('[data-block={kind}] .block-name')].some(a => a.innerText === '{name}')")).await;
        }
        page.click("[data-approve=payments]").await;
        page.until("document.querySelector('#why')").await;
        page.see("(document.querySelector('#why').value = 'sale', true)").await;
        page.click("#why-do").await;
        page.until("!document.querySelector('[data-approve=payments]')").await;
        page.until("Number(document.querySelector('[data-workload=payments] .figure b').innerText) > 3").await;
        page.click("[data-thaw=search]").await;
        page.until("!document.querySelector('[data-thaw=search]')").await;

        // Only what is held up; then all again, by name.
        let choose = |id: &str, value: &str| {
            format!("(() => {{ const s = document.querySelector('#{id}'); s.value = '{value}'; s.dispatchEvent(new Event('change')); return true; }})()")
        };
        page.see(&choose("state", "blocked")).await;
        page.until("[...document.querySelectorAll('a.row')].length < 7 && document.querySelector('a.row[data-workload=ads]')").await;
        page.see(&choose("state", "")).await;
        page.see(&choose("sort", "name")).await;
        page.until("document.querySelector('a.row').dataset.workload === 'ads' && document.querySelectorAll('a.row').length === 7").await;
        (shop, page)
    })
    .await;
}

/// B15: what stands is on the page with what to do about it; what is known of a workload comes with what it rests on.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_sources_and_what_was_learned_are_on_the_page() {
    looking_at_the_page(async |shop, page| {
        page.until("document.querySelector('#alerts [data-alert=approvalNeeded] .next-step')?.innerText.length > 5").await;
        page.until("document.querySelector('[data-source=balancer].fine .source-age')?.innerText.endsWith('ago')").await;
        // Who is told: one takes it, one is down, each with what to do.
        page.until("document.querySelector('[data-notifier=ops].fine .source-age time')").await;
        page.until("document.querySelector('[data-notifier=pager].down .next-step')?.innerText.includes('server')").await;
        page.until("document.querySelector('[data-notifier=pager] .alert-why')?.innerText.includes('503')").await;
        for _ in 0..3 {
            let value = Err(Absence::SourceFailed("connection refused".to_owned()));
            let measured = Measured { workload: support::name("thumbnails"), signal: "queue".parse().expect("a name"), value };
            shop.engine().tell("warehouse", News::Samples(vec![measured])).await.expect("the engine runs");
        }
        page.until("document.querySelector('[data-source=warehouse].down .alert-why')?.innerText === 'connection refused'").await;
        page.until("document.querySelector('[data-source=warehouse] .next-step')?.innerText.includes('server')").await;
        page.until("document.querySelector('#alerts [data-alert=sourceDown]')").await;
        page.press("l").await;
        page.until("document.querySelector('[data-source=warehouse] .source-state')?.innerText === '장애'").await;
        page.until("document.querySelector('#alerts [data-alert=sourceDown] .next-step')?.innerText.includes('서버')").await;
        page.until("document.querySelector('#alerts [data-alert=approvalNeeded] .alert-why')?.innerText.includes('승인을 기다립니다')").await;
        page.until("document.querySelector('.notices .alert-what')?.innerText === '소스 장애'").await;
        page.until("document.querySelector('.notices .feed p:last-child')?.innerText.includes('부터 장애이며')").await;
        page.until("document.querySelector('[data-notifier=pager] .source-state')?.innerText === '장애'").await;
        page.press("l").await;
        page.until("document.documentElement.lang === 'en'").await;

        page.go("#/w/payments").await;
        page.until("document.querySelector('.callouts [data-alert=approvalNeeded]')").await;
        let says = |words: &str| format!("document.querySelector('.facts')?.innerText.includes('{words}')");
        page.go("#/w/web").await;
        page.until(&says("Forecast of rps")).await;
        page.until(&says("starts took no longer")).await;
        page.go("#/w/search").await;
        page.until(&says("One replica carries")).await;
        page.until("document.querySelector('.key.tone-limit')?.innerText.includes('objective') && document.querySelector('path.limit')").await;
        (shop, page)
    })
    .await;
}

/// Every view can be saved as a table and as JSON; every chart has its name, units and legend, every mark its reason, and
/// where a point stands for many samples the least and the largest are drawn.
#[tokio::test(flavor = "multi_thread")]
async fn every_view_is_saved_and_every_chart_is_labelled() {
    looking_at_the_page(async |shop, page| {
        let saved = "Promise.all([...document.querySelectorAll('.saves a')].map(async (a) => { \
            const answer = await fetch(a.href); const type = answer.headers.get('content-type') ?? ''; \
            const fits = type.startsWith(a.href.includes('format=csv') ? 'text/csv' : 'application/json'); \
            return answer.ok && fits ? a.href.replace(/^.*v1.|[?].*$/g, '') : `${a.href}: ${answer.status} ${type}`; }))";
        let mut views = std::collections::BTreeSet::new();
        page.until("document.querySelector('#notifiers .dot')").await;
        for view in page.wait_for(saved).await.as_array().expect("a list") {
            views.insert(view.as_str().expect("a text").to_owned());
        }
        page.go("#/w/web").await;
        page.until("document.querySelector('.item') && document.querySelectorAll('.save-box .saves').length === 3").await;
        let latest = page.see("document.querySelector('.item').dataset.decision").await;
        let latest = latest.as_str().expect("an id");
        page.go(&format!("#/d/{latest}")).await;
        page.until("document.querySelector('.item-foot .saves')").await;
        for view in page.wait_for(saved).await.as_array().expect("a list") {
            views.insert(view.as_str().expect("a text").to_owned());
        }
        let decision = format!("decisions/{latest}");
        let expected = [
            "alerts", "decisions", &decision, "held", "notices", "notifiers", "overview", "sources",
            "workloads/web/decisions", "workloads/web/forecast", "workloads/web/series",
        ];
        assert_eq!(views.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        page.until("[...document.querySelectorAll('.chart')].every((c) => c.querySelector('h3').innerText && c.querySelector('.key-value') && c.querySelectorAll('.tick').length > 3)").await;
        page.until("document.querySelector('.marker') && [...document.querySelectorAll('.marker')].every((m) => m.getAttribute('aria-label').length > 12)").await;
        page.click("[data-range='6h']").await;
        page.until("document.querySelectorAll('path.spread').length >= 3").await;
        (shop, page)
    })
    .await;
}

/// The rules of axe-core (WCAG 2.2 A and AA, and its best practices), which `./check` installs with npm.
fn accessibility_rules() -> Option<String> {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/axe/node_modules/axe-core/axe.min.js");
    match std::fs::read_to_string(&file) {
        Ok(rules) => Some(rules),
        Err(_) if std::env::var("HEADROOM_SKIP_AXE").is_ok_and(|v| v == "1") => None,
        Err(error) => panic!(
            "the accessibility rules can't be read ({}: {error}). Install them with \
             `npm install --prefix target/axe axe-core@4`, or set HEADROOM_SKIP_AXE=1 to go without",
            file.display()
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_is_accessible_in_both_themes_and_languages() {
    let Some(rules) = accessibility_rules() else { return };
    looking_at_the_page(async |shop, page| {
        page.go("#/w/web").await;
        page.until("document.querySelector('.item')").await;
        let latest = page.see("document.querySelector('.item').dataset.decision").await;
        let decision = format!("#/d/{}", latest.as_str().expect("an id"));
        let views = [("#/", ".spark-line"), ("#/w/web", ".chart path"), ("#/w/payments", ".callout"), (&decision, ".item.open .chain")];
        let mut violations = Vec::new();
        for language in ["en", "ko"] {
            page.see(&format!("(localStorage.setItem('headroom.lang', '{language}'), true)")).await;
            for (scheme, width) in [("light", 1400), ("dark", 390)] {
                page.prefer(scheme).await;
                page.resize(width, 900).await;
                for (place, shows) in views {
                    page.go(&format!("?{language}{scheme}{place}")).await;
                    page.until(&format!("document.querySelector('{shows}') && !document.querySelector('.skeleton')")).await;
                    page.run(&rules).await;
                    let found = page.wait_for("axe.run({ resultTypes: ['violations'] }).then((r) => r.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.any[0]?.message ?? ''}`).join(' | ')}`))").await;
                    let of_view = found.as_array().expect("a list").iter();
                    violations.extend(of_view.map(|v| format!("{place} in {language}, {scheme}, {width} px: {v}")));
                }
            }
        }
        assert!(violations.is_empty(), "{}", violations.join("\n"));
        (shop, page)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_said_and_old_figures_are_marked() {
    let shop = Shop::open("127.0.0.1:0", PAST).await;
    let Some(page) = Browser::open(shop.address).await else { return };
    page.until(
        "document.querySelector('#live').classList.contains('live') && document.querySelector('a.row')",
    )
    .await;
    shop.close().await;
    page.until("!document.querySelector('#banner').hidden && document.body.classList.contains('stale')")
        .await;
    page.until("document.querySelector('#live').classList.contains('reconnecting')").await;
    page.close(&["ERR_", "Failed to load"]).await;
}
