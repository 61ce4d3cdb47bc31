//! How fast a transfer may send: a token bucket that all its streams share, and a timetable of rates.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes that are sent at once under a limit: little enough that many streams under a low limit all
/// say something within the time that the other site waits.
pub(crate) const PIECE_BYTES: usize = 16 << 10;
/// The lowest limit, in bytes per second. Below it, 32 streams would be silent for too long.
const RATE_MIN: u64 = 8 << 10;
/// How far sending may run ahead of its rate after a pause.
const BURST: Duration = Duration::from_millis(250);
/// How long a wait lasts at most before the rate is looked at again.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// Most entries of a timetable.
const ENTRIES_MAX: usize = 48;
const MINUTES_OF_DAY: u16 = 24 * 60;

/// Bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(NonZeroU64);

impl Rate {
    /// Makes a rate of at least 8 KiB per second.
    pub fn new(bytes_per_second: u64) -> Option<Self> {
        NonZeroU64::new(bytes_per_second).filter(|rate| rate.get() >= RATE_MIN).map(Self)
    }

    /// Returns bytes per second.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// Why a limit cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no limit of bandwidth: {why}")]
pub struct RateError {
    text: String,
    why: &'static str,
}

/// Reads `10M` (MiB per second), `512K`, `1G`, `1Mbit` (10^6 bits per second), or `off` (nothing).
fn rate(text: &str) -> Result<Option<Rate>, &'static str> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.to_ascii_lowercase();
    let scale: f64 = match unit.strip_suffix("/s").unwrap_or(&unit) {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1_048_576.0,
        "g" | "gib" => 1_073_741_824.0,
        "kbit" => 125.0,
        "mbit" => 125_000.0,
        "gbit" => 125_000_000.0,
        _ => return Err("units are K, M, G (of 1024), kbit, Mbit and Gbit (of 1000)"),
    };
    let number: f64 = number.parse().map_err(|_| "it needs a number, or off")?;
    let bytes = number * scale;
    if !(0.0..1e15).contains(&bytes) {
        return Err("it is out of range");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 10^15, as was checked"
    )]
    let bytes = bytes as u64;
    Rate::new(bytes).map(Some).ok_or("the lowest is 8K")
}

/// A limit of bandwidth, which may change with the time of day (UTC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timetable {
    text: String,
    /// From which minute of the day which rate, in order of the minutes; one entry means always.
    entries: Vec<(u16, Option<Rate>)>,
}

impl FromStr for Timetable {
    type Err = RateError;

    /// Reads one rate, or `08:00,10M 19:00,off`.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let wrong = |why| RateError { text: text.to_owned(), why };
        let mut entries = Vec::new();
        for entry in text.split_whitespace().take(ENTRIES_MAX + 1) {
            entries.push(match entry.split_once(',') {
                Some((time, limit)) => {
                    let minute = minute_of(time).ok_or_else(|| wrong("a time is written HH:MM"))?;
                    (minute, rate(limit).map_err(wrong)?)
                }
                None if text.split_whitespace().nth(1).is_none() => (0, rate(entry).map_err(wrong)?),
                None => return Err(wrong("each entry of a timetable is written HH:MM,RATE")),
            });
        }
        if entries.is_empty() || entries.len() > ENTRIES_MAX {
            return Err(wrong("it has 1 to 48 entries"));
        }
        entries.sort_by_key(|(minute, _)| *minute);
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(wrong("a time stands there twice"));
        }
        Ok(Self { text: text.to_owned(), entries })
    }
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Timetable {
    /// Returns the rate of a minute of the day; nothing where there is no limit. Before the first entry of
    /// a day, the last one of the day before counts.
    pub fn at(&self, minute: u16) -> Option<Rate> {
        let begun = self.entries.iter().rfind(|(from, _)| *from <= minute);
        begun.or(self.entries.last()).and_then(|(_, rate)| *rate)
    }

    /// Returns the rate of this moment.
    pub fn now(&self) -> Option<Rate> {
        self.at(minute_of_day())
    }
}

