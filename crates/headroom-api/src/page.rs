//! The page: files that stand in the binary.
//!
//! No build step and nothing from the network: plain ES modules and CSS. Every file is served below a folder named
//! after a digest of all of them, so a browser may keep it for ever and a new version is a new address; `index.html`,
//! which names that folder, is asked for each time.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use rust_embed::{Embed, EmbeddedFile};
use sha2::{Digest as _, Sha256};

use crate::App;
use crate::problem::Problem;

#[derive(Embed)]
#[folder = "web/"]
struct Files;

/// Stands in `index.html` for the digest.
const PLACEHOLDER: &str = "{version}";
/// Kept without asking for a year, the longest that caches promise.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Asked for each time; the answer is "not modified" as a rule.
const ASK: HeaderValue = HeaderValue::from_static("no-cache");

/// The first twelve digits of a digest over the names and contents of all files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut names: Vec<_> = Files::iter().collect();
    names.sort();
    let mut whole = Sha256::new();
    for name in names {
        whole.update(name.as_bytes());
        whole.update(Files::get(&name).map(|f| f.metadata.sha256_hash()).unwrap_or_default());
    }
    hex(&whole.finalize()[..6])
});

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The routes of the page.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(async |headers: HeaderMap| index(&headers)))
        .route("/favicon.ico", get(async |headers: HeaderMap| file("icon.svg", ASK, &headers)))
        .route("/assets/{version}/{*name}", get(asset))
}

fn index(headers: &HeaderMap) -> Response<Body> {
    let Some(index) = Files::get("index.html") else { return missing() };
    let text = String::from_utf8_lossy(&index.data).replace(PLACEHOLDER, &VERSION);
    let etag = format!("\"{}-{}\"", *VERSION, hex(&index.metadata.sha256_hash()[..6]));
    answer(text.into_bytes().into(), "text/html; charset=utf-8", &etag, ASK, headers)
}

async fn asset(Path((version, name)): Path<(String, String)>, headers: HeaderMap) -> Response<Body> {
    // A page from before an update asks below the old folder: it gets what there is, but does not keep it.
    let keep = if version == *VERSION { FOR_EVER } else { ASK };
    file(&name, keep, &headers)
}

fn file(name: &str, keep: HeaderValue, headers: &HeaderMap) -> Response<Body> {
    let Some(EmbeddedFile { data, metadata, .. }) = Files::get(name) else { return missing() };
    let mime = match metadata.mimetype() {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    let etag = format!("\"{}\"", hex(&metadata.sha256_hash()[..8]));
    answer(data.into_owned().into(), &mime, &etag, keep, headers)
}

fn answer(body: Body, mime: &str, etag: &str, keep: HeaderValue, asked: &HeaderMap) -> Response<Body> {
    let is_known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known == etag);
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { Response::new(body) };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, keep);
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    if let (false, Ok(mime)) = (is_known, HeaderValue::from_str(mime)) {
        headers.insert(header::CONTENT_TYPE, mime);
    }
    response
}

fn missing() -> Response<Body> {
    Problem::new(StatusCode::NOT_FOUND, "no-such-file", "the page has no such file")
        .help("reload the page")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_folder_of_its_own_version() {
        let response = index(&HeaderMap::new());
        assert_eq!(response.headers()[header::CACHE_CONTROL], ASK);
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, response.headers()[header::ETAG].clone())]);
        assert_eq!(index(&known).status(), StatusCode::NOT_MODIFIED);
        let text = String::from_utf8(Files::get("index.html").unwrap().data.into_owned()).unwrap();
        assert!(text.contains(PLACEHOLDER));
    }

    /// The content security policy allows neither; the page would silently lose them.
    #[test]
    fn nothing_in_the_page_is_inline_or_from_elsewhere() {
        let text = String::from_utf8(Files::get("index.html").unwrap().data.into_owned()).unwrap();
        for banned in ["<style", "style=\"", "onclick", "javascript:", "<script>"] {
            assert!(!text.contains(banned), "index.html has {banned}");
        }
        for name in Files::iter() {
            let text = String::from_utf8(Files::get(&name).unwrap().data.into_owned()).unwrap();
            let text = text.replace("http://www.w3.org/", "");
            assert!(!text.contains("http://") && !text.contains("https://"), "{name} names another server");
        }
    }
}
