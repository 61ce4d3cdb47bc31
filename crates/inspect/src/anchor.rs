//! The shapes that stage 1 looks for.

use std::ops::RangeInclusive;

/// A shape of bytes at which a detector wants to be asked.
///
/// Anchors are found in one pass over the stream by byte classes, in ASCII and in
/// UTF-16 of both byte orders, so they must be cheap, rare, and short: whether a
/// position is an anchor depends on at most [`Anchor::BEFORE`] characters before it
/// and [`Anchor::AFTER`] from it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Anchor {
    /// The first digit of thirteen or more in a row.
    LongRun,
    /// The first digit of exactly four, then one space or dash, then four or more digits.
    GroupedRun,
    /// The first of the last four digits of `ddd?dd?dddd`, where `?` is a space or dash.
    Triple,
    /// The first of exactly nine digits in a row.
    NineRun,
    /// Two letters and two digits that begin a code: nothing of the kind before, and four more
    /// digits, letters or digits at places 4 to 14, or four of them between two spaces or dashes
    /// from place 4 on. In capitals and with so many behind also where a digit is before.
    LetterPair,
    /// Two letters, two digits and a parenthesis: the rarest part of the EICAR string.
    Marker,
    /// The first of exactly seven digits in a row.
    SevenRun,
    /// The first of exactly eight digits in a row.
    EightRun,
    /// The first of exactly ten digits in a row.
    TenRun,
    /// The first of exactly eleven digits in a row.
    ElevenRun,
    /// The first of exactly twelve digits in a row.
    TwelveRun,
    /// The first of the last four digits of `ddd?ddd?dddd`, where `?` is a space or dash.
    SplitTen,
    /// The first digit of `ddd-ddd-ddd`.
    SplitNine,
    /// The first digit of `ddd-dd` or `dddd-dd`, no digit before, no digit or dash behind.
    DashPair,
    /// Two letters and two digits behind two letters, and four more digits; or behind four
    /// letters, and a letter, two digits and a letter more.
    NameCode,
    /// Two letters and two digits behind a digit, or a digit and a dash; nothing of the
    /// kind behind.
    CodeTail,
}

impl Anchor {
    /// Every anchor, in the order of their bits.
    pub const ALL: [Self; 16] = [
        Self::LongRun,
        Self::GroupedRun,
        Self::Triple,
        Self::NineRun,
        Self::LetterPair,
        Self::Marker,
        Self::SevenRun,
        Self::EightRun,
        Self::TenRun,
        Self::ElevenRun,
        Self::TwelveRun,
        Self::SplitTen,
        Self::SplitNine,
        Self::DashPair,
        Self::NameCode,
        Self::CodeTail,
    ];

    /// How many characters before a position its shape may depend on.
    pub const BEFORE: usize = 9;

    /// How many characters from a position on its shape may depend on.
    pub const AFTER: usize = 15;

    /// Returns the bit that stands for this anchor in a set of them.
    pub(crate) const fn bit(self) -> u32 {
        match self {
            Self::LongRun => 1,
            Self::GroupedRun => 1 << 1,
            Self::Triple => 1 << 2,
            Self::NineRun => 1 << 3,
            Self::LetterPair => 1 << 4,
            Self::Marker => 1 << 5,
            Self::SevenRun => 1 << 6,
            Self::EightRun => 1 << 7,
            Self::TenRun => 1 << 8,
            Self::ElevenRun => 1 << 9,
            Self::TwelveRun => 1 << 10,
            Self::SplitTen => 1 << 11,
            Self::SplitNine => 1 << 12,
            Self::DashPair => 1 << 13,
            Self::NameCode => 1 << 14,
            Self::CodeTail => 1 << 15,
        }
    }

    /// Returns whether `before`, the characters before a position, and `after`, those
    /// from it on, make this shape. This is the definition that stage 1 has to meet.
    pub(crate) fn holds(self, before: &[u8], after: &[u8]) -> bool {
        Around { before, after }.make(self)
    }
}

/// The characters around a position.
struct Around<'a> {
    before: &'a [u8],
    after: &'a [u8],
}

