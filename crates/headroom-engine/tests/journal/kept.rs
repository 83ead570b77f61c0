//! What is kept comes back.

use headroom_core::alert::Progress;
use headroom_core::controller::Controller;
use headroom_core::controller::{Input, Notice};
use headroom_core::observation::{PoolStatus, TargetStatus};
use headroom_core::outlook::{History, STEP};
use headroom_core::units::{Level, Replicas, Span, Timestamp};
use headroom_engine::journal::{
    ActionOutcome, Batch, DecisionQuery, Journal, Point, Query, READY, Reader, Retention, SeriesQuery,
    SeveralQuery, WARM,
};

use crate::world::{START, World, open, open_with, web};

/// A restart is the latest snapshot and the inputs after it, and the controller is as it was.
#[tokio::test]
async fn a_restart_continues_where_the_last_input_stood() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new();
    let (journal, opened) = open(dir.path());
    assert_eq!((opened.last.get(), opened.set_aside), (0, None));
    assert!(journal.restore().await.unwrap().is_none(), "a new journal remembers nothing");
    world.fill(&journal, 150).await;
    journal.close().await.unwrap();
    drop(journal);

    let (journal, opened) = open(dir.path());
    assert!(opened.last.get() >= 300 && opened.set_aside.is_none());
    let (snapshot, inputs) = journal.restore().await.unwrap().unwrap();
    assert!((60..120).contains(&inputs.len()), "{} inputs since the last full minute", inputs.len());
    let mut restored = Controller::restore(snapshot).unwrap();
    for input in inputs {
        let _ = restored.handle(input);
    }
    assert_eq!(restored.snapshot(), world.controller.snapshot());
}

