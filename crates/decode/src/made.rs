//! A layer that is made piece by piece.

use std::io::{self, Read};

/// Reads what `make` makes: it fills a buffer and says whether there may be more.
pub(crate) struct Made<F> {
    make: F,
    more: bool,
    ready: Vec<u8>,
    taken: usize,
}

impl<F: FnMut(&mut Vec<u8>) -> bool> Made<F> {
    pub(crate) fn new(make: F) -> Self {
        Self { make, more: true, ready: Vec::new(), taken: 0 }
    }
}

impl<F: FnMut(&mut Vec<u8>) -> bool> Read for Made<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken >= self.ready.len() {
            if !self.more {
                return Ok(0);
            }
            self.ready.clear();
            self.taken = 0;
            self.more = (self.make)(&mut self.ready);
        }
        let ready = self.ready.get(self.taken..).unwrap_or_default();
        let count = ready.len().min(into.len());
        into.iter_mut().zip(ready).for_each(|(slot, byte)| *slot = *byte);
        self.taken = self.taken.saturating_add(count);
        Ok(count)
    }
}