impl Around<'_> {
    fn at(&self, place: usize) -> u8 {
        self.after.get(place).copied().unwrap_or(0xff)
    }

    fn back(&self, steps: usize) -> u8 {
        let place = self.before.len().checked_sub(steps);
        place.and_then(|place| self.before.get(place)).copied().unwrap_or(0xff)
    }

    fn digit_at(&self, place: usize) -> bool {
        self.at(place).is_ascii_digit()
    }

    fn digits_back(&self, steps: impl IntoIterator<Item = usize>) -> bool {
        steps.into_iter().all(|steps| self.back(steps).is_ascii_digit())
    }

    /// Returns whether at least `count` digits begin here.
    fn run(&self, count: usize) -> bool {
        (0..count).all(|place| self.digit_at(place)) && !self.back(1).is_ascii_digit()
    }

    /// Returns whether exactly `count` digits begin here.
    fn exactly(&self, count: usize) -> bool {
        self.run(count) && !self.digit_at(count)
    }

    /// Returns whether two letters and two digits stand here.
    fn pair(&self) -> bool {
        let letters = [0, 1].into_iter().all(|place| self.at(place).is_ascii_alphabetic());
        letters && self.digit_at(2) && self.digit_at(3)
    }

    fn letters_back(&self, steps: RangeInclusive<usize>) -> bool {
        steps.into_iter().all(|steps| self.back(steps).is_ascii_alphabetic())
    }

    fn digits_at(&self, mut places: RangeInclusive<usize>) -> bool {
        places.all(|place| self.digit_at(place))
    }

    fn alphanumeric(&self, mut places: RangeInclusive<usize>) -> bool {
        places.all(|place| self.at(place).is_ascii_alphanumeric())
    }

    fn letter_pair(&self) -> bool {
        let joint = |place| matches!(self.at(place), b' ' | b'-');
        let grouped = joint(4) && self.alphanumeric(5..=8) && joint(9);
        let long = self.alphanumeric(4..=14);
        let capitals = self.at(0).is_ascii_uppercase() && self.at(1).is_ascii_uppercase();
        let free = !self.back(1).is_ascii_alphanumeric();
        let begins = free && (self.digits_at(4..=7) || long || grouped);
        self.pair() && (begins || self.back(1).is_ascii_digit() && capitals && long)
    }

    fn name_code(&self) -> bool {
        let letter = |place| self.at(place).is_ascii_alphabetic();
        let dated = letter(4) && self.digits_at(5..=6) && letter(7) && self.letters_back(3..=4);
        self.pair() && self.letters_back(1..=2) && (self.digits_at(4..=7) || dated)
    }

    fn make(&self, anchor: Anchor) -> bool {
        let joint = |byte: u8| byte == b' ' || byte == b'-';
        match anchor {
            Anchor::LongRun => self.run(13),
            Anchor::SevenRun => self.exactly(7),
            Anchor::EightRun => self.exactly(8),
            Anchor::NineRun => self.exactly(9),
            Anchor::TenRun => self.exactly(10),
            Anchor::ElevenRun => self.exactly(11),
            Anchor::TwelveRun => self.exactly(12),
            Anchor::GroupedRun => {
                self.run(4) && joint(self.at(4)) && (5..9).all(|place| self.digit_at(place))
            }
            Anchor::Triple => {
                self.run(4) && joint(self.back(1)) && joint(self.back(4)) && self.digits_back([2, 3, 5, 6, 7])
            }
            Anchor::SplitTen => {
                self.exactly(4)
                    && joint(self.back(1))
                    && joint(self.back(5))
                    && self.digits_back([2, 3, 4, 6, 7, 8])
                    && !self.digits_back([9])
            }
            Anchor::SplitNine => {
                self.exactly(3)
                    && self.at(3) == b'-'
                    && self.at(7) == b'-'
                    && [4, 5, 6, 8, 9, 10].into_iter().all(|place| self.digit_at(place))
                    && !self.digit_at(11)
            }
            Anchor::DashPair => [3, 4].into_iter().any(|count: usize| {
                let dash = |steps: usize| self.at(count.saturating_add(steps)) == b'-';
                let digit = |steps: usize| self.digit_at(count.saturating_add(steps));
                self.exactly(count) && dash(0) && digit(1) && digit(2) && !digit(3) && !dash(3)
            }),
            Anchor::LetterPair => self.letter_pair(),
            Anchor::NameCode => self.name_code(),
            Anchor::CodeTail => {
                let behind = self.back(1).is_ascii_digit() || self.back(1) == b'-' && self.digits_back([2]);
                self.pair() && behind && !self.at(4).is_ascii_alphanumeric()
            }
            Anchor::Marker => self.pair() && self.at(4) == b'(',
        }
    }
}
