//! Layers, and whoever looks at them.

use std::fmt;

/// What the bytes of a layer have to do with those around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They were decoded.
    Decoded,
    /// They are the same bytes as those of the outer layer from `at` on.
    Same,
    /// They say the same as the outer layer, or much of it, written in another way.
    Rewritten,
}

/// Content inside of other content.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    /// What it is, such as `gzip`, or `zip:` and the name of the member, escaped.
    pub name: &'a str,
    /// Where in the outer layer it begins, in bytes.
    pub at: u64,
    /// How many layers are around it; the content of a file is 0, so this is at least 1.
    pub depth: usize,
    /// How it relates to the layer around it.
    pub relation: Relation,
}

impl fmt::Debug for Layer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.at)
    }
}

/// Looks at layers.
///
/// Layers are opened and closed like brackets. While one is open, bytes of those around it may
/// come, too: what is decoded is read only as it is needed.
pub trait Sink {
    /// A layer begins.
    fn open(&mut self, layer: &Layer<'_>);

    /// The next bytes of the open layer that has `depth` layers around it.
    fn feed(&mut self, depth: usize, bytes: &[u8]);

    /// The layer that was opened last ends.
    fn close(&mut self);
}
