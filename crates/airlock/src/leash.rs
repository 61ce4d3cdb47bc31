//! What a manager tells a transfer that it runs: a line at a time, through the standard input.

use airlock_checks::Progress;
use airlock_link::{Pace, Rate};
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 256;

/// Obeys `rate N` (bytes per second, 0 for no limit), and cancels when the input ends: a manager that is gone
/// leaves no transfer behind.
pub(crate) fn hold(progress: Arc<Progress>, pace: Arc<Pace>) {
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut line = String::new();
        loop {
            line.clear();
            match std::io::Read::take(&mut input, LINE_BYTES_MAX).read_line(&mut line) {
                Ok(1..) => obey(&line, &pace),
                Ok(0) | Err(_) => break,
            }
        }
        progress.cancel.store(true, Ordering::Relaxed);
    });
}

fn obey(line: &str, pace: &Pace) {
    let rate = line.trim().strip_prefix("rate ").and_then(|rate| rate.parse().ok());
    if let Some(rate) = rate {
        pace.set_share(Rate::new(rate));
    } else {
        tracing::warn!("a line of the manager was not understood");
    }
}
