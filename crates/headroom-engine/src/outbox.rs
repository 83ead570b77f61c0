//! The outbox: messages on their way to notifiers.
//!
//! A message is in the journal before it is sent and stays there until it has arrived, so neither a crash nor an outage
//! loses one; what may have arrived is sent again under the same id. Each notifier has a task and a queue of its own:
//! one that hangs holds up no other. Telling is not acting: where the journal can't be written, people are told all
//! the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use headroom_core::alert::{Delivery, State};
use headroom_core::fleet::NotifierName;
use headroom_core::names::FleetName;
use headroom_core::say::Language;
use headroom_core::units::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

use crate::driver::now;
use crate::journal::{Journal, TOLD_AS, Told};
use crate::ports::{Notification, Notifier, TellError};

/// How long a notifier may take for a message.
const DEADLINE: Duration = Duration::from_secs(10);
/// The API listens so soon after a start; until then messages wait, so that they carry links.
const PAGE_WITHIN: Duration = Duration::from_secs(2);
/// The first pause after a failure; it doubles with each in a row.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause: a notifier that is back is told within a minute.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A message that could not be delivered for a day is of no use to anyone.
const GIVE_UP_AFTER: Span = Span::hours(24);
/// A message that was refused so often will not be taken.
const REFUSALS: u32 = 5;
/// News in one message at the most: more is not read.
const TOGETHER: usize = 20;
/// Messages that may wait for one notifier: a day of one a minute and a half. Beyond, the oldest goes.
const WAITING: usize = 1000;
/// Commands that may wait while a notifier is being told.
const COMMANDS: usize = 256;

/// Who can be told, by name.
pub type Notifiers = BTreeMap<NotifierName, Arc<dyn Notifier>>;

/// What was counted of one notifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifierFigures {
    /// News that arrived.
    pub told: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// News that was given up: refused, too old, or too many.
    pub given_up: u64,
    /// News on its way.
    pub waiting: usize,
    /// When news arrived last; `None` where none ever did, as far as the journal goes back.
    pub told_at: Option<Timestamp>,
    /// What failed since; `None` where the last attempt did not.
    pub trouble: Option<Trouble>,
}

/// A notifier's failures in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Timestamp,
    /// How many.
    pub attempts: u32,
    /// The last of them; holds no secret.
    pub error: TellError,
}

/// Failures in a row after which a notifier is down; fewer are a hiccup.
const DOWN_FROM: u32 = 3;

/// How a notifier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NotifierState {
    /// It does not take what it is told.
    Down,
    /// Its last attempts failed, which may be a hiccup, or some news was given up.
    Failing,
    /// It takes what it is told, or has not been told anything.
    Fine,
}

/// A notifier as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotifierView {
    /// What it is called.
    pub name: NotifierName,
    /// How it is.
    pub state: NotifierState,
    /// When news arrived last; absent where none ever did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<Timestamp>,
    /// News on its way.
    pub waiting: usize,
    /// News that was given up since the start.
    pub given_up: u64,
    /// Since when it fails; absent where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Why, in its own words; absent where it does not fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it refuses what it is told, so that waiting won't help.
    #[serde(default)]
    pub refuses: bool,
}

impl NotifierView {
    /// `name` as its figures show it.
    #[must_use]
    pub fn new(name: &NotifierName, figures: &NotifierFigures) -> Self {
        let trouble = figures.trouble.as_ref();
        let state = match trouble {
            Some(trouble) if trouble.attempts >= DOWN_FROM => NotifierState::Down,
            Some(_) => NotifierState::Failing,
            None if figures.given_up > 0 => NotifierState::Failing,
            None => NotifierState::Fine,
        };
        Self {
            name: name.clone(),
            state,
            told_at: figures.told_at,
            waiting: figures.waiting,
            given_up: figures.given_up,
            failing_since: trouble.map(|trouble| trouble.since),
            why: trouble.map(|trouble| trouble.error.to_string()),
            refuses: trouble.is_some_and(|trouble| matches!(trouble.error, TellError::Refused(_))),
        }
    }

