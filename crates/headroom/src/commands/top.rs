//! `headroom top`: the fleet, live, in a terminal.
//!
//! What is shown is a function of [`State`] and the terminal's size; keys and views change the state, and nothing else.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use console::{Key, Term, measure_text_width, truncate_str};
use headroom_core::alert;
use headroom_core::say::{self, Language};
use headroom_engine::figures::guards_bound;
use headroom_engine::handle::{Overview, WorkloadView};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::status::{load, ready};
use crate::cli::{Cli, Format};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::{Printer, harmless};

/// How often the fleet is asked for.
const EVERY: Duration = Duration::from_secs(1);
/// The alternate screen, without a cursor; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// The top left corner; the rest of the line; the rest of the screen.
const HOME: &str = "\u{1b}[H";
const END_OF_LINE: &str = "\u{1b}[K";
const END_OF_SCREEN: &str = "\u{1b}[J";

pub(crate) async fn run(cli: &Cli, printer: Printer) -> Result<Exit> {
    let terminal = Term::stdout();
    if !terminal.is_term() || printer.format != Format::Text {
        return Err(Failure::error(
            Exit::Usage,
            "`headroom top` needs a terminal; for programs there is `headroom status -o json`",
        ));
    }
    let client = Client::new(cli)?;
    let mut state = State::new(printer.language, client.get("/api/v1/overview").await?);
    let _screen = Screen::enter(&terminal)?;
    let mut keys = Keys::of(terminal.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        draw(&terminal, &state)?;
        tokio::select! {
            key = keys.pressed.recv() => match key {
                Some(key) if state.press(&key) == Then::GoOn => keys.go_on(),
                Some(_) | None => return Ok(Exit::Success),
            },
            _ = terminate.recv() => return Ok(Exit::Success),
            _ = hang_up.recv() => return Ok(Exit::Success),
            _ = every.tick() => state.take(client.get("/api/v1/overview").await),
        }
    }
}

/// Keys, one by one, from a thread that waits for them. It ends with the program.
struct Keys {
    pressed: mpsc::Receiver<Key>,
    next: std::sync::mpsc::Sender<()>,
}

impl Keys {
    fn of(terminal: Term) -> Self {
        let (press, pressed) = mpsc::channel(1);
        let (next, wanted) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(key) = terminal.read_key_raw() {
                // Waiting for a key makes the terminal raw: after the last key it must not be so again.
                if press.blocking_send(key).is_err() || wanted.recv().is_err() {
                    return;
                }
            }
        });
        Self { pressed, next }
    }

    /// Another key is wanted.
    fn go_on(&self) {
        // A thread that has ended closes the keys, which ends the program.
        let _ = self.next.send(());
    }
}

/// The alternate screen, as long as it lives. Then the terminal is as it was before, also where a signal ends the program
/// while a key is waited for.
struct Screen<'a> {
    terminal: &'a Term,
    before: Option<Termios>,
}

