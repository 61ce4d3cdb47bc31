//! Made-up values that look real to a detector: they carry valid check digits,
//! lie in issued ranges, and belong to nobody.

use crate::Rng;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt::{self, Write as _};

/// A planted value. `Debug` shows its length only, so that it never reaches a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the digits and upper-case letters of the value: what a fingerprint is computed over.
    pub fn normalised(&self) -> String {
        self.0.chars().filter(|c| c.is_ascii_digit() || c.is_ascii_uppercase()).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A card issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Brand {
    /// 16 digits, 4…
    Visa,
    /// 16 digits, 51 to 55.
    Mastercard,
    /// 16 digits, 2221 to 2720.
    Mastercard2,
    /// 15 digits, 34 and 37.
    Amex,
    /// 16 digits, 6011 and 65.
    Discover,
    /// 16 digits, 3528 to 3589.
    Jcb,
    /// 14 digits, 36.
    Diners,
}

impl Brand {
    /// Every issuer.
    pub const ALL: [Self; 7] = [
        Self::Visa,
        Self::Mastercard,
        Self::Mastercard2,
        Self::Amex,
        Self::Discover,
        Self::Jcb,
        Self::Diners,
    ];
}

/// A kind of planted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A card number of a random issuer, without separators.
    Pan,
    /// A card number in groups, by spaces or by dashes.
    PanGrouped,
    /// An account number with its check digits.
    Iban,
    /// The same in groups of four.
    IbanGrouped,
    /// A social security number with dashes.
    Ssn,
    /// Track 1 of a magnetic stripe.
    Track1,
    /// Track 2 of a magnetic stripe.
    Track2,
    /// A private key in PEM; its body is random and no key.
    PrivateKey,
    /// The EICAR test file.
    Eicar,
}

impl Kind {
    /// The kinds that fit into a field of a table or a line of a text.
    pub const SHORT: [Self; 7] =
        [Self::Pan, Self::PanGrouped, Self::Iban, Self::IbanGrouped, Self::Ssn, Self::Track1, Self::Track2];

    /// Returns the name of the detector that must find it.
    pub const fn detector(self) -> &'static str {
        match self {
            Self::Pan | Self::PanGrouped => "pan",
            Self::Iban | Self::IbanGrouped => "iban",
            Self::Ssn => "us_ssn",
            Self::Track1 => "track1",
            Self::Track2 => "track2",
            Self::PrivateKey => "private_key",
            Self::Eicar => "eicar",
        }
    }

    /// Returns the name of the table column or field that holds it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pan | Self::PanGrouped => "card_number",
            Self::Iban | Self::IbanGrouped => "iban",
            Self::Ssn => "ssn",
            Self::Track1 => "track1",
            Self::Track2 => "track2",
            Self::PrivateKey => "private_key",
            Self::Eicar => "sample",
        }
    }

    /// Makes a value.
    pub fn make(self, rng: &mut Rng) -> Secret {
        Secret(match self {
            Self::Pan => pan(*rng.pick(&Brand::ALL), rng),
            Self::PanGrouped => {
                let separator = *rng.pick(&[' ', '-']);
                grouped_pan(&pan(*rng.pick(&Brand::ALL), rng), separator)
            }
            Self::Iban => iban(rng),
            Self::IbanGrouped => in_fours(&iban(rng)),
            Self::Ssn => ssn(rng),
            Self::Track1 => track1(rng),
            Self::Track2 => track2(rng),
            Self::PrivateKey => private_key(rng),
            Self::Eicar => eicar(),
        })
    }
}

/// Returns the digit that makes `digits` followed by it pass the Luhn check.
pub fn luhn_digit(digits: &str) -> char {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            match (place % 2 == 0, digit) {
                (true, 5..) => digit * 2 - 9,
                (true, _) => digit * 2,
                (false, _) => digit,
            }
        })
        .sum();
    char::from_digit((10 - sum % 10) % 10, 10).unwrap_or('0')
}

/// Makes a card number of one issuer.
pub fn pan(brand: Brand, rng: &mut Rng) -> String {
    let (prefix, length) = match brand {
        Brand::Visa => (format!("4{}", rng.digits(1)), 16),
        Brand::Mastercard => (format!("5{}", 1 + rng.below(5)), 16),
        Brand::Mastercard2 => (format!("{}", 2221 + rng.below(500)), 16),
        Brand::Amex => ((*rng.pick(&["34", "37"])).to_owned(), 15),
        Brand::Discover => ((*rng.pick(&["6011", "65"])).to_owned(), 16),
        Brand::Jcb => (format!("{}", 3528 + rng.below(62)), 16),
        Brand::Diners => ("36".to_owned(), 14),
    };
    let mut digits = prefix.clone();
    digits.push_str(&rng.digits(length - 1 - prefix.len()));
    digits.push(luhn_digit(&digits));
    digits
}

fn grouped_pan(digits: &str, separator: char) -> String {
    let groups: &[usize] = match digits.len() {
        15 => &[4, 6, 5],
        14 => &[4, 6, 4],
        _ => &[4, 4, 4, 4],
    };
    let mut out = String::new();
    let mut rest = digits;
    for group in groups {
        let (head, tail) = rest.split_at(*group);
        if !out.is_empty() {
            out.push(separator);
        }
        out.push_str(head);
        rest = tail;
    }
    out
}