    /// What to do; `None` where all is well.
    #[must_use]
    pub fn next_step(&self, language: Language) -> Option<&'static str> {
        let (english, korean) = match (self.state, &self.why) {
            (NotifierState::Fine, _) => return None,
            (_, Some(_)) if self.refuses => (
                "mend its settings under `notify.notifiers` in the policy: it refuses what it is told",
                "정책의 `notify.notifiers` 설정을 고치세요. 보낸 내용을 거부하고 있습니다",
            ),
            (_, Some(_)) => (
                "see that its server answers and that its secret is right; what waits is sent by itself once it does",
                "서버가 응답하는지, 비밀 값이 맞는지 확인하세요. 복구되면 대기 중인 메시지를 자동으로 보냅니다",
            ),
            (_, None) => (
                "read in the controller's stderr what was given up; it does not come again",
                "컨트롤러의 stderr에서 포기한 메시지를 확인하세요. 다시 보내지 않습니다",
            ),
        };
        Some(match language {
            Language::English => english,
            Language::Korean => korean,
        })
    }
}

type Shared = Arc<Mutex<BTreeMap<NotifierName, NotifierFigures>>>;

/// Hands messages to the notifiers' tasks.
pub(crate) struct Outbox {
    journal: Journal,
    page: watch::Sender<Option<String>>,
    queues: BTreeMap<NotifierName, mpsc::Sender<Command>>,
    figures: Shared,
}

enum Command {
    Tell(Delivery),
    Use(FleetName, Arc<dyn Notifier>),
    /// The policy no longer has it.
    End,
}

impl Outbox {
    pub(crate) fn new(journal: Journal) -> Self {
        Self { journal, page: watch::channel(None).0, queues: BTreeMap::new(), figures: Shared::default() }
    }

    /// Tells where people reach the page.
    pub(crate) fn page(&self, page: Option<String>) {
        self.page.send_replace(page);
    }

    /// Puts the notifiers of a policy in the place of those before.
    pub(crate) fn change(&mut self, fleet: &FleetName, notifiers: Notifiers) {
        self.queues.retain(|name, queue| {
            let stays = notifiers.contains_key(name);
            if !stays {
                // A full queue ends with its sender; what waits is closed at the next start.
                let _ = queue.try_send(Command::End);
                lock(&self.figures).remove(name);
            }
            stays
        });
        for (name, notifier) in notifiers {
            match self.queues.get(&name) {
                Some(queue) => {
                    if queue.try_send(Command::Use(fleet.clone(), notifier)).is_err() {
                        tracing::error!(%name, "the notifier is busy and keeps its old settings until the next change");
                    }
                }
                None => {
                    let (queue, inbox) = mpsc::channel(COMMANDS);
                    lock(&self.figures).insert(name.clone(), NotifierFigures::default());
                    let worker = Worker {
                        name: name.clone(),
                        fleet: fleet.clone(),
                        notifier,
                        journal: self.journal.clone(),
                        page: self.page.subscribe(),
                        waiting: VecDeque::new(),
                        failures: 0,
                        refusals: 0,
                        not_before: Instant::now(),
                        figures: Arc::clone(&self.figures),
                    };
                    tokio::spawn(worker.run(inbox));
                    self.queues.insert(name, queue);
                }
            }
        }
    }

    /// Sends messages on their way. Gives those that have nowhere to go.
    pub(crate) fn send(&self, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let mut stranded = Vec::new();
        for delivery in deliveries {
            match self.queues.get(&delivery.to) {
                Some(queue) => {
                    if let Err(error) = queue.try_send(Command::Tell(delivery)) {
                        tracing::error!(%error, "a message waits in the journal for the next start");
                    }
                }
                None => stranded.push(delivery),
            }
        }
        stranded
    }

