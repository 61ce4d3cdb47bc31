//! JSON that is written while it is made.

use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// An array whose elements are made one by one while it is written.
pub(crate) struct Each<I>(pub(crate) I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Each<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// Writes one JSON value and a line end.
pub(crate) fn line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_written_element_by_element() {
        #[derive(Serialize)]
        struct Whole<A> {
            all: A,
        }
        let mut out = Vec::new();
        line(&mut out, &Whole { all: Each((0..3).map(|one| one * 2)) }).unwrap();
        assert_eq!(out, b"{\"all\":[0,2,4]}\n");
    }
}
