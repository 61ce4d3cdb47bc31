//! Winnowing, character by character.

use std::collections::VecDeque;

/// Letters and digits that are hashed together.
pub const GRAM: usize = 32;
/// Hashes of which the least is kept.
const WINDOW: usize = 33;
/// Letters and digits in a row that are sure to have a fingerprint.
pub const GUARANTEED: usize = GRAM + WINDOW - 1;

/// Mixes the bits of a number (David Stafford, *Better bit mixing*, 2011, variant 13).
fn mix(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Chooses fingerprints of one stream after another.
#[derive(Debug, Clone)]
pub(super) struct Winnow {
    key: u64,
    /// The factor of a character, and that of one which is [`GRAM`] behind (Karp and Rabin, 1987).
    factor: u64,
    oldest: u64,
    rolling: u64,
    /// The last characters, as a ring, and where the next one goes.
    gram: [u8; GRAM],
    slot: usize,
    /// Characters so far.
    count: u64,
    /// Hashes that may still be the least of a window, with their places: each less than those behind it.
    least: VecDeque<(u64, u64)>,
    /// Place of the hash that was chosen last.
    chosen: Option<u64>,
}

impl Winnow {
    pub(super) fn new(key: u64) -> Self {
        let factor = mix(key) | 1;
        let oldest = (0..GRAM).fold(1_u64, |power, _| power.wrapping_mul(factor));
        Self {
            key: mix(key ^ 0x5bd1_e995),
            factor,
            oldest,
            rolling: 0,
            gram: [0; GRAM],
            slot: 0,
            count: 0,
            least: VecDeque::with_capacity(WINDOW + 1),
            chosen: None,
        }
    }

    pub(super) fn start(&mut self) {
        self.rolling = 0;
        self.gram = [0; GRAM];
        self.slot = 0;
        self.count = 0;
        self.least.clear();
        self.chosen = None;
    }

    /// Takes the next byte; what is no letter or digit does not count. Returns a fingerprint if one is chosen.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> Option<u64> {
        let character = match byte {
            b'A'..=b'Z' => byte | 0x20,
            b'0'..=b'9' | b'a'..=b'z' | 0x80.. => byte,
            _ => return None,
        };
        let gone = std::mem::replace(&mut self.gram[self.slot], character);
        self.slot = (self.slot + 1) % GRAM;
        self.rolling =
            self.rolling.wrapping_mul(self.factor).wrapping_add(u64::from(character) + 1).wrapping_sub(
                self.oldest.wrapping_mul(if self.count < GRAM as u64 { 0 } else { u64::from(gone) + 1 }),
            );
        self.count += 1;
        if self.count < GRAM as u64 {
            return None;
        }
        let place = self.count - GRAM as u64;
        let hash = mix(self.rolling ^ self.key);
        // The last of equal ones is kept, so that a run of one character has few.
        while self.least.back().is_some_and(|(other, _)| *other >= hash) {
            self.least.pop_back();
        }
        self.least.push_back((hash, place));
        if self.least.front().is_some_and(|(_, at)| *at + WINDOW as u64 <= place) {
            self.least.pop_front();
        }
        let (print, at) = *self.least.front()?;
        if place + 1 < WINDOW as u64 || self.chosen == Some(at) {
            return None;
        }
        self.chosen = Some(at);
        Some(print)
    }
}