impl<'a> Screen<'a> {
    fn enter(terminal: &'a Term) -> Result<Self> {
        let screen = Self { terminal, before: tcgetattr(std::io::stdin()).ok() };
        write(terminal, ENTER)?;
        Ok(screen)
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = write(self.terminal, LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

fn write(mut terminal: &Term, text: &str) -> Result<()> {
    terminal
        .write_all(text.as_bytes())
        .and_then(|()| terminal.flush())
        .context("the terminal can't be written")
}

fn draw(terminal: &Term, state: &State) -> Result<()> {
    let (height, width) = terminal.size();
    let lines = state.screen(width.into(), height.into());
    let lines: Vec<_> = lines.iter().map(|line| harmless(line)).collect();
    let text = lines.join(&format!("{END_OF_LINE}\r\n"));
    write(terminal, &format!("{HOME}{text}{END_OF_LINE}{END_OF_SCREEN}"))
}

/// Whether it goes on after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Quit,
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// The table.
    #[default]
    Table,
    /// The table, while the filter is written.
    Filter,
    /// The selected workload, explained, from this line on.
    Explain(usize),
}

struct State {
    language: Language,
    overview: Overview,
    /// Why the last view could not be had.
    trouble: Option<String>,
    mode: Mode,
    filter: String,
    selected: usize,
}

impl State {
    fn new(language: Language, overview: Overview) -> Self {
        Self { language, overview, trouble: None, mode: Mode::Table, filter: String::new(), selected: 0 }
    }

    fn take(&mut self, overview: Result<Overview>) {
        match overview {
            Ok(overview) => (self.overview, self.trouble) = (overview, None),
            Err(error) => self.trouble = Some(format!("{error:#}")),
        }
        self.stay();
    }

    /// Keeps the selection on a line that is there.
    fn stay(&mut self) {
        self.selected = self.selected.min(self.workloads().len().saturating_sub(1));
    }

    fn workloads(&self) -> Vec<&WorkloadView> {
        let fits = |view: &&WorkloadView| {
            view.name.as_str().contains(&self.filter)
                || view.tier.as_ref().is_some_and(|tier| tier.contains(&self.filter))
        };
        self.overview.workloads.iter().filter(fits).collect()
    }

    fn press(&mut self, key: &Key) -> Then {
        match (self.mode, key) {
            (_, Key::CtrlC) | (Mode::Table, Key::Char('q')) => return Then::Quit,
            (Mode::Filter, Key::Char(char)) => self.filter.push(*char),
            (Mode::Filter, Key::Backspace) => drop(self.filter.pop()),
            (Mode::Filter, Key::Enter) => self.mode = Mode::Table,
            (Mode::Filter | Mode::Table, Key::Escape) => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            (Mode::Table, Key::Char('/')) => self.mode = Mode::Filter,
            (Mode::Table, Key::Enter) if !self.workloads().is_empty() => self.mode = Mode::Explain(0),
            (Mode::Table | Mode::Filter, Key::ArrowUp) => self.selected = self.selected.saturating_sub(1),
            (Mode::Table | Mode::Filter, Key::ArrowDown) => self.selected += 1,
            (Mode::Explain(_), Key::Enter | Key::Escape | Key::Char('q')) => self.mode = Mode::Table,
            (Mode::Explain(from), Key::ArrowUp) => self.mode = Mode::Explain(from.saturating_sub(1)),
            (Mode::Explain(from), Key::ArrowDown) => self.mode = Mode::Explain(from + 1),
            _ => {}
        }
        self.stay();
        Then::GoOn
    }

    /// The lines of a terminal of this size.
    fn screen(&self, width: usize, height: usize) -> Vec<String> {
        let body = match (self.mode, self.workloads().get(self.selected)) {
            (Mode::Explain(from), Some(view)) => self.explained(view, width, from, height.saturating_sub(3)),
            (Mode::Explain(_) | Mode::Table | Mode::Filter, _) => self.table(width, height.saturating_sub(4)),
        };
        let mut lines = vec![self.head(), String::new()];
        lines.extend(body);
        lines.truncate(height.saturating_sub(1));
        lines.resize(height.saturating_sub(1), String::new());
        lines.push(self.foot());
        lines.iter().map(|line| truncate_str(line, width, "…").into_owned()).collect()
    }

    fn head(&self) -> String {
        let overview = &self.overview;
        let mut head = overview.fleet.to_string();
        let per_hour = overview.workloads.iter().filter_map(|view| view.cost);
        let micros: u64 = per_hour.map(|cost| cost.per_hour.as_micro_dollars_per_hour()).sum();
        if micros > 0 {
            head.push_str(&format!("  {}", headroom_core::units::Price::micro_dollars_per_hour(micros)));
        }
        if overview.advise {
            head.push_str(self.language.pick("  advise mode", "  조언 모드"));
        }
        if overview.breaker.is_some() {
            head.push_str(self.language.pick("  BREAKER OPEN", "  차단기 열림"));
        }
        for alert in &overview.alerts {
            let what = self.language.pick(alert.kind.code(), alert::headline(alert.kind, self.language));
            head.push_str(&format!("  [{}] {} {what}", alert.severity.say(self.language), alert.subject));
        }
        head
    }

    fn foot(&self) -> String {
        if let Some(trouble) = &self.trouble {
            return match self.language {
                Language::English => format!("no news: {trouble}"),
                Language::Korean => format!("소식 없음: {trouble}"),
            };
        }
        let say = |english, korean| self.language.pick(english, korean);
        match self.mode {
            Mode::Filter => {
                format!("/{}▏  {}", self.filter, say("enter: done  esc: all", "enter: 완료  esc: 전체"))
            }
            Mode::Explain(_) => say("↑↓: scroll  esc: back", "↑↓: 스크롤  esc: 뒤로").to_owned(),
            Mode::Table if self.filter.is_empty() => say(
                "↑↓: choose  enter: explain  /: filter  q: quit",
                "↑↓: 선택  enter: 설명  /: 찾기  q: 종료",
            )
            .to_owned(),
            Mode::Table => {
                let keys = say(
                    "↑↓: choose  enter: explain  esc: all  q: quit",
                    "↑↓: 선택  enter: 설명  esc: 전체  q: 종료",
                );
                format!("/{}  {keys}", self.filter)
            }
        }
    }

    fn table(&self, width: usize, height: usize) -> Vec<String> {
        let head = self.language.pick(
            ["  WORKLOAD", "READY", "WANTED", "LOAD", "LIMITED BY", "COST", "LAST DECISION"],
            ["  워크로드", "준비", "목표", "부하", "제한", "비용", "마지막 결정"],
        );
        let workloads = self.workloads();
        let rows: Vec<[String; 7]> = workloads
            .iter()
            .enumerate()
            .map(|(index, view)| self.row(view, index == self.selected))
            .collect();
        let mut widths: Vec<usize> = head.iter().map(|cell| measure_text_width(cell)).collect();
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        // A long list of signals leaves room for why.
        widths[3] = widths[3].min((width / 3).max(measure_text_width(head[3])));
        let line = |cells: &[&str]| {
            let mut out = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let cell = truncate_str(cell, *width, "…");
                out.push_str(&cell);
                let fill = width.saturating_sub(measure_text_width(&cell)) + 2;
                out.extend(std::iter::repeat_n(' ', fill));
            }
            out.trim_end().to_owned()
        };
        // The selected line stays in sight.
        let skipped = (self.selected + 1).saturating_sub(height.max(1));
        let mut lines = vec![line(&head)];
        lines.extend(rows.iter().skip(skipped).map(|row| line(&row.each_ref().map(String::as_str))));
        lines
    }

    fn row(&self, view: &WorkloadView, selected: bool) -> [String; 7] {
        let unknown = || "?".to_owned();
        let mut bound = view.latest.as_ref().map(guards_bound).unwrap_or_default();
        if view.freeze.is_some() {
            bound.insert("freeze", "frozen");
        }
        [
            format!("{} {}", if selected { "▸" } else { " " }, view.name),
            ready(view, self.language).unwrap_or_else(unknown),
            view.status.as_ref().map_or_else(unknown, |status| status.wanted.to_string()),
            load(view),
            bound.into_values().collect::<Vec<_>>().join(", "),
            view.cost.map_or_else(unknown, |cost| cost.per_hour.to_string()),
            view.latest.as_ref().map_or_else(String::new, |d| say::headline(d, self.language)),
        ]
    }

    fn explained(&self, view: &WorkloadView, width: usize, from: usize, height: usize) -> Vec<String> {
        let Some(decision) = &view.latest else {
            let undecided = self.language.pick("nothing decided yet", "아직 결정 없음");
            return vec![view.name.to_string(), undecided.to_owned()];
        };
        let said = say::explain(decision, self.language);
        let mut all = vec![format!("{} {}", decision.id, decision.at), said.headline, String::new()];
        all.extend(said.recommendations.into_iter().chain(said.known).chain(said.steps));
        let lines: Vec<String> = all.iter().flat_map(|line| wrapped(line, width)).collect();
        let from = from.min(lines.len().saturating_sub(height));
        lines.into_iter().skip(from).collect()
    }
}

/// A text in lines that are no wider than `width`, broken between words where that can be.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is a line from the start");
        if !last.is_empty() && measure_text_width(last) + 1 + measure_text_width(word) > width {
            lines.push(word.to_owned());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state() -> State {
        let workload = |name: &str, tier: &str, ready: u32| {
            json!({
                "name": name, "tier": tier, "range": { "min": 1, "max": 9 }, "price": "0.1 USD/h", "listen": null,
                "seenAt": null, "status": { "wanted": 4, "ready": ready }, "signals": [], "freeze": null,
                "latest": null, "startUp": { "seen": 0, "p50": null, "p90": null },
                "cost": { "perHour": "0.4 USD/h", "warmPool": "0 USD/h" }
            })
        };
        let workloads =
            [workload("api", "back", 4), workload("jobs", "back", 2), workload("web", "front", 3)];
        let overview = serde_json::from_value(json!({
            "at": "2026-01-01T00:00:00Z", "fleet": "shop", "advise": false, "startedAt": "2026-01-01T00:00:00Z",
            "workloads": workloads, "notices": []
        }));
        State::new(Language::English, overview.unwrap())
    }

    fn press(state: &mut State, keys: &[Key]) {
        for key in keys {
            assert_eq!(state.press(key), Then::GoOn, "{key:?}");
        }
    }

    #[test]
    fn the_table_fits_the_terminal() {
        for (width, height) in [(80, 24), (40, 10), (10, 5), (1, 1)] {
            let lines = state().screen(width, height);
            assert_eq!(lines.len(), height);
            assert!(lines.iter().all(|line| measure_text_width(line) <= width), "{width}: {lines:#?}");
        }
        let lines = state().screen(80, 24);
        assert_eq!(lines[0], "shop  1.2 USD/h");
        assert!(lines[2].starts_with("  WORKLOAD  READY  WANTED"), "{}", lines[2]);
        assert!(lines[3].starts_with("▸ api       4      4"), "{}", lines[3]);
    }

    #[test]
    fn arrows_choose_and_stay_within() {
        let mut state = state();
        press(&mut state, &[Key::ArrowUp, Key::ArrowDown, Key::ArrowDown, Key::ArrowDown, Key::ArrowDown]);
        assert_eq!(state.selected, 2);
        assert!(state.screen(80, 7).iter().any(|line| line.starts_with("▸ web")), "it is in sight");
    }

    #[test]
    fn a_filter_leaves_what_fits_and_escape_brings_all_back() {
        let mut state = state();
        press(&mut state, &[Key::Char('/'), Key::Char('b'), Key::Char('a'), Key::Char('q'), Key::Backspace]);
        press(&mut state, &[Key::Enter, Key::ArrowDown]);
        let names: Vec<_> = state.workloads().iter().map(|view| view.name.to_string()).collect();
        assert_eq!((names, state.selected), (vec!["api".to_owned(), "jobs".to_owned()], 1));
        press(&mut state, &[Key::Escape]);
        assert_eq!(state.workloads().len(), 3);
    }

    #[test]
    fn enter_explains_and_q_leads_back_and_then_out() {
        let mut state = state();
        press(&mut state, &[Key::Enter]);
        assert!(state.screen(80, 24)[2..].contains(&"nothing decided yet".to_owned()));
        press(&mut state, &[Key::Char('q')]);
        assert_eq!(state.mode, Mode::Table);
        assert_eq!(state.press(&Key::Char('q')), Then::Quit);
    }

    #[test]
    fn a_controller_that_is_gone_is_said_and_what_was_seen_stays() {
        let mut state = state();
        state.take(Err(anyhow::anyhow!("no controller answers")));
        let lines = state.screen(80, 24);
        assert_eq!(lines[23], "no news: no controller answers");
        assert!(lines[3].contains("api"));
    }

    #[test]
    fn a_screen_reads_well_in_both_languages() {
        for (language, name) in [(Language::English, "top_english"), (Language::Korean, "top_korean")] {
            let mut state = State { language, ..state() };
            state.overview.advise = true;
            let alert = json!({ "id": "api-cpu-high-1", "kind": "cpuHigh", "severity": "high",
                "subject": { "workload": "api" }, "since": "2026-11-21T09:30:00Z", "why": "95 %" });
            state.overview.alerts = vec![serde_json::from_value(alert).unwrap()];
            insta::assert_snapshot!(name, state.screen(100, 9).join("\n"));
        }
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 5), ["unbreakable"]);
    }
}
