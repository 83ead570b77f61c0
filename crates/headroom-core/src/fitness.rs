//! How well a strategy fits the situation (B8, B9, B11): the score by which one of several is selected.
//!
//! Scaling out fits where it can work at all (something spreads the load: .4), where there is room below the
//! maximum (.3) and where the strategy's own figures are there to judge by (.3). Prediction fits with more than 30
//! days of history (.4), a pattern found in it (.3) and an out-of-sample accuracy above .8 (.3). The figures are
//! the source's (B9, B11).

use crate::combine::share;
use crate::context::Context;
use crate::fleet::Scope;
use crate::units::{Level, Span};

/// The history from which on a forecast can be trusted (B11).
pub const ENOUGH_HISTORY: Span = Span::days(30);
/// The accuracy above which a forecast can be trusted (B11).
pub const ENOUGH_ACCURACY: f64 = 0.8;

/// The fitness of scaling out.
#[must_use]
pub fn horizontal(can_scale_out: bool, below_max: bool, figures_fit: bool) -> Level {
    share(
        0.4 * f64::from(u8::from(can_scale_out))
            + 0.3 * f64::from(u8::from(below_max))
            + 0.3 * f64::from(u8::from(figures_fit)),
    )
}

/// The fitness of acting on a forecast.
#[must_use]
pub fn predictive(history: Span, has_pattern: bool, accuracy: Level) -> Level {
    share(
        0.4 * f64::from(u8::from(history > ENOUGH_HISTORY))
            + 0.3 * f64::from(u8::from(has_pattern))
            + 0.3 * f64::from(u8::from(accuracy.get() > ENOUGH_ACCURACY)),
    )
}

/// The fitness of the workload's strategy number `index` now.
#[must_use]
pub fn fitness(cx: &Context<'_>, index: usize) -> Level {
    let workload = cx.workload();
    let spreads = workload.balancer.is_some()
        || workload.haproxy.is_some()
        || workload.signals.values().any(|s| s.scope() == Scope::Total);
    let below_max = cx.current() < workload.replicas.max;
    let figures = workload.strategies.get(index).is_some_and(|strategy| {
        let mut needs = Vec::new();
        strategy.needs(&mut needs);
        needs.iter().all(|signal| cx.fresh(signal).is_ok())
    });
    horizontal(spreads, below_max, figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B8, B9, B11: the weights of the source.
    #[test]
    fn each_condition_has_its_weight() {
        let near = |a: Level, b: f64| (a.get() - b).abs() < 1e-9;
        assert!(near(horizontal(true, true, true), 1.0));
        assert!(near(horizontal(false, true, true), 0.6));
        assert!(near(horizontal(false, false, false), 0.0));
        let level = |v| Level::new(v).unwrap();
        assert!(near(predictive(Span::days(31), true, level(0.81)), 1.0));
        assert!(near(predictive(Span::days(30), false, level(0.8)), 0.0), "the edges are not enough");
        assert!(near(predictive(Span::days(300), false, level(0.9)), 0.7));
    }
}
