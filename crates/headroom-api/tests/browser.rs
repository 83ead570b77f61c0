//! The page in headless Chromium, driven over WebDriver.
//!
//! Needs Debian's packages `chromium` and `chromium-driver`. Without them the tests fail and say so, unless
//! `HEADROOM_SKIP_BROWSER=1` is set: a page that nobody looked at must not pass for one that works.

#[expect(dead_code, reason = "the tests of the API use all of it")]
mod support;

use std::future::Future;
use std::process::Stdio;
use std::time::Duration;

use headroom_core::units::Span;
use hyper::Method;
use serde_json::{Value, json};
use support::Shop;
use support::http::Ask;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// How long anything on the page may take to appear. Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(40);
/// How much of the story the shop has behind it.
const PAST: Span = Span::minutes(6);
/// The Escape key, as WebDriver writes it.
const ESCAPE: &str = "\u{e00c}";
/// The Enter key, as WebDriver writes it.
const ENTER: &str = "\u{e007}";

struct Browser {
    driver: std::net::SocketAddr,
    session: String,
    page: String,
    driver_process: Child,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    /// Takes the browser down with its driver, also when a test fails: a dozen of left-over processes each would slow
    /// the next ones.
    fn drop(&mut self) {
        if let Some(group) =
            self.driver_process.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
        {
            // They may have ended by themselves.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Browser {
    /// A new browser that knows nothing, on the page of `shop`; `None` where browsers are to be skipped.
    async fn open(shop: &Shop) -> Option<Self> {
        let started = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(_) if std::env::var("HEADROOM_SKIP_BROWSER").is_ok_and(|v| v == "1") => return None,
            Err(error) => panic!(
                "chromedriver can't be started ({error}). Install Debian's packages chromium and chromium-driver, or \
                 set HEADROOM_SKIP_BROWSER=1 to go without looking at the page"
            ),
        };
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let port: u16 = loop {
            let line = lines.next_line().await.expect("readable").expect("chromedriver names its port");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').parse().expect("a port");
            }
        };
        // Whoever stops reading a pipe stops the writer.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = tempfile::tempdir().expect("a folder");
        let driver = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--lang=en-GB",
            "--window-size=1440,1000",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments }
        } } });
        let answer = Ask::post(driver, "/session", &capabilities).send().await.json();
        let session = answer["value"]["sessionId"].as_str();
        let session = session.unwrap_or_else(|| panic!("no browser: {answer}")).to_owned();
        let page = format!("http://{}", shop.address);
        let browser = Self { driver, session, page, driver_process: process, _profile: profile };
        browser.go("#/").await;
        Some(browser)
    }

    async fn call(&self, method: Method, command: &str, body: Value) -> Value {
        let path = format!("/session/{}{command}", self.session);
        let ask = match method {
            Method::POST => Ask::post(self.driver, &path, &body),
            _ => Ask::new(method, self.driver, &path),
        };
        let answer = ask.send().await;
        let said = answer.json();
        assert!(answer.status.is_success(), "{command} {body}: {said}");
        said["value"].clone()
    }

    async fn go(&self, place: &str) {
        self.call(Method::POST, "/url", json!({ "url": format!("{}/{place}", self.page) })).await;
    }

    /// The value of an expression in the page.
    async fn see(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.call(Method::POST, "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression in the page is true.
    async fn until(&self, expression: &str) {
        let holds = async {
            // What is not there yet is no mistake.
            let tried =
                format!("(() => {{ try {{ return !!({expression}); }} catch {{ return false; }} }})()");
            while self.see(&tried).await != json!(true) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(SOON, holds).await.is_err() {
            let text = self.see("document.body.innerText.slice(0, 1500)").await;
            panic!("never came true: {expression}\nthe page says: {text}");
        }
    }

    async fn click(&self, selector: &str) {
        self.until(&format!("document.querySelector({selector:?})")).await;
        let found =
            self.call(Method::POST, "/element", json!({ "using": "css selector", "value": selector })).await;
        let id =
            found.as_object().and_then(|o| o.values().next()).and_then(Value::as_str).expect("an element");
        self.call(Method::POST, &format!("/element/{id}/click"), json!({})).await;
    }

    /// Presses keys, one after the other, wherever the focus is.
    async fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
            })
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.call(Method::POST, "/actions", actions).await;
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        self.call(Method::POST, "/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await;
    }

    /// Ends the browser; fails if the page complained: a script that broke, a file or a style that was refused.
    async fn close(self, forgiven: &[&str]) {
        let log = self.call(Method::POST, "/se/log", json!({ "type": "browser" })).await;
        for entry in log.as_array().into_iter().flatten() {
            let text = entry["message"].as_str().unwrap_or_default();
            let is_bad = entry["level"] == "SEVERE" && !forgiven.iter().any(|part| text.contains(part));
            assert!(!is_bad, "the page complained: {text}");
        }
        self.call(Method::DELETE, "", json!({})).await;
    }
}

