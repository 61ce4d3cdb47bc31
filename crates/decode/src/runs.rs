//! Finds encoded runs in the middle of other content.
//!
//! Long runs of base64 and hexadecimal digits have a long stretch without blanks, so sixteen bytes
//! in every [`STRIDE`] are enough to find them: text has a blank every few bytes, and what is
//! binary seldom has sixteen letters in a row.

use crate::base64::{Base64, value_of};
use crate::hex::Hex;
use crate::layer::Relation;
use crate::number::wide;
use crate::stream::Stream;
use crate::walk::Walk;

/// Distance between the places that are looked at. A line of base64 in a mail has 76 characters,
/// one in a key file 64.
const STRIDE: usize = 64;

/// Bytes that are looked at in each place. A run of `STRIDE + LOOK` characters is always found,
/// and so is one of several lines; a shorter one is found by chance.
const LOOK: usize = 16;

/// Characters in a row that make a run.
const RUN_MIN: usize = 40;

/// Characters that are looked at to tell what a run is.
const JUDGED: usize = 64;

/// Bytes that are looked at again with the next ones, for runs across two pieces.
const KEPT: usize = 256;

/// Bytes that are searched at once.
const PIECE_BYTES: usize = 32 << 10;

/// What a run is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Base64,
    Hex,
}

/// Looks for runs in bytes that pass by in pieces of any size; it only says whether there is one.
///
/// A run that lies across two pieces counts in each by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Screen {
    found: bool,
}

impl Screen {
    /// Looks at the next bytes.
    #[inline]
    pub fn look(&mut self, piece: &[u8]) {
        if !self.found {
            self.found = next_run(piece).is_some();
        }
    }

    /// Returns whether there is anything that [`crate::open`] would open.
    pub fn found(&self) -> bool {
        self.found
    }
}

/// Opens every run in a stream, up to its end.
pub(crate) fn search(walk: &Walk<'_>, stream: &mut Stream<'_, '_>) {
    loop {
        let piece = stream.peek(PIECE_BYTES);
        if piece.is_empty() {
            return;
        }
        let whole = piece.len() < PIECE_BYTES;
        if let Some((start, run)) = next_run(piece) {
            stream.take(start);
            open_run(walk, stream, run);
        } else {
            let taken = piece.len().saturating_sub(if whole { 0 } else { KEPT });
            stream.take(taken);
        }
    }
}

fn open_run(walk: &Walk<'_>, stream: &mut Stream<'_, '_>, run: Run) {
    let (depth, at) = (stream.depth(), stream.position());
    match run {
        Run::Base64 => {
            walk.open(depth, ("base64", at), Relation::Decoded, Box::new(Base64::new(&mut *stream)));
        }
        Run::Hex => walk.open(depth, ("hex", at), Relation::Decoded, Box::new(Hex::new(&mut *stream))),
    }
    // Nothing was taken where a limit was hit: the run is passed over all the same.
    if stream.position() == at {
        stream.skip(wide(RUN_MIN));
    }
}

/// Returns where the first run begins, and what it is.
#[inline]
fn next_run(piece: &[u8]) -> Option<(usize, Run)> {
    let mut places = piece.chunks_exact(STRIDE).enumerate();
    places.find_map(|(number, chunk)| {
        let look = chunk.first_chunk::<LOOK>()?;
        if !may_be_part(look) {
            return None;
        }
        run_around(piece, number.saturating_mul(STRIDE))
    })
}

/// Whether no byte is a blank, a line break, or punctuation before `+`: cheap, and says no nearly
/// everywhere.
#[inline]
fn may_be_part(look: &[u8; LOOK]) -> bool {
    let outside = |byte: &u8| u8::from(!(b'+'..=b'z').contains(byte));
    look.iter().fold(0, |any, byte| any | outside(byte)) == 0
}