    /// Sends what an earlier run left on its way; what has nowhere to go is closed.
    pub(crate) async fn resume(&self, deliveries: Vec<Delivery>) {
        match self.journal.last_told().await {
            Ok(told) => {
                for (name, at) in told {
                    if let Some(figures) = lock(&self.figures).get_mut(&name) {
                        figures.told_at = figures.told_at.max(Some(at));
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "it is not known when notifiers were told last"),
        }
        let stranded = self.send(deliveries);
        close(&self.journal, &stranded, "the policy has no such notifier").await;
    }

    /// Each notifier as it is now, by name.
    pub(crate) fn views(&self) -> Vec<NotifierView> {
        lock(&self.figures).iter().map(|(name, figures)| NotifierView::new(name, figures)).collect()
    }

    /// What was counted.
    pub(crate) fn figures(&self) -> BTreeMap<NotifierName, NotifierFigures> {
        lock(&self.figures).clone()
    }
}

fn lock(
    figures: &Mutex<BTreeMap<NotifierName, NotifierFigures>>,
) -> std::sync::MutexGuard<'_, BTreeMap<NotifierName, NotifierFigures>> {
    figures.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn close(journal: &Journal, deliveries: &[Delivery], outcome: &str) {
    close_with(journal, deliveries, |_| outcome.to_owned()).await;
}

async fn close_with(journal: &Journal, deliveries: &[Delivery], outcome: impl Fn(&Delivery) -> String) {
    if deliveries.is_empty() {
        return;
    }
    let at = now();
    let told = deliveries.iter().map(|d| Told { key: d.key(), at, outcome: outcome(d) });
    if let Err(error) = journal.told(told.collect()).await {
        tracing::warn!(%error, "it could not be written down what became of messages; they may come twice");
    }
}

/// One notifier's task.
struct Worker {
    name: NotifierName,
    fleet: FleetName,
    notifier: Arc<dyn Notifier>,
    journal: Journal,
    page: watch::Receiver<Option<String>>,
    waiting: VecDeque<Delivery>,
    /// In a row.
    failures: u32,
    /// Of the first message that waits, in a row.
    refusals: u32,
    not_before: Instant,
    figures: Shared,
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        // Where there is no API, messages have no links.
        let _ = timeout(PAGE_WITHIN, self.page.wait_for(Option::is_some)).await;
        loop {
            let pause = self.pause(now());
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Tell(delivery)) => self.take(delivery).await,
                    Some(Command::Use(fleet, notifier)) => {
                        (self.fleet, self.notifier) = (fleet, notifier);
                        (self.failures, self.refusals, self.not_before) = (0, 0, Instant::now());
                    }
                    Some(Command::End) => {
                        let rest: Vec<_> = self.waiting.drain(..).collect();
                        close(&self.journal, &rest, "the policy has no such notifier any more").await;
                        return;
                    }
                    None => return,
                },
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => self.round().await,
            }
            self.count(|_| {});
        }
    }

    /// Counts, and shows in the same moment what waits now: what was told no longer does.
    fn count(&self, count: impl FnOnce(&mut NotifierFigures)) {
        if let Some(figures) = lock(&self.figures).get_mut(&self.name) {
            figures.waiting = self.waiting.len();
            count(figures);
        }
    }

    /// How long it is until something is to be sent; `None` where nothing waits.
    fn pause(&self, at: Timestamp) -> Option<Duration> {
        let due = self.waiting.iter().map(|delivery| delivery.due.since(at)).min()?;
        Some(due.as_std().max(self.not_before.saturating_duration_since(Instant::now())))
    }

    /// Takes in a message. One that says the same as another that waits stands for it.
    async fn take(&mut self, delivery: Delivery) {
        let id = &delivery.news.alert.id;
        let same = |d: &Delivery| d.news.alert.id == *id;
        let mut obsolete = Vec::new();
        match delivery.news.state {
            State::Still => {
                if self.waiting.iter().any(|d| same(d) && d.news.state == State::Raised) {
                    return close(&self.journal, &[delivery], "its beginning was not told yet").await;
                }
                let still = |d: &Delivery| same(d) && d.news.state == State::Still;
                obsolete.extend(take_out(&mut self.waiting, still));
                self.waiting.push_back(delivery);
            }
            State::Resolved
                if self.waiting.iter().any(|d| same(d) && d.quiet && d.news.state == State::Raised) =>
            {
                obsolete.extend(take_out(&mut self.waiting, same));
                obsolete.push(delivery);
            }
            State::Raised | State::Resolved | State::Happened => self.waiting.push_back(delivery),
        }
        close(&self.journal, &obsolete, "later news stands for it").await;
        if self.waiting.len() > WAITING
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.give_up(&[oldest], "too much news waits").await;
        }
    }

    async fn give_up(&self, deliveries: &[Delivery], why: &str) {
        for delivery in deliveries {
            tracing::error!(notifier = %self.name, alert = delivery.news.alert.id, "a message is given up: {why}");
        }
        self.count(|figures| figures.given_up += deliveries.len() as u64);
        close(&self.journal, deliveries, why).await;
    }

    /// Tells what is due, together with what waits for company.
    async fn round(&mut self) {
        let at = now();
        let old = take_out(&mut self.waiting, |d| at.since(d.due) > GIVE_UP_AFTER);
        self.give_up(&old, "it could not be delivered for a day").await;
        // After a refusal one by one, so that one bad message takes no others with it.
        let most = if self.refusals > 0 { 1 } else { TOGETHER };
        let ready = |d: &&Delivery| !d.quiet || d.due <= at;
        let mut batch: Vec<Delivery> = Vec::new();
        for delivery in self.waiting.iter().filter(ready).take(most) {
            // What follows a message is told in its thread, and that has a name once it was told.
            let begins =
                |d: &Delivery| d.news.alert.id == delivery.news.alert.id && d.news.state == State::Raised;
            if !batch.iter().any(begins) {
                batch.push(delivery.clone());
            }
        }
        if batch.is_empty() {
            return;
        }
        let threads = self.threads(&batch).await;
        let notification = Notification {
            at,
            fleet: self.fleet.clone(),
            page: self.page.borrow().clone(),
            news: batch.iter().map(|delivery| delivery.news.clone()).collect(),
            threads,
        };
        let told = timeout(DEADLINE, self.notifier.tell(&notification))
            .await
            .unwrap_or_else(|_| Err(TellError::Later(format!("no answer within {} s", DEADLINE.as_secs()))));
        match told {
            Ok(called) => {
                self.done(&batch);
                if self.failures > 0 {
                    tracing::info!(notifier = %self.name, failures = self.failures, "the notifier can be told again");
                }
                (self.failures, self.refusals) = (0, 0);
                let at = now();
                self.count(|figures| {
                    figures.told += batch.len() as u64;
                    figures.told_at = Some(at);
                    figures.trouble = None;
                });
                close_with(&self.journal, &batch, |delivery| match &called {
                    Some(name) if delivery.news.state == State::Raised => format!("{TOLD_AS}{name}"),
                    Some(_) | None => "told".to_owned(),
                })
                .await;
            }
            Err(error) => {
                self.failed(&error);
                if self.refusals >= REFUSALS {
                    self.refusals = 0;
                    self.done(&batch[..1]);
                    self.give_up(&batch[..1], &error.to_string()).await;
                }
            }
        }
    }

    /// What the messages that began these alerts are called, where this is what follows.
    async fn threads(&self, batch: &[Delivery]) -> BTreeMap<String, String> {
        let mut threads = BTreeMap::new();
        for Delivery { news, .. } in batch {
            if matches!(news.state, State::Still | State::Resolved)
                && let Ok(Some(name)) = self.journal.told_as(&self.name, &news.alert.id).await
            {
                threads.insert(news.alert.id.clone(), name);
            }
        }
        threads
    }

    fn done(&mut self, batch: &[Delivery]) {
        self.waiting.retain(|delivery| !batch.contains(delivery));
    }

    fn failed(&mut self, error: &TellError) {
        if self.failures == 0 {
            tracing::warn!(notifier = %self.name, %error, "the notifier can't be told; it is tried again");
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.not_before = Instant::now() + pause;
        self.failures = self.failures.saturating_add(1);
        self.refusals = match error {
            TellError::Refused(_) => self.refusals + 1,
            TellError::Later(_) => 0,
        };
        let (at, attempts) = (now(), self.failures);
        self.count(|figures| {
            figures.failures += 1;
            let since = figures.trouble.as_ref().map_or(at, |trouble| trouble.since);
            figures.trouble = Some(Trouble { since, attempts, error: error.clone() });
        });
    }
}

