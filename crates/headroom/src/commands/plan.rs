//! `headroom plan`: what would change now, with reasons and cost.

use anyhow::{Context, Result};
use headroom_core::say;
use headroom_engine::plan::{Plan, PlanEntry};
use serde::Deserialize;

use crate::cli::{self, Cli};
use crate::client::Client;
use crate::exit::Exit;
use crate::output::Printer;

/// What the API answers: the plan, and explanations that this program makes itself.
#[derive(Debug, Deserialize)]
struct Answer {
    plan: Plan,
}

pub(crate) async fn run(args: &cli::Plan, cli: &Cli, printer: Printer) -> Result<Exit> {
    let client = Client::new(cli)?;
    let answer: Answer = match &args.file {
        Some(file) => client.post("/api/v1/plan", &super::check::load(file)?.fleet.document()).await?,
        None => client.get("/api/v1/plan").await?,
    };
    let plan = answer.plan;
    if let Some(out) = &args.out {
        let text = serde_json::to_string_pretty(&plan)?;
        std::fs::write(out, text + "\n").with_context(|| format!("{} can't be written", out.display()))?;
        say!("written to {}; `headroom apply {}` does exactly this", out.display(), out.display());
    }
    printer.print(&plan, |plan| text(plan, printer))?;
    Ok(if plan.changes_anything() { Exit::Difference } else { Exit::Success })
}

fn text(plan: &Plan, printer: Printer) -> String {
    let mut out = String::new();
    let mut total = Some(0_i64);
    for entry in &plan.workloads {
        let sign = match entry.to.cmp(&entry.saw) {
            std::cmp::Ordering::Greater => '+',
            std::cmp::Ordering::Less => '-',
            std::cmp::Ordering::Equal => ' ',
        };
        if sign != ' ' || entry.warm_change() != 0 {
            total = total.zip(entry.cost_change_micro_dollars_per_hour()).map(|(a, b)| a.saturating_add(b));
        }
        let headline = say::headline(&entry.decision, printer.language);
        out.push_str(&format!(
            "{sign} {}  {headline}{}\n",
            printer.bold(entry.workload.as_str()),
            cost(entry)
        ));
        let explanation = say::explain(&entry.decision, printer.language);
        for line in explanation.steps.into_iter().chain(explanation.known) {
            out.push_str(&format!("      {line}\n"));
        }
    }
    if plan.changes_anything() {
        let total = total.map_or_else(|| "cost unknown: a price is missing".to_owned(), dollars);
        out.push_str(&format!(
            "\nIn all: {total}. Valid until {}.\n",
            super::explain::moment(plan.valid_until)
        ));
    } else {
        out.push_str("\nNothing would change.\n");
    }
    out
}

fn cost(entry: &PlanEntry) -> String {
    match entry.cost_change_micro_dollars_per_hour() {
        Some(0) => String::new(),
        Some(micros) => format!("  ({})", dollars(micros)),
        None => String::new(),
    }
}

/// A change of cost, in dollars an hour, to a hundredth of a cent.
fn dollars(micros: i64) -> String {
    let sign = if micros < 0 { '-' } else { '+' };
    let ten_thousandths = micros.unsigned_abs() / 100;
    format!("{sign}{}.{:04} USD/h", ten_thousandths / 10_000, ten_thousandths % 10_000)
}
