//! A layer that is made piece by piece.

use crate::rewrite::Ready;
use std::io::{self, Read};

/// Reads what `make` makes: it fills a buffer and says whether there may be more.
pub(crate) struct Made<F> {
    make: F,
    more: bool,
    ready: Ready,
}

impl<F: FnMut(&mut Vec<u8>) -> bool> Made<F> {
    pub(crate) fn new(make: F) -> Self {
        Self { make, more: true, ready: Ready::default() }
    }
}

impl<F: FnMut(&mut Vec<u8>) -> bool> Read for Made<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() && self.more {
            self.more = (self.make)(self.ready.refill());
        }
        self.ready.take(into)
    }
}
