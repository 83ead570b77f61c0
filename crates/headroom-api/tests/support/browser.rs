//! The page in headless Chromium, driven over WebDriver.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::http::Ask;

/// How long anything on the page may take to appear. Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(40);

/// A headless browser.
pub(crate) struct Browser {
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
    /// A new browser that knows nothing, on the page at `address`; `None` where browsers are to be skipped.
    pub(crate) async fn open(address: std::net::SocketAddr) -> Option<Self> {
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
            // A picture of the whole page has no room for them.
            "--hide-scrollbars",
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
        let page = format!("http://{address}");
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
        let shown: String = body.to_string().chars().take(300).collect();
        assert!(answer.status.is_success(), "{command} {shown}: {said}");
        said["value"].clone()
    }

    /// Goes to a place on the page, such as `#/w/web`.
    pub(crate) async fn go(&self, place: &str) {
        self.call(Method::POST, "/url", json!({ "url": format!("{}/{place}", self.page) })).await;
    }

    /// The value of an expression in the page.
    pub(crate) async fn see(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        self.call(Method::POST, "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Runs a script in the page.
    pub(crate) async fn run(&self, script: &str) {
        self.call(Method::POST, "/execute/sync", json!({ "script": script, "args": [] })).await;
    }

    /// What a promise in the page comes to.
    pub(crate) async fn wait_for(&self, promise: &str) -> Value {
        let script = format!("return ({promise});");
        self.call(Method::POST, "/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until an expression in the page is true.
    pub(crate) async fn until(&self, expression: &str) {
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

    /// Clicks on what a selector finds, once it is there.
    pub(crate) async fn click(&self, selector: &str) {
        self.until(&format!("document.querySelector({selector:?})")).await;
        let found =
            self.call(Method::POST, "/element", json!({ "using": "css selector", "value": selector })).await;
        let id =
            found.as_object().and_then(|o| o.values().next()).and_then(Value::as_str).expect("an element");
        self.call(Method::POST, &format!("/element/{id}/click"), json!({})).await;
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
            })
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] });
        self.call(Method::POST, "/actions", actions).await;
    }

    /// Says something to the browser's own tools, and gives its answer.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.call(Method::POST, "/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Shows the page as on a screen `width` pixels wide; a narrow one is a phone's.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let is_phone = width < 500;
        let screen = json!({ "width": width, "height": height, "mobile": is_phone, "deviceScaleFactor": if is_phone { 2 } else { 1 } });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
    }

    /// Prefers `light` or `dark` and stillness, as an operating system does.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" }
        ]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// The window as a PNG, or with `whole` all of the page, however long it is.
    pub(crate) async fn picture(&self, whole: bool) -> Vec<u8> {
        self.capture(json!({ "format": "png", "captureBeyondViewport": whole })).await
    }

    /// The whole page as a small WebP.
    pub(crate) async fn small_picture(&self) -> Vec<u8> {
        self.capture(json!({ "format": "webp", "quality": 82, "captureBeyondViewport": true })).await
    }

    async fn capture(&self, asked: Value) -> Vec<u8> {
        let answer = self.devtools("Page.captureScreenshot", asked).await;
        base64::engine::general_purpose::STANDARD
            .decode(answer["data"].as_str().expect("a picture"))
            .expect("base64")
    }

    /// Ends the browser; fails if the page complained: a script that broke, a file or a style that was refused.
    pub(crate) async fn close(self, forgiven: &[&str]) {
        let log = self.call(Method::POST, "/se/log", json!({ "type": "browser" })).await;
        for entry in log.as_array().into_iter().flatten() {
            let text = entry["message"].as_str().unwrap_or_default();
            let is_bad = entry["level"] == "SEVERE" && !forgiven.iter().any(|part| text.contains(part));
            assert!(!is_bad, "the page complained: {text}");
        }
        self.call(Method::DELETE, "", json!({})).await;
    }
}
