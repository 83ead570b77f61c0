//! An evaluation plan is answered from the past alone, and what can't be used is named.

use headroom_forecast::{PlanError, answer_plan};

fn plan(origin: &str) -> String {
    format!(
        r#"{{"series": [{{"series": "a", "file": "series/a.csv", "step_seconds": 300,
             "max_horizon_steps": 3, "origins": ["{origin}"]}}]}}"#
    )
}

/// Forty steps of the value 10, a gap at the fifth, then what is yet to come.
fn file(future: f64) -> String {
    let mut out = String::from("timestamp,value\n");
    for k in 0..40 {
        out += &if k == 4 { format!("t{k},\n") } else { format!("t{k},10\n") };
    }
    out + &format!("t40,{future}\nt41,{future}\n")
}

#[test]
fn every_step_of_every_origin_is_answered_from_the_past_alone() {
    let answer = |future| answer_plan(&plan("t39"), |_| Ok(file(future)), || 0.0).unwrap();
    assert_eq!(answer(0.0), answer(1e6));
    let text = answer(5.0);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "series,origin,horizon_step,q0.5,q0.9,q0.95,q0.99,time_ms");
    assert_eq!(lines.len(), 4);
    assert!(lines[3].starts_with("a,t39,3,10"), "{}", lines[3]);
}

#[test]
fn what_can_not_be_used_is_named() {
    let err =
        |plan: &str, text: &str| answer_plan(plan, |_| Ok(text.to_owned()), || 0.0).unwrap_err().to_string();
    assert_eq!(err("{}", ""), "the plan can't be read: is it an origins.json?");
    assert_eq!(
        err(&plan("t99"), &file(1.0)),
        "series `a` has no step t99, at which the plan wants a forecast"
    );
    assert_eq!(
        err(&plan("t0"), "timestamp,value\nt0,1\nt1;2\n"),
        r#"line 3 of series `a` is not `timestamp,value`: "t1;2""#
    );
    let gone = answer_plan(&plan("t0"), |_| Err(std::io::ErrorKind::NotFound.into()), || 0.0).unwrap_err();
    assert!(matches!(gone, PlanError::File { .. }), "{gone}");
    assert_eq!(err(&plan("t0"), "timestamp,value\nt0,\n"), "series `a` can't be forecast from t0");
}
