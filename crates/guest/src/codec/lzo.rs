//! LZO1X (the kernel's "LZO stream format as understood by Linux' LZO decompressor"), and the
//! framing that btrfs puts around it.

use super::UnpackError;
use crate::field::{le16, le32, narrow};

/// Sizes of a sector that btrfs may have; only the framing shows which one it is.
const SECTORS: [usize; 5] = [4096, 8192, 16_384, 32_768, 65_536];

/// The bytes that are read and what was made of them.
struct Stream<'s, 'i> {
    stored: &'s [u8],
    at: usize,
    into: &'i mut [u8],
    made: usize,
}

impl Stream<'_, '_> {
    fn byte(&mut self) -> Result<usize, UnpackError> {
        let byte = self.stored.get(self.at).ok_or(UnpackError::Damaged)?;
        self.at = self.at.saturating_add(1);
        Ok(usize::from(*byte))
    }

    /// Returns a length: `short` if it is not zero, else `most` and what further bytes add.
    fn length(&mut self, short: usize, most: usize) -> Result<usize, UnpackError> {
        if short != 0 {
            return Ok(short);
        }
        let mut length = most;
        loop {
            let byte = self.byte()?;
            if byte != 0 {
                return length.checked_add(byte).ok_or(UnpackError::Damaged);
            }
            length = length.saturating_add(255);
            // More than there is room for ends here.
            if length > self.into.len() {
                return Err(UnpackError::Damaged);
            }
        }
    }

    fn literals(&mut self, count: usize) -> Result<(), UnpackError> {
        let (from, until) = (self.at, self.at.saturating_add(count));
        let made = self.made.saturating_add(count);
        let bytes = self.stored.get(from..until).ok_or(UnpackError::Damaged)?;
        self.into.get_mut(self.made..made).ok_or(UnpackError::Damaged)?.copy_from_slice(bytes);
        (self.at, self.made) = (until, made);
        Ok(())
    }

    /// Repeats what was made `distance` bytes before; it may overlap itself.
    fn copy(&mut self, distance: usize, count: usize) -> Result<(), UnpackError> {
        let from = self.made.checked_sub(distance).ok_or(UnpackError::Damaged)?;
        let end = self.made.saturating_add(count);
        if end > self.into.len() || distance == 0 {
            return Err(UnpackError::Damaged);
        }
        if distance >= count {
            self.into.copy_within(from..from.saturating_add(count), self.made);
        } else {
            for (from, to) in (from..).zip(self.made..end) {
                let byte = self.into.get(from).copied().unwrap_or(0);
                if let Some(to) = self.into.get_mut(to) {
                    *to = byte;
                }
            }
        }
        self.made = end;
        Ok(())
    }

    fn pair(&mut self) -> Result<usize, UnpackError> {
        let pair = self.stored.get(self.at..self.at.saturating_add(2)).ok_or(UnpackError::Damaged)?;
        self.at = self.at.saturating_add(2);
        Ok(usize::from(le16(pair, 0)))
    }

    fn run(&mut self) -> Result<(), UnpackError> {
        // How many literals came last: up to three behind a match, four for a run of them.
        let mut state = 0;
        if let Some(first) = self.stored.first().map(|byte| usize::from(*byte))
            && first > 17
        {
            self.at = 1;
            let count = first.saturating_sub(17);
            self.literals(count)?;
            state = count.min(4);
        }
        loop {
            let code = self.byte()?;
            let (distance, count, follow);
            match code {
                0..16 if state == 0 => {
                    let count = self.length(code, 15)?.saturating_add(3);
                    self.literals(count)?;
                    state = 4;
                    continue;
                }
                0..16 => {
                    let high = self.byte()?.saturating_mul(4);
                    let near = high.saturating_add(code >> 2).saturating_add(1);
                    (distance, count) = if state == 4 { (near.saturating_add(2048), 3) } else { (near, 2) };
                    follow = code & 3;
                }
                16..32 => {
                    count = self.length(code & 7, 7)?.saturating_add(2);
                    let pair = self.pair()?;
                    let far = ((code & 8) << 11).saturating_add(pair >> 2);
                    if far == 0 {
                        return Ok(());
                    }
                    distance = far.saturating_add(16_384);
                    follow = pair & 3;
                }
                32..64 => {
                    count = self.length(code & 31, 31)?.saturating_add(2);
                    let pair = self.pair()?;
                    distance = (pair >> 2).saturating_add(1);
                    follow = pair & 3;
                }
                _ => {
                    count = if code < 128 {
                        (code >> 5 & 1).saturating_add(3)
                    } else {
                        (code >> 5 & 3).saturating_add(5)
                    };
                    let high = self.byte()?.saturating_mul(8);
                    distance = high.saturating_add(code >> 2 & 7).saturating_add(1);
                    follow = code & 3;
                }
            }
            self.copy(distance, count)?;
            self.literals(follow)?;
            state = follow;
        }
    }
}