/// The way towards an alert is there after a restart as it was written last.
#[tokio::test]
async fn what_alerts_remember_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let progress = |text: &str| serde_json::from_str::<Progress>(text).unwrap();
    let idle = |most: f64| {
        progress(&format!(
            r#"{{"idle":{{"since":"2026-01-05T08:00:10Z","minute":"2026-01-05T09:00:00Z","min":4,"most":{most}}}}}"#
        ))
    };
    let (web, api) = (web(), "api".parse().unwrap());
    let mut world = World::new();
    let write = async |world: &mut World, progress| {
        journal.append(Batch { progress, ..world.second() }).await.unwrap();
    };
    journal.append(world.first()).await.unwrap();
    let first = [(web.clone(), Some(idle(0.1))), (api, Some(progress(r#"{"forecastCounted":true}"#)))];
    write(&mut world, first.into_iter().collect()).await;
    let second = [(web.clone(), Some(idle(0.15))), ("api".parse().unwrap(), None)];
    write(&mut world, second.into_iter().collect()).await;
    write(&mut world, std::collections::BTreeMap::new()).await;
    journal.close().await.unwrap();
    drop(journal);
    let (journal, _) = open(dir.path());
    assert_eq!(journal.progress().await.unwrap(), [(web, idle(0.15))].into_iter().collect());
    // What can't be read is a comfort that is missed; the start does not fail for it.
    rusqlite::Connection::open(dir.path().join("journal.db"))
        .unwrap()
        .execute("UPDATE progress SET body = '{\"short\":[\"2026-01-05T08:00:10Z\",3]}'", [])
        .unwrap();
    assert!(journal.progress().await.unwrap().is_empty());
}

/// Invariant 2: the same inputs give the same bytes.
#[tokio::test]
async fn a_replay_gives_the_recorded_decisions_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    assert!(journal.replay().await.unwrap().is_none(), "an empty journal has nothing to replay");
    let mut world = World::new();
    world.fill(&journal, 200).await;
    let report = journal.replay().await.unwrap().unwrap();
    assert_eq!(report.difference, None);
    assert!(report.inputs >= 400 && report.same > 10, "{report:?}");
    drop(journal);
}

/// A past that a source told is an input as any other: forecasts stand on it at once, a replay has the same decisions,
/// a restart the same memory, and it is not asked for again.
#[tokio::test]
async fn a_past_that_was_told_is_replayed_and_stays_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::that_foresees();
    let lacks = |controller: &Controller| {
        controller.memory(&web()).unwrap().outlooks().next().unwrap().1.lacks_history()
    };
    world.fill(&journal, 30).await;
    assert!(lacks(&world.controller));
    let steps = 14 * 288_u32;
    let from = START.minus(STEP.times(u64::from(steps)));
    let load = |step: u32| f64::from(100 + 3 * (step % 288).min(288 - step % 288) + step * 7919 % 13);
    // Two hours of it are not known.
    let known = |step| (!(500..524).contains(&step)).then(|| Level::new(load(step)).unwrap());
    let history = Ok(History { from, steps: (0..steps).map(known).collect() });
    let (at, signal) = (world.at, "rps".parse().unwrap());
    let mut batch = Batch::new(at);
    world.handle(&mut batch, Input::Recalled { at, workload: web(), signal, history });
    assert_eq!(batch.inputs.len(), 2, "the past, and the forecast that came of it");
    journal.append(batch).await.unwrap();
    assert!(!lacks(&world.controller));
    world.fill(&journal, 90).await;
    let all = journal.decisions(DecisionQuery::default()).await.unwrap();
    let told = serde_json::to_string(&all.entries).unwrap();
    assert!(
        told.contains("orecastNeeds") || told.contains("forecast-needs"),
        "the forecast has a record at once: {told}"
    );

    let report = journal.replay().await.unwrap().unwrap();
    assert_eq!(report.difference, None);
    journal.close().await.unwrap();
    drop(journal);
    let (journal, _) = open(dir.path());
    let (snapshot, inputs) = journal.restore().await.unwrap().unwrap();
    let restored = headroom_engine::driver::restore(snapshot, inputs).unwrap();
    assert_eq!(restored.snapshot(), world.controller.snapshot());
    assert!(!lacks(&restored));
}

/// Invariant 2, A8: what a fit found beside the loop is an input, so the past with forecasts is replayed as it was.
#[tokio::test]
async fn a_past_with_forecasts_is_replayed_and_restored_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::that_foresees();
    // Three hours and a half, a sample a minute: 42 steps of five minutes.
    world.fill_in_steps(&journal, 210, 60).await;
    let report = journal.replay().await.unwrap().unwrap();
    assert_eq!(report.difference, None);
    assert!(report.same > 10, "{report:?}");
    let (snapshot, inputs) = journal.restore().await.unwrap().unwrap();
    let fitted = inputs.iter().filter(|input| matches!(input, Input::Fitted { .. })).count();
    assert!(fitted > 0, "no fit after the last snapshot");
    let mut restored = Controller::restore(snapshot).unwrap();
    for input in inputs {
        let _ = restored.handle(input);
    }
    let bytes = |controller: &Controller| serde_json::to_string(&controller.snapshot()).unwrap();
    assert_eq!(bytes(&restored), bytes(&world.controller));
}

#[tokio::test]
async fn any_decision_becomes_a_test_case_that_needs_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    world.fill(&journal, 130).await;
    let all = journal.decisions(DecisionQuery::default()).await.unwrap();
    for wanted in all.entries {
        let case = journal.extract(&wanted.id).await.unwrap().unwrap();
        let text = serde_json::to_string(&case).unwrap();
        let case: headroom_engine::journal::TestCase = serde_json::from_str(&text).unwrap();
        assert_eq!(case.expected, wanted);
        assert_eq!(case.run().unwrap(), Some(wanted));
    }
    assert!(journal.extract(&"web-999999".parse().unwrap()).await.unwrap().is_none());
}