/// Reads `HH:MM` as a minute of the day.
pub fn minute_of(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let part = |text: &str| text.parse::<u16>().ok().filter(|_| text.len() == 2);
    let (hours, minutes) = (part(hours)?, part(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// Returns the minute of the day, UTC.
fn minute_of_day() -> u16 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u16::try_from(since / 60 % u64::from(MINUTES_OF_DAY)).unwrap_or(0)
}

/// Lets the streams of a transfer send so much and no more.
#[derive(Debug)]
pub struct Pace {
    timetable: Option<Timetable>,
    /// A limit beside the timetable, in bytes per second; 0 is none. The lower one counts.
    share: AtomicU64,
    /// When everything that was let through has been sent, at the rates of then.
    paid_until: Mutex<Option<Instant>>,
}

impl Pace {
    /// Keeps to a timetable, if there is one.
    pub fn new(timetable: Option<Timetable>) -> Self {
        Self { timetable, share: AtomicU64::new(0), paid_until: Mutex::default() }
    }

    /// Sets another limit beside the timetable, or none.
    pub fn set_share(&self, rate: Option<Rate>) {
        self.share.store(rate.map_or(0, Rate::get), Ordering::Relaxed);
    }

    /// Returns the limit of this moment.
    pub fn rate(&self) -> Option<Rate> {
        let share = Rate::new(self.share.load(Ordering::Relaxed));
        [self.timetable.as_ref().and_then(Timetable::now), share].into_iter().flatten().min()
    }

    /// Waits until so many bytes may be sent.
    pub fn wait_for(&self, bytes: usize) {
        let Some(mut wait) = self.take(bytes, Instant::now()) else { return };
        // In steps, so that a limit that is lifted lets go at once.
        while !wait.is_zero() && self.rate().is_some() {
            let step = wait.min(WAIT_MAX);
            std::thread::sleep(step);
            wait -= step;
        }
    }

    /// Counts bytes, and returns how long they have to wait; nothing without a limit.
    fn take(&self, bytes: usize, now: Instant) -> Option<Duration> {
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(rate) = self.rate() else {
            *paid_until = None;
            return None;
        };
        let nanos = (bytes as u128).saturating_mul(1_000_000_000) / u128::from(rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let from = paid_until.map_or(earliest, |until| until.max(earliest));
        *paid_until = from.checked_add(cost);
        Some(from.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_their_units() {
        let check = |text: &str, expected: Option<u64>| {
            let read = text.parse::<Timetable>().unwrap().at(0).map(Rate::get);
            assert_eq!(read, expected, "{text}");
        };
        check("10M", Some(10 << 20));
        check("1Mbit", Some(125_000));
        check("1.5MiB/s", Some(3 << 19));
        check("512K", Some(512 << 10));
        check("20000", Some(20_000));
        check("off", None);
        for wrong in
            ["", "fast", "10X", "-1M", "1", "1e300G", "08:00,10M 08:00,1M", "08:00,10M 5M", "25:00,1M"]
        {
            assert!(wrong.parse::<Timetable>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_timetable_goes_on_over_midnight() {
        let table: Timetable = "19:00,off 08:00,10M".parse().unwrap();
        let at = |text| table.at(minute_of(text).unwrap()).map(Rate::get);
        let day = Some(10 << 20);
        assert_eq!(["00:00", "07:59", "08:00", "18:59", "19:00"].map(at), [None, None, day, day, None]);
        assert_eq!(table.to_string(), "19:00,off 08:00,10M");
    }

    #[test]
    fn all_takers_together_keep_to_the_rate() {
        let pace = Pace::new(Some("1M".parse().unwrap()));
        let start = Instant::now();
        let mut longest = Duration::ZERO;
        for _ in 0..640 {
            longest = longest.max(pace.take(PIECE_BYTES, start).unwrap());
        }
        // 10 MiB at 1 MiB per second, less what may go at once.
        let expected = Duration::from_secs(10).saturating_sub(BURST);
        assert!(
            longest <= expected && longest > expected.saturating_sub(Duration::from_millis(100)),
            "{longest:?}"
        );
        // A lower share counts from now on, a higher one does not.
        pace.set_share(Rate::new(RATE_MIN));
        assert_eq!(pace.rate().map(Rate::get), Some(RATE_MIN));
        pace.set_share(Rate::new(1 << 30));
        assert_eq!(pace.rate().map(Rate::get), Some(1 << 20));
    }
}
