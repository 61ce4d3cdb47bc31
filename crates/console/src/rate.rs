//! How often somebody may ask.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Askers that are remembered at once.
const ASKERS_MAX: usize = 10_000;

/// A bucket of tokens for each asker: `burst` at once, then `per_second`.
#[derive(Debug)]
pub struct Rates {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Rates {
    /// Lets each asker ask `burst` times at once, and `per_second` times a second in the long run.
    pub fn new(burst: u32, per_second: u32) -> Self {
        let (burst, per_second) = (f64::from(burst.max(1)), f64::from(per_second.max(1)));
        Self { burst, per_second, buckets: Mutex::default() }
    }

    /// Counts a request. Where it is one too many, returns after how many seconds the next may come.
    pub fn take(&self, asker: &str, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= ASKERS_MAX && !buckets.contains_key(asker) {
            // Whoever has a full bucket by now is not different from somebody new.
            let full_after = Duration::from_secs_f64(self.burst / self.per_second);
            buckets.retain(|_, (_, since)| now.saturating_duration_since(*since) < full_after);
            if buckets.len() >= ASKERS_MAX {
                return Err(full_after.as_secs().max(1));
            }
        }
        let (tokens, since) = buckets.entry(asker.to_owned()).or_insert((self.burst, now));
        let earned = now.saturating_duration_since(*since).as_secs_f64() * self.per_second;
        (*tokens, *since) = ((*tokens + earned).min(self.burst), now);
        if *tokens < 1.0 {
            return Err(1);
        }
        *tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_rate_for_each_asker() {
        let rates = Rates::new(3, 2);
        let start = Instant::now();
        let at = |asker, ms| rates.take(asker, start + Duration::from_millis(ms));
        assert_eq!([0, 0, 0, 0].map(|ms| at("a", ms)), [Ok(()), Ok(()), Ok(()), Err(1)]);
        assert_eq!(at("b", 0), Ok(()));
        assert_eq!([400, 600, 700, 1100].map(|ms| at("a", ms)), [Err(1), Ok(()), Err(1), Ok(())]);
    }

    #[test]
    fn askers_without_end_do_not_fill_memory() {
        let rates = Rates::new(10, 10);
        let now = Instant::now();
        for asker in 0..ASKERS_MAX {
            rates.take(&asker.to_string(), now).unwrap();
        }
        assert_eq!(rates.take("one more", now), Err(1));
        assert_eq!(rates.take("one more", now + Duration::from_secs(2)), Ok(()));
    }
}