#[tokio::test]
async fn decisions_are_found_by_workload_time_and_kind_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    let mut made = Vec::new();
    journal.append(world.first()).await.unwrap();
    for _ in 0..150 {
        let batch = world.second();
        made.extend(batch.decisions.iter().cloned());
        journal.append(batch).await.unwrap();
    }
    made.reverse();
    let all = |query: DecisionQuery| async { journal.decisions(query).await.unwrap() };
    assert_eq!(all(DecisionQuery::default()).await.entries, made);

    // Page by page is the same list.
    let mut paged = Vec::new();
    let mut query = DecisionQuery { query: Query { limit: 7, ..Query::default() }, only_changes: false };
    loop {
        let page = all(query.clone()).await;
        assert!(page.entries.len() <= 7);
        paged.extend(page.entries);
        match page.older {
            Some(older) => query.query.before = Some(older),
            None => break,
        }
    }
    assert_eq!(paged, made);

    let changes = all(DecisionQuery { only_changes: true, ..DecisionQuery::default() }).await.entries;
    let expected: Vec<_> = made.iter().filter(|d| d.from != d.to).cloned().collect();
    assert!(!changes.is_empty() && changes.len() < made.len());
    assert_eq!(changes, expected);

    let (since, until) = (START.plus(Span::seconds(40)), START.plus(Span::seconds(90)));
    let query = Query { workload: Some(web()), since: Some(since), until: Some(until), ..Query::default() };
    let between = all(DecisionQuery { query: query.clone(), only_changes: false }).await.entries;
    let expected: Vec<_> = made.iter().filter(|d| since <= d.at && d.at < until).cloned().collect();
    assert_eq!(between, expected);
    let other = Query { workload: Some("db".parse().unwrap()), ..query };
    assert!(all(DecisionQuery { query: other, only_changes: false }).await.entries.is_empty());

    let one = &made[made.len() / 2];
    assert_eq!(journal.decision(&one.id).await.unwrap().as_ref(), Some(one));
    assert_eq!(journal.decision(&"web-0".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn an_action_is_listed_with_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    journal.append(world.first()).await.unwrap();
    let (mut actions_made, mut open_actions) = (0, 0);
    for second in 0..200 {
        let mut batch = world.second();
        actions_made += batch.actions.len();
        if actions_made > 1 {
            // The end of all but the first is not known yet.
            open_actions += batch.actions.len();
            batch.inputs.retain(|i| !matches!(i, Input::Settled { .. }));
        }
        batch.notices.push(Notice {
            at: batch.at,
            workload: web(),
            code: "test".to_owned(),
            message: format!("second {second}"),
            what: None,
        });
        journal.append(batch).await.unwrap();
    }
    let actions = journal.actions(Query { workload: Some(web()), ..Query::default() }).await.unwrap().entries;
    assert!(open_actions > 0 && actions.len() > open_actions);
    for (n, entry) in actions.iter().enumerate() {
        match &entry.end {
            None => assert!(n < open_actions),
            Some(end) => {
                assert_eq!(end.outcome, ActionOutcome::Done);
                assert_eq!(end.at, entry.action.at);
            }
        }
    }
    let notices = journal.notices(Query { limit: 3, ..Query::default() }).await.unwrap();
    assert_eq!(notices.entries[0].message, "second 199");
    assert!(notices.entries.len() == 3 && notices.older.is_some());
}

fn series(name: &str, since: u64, until: u64, max_points: usize) -> SeriesQuery {
    SeriesQuery {
        workload: web(),
        series: name.to_owned(),
        since: START.plus(Span::seconds(since)),
        until: START.plus(Span::seconds(until)),
        max_points,
    }
}

async fn rps(journal: &Journal, at: u64, value: f64) {
    let point = Point {
        workload: web(),
        series: "rps".to_owned(),
        at: START.plus(Span::millis(at)),
        value: Level::new(value).unwrap(),
    };
    let batch = Batch { points: vec![point], ..Batch::new(START.plus(Span::millis(at))) };
    journal.append(batch).await.unwrap();
}

#[tokio::test]
async fn a_point_is_exact_in_every_resolution_and_a_gap_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    journal.append(world.first()).await.unwrap();
    // The journal's present is its last input.
    let tick = Input::Tick { at: START.plus(Span::seconds(120)) };
    for (at, value) in [(0, 4.0), (100, 1.0), (900, 7.0), (3_000, 0.0), (59_999, 2.0), (60_000, 5.0)] {
        rps(&journal, at, value).await;
    }
    let mut batch = Batch::new(START);
    world.handle(&mut batch, tick);
    journal.append(batch).await.unwrap();

    let fine = journal.series(series("rps", 0, 10, 600)).await.unwrap();
    assert_eq!(fine.resolution, Span::seconds(1));
    let told: Vec<_> = fine
        .points
        .iter()
        .map(|p| (p.at.since(START).as_millis(), p.min, p.mean, p.max, p.last, p.count))
        .collect();
    assert_eq!(told, [(0, 1.0, 4.0, 7.0, 7.0, 3), (3_000, 0.0, 0.0, 0.0, 0.0, 1)]);

    let coarse = journal.series(series("rps", 0, 120, 4)).await.unwrap();
    assert_eq!(coarse.resolution, Span::minutes(1));
    let told: Vec<_> = coarse.points.iter().map(|p| (p.min, p.mean, p.max, p.last, p.count)).collect();
    assert_eq!(told, [(0.0, 14.0 / 5.0, 7.0, 2.0, 5), (5.0, 5.0, 5.0, 5.0, 1)]);
    assert!(journal.series(series("unheard-of", 0, 10, 0)).await.unwrap().points.is_empty());
    assert!(journal.series(series("rps", 10, 0, 0)).await.unwrap().points.is_empty());
}

