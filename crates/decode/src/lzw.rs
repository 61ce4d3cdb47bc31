//! `compress` (`.Z`): LZW with codes of 9 to 16 bits, the low bit first.
//!
//! The format is that of `compress` 4.0, as `ncompress` still writes it: a header of three bytes, then codes in
//! groups of eight. When the width of codes changes, what is left of a group is thrown away.

use crate::rewrite::Ready;
use std::io::{self, BufRead, Read};

const MAGIC: &[u8; 2] = b"\x1f\x9d";
const WIDTH_MIN: u32 = 9;
const WIDTH_MAX: u32 = 16;
/// The code that empties the table, where the header says that there is one.
const CLEAR: u16 = 256;
/// Bytes that are made before they are handed on.
const PIECE_BYTES: usize = 16 << 10;

/// Whether content begins with a header of `compress`.
pub(crate) fn is_header(head: &[u8]) -> bool {
    let flags = head.get(2).copied().unwrap_or(0);
    head.starts_with(MAGIC) && flags & 0x60 == 0 && (WIDTH_MIN..=WIDTH_MAX).contains(&u32::from(flags & 0x1f))
}

/// Decodes what `compress` wrote.
pub(crate) struct Lzw<R> {
    inner: R,
    state: Option<State>,
    ready: Ready,
    damaged: bool,
}

struct State {
    width_max: u32,
    clears: bool,
    width: u32,
    /// Code, then the code before its last byte, and that byte.
    prefix: Vec<u16>,
    suffix: Vec<u8>,
    /// The next code that is free.
    free: u32,
    last: Option<u16>,
    first: u8,
    bits: u64,
    count: u32,
    /// Codes that were read of the group.
    of_group: u32,
}

impl<R: BufRead> Lzw<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, state: None, ready: Ready::default(), damaged: false }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = self.inner.fill_buf()?.first().copied();
        self.inner.consume(usize::from(byte.is_some()));
        Ok(byte)
    }

    fn begin(&mut self) -> io::Result<State> {
        let mut head = [0; 3];
        for slot in &mut head {
            *slot = self.byte()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        }
        if !is_header(&head) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let [_, _, flags] = head;
        let clears = flags & 0x80 != 0;
        let codes = 1_usize << WIDTH_MAX;
        let mut state = State {
            width_max: u32::from(flags & 0x1f),
            clears,
            width: WIDTH_MIN,
            prefix: vec![0; codes],
            suffix: vec![0; codes],
            free: if clears { 257 } else { 256 },
            last: None,
            first: 0,
            bits: 0,
            count: 0,
            of_group: 0,
        };
        for (byte, slot) in (0..=u8::MAX).zip(&mut state.suffix) {
            *slot = byte;
        }
        Ok(state)
    }

    /// Returns the next code; none at the end.
    fn code(&mut self, state: &mut State) -> io::Result<Option<u16>> {
        while state.count < state.width {
            let Some(byte) = self.byte()? else { return Ok(None) };
            state.bits |= u64::from(byte) << state.count;
            state.count = state.count.saturating_add(8);
        }
        let code = state.bits & (1_u64 << state.width).saturating_sub(1);
        state.bits >>= state.width;
        state.count = state.count.saturating_sub(state.width);
        state.of_group = state.of_group.saturating_add(1) % 8;
        Ok(u16::try_from(code).ok())
    }

    /// Throws the rest of a group away, and goes on with codes of `width` bits.
    fn widen(&mut self, state: &mut State, width: u32) -> io::Result<()> {
        while state.of_group != 0 {
            if self.code(state)?.is_none() {
                break;
            }
        }
        (state.bits, state.count, state.of_group, state.width) = (0, 0, 0, width);
        Ok(())
    }

    /// Decodes one code into `out`. Returns false at the end.
    fn step(&mut self, state: &mut State, out: &mut Vec<u8>) -> io::Result<bool> {
        if state.free > (1_u32 << state.width).saturating_sub(1) && state.width < state.width_max {
            let wider = state.width.saturating_add(1);
            self.widen(state, wider)?;
        }
        let Some(code) = self.code(state)? else { return Ok(false) };
        let Some(last) = state.last else {
            // The first code stands for itself.
            state.first = u8::try_from(code).map_err(|_| io::ErrorKind::InvalidData)?;
            state.last = Some(code);
            out.push(state.first);
            return Ok(true);
        };
        if code == CLEAR && state.clears {
            // The next code makes an entry that is never used.
            state.free = 256;
            self.widen(state, WIDTH_MIN)?;
            return Ok(true);
        }
        let from = out.len();
        let mut at = code;
        if u32::from(code) >= state.free {
            if u32::from(code) > state.free {
                return Err(io::ErrorKind::InvalidData.into());
            }
            out.push(state.first);
            at = last;
        }
        // Every entry leads to an older one, so this ends.
        while at > 255 {
            out.push(state.suffix.get(usize::from(at)).copied().unwrap_or(0));
            at = state.prefix.get(usize::from(at)).copied().unwrap_or(0);
        }
        state.first = u8::try_from(at).unwrap_or(0);
        out.push(state.first);
        if let Some(made) = out.get_mut(from..) {
            made.reverse();
        }
        let free = usize::try_from(state.free).unwrap_or(usize::MAX);
        if state.free < 1_u32 << state.width_max
            && let (Some(prefix), Some(suffix)) = (state.prefix.get_mut(free), state.suffix.get_mut(free))
        {
            (*prefix, *suffix) = (last, state.first);
            state.free = state.free.saturating_add(1);
        }
        state.last = Some(code);
        Ok(true)
    }
}

