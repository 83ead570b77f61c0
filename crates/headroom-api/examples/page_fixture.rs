//! Shows the page with an hour of history: `cargo run -p headroom-api --example page_fixture -- 127.0.0.1:7070`.
//!
//! The engine, the journal and the API are the real ones; replicas and load are made up. For working on the page.

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "the tests of the API use all of it")]
mod support;

use headroom_core::units::Span;

#[tokio::main]
async fn main() {
    let bind = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7070".to_owned());
    let shop = support::Shop::open(&bind, Span::hours(1)).await;
    println!("http://{}/#token={}", shop.address, shop.token.reveal());
    // Ctrl-C, or its absence on a machine without signals, ends the show.
    let _ = tokio::signal::ctrl_c().await;
    shop.close().await;
}