#[tokio::test]
async fn counts_of_replicas_are_a_series_too_and_all_is_there_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    world.fill(&journal, 30).await;
    let ready = journal.series(series(READY, 1, 31, 600)).await.unwrap();
    assert_eq!(ready.points.len(), 30, "what was acknowledged is in the answer");
    assert_eq!(ready.points[0].min, 2.0);
    let names = journal.series_names(&web()).await.unwrap();
    let counts = ["draining", "failed", "ready", "starting", "wanted"].map(|n| format!("replicas.{n}"));
    assert_eq!(names[..5], counts);
    assert_eq!(names[5..], ["rps"]);
    // A target that keeps a warm pool has one more, of all that are paid for.
    let pool =
        PoolStatus { wanted: Replicas(3), warm: Replicas(2), warming: Replicas(1), ..PoolStatus::default() };
    let status = TargetStatus { pool: Some(pool), ..TargetStatus::default() };
    let mut batch = world.second();
    let at = world.at;
    world.handle(&mut batch, Input::Looked { at, workload: web(), status: Ok(status) });
    journal.append(batch).await.unwrap();
    let warm = journal.series(series(WARM, 1, 32, 600)).await.unwrap();
    assert_eq!(warm.points.iter().map(|point| point.mean).collect::<Vec<_>>(), [3.0]);
}

/// Sums over time need points that are not half empty: each moment is told in the finest points that are kept of it.
#[tokio::test]
async fn each_moment_is_read_in_the_finest_points_that_are_kept_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        seconds: Span::seconds(60),
        ten_seconds: Span::minutes(10),
        minutes: Span::hours(2),
        ..Retention::default()
    };
    let (journal, _) = open_with(dir.path(), retention);
    let mut world = World::new();
    journal.append(world.first()).await.unwrap();
    let stamps = [0, 1_000, 7_200_000, 7_201_000, 13_800_000, 13_811_000, 14_390_000, 14_391_000, 14_391_500];
    for at in stamps {
        rps(&journal, at, 4.0).await;
    }
    let mut batch = Batch::new(START);
    world.handle(&mut batch, Input::Tick { at: START.plus(Span::seconds(14_400)) });
    journal.append(batch).await.unwrap();
    let found = journal
        .finest(web(), vec!["rps".to_owned(), "nobody".to_owned()], START, START.plus(Span::hours(4)))
        .await
        .unwrap();
    let told: Vec<_> = found[0]
        .iter()
        .map(|fine| {
            (fine.point.at.since(START).as_millis() / 1000, fine.length.as_millis() / 1000, fine.point.count)
        })
        .collect();
    let expected =
        [(0, 3600, 2), (7200, 60, 2), (13_800, 10, 1), (13_810, 10, 1), (14_390, 1, 1), (14_391, 1, 2)];
    assert_eq!(told, expected);
    assert!(found[1].is_empty());
}

