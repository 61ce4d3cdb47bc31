//! Changes to a file that are kept in memory: what a log says the file should hold.

use crate::field::{narrow, wide};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

/// What a run of the file is replaced by.
#[derive(Clone)]
enum Content {
    Zeros,
    /// Bytes, and how many of them are hidden by a later change before the run.
    Bytes(Arc<[u8]>, u64),
}

/// Changes to a file; later ones hide earlier ones.
#[derive(Default)]
pub(crate) struct Overlay {
    /// Runs that do not overlap: start, end, content.
    runs: BTreeMap<u64, (u64, Content)>,
}

impl Overlay {
    /// Replaces what is at `offset` by `bytes`.
    pub(crate) fn put(&mut self, offset: u64, bytes: Arc<[u8]>) {
        let end = offset.saturating_add(wide(bytes.len()));
        self.insert(offset, end, Content::Bytes(bytes, 0));
    }

    /// Replaces `length` bytes at `offset` by zeros.
    pub(crate) fn zero(&mut self, offset: u64, length: u64) {
        self.insert(offset, offset.saturating_add(length), Content::Zeros);
    }

    /// Returns the first byte behind all changes.
    pub(crate) fn end(&self) -> u64 {
        self.runs.last_key_value().map_or(0, |(_, (end, _))| *end)
    }

    /// Returns how many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    fn insert(&mut self, start: u64, end: u64, content: Content) {
        if start >= end {
            return;
        }
        // What begins before and reaches in keeps its head, and its tail if it reaches out again.
        if let Some((&before, (reaches, old))) = self.runs.range_mut(..start).next_back() {
            let (old_end, old) = (*reaches, old.clone());
            if old_end > start {
                *reaches = start;
            }
            if old_end > end {
                self.runs.insert(end, (old_end, later(old, end.saturating_sub(before))));
            }
        }
        while let Some((&inner, (old_end, old))) = self.runs.range(start..end).next() {
            let (old_end, old) = (*old_end, old.clone());
            self.runs.remove(&inner);
            if old_end > end {
                self.runs.insert(end, (old_end, later(old, end.saturating_sub(inner))));
            }
        }
        self.runs.insert(start, (end, content));
    }

    /// Changes `buffer`, which holds what the file has at `offset`.
    pub(crate) fn apply(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset.saturating_add(wide(buffer.len()));
        let first = self.runs.range(..=offset).next_back().into_iter();
        let rest = self.runs.range((Excluded(offset), Unbounded)).take_while(|(start, _)| **start < end);
        for (&start, (stop, content)) in first.chain(rest) {
            let (from, to) = (start.max(offset), (*stop).min(end));
            if from >= to {
                continue;
            }
            let place = narrow(from.saturating_sub(offset))..narrow(to.saturating_sub(offset));
            let Some(part) = buffer.get_mut(place) else { continue };
            match content {
                Content::Zeros => part.fill(0),
                Content::Bytes(bytes, hidden) => {
                    let at = narrow(hidden.saturating_add(from.saturating_sub(start)));
                    if let Some(bytes) = bytes.get(at..at.saturating_add(part.len())) {
                        part.copy_from_slice(bytes);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay").field("runs", &self.len()).finish_non_exhaustive()
    }
}

/// Returns `content` without its first `bytes`.
fn later(content: Content, bytes: u64) -> Content {
    match content {
        Content::Zeros => Content::Zeros,
        Content::Bytes(all, hidden) => Content::Bytes(all, hidden.saturating_add(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_changes_hide_earlier_ones() {
        let mut state = 7_u64;
        let mut random = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % limit
        };
        let (mut overlay, mut model) = (Overlay::default(), vec![1_u8; 4096]);
        for number in 0..500 {
            let (start, length) = (narrow(random(3000)), narrow(random(400)));
            if number % 3 == 0 {
                overlay.zero(wide(start), wide(length));
                model[start..start + length].fill(0);
            } else {
                let value = u8::try_from(random(250)).unwrap_or(0) + 2;
                overlay.put(wide(start), vec![value; length].into());
                model[start..start + length].fill(value);
            }
            let (at, want) = (narrow(random(3000)), narrow(random(1000)));
            let mut buffer = vec![1; want];
            overlay.apply(wide(at), &mut buffer);
            assert!(buffer == model[at..at + want], "after change {number}");
        }
        assert!(overlay.end() <= 3400);
    }
}
