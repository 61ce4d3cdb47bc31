//! The archive format of Unix libraries and Debian packages (`ar(5)`).

use crate::layer::Relation;
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::{Escaped, Reason};
use std::io::Read;

const MAGIC_BYTES: u64 = 8;
const HEADER_BYTES: usize = 60;

/// Opens every member.
pub(crate) fn open(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    stream.skip(MAGIC_BYTES);
    loop {
        let head = stream.peek(HEADER_BYTES);
        let fields = (head.get(..16), head.get(48..58), head.get(58..60));
        let (Some(name), Some(size), Some(b"`\n")) = fields else {
            walk.note_if(!head.is_empty(), Reason::Unsupported);
            return;
        };
        let size = std::str::from_utf8(size).ok().and_then(|size| size.trim_end().parse::<u64>().ok());
        let Some(size) = size else {
            walk.note(Reason::Unsupported);
            return;
        };
        let name = name.trim_ascii_end();
        let name = format!("ar:{}", Escaped(name.strip_suffix(b"/").unwrap_or(name)));
        stream.take(HEADER_BYTES);
        let start = stream.position();
        if size > 0 {
            let (depth, member) = (stream.depth(), Read::take(&mut *stream, size));
            walk.open(depth, (&name, start), Relation::Same, Box::new(member));
        }
        let left = start.saturating_add(size).saturating_sub(stream.position());
        if !stream.skip(left) {
            walk.note(Reason::Unsupported);
            return;
        }
        // Members begin at even places.
        stream.skip(size % 2);
    }
}