/// A page asks for all its charts at once: the same answers as one by one, peaks included, however coarse.
#[tokio::test]
async fn several_series_are_read_at_once_and_keep_their_peaks() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    world.fill(&journal, 1_300).await;
    let names = [READY, "unheard-of", "rps"];
    let mut peaks = Vec::new();
    for max in [600, 4] {
        let mut alone = Vec::new();
        for name in names {
            alone.push(journal.series(series(name, 0, 1_300, max)).await.unwrap());
        }
        let SeriesQuery { workload, since, until, max_points, .. } = series("", 0, 1_300, max);
        let series = names.map(str::to_owned).to_vec();
        let query = SeveralQuery { workload, series, since, until, max_points };
        assert_eq!(journal.several(query).await.unwrap(), alone);
        assert!(alone[1].points.is_empty());
        peaks.push(alone[2].points.iter().map(|p| p.max).fold(f64::MIN, f64::max));
    }
    assert_eq!(peaks[0], peaks[1], "however coarse, a peak is in its point");
}

/// However long the range, the answer is bounded and its points are of one length.
#[tokio::test]
async fn a_long_range_is_sampled_down_to_the_points_that_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    world.fill(&journal, 1_300).await;
    for (range, max) in [(60, 600), (600, 600), (1_300, 600), (1_300, 100), (1_300, 2), (900_000, 600)] {
        let answer = journal.series(series("rps", 0, range, max)).await.unwrap();
        assert!(answer.points.len() <= max, "{range} s in {max}: {} points", answer.points.len());
        assert!(!answer.points.is_empty());
        let ms = i64::try_from(answer.resolution.as_millis()).unwrap();
        assert!(answer.points.iter().all(|p| p.at.as_millis() % ms == 0));
        let counted: u64 = answer.points.iter().map(|p| p.count).sum();
        assert!(counted >= range.min(1_300) - 1, "{range} s in {max}: {counted} samples");
    }
    let answer = journal.series(series("rps", 0, 1_300, 600)).await.unwrap();
    assert_eq!(answer.resolution, Span::seconds(3), "1300 s in 600 points");
    let whole = SeriesQuery {
        since: Timestamp::from_millis(i64::MIN),
        until: Timestamp::from_millis(i64::MAX),
        ..series("rps", 0, 0, 0)
    };
    assert!(!journal.series(whole).await.unwrap().points.is_empty());
}

/// A reader beside a running controller, as `headroom history` has it.
#[tokio::test]
async fn a_reader_needs_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Reader::open(dir.path()).is_err_and(|e| e.to_string().contains("--data")));
    let (journal, _) = open(dir.path());
    World::new().fill(&journal, 20).await;
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(
        reader.decisions(DecisionQuery::default()).await.unwrap(),
        journal.decisions(DecisionQuery::default()).await.unwrap()
    );
    assert_eq!(reader.last().await.unwrap(), journal.last().await.unwrap());
    journal.close().await.unwrap();
    assert!(!reader.series(series("rps", 0, 60, 0)).await.unwrap().points.is_empty());
    assert!(journal.append(Batch::new(START)).await.is_err_and(|e| e.to_string().contains("closed")));
}

/// Order is the sequence number: an hour back on the clock mixes nothing up.
#[tokio::test]
async fn a_clock_set_back_an_hour_changes_no_order() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    world.fill(&journal, 90).await;
    world.at = world.at.minus(Span::hours(1));
    world.fill(&journal, 100).await;
    let report = journal.replay().await.unwrap().unwrap();
    assert_eq!(report.difference, None);
    let (snapshot, inputs) = journal.restore().await.unwrap().unwrap();
    let mut restored = Controller::restore(snapshot).unwrap();
    for input in inputs {
        let _ = restored.handle(input);
    }
    assert_eq!(restored.snapshot(), world.controller.snapshot());
    let newest = journal.decisions(DecisionQuery::default()).await.unwrap().entries;
    assert!(newest[0].at < newest[newest.len() - 1].at, "newest first means last written first");
}

