//! Deflate, with the headers of gzip (RFC 1952) and zlib (RFC 1950).

use crate::layer::Relation;
use crate::stream::Stream;
use crate::walk::Walk;
use airlock_model::field::{be16, le16, narrow, wide};
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{self, BufRead, Read};

/// Unpacks deflate; what is behind its end is left in `inner`.
pub(crate) struct Inflate<R> {
    inner: R,
    state: Decompress,
    ended: bool,
}

impl<R: BufRead> Inflate<R> {
    /// Unpacks a stream with a zlib header or without.
    pub(crate) fn new(inner: R, zlib: bool) -> Self {
        Self { inner, state: Decompress::new(zlib), ended: false }
    }
}

impl<R: BufRead> Read for Inflate<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        let (made, ended) = inflate(&mut self.inner, &mut self.state, into)?;
        self.ended = ended;
        Ok(made)
    }
}

/// Unpacks some bytes. Returns how many there are, and whether they are the last; if not, there
/// is at least one unless `into` is empty.
fn inflate(inner: &mut impl BufRead, state: &mut Decompress, into: &mut [u8]) -> io::Result<(usize, bool)> {
    while !into.is_empty() {
        let input = inner.fill_buf()?;
        let last = input.is_empty();
        let (taken, made) = (state.total_in(), state.total_out());
        let flush = if last { FlushDecompress::Finish } else { FlushDecompress::None };
        let status = state.decompress(input, into, flush);
        let taken = narrow(state.total_in().saturating_sub(taken));
        let made = narrow(state.total_out().saturating_sub(made));
        inner.consume(taken);
        match status {
            Ok(Status::StreamEnd) => return Ok((made, true)),
            // What was made before the damage counts; the next call meets it again.
            _ if made > 0 => return Ok((made, false)),
            Ok(_) if last => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if taken > 0 => {}
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok((0, false))
}

/// The members of a gzip file, which are one stream of bytes.
struct Members<'m, 'a, 's> {
    stream: &'m mut Stream<'a, 's>,
    state: Decompress,
    inside: bool,
    done: bool,
}

/// Longest name or comment in a header.
const FIELD_BYTES_MAX: u64 = 64 << 10;

impl Members<'_, '_, '_> {
    /// Passes over a header (RFC 1952, section 2.3). Returns false if there is none.
    fn header(&mut self) -> bool {
        let &[0x1f, 0x8b, 8, flags, ..] = self.stream.peek(10) else { return false };
        if flags & 0xe0 != 0 || !self.stream.skip(10) {
            return false;
        }
        if flags & 4 != 0 {
            let length = le16(self.stream.peek(2), 0).unwrap_or(0);
            if !self.stream.skip(u64::from(length).saturating_add(2)) {
                return false;
            }
        }
        for flag in [8, 16] {
            if flags & flag != 0 && !self.skip_field() {
                return false;
            }
        }
        flags & 2 == 0 || self.stream.skip(2)
    }

    /// Passes over a text that a zero byte ends.
    fn skip_field(&mut self) -> bool {
        let mut length = 0;
        while length < FIELD_BYTES_MAX {
            let piece = self.stream.next_piece();
            let end = memchr::memchr(0, piece);
            let taken = end.map_or(piece.len(), |end| end.saturating_add(1));
            self.stream.take(taken);
            if end.is_some() || taken == 0 {
                return end.is_some();
            }
            length = length.saturating_add(wide(taken));
        }
        false
    }
}

impl Read for Members<'_, '_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !self.done {
            if !self.inside {
                let first = self.stream.position() == 0;
                if !self.header() {
                    // Zeros or anything else may stand behind the last member.
                    self.done = true;
                    return if first { Err(io::ErrorKind::InvalidData.into()) } else { Ok(0) };
                }
                self.state.reset(false);
                self.inside = true;
            }
            let (made, ended) = inflate(self.stream, &mut self.state, into)?;
            if ended {
                self.inside = false;
                self.done = !self.stream.skip(8);
            }
            if made > 0 || into.is_empty() {
                return Ok(made);
            }
        }
        Ok(0)
    }
}

/// Opens gzip.
pub(crate) fn open_gzip(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let (depth, at) = (stream.depth(), stream.position());
    let members = Members { stream, state: Decompress::new(false), inside: false, done: false };
    walk.open(depth, ("gzip", at), Relation::Decoded, Box::new(members));
}

/// Opens zlib.
pub(crate) fn open_zlib(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    let (depth, at) = (stream.depth(), stream.position());
    walk.open(depth, ("zlib", at), Relation::Decoded, Box::new(Inflate::new(stream, true)));
}

/// Returns whether `head` begins with a header of zlib and deflate that makes sense: two bytes
/// of header are too little to go by.
pub(crate) fn inflates(head: &[u8]) -> bool {
    const MADE_BYTES_MIN: u64 = 64;
    let checked = be16(head, 0).is_some_and(|header| header % 31 == 0 && header & 0x20 == 0);
    if !checked {
        return false;
    }
    let mut into = [0; 1024];
    let mut state = Decompress::new(true);
    match state.decompress(head, &mut into, FlushDecompress::None) {
        Ok(Status::StreamEnd) => state.total_out() > 0,
        Ok(_) => state.total_out() >= MADE_BYTES_MIN,
        Err(_) => false,
    }
}
