//! Who issues which card numbers, and the check digit.

use serde::Deserialize;

/// A range of prefixes that one brand issues.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerRule {
    /// The brand, as it is displayed.
    pub brand: String,
    /// Prefixes such as `4` or ranges such as `222100-272099`.
    pub prefixes: Vec<String>,
    /// Numbers of digits.
    pub lengths: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Range {
    /// First and last prefix, filled up to eight digits.
    first: u32,
    last: u32,
    lengths: u32,
    brand: usize,
}

/// Finds the brand of a number by its prefix and length.
#[derive(Debug, Clone)]
pub struct Issuers {
    brands: Vec<String>,
    /// By first digit.
    ranges: [Vec<Range>; 10],
    /// For each four digits, the lengths that some brand issues, one bit each.
    by_four: Vec<u32>,
}

impl Issuers {
    /// Builds the tables.
    ///
    /// # Panics
    ///
    /// If a prefix is not a number of up to eight digits, which the tests exclude.
    pub fn new(rules: &[IssuerRule]) -> Self {
        let mut issuers = Self { brands: Vec::new(), ranges: Default::default(), by_four: vec![0; 10_000] };
        for rule in rules {
            let brand = issuers.brands.len();
            issuers.brands.push(rule.brand.clone());
            let lengths = rule.lengths.iter().fold(0, |set, length| set | 1_u32 << length);
            for prefix in &rule.prefixes {
                let (first, last) = prefix.split_once('-').unwrap_or((prefix, prefix));
                let number = |digits: &str, fill: &str| -> u32 {
                    let filled = format!("{digits}{}", &fill[digits.len()..]);
                    filled.parse().unwrap_or_else(|_| panic!("no prefix of digits: {prefix}"))
                };
                let (first, last) = (number(first, "00000000"), number(last, "99999999"));
                for digit in first / 10_000_000..=last / 10_000_000 {
                    issuers.ranges[digit as usize].push(Range { first, last, lengths, brand });
                }
                let fours = (first / 10_000) as usize..=(last / 10_000) as usize;
                for set in &mut issuers.by_four[fours] {
                    *set |= lengths;
                }
            }
        }
        issuers
    }

    /// Returns whether some brand may issue numbers of `length` digits that start
    /// like `digits`. Fast, and right but for prefixes of more than four digits.
    #[inline]
    pub fn plausible(&self, digits: &[u8], length: usize) -> bool {
        let Some(first) = digits.first_chunk::<4>() else { return false };
        let four = first.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit.wrapping_sub(b'0')));
        self.by_four.get(four).is_some_and(|lengths| length < 32 && lengths >> length & 1 == 1)
    }

    /// Returns the brand that issues `digits`.
    pub fn brand(&self, digits: &[u8]) -> Option<&str> {
        if !self.plausible(digits, digits.len()) {
            return None;
        }
        let prefix = digits.first_chunk::<8>()?;
        let prefix = prefix.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit.wrapping_sub(b'0')));
        let fits = |range: &&Range| {
            range.first <= prefix && prefix <= range.last && range.lengths >> digits.len() & 1 == 1
        };
        let ranges = self.ranges.get((prefix / 10_000_000) as usize)?;
        ranges.iter().find(fits).map(|range| self.brands[range.brand].as_str())
    }

    /// Returns whether `digits` can be a card number: prefix, length and check digit.
    pub fn valid(&self, digits: &[u8]) -> bool {
        self.plausible(digits, digits.len()) && luhn(digits) && self.brand(digits).is_some()
    }
}

/// Returns whether the check digit of ISO/IEC 7812-1 annex B is right.
#[inline]
pub fn luhn(digits: &[u8]) -> bool {
    luhn_sum(digits).is_multiple_of(10)
}

/// Returns the sum that the check digit makes a multiple of ten.
#[inline]
pub(crate) fn luhn_sum(digits: &[u8]) -> u32 {
    const DOUBLED: [u8; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let mut sum = 0_u32;
    let mut pairs = digits.rchunks_exact(2);
    for pair in &mut pairs {
        sum += u32::from(DOUBLED[usize::from(pair[0].wrapping_sub(b'0') % 10)]);
        sum += u32::from(pair[1].wrapping_sub(b'0'));
    }
    if let [first] = pairs.remainder() {
        sum += u32::from(first.wrapping_sub(b'0'));
    }
    sum
}
