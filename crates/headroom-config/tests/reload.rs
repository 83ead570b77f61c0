//! Hot reload, with real files and a real watcher.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use headroom_config::reload::{Reloaded, Watcher};

/// Far longer than a change takes to be seen; only there so that a failing test ends.
const PATIENCE: Duration = Duration::from_secs(60);

fn policy(max: u32) -> String {
    format!(
        "apiVersion: headroom.dev/v1alpha1
kind: Fleet
metadata: {{ name: shop }}
spec:
  workloads:
    web:
      target: {{ process: {{ command: [./web] }} }}
      replicas: {{ min: 1, max: {max} }}
      signals: {{ cpu: {{ process: cpu }} }}
      strategies: [ {{ threshold: {{ signal: cpu }} }} ]
"
    )
}

fn watch(path: &Path) -> (Watcher, Receiver<Reloaded>) {
    let current = headroom_config::load(path).expect("a good policy").digest;
    let (sender, changes) = channel();
    let watcher = Watcher::start(path, &current, move |change| {
        let _ = sender.send(change);
    })
    .expect("a watcher");
    (watcher, changes)
}

/// The next change: the most replicas of the new fleet, or the first thing that is wrong.
fn next(changes: &Receiver<Reloaded>) -> Result<u32, String> {
    match changes.recv_timeout(PATIENCE).expect("no change was seen").0 {
        Ok(loaded) => Ok(loaded.fleet.workloads().values().next().expect("a workload").replicas.max.0),
        Err(error) => Err(error.diagnostics()[0].message.clone()),
    }
}

#[test]
fn a_new_text_arrives_and_a_bad_one_arrives_as_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    fs::write(&path, policy(5)).unwrap();
    let (_watcher, changes) = watch(&path);
    fs::write(&path, policy(6)).unwrap();
    assert_eq!(next(&changes), Ok(6));
    fs::write(&path, policy(0)).unwrap();
    assert!(next(&changes).is_err());
    fs::write(&path, policy(6)).unwrap();
    assert_eq!(next(&changes), Ok(6), "the good text after a bad one is news");
}

#[test]
fn the_same_text_is_no_news() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    fs::write(&path, policy(5)).unwrap();
    let (_watcher, changes) = watch(&path);
    fs::write(&path, policy(5)).unwrap();
    fs::write(dir.path().join("another-file"), "x").unwrap();
    fs::write(&path, policy(7)).unwrap();
    assert_eq!(next(&changes), Ok(7), "neither the text in use nor another file is a change");
}

#[test]
fn a_file_that_is_replaced_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    fs::write(&path, policy(5)).unwrap();
    let (_watcher, changes) = watch(&path);
    for max in [6, 7, 8] {
        let new = dir.path().join(".fleet.yaml.swp");
        fs::write(&new, policy(max)).unwrap();
        fs::rename(&new, &path).unwrap();
        assert_eq!(next(&changes), Ok(max));
    }
}

#[test]
fn a_file_that_vanishes_is_reported_once_and_followed_when_it_returns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    fs::write(&path, policy(5)).unwrap();
    let (_watcher, changes) = watch(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(next(&changes), Err("there is no such policy file".to_owned()));
    fs::write(&path, policy(5)).unwrap();
    assert_eq!(next(&changes), Ok(5));
}

/// How a mounted ConfigMap changes: the file is a link through a folder that is itself a link, which is swapped.
#[cfg(unix)]
#[test]
fn a_swapped_link_is_followed() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    for (folder, max) in [("v1", 5), ("v2", 6)] {
        fs::create_dir(dir.path().join(folder)).unwrap();
        fs::write(dir.path().join(folder).join("fleet.yaml"), policy(max)).unwrap();
    }
    symlink("v1", dir.path().join("..data")).unwrap();
    let path = dir.path().join("fleet.yaml");
    symlink("..data/fleet.yaml", &path).unwrap();
    let (_watcher, changes) = watch(&path);
    symlink("v2", dir.path().join("..data_tmp")).unwrap();
    fs::rename(dir.path().join("..data_tmp"), dir.path().join("..data")).unwrap();
    assert_eq!(next(&changes), Ok(6));
}

/// No event comes from another folder; the file is looked at all the same.
#[cfg(unix)]
#[test]
fn a_link_to_another_folder_is_followed() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let real = elsewhere.path().join("real.yaml");
    fs::write(&real, policy(5)).unwrap();
    let path = dir.path().join("fleet.yaml");
    std::os::unix::fs::symlink(&real, &path).unwrap();
    let (_watcher, changes) = watch(&path);
    fs::write(&real, policy(6)).unwrap();
    assert_eq!(next(&changes), Ok(6));
}

#[test]
fn a_dropped_watcher_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.yaml");
    fs::write(&path, policy(5)).unwrap();
    let (watcher, changes) = watch(&path);
    assert!(watcher.is_immediate());
    drop(watcher);
    fs::write(&path, policy(6)).unwrap();
    assert!(changes.recv().is_err(), "the callback is gone, and its end of the channel with it");
}
