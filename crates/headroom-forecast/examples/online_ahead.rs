//! Drives the online model over a demand trace and shows what it is worth.
//!
//! `online_ahead DEMAND.csv LEAD_S [DECISIONS.csv]`: `DEMAND.csv` has rows `time_s,value` at a regular
//! step. Prints how often the demand really exceeded the quantiles, the loss against "as now, with the
//! errors seen so far", and nanoseconds per sample. With a third argument it also writes the decisions of
//! a plain scaler on top (`time_s,desired`; replicas of 90 requests/s): the whole number that is cheapest
//! when a second short costs a multiple of the usual fleet, held for two minutes before it falls.

use headroom_forecast::OnlineForecaster;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Instant;

/// What a replica may carry (requests/s): 100 at 90 %.
const PER_REPLICA: f64 = 90.0;
/// Only the last 40 % are judged; what comes before is for learning.
const JUDGED_FROM: f64 = 0.6;

#[expect(clippy::disallowed_methods, reason = "the ban is for the library; this is where the clock comes in")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let (Some(file), Some(lead)) = (args.get(1), args.get(2).and_then(|l| l.parse::<u32>().ok())) else {
        eprintln!("usage: online_ahead DEMAND.csv LEAD_S [DECISIONS.csv]");
        return ExitCode::from(2);
    };
    let text = match std::fs::read_to_string(file) {
        Ok(t) => t,
        Err(e) => {
            eprintln!("{file}: {e}");
            return ExitCode::FAILURE;
        }
    };
    let rows: Vec<(f64, f64)> = text
        .lines()
        .skip(1)
        .filter_map(|l| l.split_once(',').and_then(|(t, v)| Some((t.parse().ok()?, v.parse().ok()?))))
        .collect();
    let step = (rows[1].0 - rows[0].0) as u32;
    let mut model = match OnlineForecaster::new(step, &[lead]) {
        Ok(m) => m,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let began = Instant::now();
    for (_, v) in &rows {
        model.observe(Some(*v));
    }
    let nanos = began.elapsed().as_nanos() as f64 / rows.len() as f64;

    let levels = [0.5, 0.9, 0.99, 0.999];
    let steps = lead.div_ceil(step) as usize;
    let mut model = OnlineForecaster::new(step, &[lead]).expect("it was made before");
    let from = (rows.len() as f64 * JUDGED_FROM) as usize;
    let (mut over, mut loss, mut n) = ([0.0; 4], [0.0; 4], 0.0);
    let (mut price, mut usual, mut ready) = (400.0f64, 1.0f64, Vec::new());
    let hold = (120 / step) as usize;
    let mut wants: Vec<u32> = Vec::new();
    let mut decisions = String::from("time_s,desired\n");
    let mut sum = 0.0;
    for k in 0..rows.len() {
        model.observe(Some(rows[k].1));
        sum += rows[k].1;
        if k >= from && k + steps < rows.len() {
            let y = rows[k + steps].1;
            for (j, q) in levels.iter().enumerate() {
                let x = model.quantile(0, *q).expect("after a sample");
                over[j] += f64::from(u8::from(y > x));
                loss[j] += (q * (y - x)).max((q - 1.0) * (y - x));
            }
            n += 1.0;
        }
        // Violations so far steer the price of the next.
        if ready.len() > steps {
            let short = rows[k].1 > PER_REPLICA * f64::from(ready[ready.len() - 1 - steps]);
            let pull: f64 = if short { 1.0 } else { 0.0 } - 0.0005;
            price = (price * libm::exp(0.1 * pull)).clamp(40.0, 3000.0);
        }
        usual += (rows[k].1 / PER_REPLICA - usual) / (k as f64 + 1.0).min(17_280.0);
        let mid = model.quantile(0, 0.5).expect("after a sample");
        let mut best = (f64::INFINITY, 2);
        for fleet in ((0.7 * mid / PER_REPLICA) as u32).max(2)..=100 {
            let p = model.exceedance(0, f64::from(fleet) * PER_REPLICA).expect("a level");
            let cost = f64::from(fleet) + price * usual.max(1.0) * p;
            if cost < best.0 {
                best = (cost, fleet);
            }
        }
        wants.push(best.1);
        let fleet = wants.iter().rev().take(hold).copied().max().unwrap_or(2);
        ready.push(fleet);
        writeln!(decisions, "{},{fleet}", rows[k].0).expect("writing to a string can't fail");
    }
    let mean = sum / rows.len() as f64;
    println!("{file}, {lead} s ahead: {nanos:.0} ns per sample");
    for (j, q) in levels.iter().enumerate() {
        println!(
            "  {q}: exceeded {:.3} %, loss {:.4} of the mean load",
            100.0 * over[j] / n,
            loss[j] / n / mean
        );
    }
    if let Some(out) = args.get(3)
        && let Err(e) = std::fs::write(out, decisions)
    {
        eprintln!("{out}: {e}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