impl<R: BufRead> Read for Lzw<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.ready.is_empty() {
            let mut state = match self.state.take() {
                Some(state) => state,
                None => self.begin()?,
            };
            let mut out = std::mem::take(self.ready.refill());
            let mut more = if self.damaged { Err(io::ErrorKind::InvalidData.into()) } else { Ok(true) };
            while out.len() < PIECE_BYTES && matches!(more, Ok(true)) {
                more = self.step(&mut state, &mut out);
            }
            // What came before the damage is shown first.
            let was_damaged = std::mem::replace(&mut self.damaged, more.is_err());
            if was_damaged || out.is_empty() {
                more?;
            }
            *self.ready.refill() = out;
            self.state = Some(state);
        }
        self.ready.take(into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Writes codes of 9 bits alone, as `compress` does for short content.
    fn packed(codes: &[u16]) -> Vec<u8> {
        let (mut bytes, mut bits, mut count) = (vec![0x1f, 0x9d, 0x90], 0_u32, 0);
        for code in codes {
            bits |= u32::from(*code) << count;
            count += 9;
            while count >= 8 {
                bytes.push((bits & 0xff) as u8);
                (bits, count) = (bits >> 8, count - 8);
            }
        }
        bytes.push((bits & 0xff) as u8);
        bytes
    }

    #[test]
    fn codes_become_bytes_in_any_pieces() {
        // ABABABA: 257 is AB, 259 is ABA, which is not finished when it is used.
        let bytes = packed(&[65, 66, 257, 259]);
        assert!(is_header(&bytes));
        for size in [1, 2, 100] {
            let mut made = Vec::new();
            Lzw::new(BufReader::with_capacity(size, bytes.as_slice())).read_to_end(&mut made).unwrap();
            assert_eq!(made.strip_suffix(b"\0").unwrap_or(&made), b"ABABABA");
        }
    }

    #[test]
    fn damage_is_an_error_behind_what_was_whole() {
        let mut made = Vec::new();
        let error = Lzw::new(packed(&[65, 66, 400]).as_slice()).read_to_end(&mut made).unwrap_err();
        assert_eq!((error.kind(), made.as_slice()), (io::ErrorKind::InvalidData, b"AB".as_slice()));
        assert!(!is_header(b"\x1f\x9d\xff"));
    }
}
