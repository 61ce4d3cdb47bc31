//! What stage 1 looks for.

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
    /// Two letters and two digits, no letter before, and letters or digits at places 5 to 7.
    LetterPair,
    /// The first of five dashes before a letter: the head of armoured text.
    Armor,
    /// Two letters, two digits and a parenthesis: the rarest part of the EICAR string.
    Marker,
}

impl Anchor {
    /// Every anchor.
    pub const ALL: [Self; 7] = [
        Self::LongRun,
        Self::GroupedRun,
        Self::Triple,
        Self::NineRun,
        Self::LetterPair,
        Self::Armor,
        Self::Marker,
    ];

    /// How many characters before a position its shape may depend on.
    pub const BEFORE: usize = 8;

    /// How many characters from a position on its shape may depend on.
    pub const AFTER: usize = 14;

    /// Returns the bit that stands for this anchor in a set of them.
    pub(crate) const fn bit(self) -> u8 {
        match self {
            Self::LongRun => 1,
            Self::GroupedRun => 2,
            Self::Triple => 4,
            Self::NineRun => 8,
            Self::LetterPair => 16,
            Self::Armor => 32,
            Self::Marker => 64,
        }
    }

    /// Returns whether `before`, the characters before a position, and `after`, those
    /// from it on, make this shape. This is the definition that stage 1 has to meet.
    pub(crate) fn holds(self, before: &[u8], after: &[u8]) -> bool {
        let at = |place: usize| after.get(place).copied().unwrap_or(0xff);
        let back = |steps: usize| before.len().checked_sub(steps).and_then(|i| before.get(i)).copied();
        let back = |steps: usize| back(steps).unwrap_or(0xff);
        let digit = |byte: u8| byte.is_ascii_digit();
        let letter = |byte: u8| byte.is_ascii_alphabetic();
        let joint = |byte: u8| byte == b' ' || byte == b'-';
        let digits = |from: usize, count: usize| after.iter().skip(from).take(count).all(|&b| digit(b));
        let run = |count: usize| after.len() >= count && digits(0, count) && !digit(back(1));
        match self {
            Self::LongRun => run(13),
            Self::GroupedRun => run(4) && joint(at(4)) && after.len() >= 9 && digits(5, 4),
            Self::Triple => {
                run(4)
                    && joint(back(1))
                    && joint(back(4))
                    && [2, 3, 5, 6, 7].into_iter().all(|steps| digit(back(steps)))
            }
            Self::NineRun => run(9) && !digit(at(9)),
            Self::LetterPair => {
                letter(at(0))
                    && letter(at(1))
                    && digit(at(2))
                    && digit(at(3))
                    && !letter(back(1))
                    && [5, 6, 7].into_iter().all(|place| at(place).is_ascii_alphanumeric())
            }
            Self::Armor => after.starts_with(b"-----") && letter(at(5)),
            Self::Marker => letter(at(0)) && letter(at(1)) && digit(at(2)) && digit(at(3)) && at(4) == b'(',
        }
    }
}
