//! Progress on standard error: a line that moves on a terminal, JSON lines elsewhere.

use crate::cli::ProgressStyle;
use crate::output;
use airlock_checks::Progress;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the line on a terminal moves.
const PAINT_INTERVAL: Duration = Duration::from_millis(100);
/// How often a JSON line is written.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// What is being done, and how far it is.
#[derive(Debug, Clone)]
struct State {
    phase: &'static str,
    /// Figures of somebody else, in place of those that are counted here.
    fixed: Option<(u64, u64)>,
    since: Instant,
}

/// Shows progress until it is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    painter: Option<std::thread::JoinHandle<()>>,
}

impl Meter {
    /// Begins to show `progress`, painting for the first time at once.
    pub(crate) fn start(phase: &'static str, progress: Arc<Progress>, style: ProgressStyle) -> Self {
        let state = Arc::new(Mutex::new(State { phase, fixed: None, since: Instant::now() }));
        let stop = Arc::new(AtomicBool::new(false));
        let terminal = std::io::stderr().is_terminal() && style == ProgressStyle::Auto;
        let painter = (style != ProgressStyle::None).then(|| {
            let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
            std::thread::spawn(move || paint(&state, &progress, &stop, terminal))
        });
        Self { state, stop, painter }
    }

    /// Goes over to another phase, with figures of somebody else if they are given.
    pub(crate) fn phase(&self, phase: &'static str, fixed: Option<(u64, u64)>) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if state.phase != phase {
            state.since = Instant::now();
        }
        state.phase = phase;
        state.fixed = fixed;
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(painter) = self.painter.take() {
            painter.thread().unpark();
            // A painter that died has nothing left to clean.
            let _ = painter.join();
        }
    }
}

fn paint(state: &Mutex<State>, progress: &Progress, stop: &AtomicBool, terminal: bool) {
    let interval = if terminal { PAINT_INTERVAL } else { LINE_INTERVAL };
    let mut err = std::io::stderr();
    while !stop.load(Ordering::Relaxed) {
        let state = state.lock().expect("no holder of this lock panics").clone();
        let text = if terminal { line(&state, progress) } else { json_line(&state, progress) };
        // Progress that cannot be shown is no reason to stop.
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
        std::thread::park_timeout(interval);
    }
    if terminal {
        let _ = err.write_all(b"\r\x1b[2K");
    }
}

struct Figures {
    done: u64,
    total: u64,
    rate: u64,
    eta: Option<u64>,
}

fn figures(state: &State, progress: &Progress) -> Figures {
    let counted = || (progress.done.load(Ordering::Relaxed), progress.total.load(Ordering::Relaxed));
    let (done, total) = state.fixed.unwrap_or_else(counted);
    let millis = u64::try_from(state.since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_mul(1000) / millis;
    let eta = (rate > 0).then(|| total.saturating_sub(done) / rate);
    Figures { done, total, rate, eta }
}

fn line(state: &State, progress: &Progress) -> String {
    let figures = figures(state, progress);
    let eta = figures.eta.map_or_else(|| "--:--".into(), |eta| format!("{:02}:{:02}", eta / 60, eta % 60));
    let percent = figures.done.saturating_mul(100) / figures.total.max(1);
    let mut text = format!(
        "\r\x1b[2K{} {percent:>3} %  {} of {}  {}/s  ETA {eta}",
        state.phase,
        output::bytes(figures.done),
        output::bytes(figures.total),
        output::bytes(figures.rate),
    );
    let findings = progress.findings.load(Ordering::Relaxed);
    text.push_str(&format!("  findings {findings}"));
    let held = progress.held.load(Ordering::Relaxed);
    if held > 0 {
        text.push_str(&format!("  held {}", output::bytes(held)));
    }
    if progress.refused.load(Ordering::Relaxed) {
        text.push_str("  refused: the rest is for the record");
    }
    text
}

fn json_line(state: &State, progress: &Progress) -> String {
    let figures = figures(state, progress);
    let value = serde_json::json!({
        "schema": "airlock.progress/1",
        "phase": state.phase,
        "done": figures.done,
        "total": figures.total,
        "bytes_per_second": figures.rate,
        "eta_seconds": figures.eta,
        "findings": progress.findings.load(Ordering::Relaxed),
        "held": progress.held.load(Ordering::Relaxed),
        "refused": progress.refused.load(Ordering::Relaxed),
    });
    format!("{value}\n")
}

/// Makes the first interrupt stop the work cleanly and the second one at once.
pub(crate) fn cancel_on_interrupt(progress: &Arc<Progress>) {
    let progress = Arc::clone(progress);
    let handler = move || {
        if progress.cancel.swap(true, Ordering::Relaxed) {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
        }
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!(%error, "interrupts end the process at once");
    }
}