/// Returns the run that the place `at` lies in. It begins with the first of the lines before that
/// look alike.
fn run_around(piece: &[u8], at: usize) -> Option<(usize, Run)> {
    let (before, after) = piece.split_at_checked(at)?;
    let back = |before: &[u8]| before.iter().rev().take_while(|byte| is_part(**byte)).count();
    let near = back(before.get(before.len().saturating_sub(STRIDE)..)?);
    let ahead = after.iter().take(JUDGED).take_while(|byte| is_part(**byte)).count();
    let (start, end) = (at.saturating_sub(near), at.saturating_add(ahead));
    if ahead == 0 || end.saturating_sub(start) < RUN_MIN {
        return None;
    }
    let run = judge(piece.get(start..end)?)?;
    let mut start = at.saturating_sub(back(before));
    loop {
        let above = piece.get(..start)?;
        let Some(above) = above.strip_suffix(b"\n") else { break };
        let above = above.strip_suffix(b"\r").unwrap_or(above);
        let length = back(above);
        if length < RUN_MIN {
            break;
        }
        start = above.len().saturating_sub(length);
    }
    Some((start, run))
}

fn is_part(byte: u8) -> bool {
    value_of(byte).is_some()
}

/// Tells base64 and hexadecimal digits from long words, numbers and separators.
fn judge(run: &[u8]) -> Option<Run> {
    let count = |class: fn(&u8) -> bool| run.iter().filter(|byte| class(byte)).count();
    let few = run.len() / 16;
    let (digits, lower, upper) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase));
    if run.iter().all(u8::is_ascii_hexdigit) {
        // A hash is hexadecimal, too; text has few different high digits.
        let one_case = lower == 0 || upper == 0;
        let different = b"0123456789abcdefABCDEF".iter().filter(|digit| run.contains(digit)).count();
        return (one_case && digits > few && different > 4 && run.len() >= JUDGED).then_some(Run::Hex);
    }
    let slashes = count(|byte| matches!(byte, b'/' | b'+'));
    let mixed = lower > few && upper > few && digits.saturating_add(slashes) > 0 && slashes <= run.len() / 4;
    (mixed && is_restless(run)).then_some(Run::Base64)
}

/// Whether neighbours are mostly of different classes: upper case, lower case, digits, others. In
/// base64 two of three pairs of different letters are; in names of words joined by capitals, as
/// compilers write them, one of three.
fn is_restless(run: &[u8]) -> bool {
    let class = |byte: u8| match byte {
        b'A'..=b'Z' => 0,
        b'a'..=b'z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let pairs = run.iter().zip(run.iter().skip(1)).filter(|(a, b)| a != b);
    let (pairs, changes) = pairs.fold((0_usize, 0_usize), |(pairs, changes), (a, b)| {
        let changed = usize::from(class(*a) != class(*b));
        (pairs.saturating_add(1), changes.saturating_add(changed))
    });
    changes.saturating_mul(20) >= pairs.saturating_mul(9)
}

#[cfg(test)]
mod restless {
    use super::judge;

    #[test]
    fn names_that_compilers_make_are_no_base64() {
        for name in [
            "ZN4llvm12DenseMapBaseINS8DenseMapIPKNS8FunctionENSt10uniqueptrI",
            "Java8NativeInterfaceGetStringUTFCharactersAndReleaseThemLaterOn1",
            "getSupportedSignatureAlgorithmsForCertificateChainBuilder2WithTrust",
        ] {
            assert!(judge(name.as_bytes()).is_none(), "{name}");
        }
        for text in [
            "H4sIAAAAAAAAA0tOLEpRMLE0NFMwNrYwVTAwM7BQMLIwNuICABm/oxIZAAAA",
            "NDUzOSAxNDg4IDAzNDMgNjQ2NyAgIDQ1MzkgMTQ4OCAwMzQzIDY0NjcgICA0",
            "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBp",
        ] {
            assert!(judge(text.as_bytes()).is_some(), "{text}");
        }
    }
}
