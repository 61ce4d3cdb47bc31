//! Managers and directors that are killed at one system call after another.
//!
//! Each point is a system call and its number among those of a thread. The manager, the director (its worker, too),
//! or the one process that is both sites, is killed as it enters that call; then it comes back and finishes.
//! `AIRLOCK_SWEEP_POINTS` says how many points there are in all; 100 if nobody says.

use crate::bed::{Bed, Fault, RECOVERY, finish, spread};
use std::time::Instant;

/// Points of all three sweeps together.
fn points() -> u64 {
    std::env::var("AIRLOCK_SWEEP_POINTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

fn score(who: &str, hit: u64, of: u64) {
    // A point that no thread reached this time has proven nothing, and is not counted.
    assert!(hit * 10 >= of * 7, "only {hit} of {of} points were reached");
    airlock_testkit::score(&format!("kills of the {who} survived"), hit, hit, "");
}

#[test]
fn a_manager_may_be_killed_at_any_system_call() {
    let bed = Bed::new();
    let data = bed.data("counting");
    let director = bed.director(&data);
    let calls = bed.transfer_calls(&director.url, Some(&director.identity));
    director.stop();
    let (mut hit, all) = (0, spread(&calls, points() * 3 / 10));
    for (call, number) in &all {
        let what = format!("manager killed at {call} {number}");
        let data = bed.data("data");
        let director = bed.director(&data);
        let ended = bed.transfer_under(&director.url, Some(&director.identity), &Fault::kill(call, *number));
        hit += u64::from(ended.code.is_none());
        finish(&what, |more| bed.transfer(&director, more));
        director.stop();
        bed.assert_sound(&what, &data);
    }
    score("manager", hit, all.len() as u64);
}

#[test]
fn a_director_may_be_killed_at_any_system_call() {
    let bed = Bed::new();
    let calls = bed.director_calls(|director| assert_eq!(bed.transfer(director, &[]).code, Some(3)));
    let (mut hit, all) = (0, spread(&calls, points() * 4 / 10));
    for (call, number) in &all {
        let what = format!("director killed at {call} {number}");
        let data = bed.data("data");
        let mut told = None;
        match bed.director_under(&data, &Fault::kill(call, *number)) {
            None => hit += 1,
            Some(director) => {
                let ran = bed.transfer(&director, &[]);
                // Where the worker is killed, nothing counts that it said.
                hit += u64::from(ran.code != Some(3));
                told = Some(ran.code);
                if director.service.terminate().is_ok() {
                    let ended =
                        director.service.wait(RECOVERY).unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert!(ended.code.is_none_or(|code| code == 0), "{what}: {:?}", ended.lines);
                }
            }
        }
        let scrubbed = bed.assert_nothing_lost(&what, &data);
        let kept = if told == Some(Some(3)) { 2 } else { 1 };
        assert!(scrubbed["vms"].as_u64() >= Some(kept), "{what}: {scrubbed}");
        let started = Instant::now();
        let director = bed.director(&data);
        finish(&what, |more| bed.transfer(&director, more));
        assert!(started.elapsed() < RECOVERY, "{what}: it took {:?}", started.elapsed());
        director.stop();
        bed.assert_sound(&what, &data);
    }
    score("director", hit, all.len() as u64);
}

#[test]
fn both_sites_may_be_killed_at_any_system_call() {
    let bed = Bed::new();
    let counting = bed.data("counting");
    let calls = bed.transfer_calls(&counting.display().to_string(), None);
    let (mut hit, all) = (0, spread(&calls, points() * 3 / 10));
    for (call, number) in &all {
        let what = format!("both killed at {call} {number}");
        let data = bed.data("data");
        let ended = bed.transfer_under(&data.display().to_string(), None, &Fault::kill(call, *number));
        hit += u64::from(ended.code.is_none());
        bed.assert_nothing_lost(&what, &data);
        finish(&what, |more| bed.transfer_into(&data, more));
        bed.assert_sound(&what, &data);
    }
    score("process that is both sites", hit, all.len() as u64);
}
