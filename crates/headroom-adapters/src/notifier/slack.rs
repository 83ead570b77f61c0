//! Slack: an incoming webhook, or a bot whose follow-ups stand in the thread of the first message.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use headroom_core::alert::{AlertNews, Severity, State};
use headroom_core::fleet::{Auth, HttpServer, SecretRef, SlackBot};
use headroom_engine::ports::{Notification, Notifier, TellError};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{cut, judge, later, link, secret, title};
use crate::http::HttpClient;
use crate::source::ReadError;

/// What Slack takes in a block of text, less what the title and the link need.
const LONGEST: usize = 2500;
/// Threads that are kept here, for a message that was taken in part and comes again; the outbox knows the rest.
const THREADS: usize = 500;

/// An incoming webhook. Its address is a secret, so nothing that is said names it.
pub struct IncomingWebhook {
    place: SecretRef,
    base: PathBuf,
}

impl IncomingWebhook {
    /// It does not connect yet.
    #[must_use]
    pub fn new(place: &SecretRef, base: &Path) -> Self {
        Self { place: place.clone(), base: base.to_owned() }
    }
}

#[async_trait]
impl Notifier for IncomingWebhook {
    async fn tell(&self, notification: &Notification) -> Result<Option<String>, TellError> {
        // A secret of another kind in its place would be taken for a host's name, and named when it is not found.
        let no_address = || {
            TellError::Later("the secret holds no address; it must be that of an incoming webhook".to_owned())
        };
        let url = secret(&self.place, &self.base).await?.expose().to_owned();
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(no_address());
        }
        let server = HttpServer { url, ..HttpServer::default() };
        let mut client = HttpClient::new(&server, &self.base).map_err(|_| no_address())?;
        let message = message(notification, &notification.news.iter().collect::<Vec<_>>());
        let mut answer = client.post_json("", &[], &message).await.map_err(|e| later(&e))?;
        // A redirect repeats the address.
        answer.location.clear();
        judge(&answer)?;
        Ok(None)
    }
}

/// A bot that writes in a channel.
pub struct Bot {
    channel: String,
    state: Mutex<Writing>,
}

struct Writing {
    client: HttpClient,
    /// The message that began each alert, newest last.
    threads: VecDeque<(String, String)>,
}

impl Bot {
    /// It does not connect yet.
    ///
    /// # Errors
    /// Where the address is not usable.
    pub fn new(settings: &SlackBot, base: &Path) -> Result<Self, ReadError> {
        let auth = Some(Auth::Bearer(settings.token.clone()));
        let client =
            HttpClient::new(&HttpServer { url: settings.url.clone(), auth, ..HttpServer::default() }, base)?;
        let state = Mutex::new(Writing { client, threads: VecDeque::new() });
        Ok(Self { channel: settings.channel.clone(), state })
    }
}

#[async_trait]
impl Notifier for Bot {
    async fn tell(&self, notification: &Notification) -> Result<Option<String>, TellError> {
        let mut state = self.state.lock().await;
        let (follow_ups, fresh): (Vec<_>, Vec<_>) =
            notification.news.iter().partition(|news| state.thread(notification, news).is_some());
        let mut begun = None;
        if !fresh.is_empty() {
            let thread = state.post(&self.channel, None, message(notification, &fresh)).await?;
            for news in fresh.iter().filter(|news| news.state == State::Raised) {
                state.threads.push_back((news.alert.id.clone(), thread.clone()));
            }
            while state.threads.len() > THREADS {
                state.threads.pop_front();
            }
            begun = Some(thread);
        }
        for news in follow_ups {
            let thread = state.thread(notification, news);
            state.post(&self.channel, thread, message(notification, &[news])).await?;
        }
        Ok(begun)
    }
}

impl Writing {
    /// The message that began the alert, as it is remembered here or by the outbox.
    fn thread(&self, notification: &Notification, news: &AlertNews) -> Option<String> {
        let id = &news.alert.id;
        let here = self.threads.iter().rev().find(|(known, _)| known == id).map(|(_, thread)| thread);
        here.or_else(|| notification.threads.get(id)).cloned()
    }

    /// Posts a message; gives its name.
    async fn post(
        &mut self,
        channel: &str,
        thread: Option<String>,
        mut message: Value,
    ) -> Result<String, TellError> {
        message["channel"] = channel.into();
        if let Some(thread) = thread {
            message["thread_ts"] = thread.into();
        }
        let answer =
            self.client.post_json("/api/chat.postMessage", &[], &message).await.map_err(|e| later(&e))?;
        judge(&answer)?;
        let said: Value = serde_json::from_slice(&answer.body)
            .map_err(|e| TellError::Later(format!("its answer can't be read: {e}")))?;
        if said["ok"] == true {
            return Ok(said["ts"].as_str().unwrap_or_default().to_owned());
        }
        let error = said["error"].as_str().unwrap_or("no reason is given").to_owned();
        Err(match error.as_str() {
            "invalid_blocks" | "msg_too_long" | "no_text" => TellError::Refused(error),
            _ => TellError::Later(format!("Slack says {error}; see what its API means by it")),
        })
    }
}

fn message(notification: &Notification, news: &[&AlertNews]) -> Value {
    let only = Notification { news: news.iter().copied().cloned().collect(), ..notification.clone() };
    let mut blocks = Vec::new();
    for news in news {
        let text = escape(&cut(&headroom_core::alert::text(news, None), LONGEST));
        let title = escape(&headroom_core::alert::title(news));
        blocks.push(json!({
            "type": "section",
            "text": { "type": "mrkdwn", "text": format!("{} *{title}*\n{text}", sign(news)) },
        }));
        let mut context = format!("fleet {} · {}", notification.fleet, news.alert.id);
        if let Some(link) = link(notification, news) {
            context = format!("<{link}|why> · {context}");
        }
        blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": context }] }));
    }
    json!({ "text": escape(&title(&only)), "blocks": blocks })
}

fn sign(news: &AlertNews) -> &'static str {
    match (news.state, news.alert.severity) {
        (State::Resolved, _) => ":white_check_mark:",
        (_, Severity::High) => ":red_circle:",
        (_, Severity::Medium) => ":large_orange_circle:",
        (_, Severity::Low) => ":large_yellow_circle:",
        (_, Severity::Info) => ":information_source:",
    }
}

/// Slack's control characters, as text.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