/// Returns `text` modulo 97, its letters counted from A = 10 as ISO 7064 does.
pub fn mod97(text: &str) -> u32 {
    text.chars()
        .filter_map(|c| c.to_digit(36))
        .fold(0, |rest, value| if value < 10 { (rest * 10 + value) % 97 } else { (rest * 100 + value) % 97 })
}

/// Makes an account number of a country whose national part has no check digits of its own.
pub fn iban(rng: &mut Rng) -> String {
    let country = *rng.pick(&["DE", "GB", "NL", "AT", "CH"]);
    let account = match country {
        "DE" => rng.digits(18),
        "GB" => format!("{}{}", rng.pick(&["NWBK", "BARC", "LOYD", "MIDL"]), rng.digits(14)),
        "NL" => format!("{}{}", rng.pick(&["ABNA", "INGB", "RABO"]), rng.digits(10)),
        "AT" => rng.digits(16),
        _ => rng.digits(17),
    };
    let check = 98 - mod97(&format!("{account}{country}00"));
    format!("{country}{check:02}{account}")
}

fn in_fours(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    bytes.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// Makes a social security number in an issued range.
pub fn ssn(rng: &mut Rng) -> String {
    let area = loop {
        let area = 1 + rng.below(772);
        if area != 666 {
            break area;
        }
    };
    format!("{area:03}-{:02}-{:04}", 1 + rng.below(99), 1 + rng.below(9999))
}

fn expiry(rng: &mut Rng) -> String {
    format!("{:02}{:02}", 27 + rng.below(6), 1 + rng.below(12))
}

fn track1(rng: &mut Rng) -> String {
    let number = pan(Brand::Visa, rng);
    let name = rng.pick(&["DOE/JANE", "ROE/RICHARD", "MUSTER/ERIKA", "PUBLIC/JOHN Q"]);
    format!("%B{number}^{name}^{}201{}?", expiry(rng), rng.digits(13))
}

fn track2(rng: &mut Rng) -> String {
    let number = pan(*rng.pick(&[Brand::Visa, Brand::Mastercard]), rng);
    format!(";{number}={}101{}?", expiry(rng), rng.digits(10))
}

fn private_key(rng: &mut Rng) -> String {
    let (name, bytes) = *rng.pick(&[("RSA PRIVATE KEY", 1190), ("PRIVATE KEY", 1216)]);
    // The header of a DER sequence of that length; the rest is noise.
    let mut body = vec![0x30, 0x82, 0x04, 0xa2, 0x02, 0x01, 0x00, 0x02, 0x82, 0x01, 0x01, 0x00];
    let mut noise = vec![0; bytes - body.len()];
    rng.fill(&mut noise);
    body.extend(noise);
    let text = BASE64.encode(body);
    let mut out = format!("-----BEGIN {name}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    let _ = write!(out, "-----END {name}-----");
    out
}

/// Returns the 68 bytes of the EICAR test file, put together here so that no
/// scanner takes the source or the binary for the file.
pub fn eicar() -> String {
    let mut text = String::from(r"X5O!P%@AP[4\PZX54(P^)7CC)7}$");
    text.push_str("EICAR-STANDARD-");
    text.push_str("ANTIVIRUS-TEST-FILE");
    text.push_str("!$H+H*");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luhn_holds(digits: &str) -> bool {
        let (head, check) = digits.split_at(digits.len() - 1);
        check == luhn_digit(head).to_string()
    }

    #[test]
    fn published_examples_pass_the_checks() {
        assert!(luhn_holds("4111111111111111"));
        assert!(luhn_holds("378282246310005"));
        assert!(!luhn_holds("4111111111111112"));
        assert_eq!(mod97("WEST12345698765432GB82"), 1);
    }

    #[test]
    fn every_issuer_has_its_length_and_passes_luhn() {
        let mut rng = Rng::new(1);
        for brand in Brand::ALL {
            for _ in 0..200 {
                let number = pan(brand, &mut rng);
                let length = match brand {
                    Brand::Amex => 15,
                    Brand::Diners => 14,
                    _ => 16,
                };
                assert_eq!(number.len(), length, "{brand:?}");
                assert!(luhn_holds(&number), "{brand:?}");
            }
        }
    }

    #[test]
    fn account_numbers_have_remainder_one() {
        let mut rng = Rng::new(2);
        for _ in 0..500 {
            let account = iban(&mut rng);
            let (head, tail) = account.split_at(4);
            assert_eq!(mod97(&format!("{tail}{head}")), 1);
        }
    }

    #[test]
    fn security_numbers_stay_in_issued_ranges() {
        let mut rng = Rng::new(3);
        for _ in 0..2000 {
            let number = ssn(&mut rng);
            let parts: Vec<u32> = number.split('-').map(|p| p.parse().expect("digits")).collect();
            assert!(parts[0] != 0 && parts[0] != 666 && parts[0] < 773);
            assert!(parts[1] != 0 && parts[2] != 0);
        }
    }

    #[test]
    fn the_test_file_is_the_published_one() {
        use sha2::{Digest, Sha256};
        assert_eq!(eicar().len(), 68);
        let digest = hex::encode(Sha256::digest(eicar().as_bytes()));
        assert_eq!(digest, "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f");
    }

    #[test]
    fn debug_never_shows_a_value() {
        let secret = Kind::Pan.make(&mut Rng::new(4));
        let shown = format!("{secret:?}");
        assert!(!shown.contains(secret.expose()));
        assert!(shown.starts_with("Secret("));
    }

    #[test]
    fn normalised_keeps_digits_and_capitals() {
        assert_eq!(Secret::new("GB82 West-1").normalised(), "GB82W1");
    }
}