/// Retention in small steps: after long enough, what is left is what was asked for, and a restart still works.
#[tokio::test]
async fn the_past_is_let_go_of_but_never_what_a_restart_needs() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        inputs: Span::minutes(5),
        seconds: Span::minutes(5),
        ten_seconds: Span::minutes(10),
        minutes: Span::minutes(20),
        repeats: Span::minutes(5),
        quiet: Span::minutes(10),
        acting: Span::minutes(20),
        ..Retention::default()
    };
    let (journal, _) = open_with(dir.path(), retention.clone());
    let mut world = World::new();
    // Housekeeping comes once a second of real time, and on the first batch after a start: so start often.
    world.fill(&journal, 600).await;
    let mut journal = journal;
    for _ in 0..60 {
        journal.close().await.unwrap();
        drop(journal);
        journal = open_with(dir.path(), retention.clone()).0;
        world.fill(&journal, 30).await;
    }
    let db = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    let one = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    let now = world.at.as_millis();
    let age = |sql: &str| Span::millis((now - one(sql)).unsigned_abs());
    // Each may lag by one step, which here is 30 s, and inputs by a snapshot more.
    let lag = Span::minutes(2);
    assert!(age("SELECT min(bucket) * 1000 FROM point_1s") <= retention.seconds.plus(lag));
    assert!(age("SELECT min(bucket) * 10000 FROM point_10s") <= retention.ten_seconds.plus(lag));
    assert!(age("SELECT min(bucket) * 60000 FROM point_1m") <= retention.minutes.plus(lag));
    assert!(one("SELECT count(*) FROM point_1h") > 0);
    for (class, kept) in [(0, retention.repeats), (1, retention.quiet), (2, retention.acting)] {
        let oldest = db
            .query_row("SELECT min(at) FROM decision WHERE class = ?1", [class], |r| {
                r.get::<_, Option<i64>>(0)
            })
            .unwrap();
        if let Some(oldest) = oldest {
            // Those whose inputs are kept stay for the replay.
            let kept = kept.max(retention.inputs.plus(Span::minutes(12)));
            assert!(Span::millis((now - oldest).unsigned_abs()) <= kept.plus(lag), "class {class}");
        }
    }
    assert_eq!(one("SELECT count(*) FROM decision"), one("SELECT count(*) FROM decision_body"));
    let first_snapshot = one("SELECT min(seq) FROM snapshot");
    assert_eq!(one("SELECT min(seq) FROM input"), first_snapshot + 1, "inputs begin at a snapshot");
    // The first snapshot is the last one older than what is kept; they stand ten minutes apart at the most.
    assert!(age("SELECT min(at) FROM input") <= retention.inputs.plus(Span::minutes(12)));
    assert!(age("SELECT min(at) FROM input") >= retention.inputs);
    let report = journal.replay().await.unwrap().unwrap();
    assert_eq!(report.difference, None);
    assert!(report.same > 0);
    let (snapshot, inputs) = journal.restore().await.unwrap().unwrap();
    let mut restored = Controller::restore(snapshot).unwrap();
    for input in inputs {
        let _ = restored.handle(input);
    }
    assert_eq!(restored.snapshot(), world.controller.snapshot());
}

/// Too many bytes cut the inputs before their time, but two snapshots and what follows them stay.
#[tokio::test]
async fn inputs_are_bounded_by_bytes_too() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention { input_bytes: 0, ..Retention::default() };
    let mut world = World::new();
    for _ in 0..12 {
        let (journal, _) = open_with(dir.path(), retention.clone());
        world.fill(&journal, 60).await;
        journal.close().await.unwrap();
    }
    let db = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    let one = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
    assert!(one("SELECT count(*) FROM snapshot") <= 3);
    let second_latest = one("SELECT seq FROM snapshot ORDER BY seq DESC LIMIT 1 OFFSET 1");
    assert!(one("SELECT min(seq) FROM input") <= second_latest + 1);
    assert!(one("SELECT min(seq) FROM input") > 500, "most of the first ten minutes are gone");
}

/// The latest snapshot can't be read: the one before it can, with the inputs after it.
#[tokio::test]
async fn an_unreadable_snapshot_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let mut world = World::new();
    world.fill(&journal, 130).await;
    let db = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    db.execute("UPDATE snapshot SET body = '{}' WHERE seq = (SELECT max(seq) FROM snapshot)", []).unwrap();
    let (snapshot, inputs) = journal.restore().await.unwrap().unwrap();
    let mut restored = Controller::restore(snapshot).unwrap();
    for input in inputs {
        let _ = restored.handle(input);
    }
    assert_eq!(restored.snapshot(), world.controller.snapshot());
    db.execute("UPDATE snapshot SET body = '{}'", []).unwrap();
    let error = journal.restore().await.unwrap_err().to_string();
    assert!(error.contains("snapshot") && error.contains("damaged"), "{error}");
}