/// Opens the shop and a browser, and closes both. A refused token and a decision that is not there are part of it.
async fn looking_at_the_page<T: Future<Output = (Shop, Browser)>>(look: impl FnOnce(Shop, Browser) -> T) {
    let shop = Shop::open("127.0.0.1:0", PAST).await;
    let Some(browser) = Browser::open(&shop).await else {
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
        page.until("document.querySelectorAll('#workloads a.row').length === 5").await;
        let names = page.see("[...document.querySelectorAll('#workloads a.row b:first-child')].map(b => b.textContent)");
        let names = names.await.to_string();
        for name in ["web", "checkout", "search", "emails", "thumbnails"] {
            assert!(names.contains(name), "{name} is not in {names}");
        }
        page.until("document.querySelector('#live').classList.contains('live')").await;
        page.until("document.querySelector('[data-workload=web] .spark-line')?.getAttribute('d').length > 50").await;

        page.press("/thumb").await;
        page.until("[...document.querySelectorAll('#workloads > li')].filter(li => !li.hidden).length === 1").await;

        page.click("[data-workload=thumbnails]").await;
        page.go("#/w/web").await;
        // Demand and capacity, replicas, latency, what each replica shows.
        page.until("document.querySelectorAll('.chart svg.plot').length === 4").await;
        page.press("1").await;
        page.until(
            "[...document.querySelectorAll('.chart')].every(c => [...c.querySelectorAll('path')].some(p => p.getAttribute('d').length > 200))",
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
        page.until("document.querySelector('.panel-head h2').textContent === 'Workloads'").await;
        page.click("#language").await;
        page.until("document.documentElement.lang === 'ko' && document.querySelector('.panel-head h2').textContent === '워크로드'")
            .await;
        page.go("#/d/web-2").await;
        page.until("/레플리카당/.test(document.querySelector('.item.open .chain')?.innerText)").await;
        page.until("document.querySelector('.headline').innerText.includes('유지') || /→|보류/.test(document.querySelector('.headline').innerText)")
            .await;

        let media = |scheme: &str| json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        let is_dark = "(([r, g, b]) => r + g + b < 150)(getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number))";
        page.devtools("Emulation.setEmulatedMedia", media("light")).await;
        page.until(&format!("!{is_dark}")).await;
        page.devtools("Emulation.setEmulatedMedia", media("dark")).await;
        page.until(is_dark).await;
        page.click("#theme").await;
        page.until(&format!("!{is_dark}")).await;

        for width in [360, 390] {
            let phone = json!({ "width": width, "height": 800, "deviceScaleFactor": 2, "mobile": true });
            page.devtools("Emulation.setDeviceMetricsOverride", phone).await;
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
async fn a_lost_connection_is_said_and_old_figures_are_marked() {
    let shop = Shop::open("127.0.0.1:0", PAST).await;
    let Some(page) = Browser::open(&shop).await else { return };
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
