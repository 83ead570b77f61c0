//! Notifiers: who is told what people must know, one file each.
//!
//! A notifier turns news into a message of its kind and sends it once; when, to whom, and again after a failure is for
//! the engine's outbox. Secrets are read for each message, so a file may be replaced at any time, and stand in no error.

pub mod alertmanager;
pub mod email;
pub mod pagerduty;
pub mod slack;
pub mod webhook;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use headroom_core::alert::AlertNews;
use headroom_core::fleet::{Fleet, NotifierSettings, SecretRef, SlackSettings};
use headroom_engine::outbox::Notifiers;
use headroom_engine::ports::{Notification, Notifier, TellError};

use crate::http::Answer;
use crate::secret::Secret;
use crate::source::ReadError;

/// The notifiers of a fleet. Files are relative to `base`, the policy's folder. Nothing is connected yet.
#[must_use]
pub fn open_all(fleet: &Fleet, base: &Path) -> Notifiers {
    let notifiers = fleet.notify().map(|notify| &notify.notifiers).into_iter().flatten();
    notifiers.map(|(name, settings)| (name.clone(), open(settings, base))).collect()
}

/// Opens one. What can't be set up is told as its failure, again and again, until the policy is mended.
#[must_use]
pub fn open(settings: &NotifierSettings, base: &Path) -> Arc<dyn Notifier> {
    fn shared<T: Notifier + 'static>(notifier: Result<T, ReadError>) -> Arc<dyn Notifier> {
        match notifier {
            Ok(notifier) => Arc::new(notifier),
            Err(why) => Arc::new(Unusable(why.to_string())),
        }
    }
    match settings {
        NotifierSettings::Slack(SlackSettings::Webhook(place)) => {
            Arc::new(slack::IncomingWebhook::new(place, base))
        }
        NotifierSettings::Slack(SlackSettings::Bot(bot)) => shared(slack::Bot::new(bot, base)),
        NotifierSettings::Webhook(hook) => shared(webhook::Webhook::new(hook, base)),
        NotifierSettings::Alertmanager(server) => shared(alertmanager::Alertmanager::new(server, base)),
        NotifierSettings::Email(mail) => shared(email::Email::new(mail, base)),
        NotifierSettings::Pagerduty(service) => shared(pagerduty::Pagerduty::new(service, base)),
    }
}

/// A notifier that the policy describes wrongly.
struct Unusable(String);

#[async_trait]
impl Notifier for Unusable {
    async fn tell(&self, _: &Notification) -> Result<Option<String>, TellError> {
        Err(TellError::Later(self.0.clone()))
    }
}

fn later(error: &ReadError) -> TellError {
    TellError::Later(error.to_string())
}

async fn secret(place: &SecretRef, base: &Path) -> Result<Secret, TellError> {
    Secret::read(place, base).await.map_err(|error| TellError::Later(error.to_string()))
}

/// The answer to a message. What a changed setting or a later moment mends is tried again.
fn judge(answer: &Answer) -> Result<(), TellError> {
    if answer.status.is_success() {
        return Ok(());
    }
    let words = format!("it answered {}: {}", answer.status.as_u16(), answer.words());
    match answer.status.as_u16() {
        400 | 413 | 422 => Err(TellError::Refused(words)),
        _ => Err(TellError::Later(words)),
    }
}

/// The title of a message: that of its news, or how many there are.
fn title(notification: &Notification) -> String {
    match notification.news.as_slice() {
        [one] => headroom_core::alert::title(one),
        many => format!("{} alerts of `{}`", many.len(), notification.fleet),
    }
}

/// Where news is shown in full.
fn link(notification: &Notification, news: &AlertNews) -> Option<String> {
    notification.page.as_deref().map(|page| headroom_core::alert::link(news, page))
}

/// `text`, cut to `most` characters.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}