/// Unpacks one block; returns how many bytes were read, and how many came out.
pub(super) fn block(stored: &[u8], into: &mut [u8]) -> Result<(usize, usize), UnpackError> {
    let mut stream = Stream { stored, at: 0, into, made: 0 };
    stream.run()?;
    Ok((stream.at, stream.made))
}

/// Unpacks what btrfs stores: a total, then segments of at most a sector behind their lengths,
/// none of which lies across the end of a sector.
pub(super) fn btrfs(stored: &[u8], into: &mut [u8]) -> Result<usize, UnpackError> {
    let mut last = Err(UnpackError::Damaged);
    for sector in SECTORS {
        last = segments(stored, into, sector);
        if last.is_ok() {
            return last;
        }
    }
    last
}

fn segments(stored: &[u8], into: &mut [u8], sector: usize) -> Result<usize, UnpackError> {
    let total = narrow(u64::from(le32(stored, 0)));
    let stored = stored.get(..total).ok_or(UnpackError::Damaged)?;
    let (mut at, mut made) = (4_usize, 0_usize);
    while made < into.len() && at < total {
        let left = sector.saturating_sub(at.checked_rem(sector).unwrap_or(0));
        if left < 4 {
            at = at.saturating_add(left);
        }
        let start = at.saturating_add(4);
        let length = narrow(u64::from(le32(stored.get(at..start).ok_or(UnpackError::Damaged)?, 0)));
        let end = start.saturating_add(length);
        let segment = stored.get(start..end).ok_or(UnpackError::Damaged)?;
        let behind = into.len().min(made.saturating_add(sector));
        let (_, came) = block(segment, into.get_mut(made..behind).unwrap_or_default())?;
        made = made.saturating_add(came);
        at = end;
        if came < sector && made < into.len() && at < total {
            return Err(UnpackError::Damaged);
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stored: &[u8], room: usize, expected: Result<(usize, &[u8]), UnpackError>) {
        let mut into = vec![0; room];
        let came = block(stored, &mut into);
        let came = came.map(|(used, made)| (used, &into[..made]));
        assert_eq!(came, expected);
    }

    #[test]
    fn literals_and_matches_are_unpacked() {
        const END: [u8; 3] = [17, 0, 0];
        // Four literals, and a match of five at a distance of two.
        let stored = [&[21][..], b"abcd", &[0b1000_0100, 0], &END].concat();
        check(&stored, 20, Ok((stored.len(), b"abcdcdcdc")));
        check(&stored, 9, Ok((stored.len(), b"abcdcdcdc")));
        check(&stored, 8, Err(UnpackError::Damaged));
        for end in 0..stored.len() {
            check(&stored[..end], 20, Err(UnpackError::Damaged));
        }
        // A run of literals whose length goes on, then a match of as many.
        let run = [b'x'; 300];
        let stored = [&[0, 0, 27][..], &run, &[0b0010_0000, 0, 12, 4, 0], &END].concat();
        let plain = vec![b'x'; 300 + 31 + 255 + 12 + 2];
        check(&stored, 700, Ok((stored.len(), &plain)));
        // Before the start.
        check(&[&[18][..], b"a", &[0b1000_0100, 9], &END].concat(), 20, Err(UnpackError::Damaged));
        check(&vec![0; 100_000], 4096, Err(UnpackError::Damaged));
    }
}
