//! When a transfer may run, and when one that failed is tried again.

use super::ServiceError as Error;
use airlock_link::minute_of;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most windows of a day.
const WINDOWS_MAX: usize = 24;
const DAY_SECONDS: u64 = 86_400;
/// How often a transfer is tried, at most.
const ATTEMPTS_MAX: u32 = 12;
/// The wait after the first failure, in seconds; each further one doubles it.
const BACKOFF_SECONDS: u64 = 2;
/// The longest wait, in seconds.
const BACKOFF_SECONDS_MAX: u64 = 900;

/// When a transfer may run. All times are UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    /// Not before this time, in seconds since 1970-01-01 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<u64>,
    /// Only within these times of each day, written `HH:MM-HH:MM`; always if there are none. A transfer that
    /// is under way at the end of a window is interrupted, and goes on in the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) windows: Vec<String>,
}

/// Reads `22:00-06:00`.
fn window(text: &str) -> Option<(u16, u16)> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (minute_of(from)?, minute_of(until)?);
    (from != until).then_some((from, until))
}

impl Schedule {
    /// Refuses what cannot be read.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.windows.len() > WINDOWS_MAX {
            return Err(Error::Invalid(format!("a day has at most {WINDOWS_MAX} windows")));
        }
        match self.windows.iter().find(|text| window(text).is_none()) {
            Some(wrong) => Err(Error::Invalid(format!("{wrong:?} is no window; write HH:MM-HH:MM"))),
            None => Ok(()),
        }
    }

    /// Says whether a transfer may run at a time.
    pub(crate) fn allows(&self, now: u64) -> bool {
        let minute = u16::try_from(now % DAY_SECONDS / 60).unwrap_or(0);
        let inside = |(from, until): (u16, u16)| {
            if from < until { (from..until).contains(&minute) } else { minute >= from || minute < until }
        };
        let open = || self.windows.iter().filter_map(|text| window(text)).any(inside);
        self.not_before.is_none_or(|from| now >= from) && (self.windows.is_empty() || open())
    }
}

/// Returns after how many seconds a transfer that failed `attempts` times is tried again: between half and all of
/// a wait that doubles, by a random number, so that those that failed together do not come back together.
/// Nothing after the last attempt.
pub(crate) fn backoff(attempts: u32, random: u64) -> Option<u64> {
    if attempts >= ATTEMPTS_MAX {
        return None;
    }
    let doubled = BACKOFF_SECONDS.checked_shl(attempts.saturating_sub(1)).unwrap_or(BACKOFF_SECONDS_MAX);
    let longest = doubled.min(BACKOFF_SECONDS_MAX);
    let half = longest / 2;
    Some(half + random % (longest - half + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_of_the_day_and_go_over_midnight() {
        let check = |windows: &[&str], time: &str, expected: bool| {
            let windows = windows.iter().map(|&text| text.to_owned()).collect();
            let schedule = Schedule { not_before: None, windows };
            schedule.check().unwrap();
            let now = 20_000 * DAY_SECONDS + u64::from(minute_of(time).unwrap()) * 60 + 59;
            assert_eq!(schedule.allows(now), expected, "{time}");
        };
        check(&[], "12:00", true);
        check(&["08:00-17:00"], "08:00", true);
        check(&["08:00-17:00"], "17:00", false);
        check(&["22:00-06:00"], "23:59", true);
        check(&["22:00-06:00"], "05:59", true);
        check(&["22:00-06:00"], "06:00", false);
        check(&["01:00-02:00", "03:00-04:00"], "03:30", true);
        for wrong in ["", "08:00", "8:00-9:00", "08:00-08:00", "08:00-24:00"] {
            let schedule = Schedule { not_before: None, windows: vec![wrong.to_owned()] };
            assert!(schedule.check().is_err(), "{wrong}");
        }
        let later = Schedule { not_before: Some(100), windows: Vec::new() };
        assert_eq!([99, 100].map(|now| later.allows(now)), [false, true]);
    }

    #[test]
    fn waits_double_up_to_a_limit_and_differ() {
        let most = |attempts| (0..2000).filter_map(|random| backoff(attempts, random)).max();
        let range = |attempts| (backoff(attempts, 0), most(attempts));
        assert_eq!(range(1), (Some(1), Some(2)));
        assert_eq!(range(4), (Some(8), Some(16)));
        assert_eq!(range(11), (Some(450), Some(900)));
        assert_eq!(backoff(ATTEMPTS_MAX, 0), None);
    }
}
