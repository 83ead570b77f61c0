//! Takes pictures of every view of the page, light and dark, wide and narrow, in both languages:
//! `cargo run -p headroom-api --example page_pictures -- FOLDER`, or `cargo xtask screenshots FOLDER`.
//!
//! The server is the one of `page_fixture`: the real engine with an hour of made-up history. With an address
//! (`FOLDER 127.0.0.1:7070 web`) the pictures are of the controller that runs there, `page_fixture` or `headroom demo` say: its
//! overview and one workload, the first unless it is named, wide and light, as WebP for the documentation.

#[path = "../tests/support/browser.rs"]
#[expect(dead_code, reason = "the tests of the page use all of it")]
mod browser;
#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "the tests of the API use all of it")]
mod support;

use std::path::Path;

use browser::Browser;
use headroom_core::controller::Measured;
use headroom_core::reading::Absence;
use headroom_core::units::Span;
use headroom_engine::ports::News;
use support::Shop;
use support::http::Ask;

/// How much of the story the shop has behind it.
const PAST: Span = Span::hours(1);
/// The widths of a desk's and of a phone's screen, in pixels.
const WIDTHS: [(&str, u32, u32); 2] = [("wide", 1400, 1000), ("narrow", 390, 844)];

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "screenshots".to_owned());
    std::fs::create_dir_all(&folder)?;
    if let Some(address) = std::env::args().nth(2) {
        return of_running(Path::new(&folder), &address).await;
    }
    let shop = Shop::open("127.0.0.1:0", PAST).await;
    let Some(page) = Browser::open(shop.address).await else { return Ok(()) };
    // A source that is down, as it is now and then.
    for _ in 0..3 {
        let value = Err(Absence::SourceFailed("connection refused (127.0.0.1:9)".to_owned()));
        let measured = Measured {
            workload: support::name("thumbnails"),
            signal: "queue".parse().expect("a name"),
            value,
        };
        shop.engine().tell("warehouse", News::Samples(vec![measured])).await.expect("the engine runs");
    }
    let latest = Ask::get(shop.address, "/api/v1/workloads/web/decisions?changes=true&limit=1").send().await;
    let latest = latest.json()["decisions"][0]["decision"]["id"].as_str().unwrap_or("web-1").to_owned();
    let views = [
        ("overview", "#/".to_owned(), "#workloads > li:last-child .spark-line"),
        ("workload", "#/w/web".to_owned(), ".chart path"),
        ("objective", "#/w/search".to_owned(), ".chart path"),
        ("decision", format!("#/d/{latest}"), ".item.open .chain"),
    ];
    for language in ["en", "ko"] {
        page.see(&format!("(localStorage.setItem('headroom.lang', '{language}'), true)")).await;
        for (size, width, height) in WIDTHS {
            page.resize(width, height).await;
            for scheme in ["light", "dark"] {
                page.prefer(scheme).await;
                for (view, place, shows) in &views {
                    page.go("?").await;
                    page.go(place).await;
                    page.until(&format!(
                        "document.querySelector('{shows}') && !document.querySelector('.skeleton')"
                    ))
                    .await;
                    show_all(&page).await;
                    let name = format!("{view}-{language}-{size}-{scheme}.png");
                    std::fs::write(Path::new(&folder).join(&name), page.picture(true).await)?;
                    println!("{name}");
                }
            }
        }
    }
    page.close(&[]).await;
    shop.close().await;
    Ok(())
}

/// Takes the documentation's pictures of a controller that runs.
async fn of_running(folder: &Path, address: &str) -> std::io::Result<()> {
    let address = address.parse().map_err(std::io::Error::other)?;
    let Some(page) = Browser::open(address).await else { return Ok(()) };
    let (_, width, height) = WIDTHS[0];
    page.resize(width, height).await;
    page.prefer("light").await;
    let overview = Ask::get(address, "/api/v1/fleet").send().await.json();
    let first = overview["workloads"][0]["name"].as_str().unwrap_or_default().to_owned();
    let first = std::env::args().nth(3).unwrap_or(first);
    // Its latest step up, unfolded.
    let changes = format!("/api/v1/headlines?workload={first}&changes=true&limit=200");
    let changes = Ask::get(address, &changes).send().await.json();
    let grew = |change: &&serde_json::Value| change["to"].as_i64() > change["from"].as_i64();
    let latest = changes["headlines"].as_array().into_iter().flatten().find(grew);
    let decision = latest.and_then(|change| change["id"].as_str()).unwrap_or_default().to_owned();
    for (name, place, shows) in [
        ("overview", "#/".to_owned(), ".spark-line"),
        ("workload", format!("#/d/{decision}"), ".item.open .chain"),
    ] {
        page.go("?").await;
        page.go(&place).await;
        page.until(&format!("document.querySelector('{shows}') && !document.querySelector('.skeleton')"))
            .await;
        show_all(&page).await;
        std::fs::write(folder.join(format!("page-{name}.webp")), page.small_picture().await)?;
    }
    page.close(&[]).await;
    Ok(())
}

/// Makes the page fit for a picture of all of it: what lies outside the window is drawn too, and bars that stick to the
/// window do not stand in the middle.
async fn show_all(page: &Browser) {
    // After the rule that it takes the place of.
    page.see(
        "((sheet) => (sheet.insertRule('.rows > li { content-visibility: visible }', sheet.cssRules.length), true))(document.styleSheets[0])",
    )
    .await;
    page.see("(window.scrollTo(0, 0), true)").await;
}