fn take_out(waiting: &mut VecDeque<Delivery>, of: impl Fn(&Delivery) -> bool) -> Vec<Delivery> {
    let (out, rest) = std::mem::take(waiting).into_iter().partition(of);
    *waiting = rest;
    Vec::from(out)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use headroom_core::alert::AlertNews;
    use serde_json::json;

    use super::*;
    use crate::journal::{Batch, DataDir, Retention};

    /// Waits for a condition, for as long as a busy machine may take: its time goes on where that of a test stands still.
    async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
        let begun = std::time::Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < Duration::from_secs(60), "it did not happen");
            tokio::task::yield_now().await;
        }
    }

    /// Fails so many times, then takes everything.
    struct Flaky {
        failures: AtomicU32,
        error: TellError,
        taken: mpsc::UnboundedSender<Vec<String>>,
    }

    #[async_trait]
    impl Notifier for Flaky {
        /// Calls each message by its first news.
        async fn tell(&self, notification: &Notification) -> Result<Option<String>, TellError> {
            let left = self.failures.load(Ordering::Relaxed);
            if left > 0 {
                self.failures.store(left - 1, Ordering::Relaxed);
                return Err(self.error.clone());
            }
            let said = |n: &AlertNews| match notification.threads.get(&n.alert.id) {
                Some(thread) => format!("{} {} in {thread}", n.alert.id, n.state.word()),
                None => format!("{} {}", n.alert.id, n.state.word()),
            };
            let said = notification.news.iter().map(said).collect();
            self.taken.send(said).map_err(|e| TellError::Later(e.to_string()))?;
            Ok(notification.threads.is_empty().then(|| format!("no. {}", notification.news[0].alert.id)))
        }
    }

    fn news(id: &str, state: State, at: Timestamp) -> AlertNews {
        serde_json::from_value(json!({
            "at": at, "state": state,
            "alert": { "id": id, "kind": "atMaximum", "severity": "medium", "subject": "fleet", "since": at, "why": "" }
        }))
        .unwrap()
    }

    fn delivery(id: &str, state: State, at: Timestamp) -> Delivery {
        Delivery { to: "ops".parse().unwrap(), due: at, quiet: false, news: news(id, state, at) }
    }

    struct Bench {
        _folder: tempfile::TempDir,
        journal: Journal,
        outbox: Outbox,
        taken: mpsc::UnboundedReceiver<Vec<String>>,
    }

    /// An outbox with one notifier that fails so many times.
    fn bench(failures: u32, error: TellError) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let (journal, _) = Journal::open(&data, Retention::default()).unwrap();
        let (sender, taken) = mpsc::unbounded_channel();
        let flaky = Flaky { failures: failures.into(), error, taken: sender };
        let mut outbox = Outbox::new(journal.clone());
        let notifier: Arc<dyn Notifier> = Arc::new(flaky);
        outbox.change(&"shop".parse().unwrap(), [("ops".parse().unwrap(), notifier)].into());
        Bench { _folder: folder, journal, outbox, taken }
    }

    impl Bench {
        /// Writes messages down and sends them.
        async fn send(&self, deliveries: Vec<Delivery>) {
            let batch = Batch { deliveries: deliveries.clone(), ..Batch::new(now()) };
            self.journal.append(batch).await.unwrap();
            assert_eq!(self.outbox.send(deliveries), []);
        }

        fn figures(&self) -> NotifierFigures {
            let name: NotifierName = "ops".parse().unwrap();
            self.outbox.figures()[&name].clone()
        }

        /// Waits until nothing is on its way any more.
        async fn all_told(&self) {
            eventually(async || self.journal.untold().await.unwrap().is_empty()).await;
        }
    }

    /// Twenty failures with pauses that double to a minute are an outage of a quarter of an hour.
    #[tokio::test(start_paused = true)]
    async fn an_outage_loses_nothing() {
        let mut bench = bench(20, TellError::Later("down".to_owned()));
        let begun = Instant::now();
        bench.send(vec![delivery("a", State::Raised, now())]).await;
        bench.send(vec![delivery("b", State::Raised, now()), delivery("a", State::Resolved, now())]).await;
        let mut taken = bench.taken.recv().await.unwrap();
        assert!(begun.elapsed() > Duration::from_secs(600), "{:?}", begun.elapsed());
        while taken.len() < 3 {
            taken.extend(bench.taken.recv().await.unwrap());
        }
        assert_eq!(taken, ["a raised", "b raised", "a resolved in no. a"]);
        bench.all_told().await;
        let figures = bench.figures();
        assert_eq!((figures.told, figures.failures, figures.given_up), (3, 20, 0));
    }

    /// While a notifier is down it is seen to be, with what waits, why and what to do; and that it is well again.
    #[tokio::test(start_paused = true)]
    async fn an_outage_is_seen_and_its_end_too() {
        let mut bench = bench(4, TellError::Later("connection refused".to_owned()));
        let view = |bench: &Bench| bench.outbox.views().remove(0);
        let before = view(&bench);
        assert_eq!(
            (before.state, before.told_at, before.next_step(Language::English)),
            (NotifierState::Fine, None, None)
        );
        bench.send(vec![delivery("a", State::Raised, now()), delivery("b", State::Raised, now())]).await;
        while view(&bench).state != NotifierState::Down || view(&bench).waiting != 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let down = view(&bench);
        assert_eq!(down.why.as_deref(), Some("connection refused"));
        assert!(down.failing_since.is_some() && down.told_at.is_none());
        for (language, part) in [(Language::English, "server"), (Language::Korean, "서버")] {
            assert!(down.next_step(language).is_some_and(|step| step.contains(part)));
        }
        assert_eq!(bench.taken.recv().await.unwrap().len(), 2);
        eventually(async || bench.figures().told > 0).await;
        // At once, and not only when the journal has it too.
        let after = view(&bench);
        assert_eq!((after.state, after.waiting, after.why), (NotifierState::Fine, 0, None));
        bench.all_told().await;
        let told_at = after.told_at.expect("it was told");
        // The next run knows it from the journal.
        let mut again = Outbox::new(bench.journal.clone());
        let (sender, _taken) = mpsc::unbounded_channel();
        let flaky = Flaky { failures: 0.into(), error: TellError::Later(String::new()), taken: sender };
        let notifier: Arc<dyn Notifier> = Arc::new(flaky);
        again.change(&"shop".parse().unwrap(), [("ops".parse().unwrap(), notifier)].into());
        again.resume(vec![]).await;
        assert!(again.views()[0].told_at.is_some_and(|at| at >= told_at));
    }

    /// None is lost over an outage of more than ten minutes with a restart in the middle of it, and what may have arrived
    /// comes again under the same id.
    #[tokio::test(start_paused = true)]
    async fn an_outage_of_ten_minutes_and_a_restart_lose_nothing() {
        let ids: Vec<_> = (0..60).map(|n| format!("alert-{n:02}")).collect();
        let before = bench(u32::MAX, TellError::Later("down".to_owned()));
        let begun = Instant::now();
        for id in &ids {
            before.send(vec![delivery(id, State::Raised, now())]).await;
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        assert!(begun.elapsed() >= Duration::from_secs(300) && before.figures().told == 0);
        let Bench { _folder, journal, outbox, .. } = before;
        // It ends in the middle of the outage, and another begins with what the journal holds.
        drop(outbox);
        let (sender, mut taken) = mpsc::unbounded_channel();
        let restart = |failures: u32| {
            let flaky = Flaky {
                failures: failures.into(),
                error: TellError::Later("down".to_owned()),
                taken: sender.clone(),
            };
            let notifier: Arc<dyn Notifier> = Arc::new(flaky);
            let mut outbox = Outbox::new(journal.clone());
            outbox.change(&"shop".parse().unwrap(), [("ops".parse().unwrap(), notifier)].into());
            outbox
        };
        // Ten failures with pauses that double to a minute: five minutes more.
        let untold = journal.untold().await.unwrap();
        let again = restart(11);
        again.resume(untold.clone()).await;
        let mut told = Vec::new();
        while told.len() < ids.len() {
            told.extend(taken.recv().await.unwrap());
        }
        assert!(begun.elapsed() >= Duration::from_secs(600), "{:?}", begun.elapsed());
        let expected: Vec<_> = ids.iter().map(|id| format!("{id} raised")).collect();
        assert_eq!(told, expected, "each once, in order");
        eventually(async || journal.untold().await.unwrap().is_empty()).await;
        // One that ended after it was told and before that was written down tells again, under the same ids.
        let third = restart(0);
        third.resume(untold).await;
        let mut twice = Vec::new();
        while twice.len() < ids.len() {
            twice.extend(taken.recv().await.unwrap());
        }
        assert_eq!(twice, expected);
    }

    /// What was on its way when the program died is on its way again.
    #[tokio::test]
    async fn a_restart_goes_on_where_it_stood() {
        let stopped = bench(u32::MAX, TellError::Later("down".to_owned()));
        stopped.send(vec![delivery("a", State::Raised, now()), delivery("b", State::Raised, now())]).await;
        let untold = stopped.journal.untold().await.unwrap();
        assert_eq!(untold.len(), 2);
        let mut again = bench(0, TellError::Later(String::new()));
        again.outbox.resume(untold).await;
        let mut taken = again.taken.recv().await.unwrap();
        if taken.len() < 2 {
            taken.extend(again.taken.recv().await.unwrap());
        }
        assert_eq!(taken, ["a raised", "b raised"]);
    }

    /// What follows is told with the message that began it, also by the next run.
    #[tokio::test]
    async fn what_follows_is_told_in_the_thread_after_a_restart_too() {
        let mut before = bench(0, TellError::Later(String::new()));
        before.send(vec![delivery("a", State::Raised, now()), delivery("b", State::Raised, now())]).await;
        let mut taken = before.taken.recv().await.unwrap();
        if taken.len() < 2 {
            taken.extend(before.taken.recv().await.unwrap());
        }
        before.all_told().await;
        let mut again = Outbox::new(before.journal.clone());
        let (sender, mut taken) = mpsc::unbounded_channel();
        let flaky = Flaky { failures: 0.into(), error: TellError::Later(String::new()), taken: sender };
        let notifier: Arc<dyn Notifier> = Arc::new(flaky);
        again.change(&"shop".parse().unwrap(), [("ops".parse().unwrap(), notifier)].into());
        let end = vec![delivery("a", State::Resolved, now()), delivery("c", State::Resolved, now())];
        let batch = Batch { deliveries: end.clone(), ..Batch::new(now()) };
        before.journal.append(batch).await.unwrap();
        assert_eq!(again.send(end), []);
        let mut told = taken.recv().await.unwrap();
        if told.len() < 2 {
            told.extend(taken.recv().await.unwrap());
        }
        assert_eq!(told, ["a resolved in no. a", "c resolved"]);
    }

    #[tokio::test]
    async fn what_has_nowhere_to_go_is_closed() {
        let bench = bench(0, TellError::Later(String::new()));
        let stranded = Delivery { to: "nobody".parse().unwrap(), ..delivery("a", State::Raised, now()) };
        let batch = Batch { deliveries: vec![stranded.clone()], ..Batch::new(now()) };
        bench.journal.append(batch).await.unwrap();
        bench.outbox.resume(vec![stranded]).await;
        assert_eq!(bench.journal.untold().await.unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_refused_takes_no_others_with_it() {
        let mut bench = bench(REFUSALS, TellError::Refused("what is this".to_owned()));
        bench.send(vec![delivery("bad", State::Raised, now())]).await;
        bench.send(vec![delivery("good", State::Raised, now())]).await;
        assert_eq!(bench.taken.recv().await.unwrap(), ["good raised"]);
        bench.all_told().await;
        let figures = bench.figures();
        assert_eq!((figures.told, figures.given_up), (1, 1));
        let view = bench.outbox.views().remove(0);
        assert_eq!(
            (view.state, view.given_up),
            (NotifierState::Failing, 1),
            "what was lost is not forgotten"
        );
    }

    /// What came and went in quiet hours is not told; what is still there when they end is.
    #[tokio::test]
    async fn quiet_hours_end_with_what_is_still_there() {
        let mut bench = bench(0, TellError::Later(String::new()));
        let later = now().plus(Span::hours(8));
        let quiet = |id, state| Delivery { due: later, quiet: true, ..delivery(id, state, now()) };
        bench.send(vec![quiet("stays", State::Raised), quiet("goes", State::Raised)]).await;
        bench.send(vec![quiet("goes", State::Resolved), delivery("loud", State::Raised, now())]).await;
        assert_eq!(bench.taken.recv().await.unwrap(), ["loud raised"]);
        eventually(async || bench.journal.untold().await.unwrap().len() == 1).await;
        assert_eq!(bench.journal.untold().await.unwrap()[0].news.alert.id, "stays");
    }
}
