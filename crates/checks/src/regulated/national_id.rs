//! National identifiers with check digits, of the countries where most people have one.
//!
//! Structures and check digits are those that the issuing authorities publish; examples
//! in the rules were made with the library python-stdnum as an independent judge.

use super::check_digit::{
    codice_fiscale, curp, digit, dni_letter, mod_11_2, mod_11_10, number, verhoeff, weighted,
};
use crate::detectors::labelled::{Identifier, Kind, Labelled};
use crate::financial::luhn;
use airlock_inspect::{Anchor, Detector, Window};

/// Every identifier.
const KINDS: &[Kind] = &[
    kind("national_id:au_tfn", &[Anchor::NineRun], au_tfn),
    kind("national_id:be_nn", &[Anchor::ElevenRun], be_nn),
    kind("national_id:br_cnpj", &[Anchor::LongRun, Anchor::DashPair], br_cnpj),
    kind("national_id:br_cpf", &[Anchor::ElevenRun, Anchor::DashPair], br_cpf),
    kind("national_id:ca_sin", &[Anchor::NineRun, Anchor::SplitNine], ca_sin),
    kind("national_id:ch_ahv", &[Anchor::LongRun], ch_ahv),
    kind("national_id:cn_ric", &[Anchor::LongRun], cn_ric),
    kind("national_id:de_idnr", &[Anchor::ElevenRun], de_idnr),
    kind("national_id:es_dni", &[Anchor::EightRun, Anchor::SevenRun], es_dni),
    kind("national_id:fr_nir", &[Anchor::LongRun], fr_nir),
    kind("national_id:in_aadhaar", &[Anchor::TwelveRun, Anchor::GroupedRun], in_aadhaar),
    kind("national_id:it_cf", &[Anchor::NameCode], it_cf),
    kind("national_id:mx_curp", &[Anchor::NameCode], mx_curp),
    kind("national_id:nl_bsn", &[Anchor::NineRun], nl_bsn),
    kind("national_id:pl_pesel", &[Anchor::ElevenRun], pl_pesel),
    kind("national_id:se_pnr", &[Anchor::TenRun, Anchor::TwelveRun, Anchor::EightRun], se_pnr),
    kind("national_id:uk_nino", &[Anchor::LetterPair], uk_nino),
    kind("national_id:za_id", &[Anchor::LongRun], za_id),
];

const fn kind(
    name: &'static str,
    anchors: &'static [Anchor],
    find: fn(Anchor, &Window<'_>) -> Option<Identifier>,
) -> Kind {
    Kind { name, check: "regulated", anchors, find }
}

/// Makes the detectors of all of them.
pub(crate) fn national_ids() -> impl Iterator<Item = Box<dyn Detector>> {
    KINDS.iter().map(|kind| Box::new(Labelled::new(*kind)) as Box<dyn Detector>)
}

/// Takes `length` characters from the anchor on, if `right` says so.
fn plain(window: &Window<'_>, length: usize, right: impl Fn(&[u8]) -> bool) -> Option<Identifier> {
    Identifier::run(window, length).filter(|found| right(found.text()))
}

/// Returns whether a month and a day can be ones.
fn date(month: u32, day: u32) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

fn au_tfn(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    plain(window, 9, |text| weighted(text, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11))
}

fn be_nn(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    plain(window, 11, |text| {
        let base = number(&text[..9]);
        let check = number(&text[9..]);
        let fits = [base, base + 2_000_000_000].into_iter().any(|base| 97 - base % 97 == check);
        fits && number(&text[2..4]) % 20 <= 12 && number(&text[4..6]) <= 31
    })
}

fn br_cnpj(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let right = |text: &[u8]| {
        text.len() == 14
            && [12, 13].into_iter().all(|place| {
                let weights = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
                let sum = weighted(&text[..place], &weights[13 - place..]);
                (sum * 10 % 11 % 10) == digit(text[place])
            })
    };
    if anchor == Anchor::LongRun {
        return if window.run == 14 { plain(window, 14, right) } else { None };
    }
    let front = window.before.last_chunk::<11>()?;
    let dots = [front[2], front[6], front[10], window.get(4)?] == *b"../-";
    let found = Identifier::read(window, -11, 18, 14).filter(|found| dots && right(found.text()))?;
    found.text().iter().all(u8::is_ascii_digit).then_some(found)
}

fn br_cpf(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let right = |text: &[u8]| {
        text.len() == 11
            && [9, 10].into_iter().all(|place| {
                let weights = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2];
                let sum = weighted(&text[..place], &weights[10 - place..]);
                (sum * 10 % 11 % 10) == digit(text[place])
            })
    };
    if anchor == Anchor::ElevenRun {
        return plain(window, 11, right);
    }
    let front = window.before.last_chunk::<8>()?;
    let dots = [front[3], front[7], window.get(3)?] == *b"..-";
    let found = Identifier::read(window, -8, 14, 11).filter(|found| dots && right(found.text()))?;
    found.text().iter().all(u8::is_ascii_digit).then_some(found)
}

fn ca_sin(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let length = if anchor == Anchor::SplitNine { 11 } else { 9 };
    let found = Identifier::read(window, 0, length, 9)?;
    (!matches!(found.text()[0], b'0' | b'8') && luhn(found.text())).then_some(found)
}

fn ch_ahv(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    if window.run != 13 || !window.after.starts_with(b"756") {
        return None;
    }
    let weights = [1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1];
    plain(window, 13, |text| weighted(text, &weights).is_multiple_of(10))
}

fn cn_ric(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let ends_in_letter = window.run == 17 && matches!(window.get(17), Some(b'X' | b'x'));
    if window.run != 18 && !ends_in_letter {
        return None;
    }
    plain(window, 18, |text| {
        matches!(number(&text[6..8]), 19 | 20)
            && date(number(&text[10..12]), number(&text[12..14]))
            && mod_11_2(text)
    })
}

fn de_idnr(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    plain(window, 11, |text| {
        let mut counts = [0_u8; 10];
        for byte in &text[..10] {
            counts[usize::from(byte.wrapping_sub(b'0') % 10)] += 1;
        }
        let repeated = counts.iter().filter(|count| **count > 1).count();
        let most = counts.iter().max().copied().unwrap_or(0);
        text[0] != b'0' && repeated == 1 && matches!(most, 2 | 3) && mod_11_10(text)
    })
}

fn es_dni(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let digits = if anchor == Anchor::EightRun { 8 } else { 7 };
    let dash = usize::from(window.get(digits) == Some(b'-'));
    let dash_index = isize::try_from(dash).ok()?;
    let letter = window.get(digits + dash_index)?.to_ascii_uppercase();
    if !letter.is_ascii_uppercase() {
        return None;
    }
    let foreign = match (anchor, window.get(-1)) {
        (Anchor::EightRun, _) => None,
        (_, Some(letter @ b'X'..=b'Z')) => Some(letter - b'X'),
        _ => return None,
    };
    let length = usize::try_from(digits).ok()?;
    let value = number(&window.after[..length]) + u32::from(foreign.unwrap_or(0)) * 10_000_000;
    if dni_letter(value) != letter {
        return None;
    }
    let lead = usize::from(foreign.is_some());
    Identifier::read(window, -isize::try_from(lead).ok()?, lead + length + dash + 1, lead + length + 1)
}

fn fr_nir(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    if window.run != 15 {
        return None;
    }
    plain(window, 15, |text| {
        let month = number(&text[3..5]);
        let base = text[..13].iter().fold(0_u64, |sum, byte| sum * 10 + u64::from(digit(*byte)));
        matches!(text[0], b'1' | b'2' | b'3' | b'4' | b'7' | b'8')
            && (matches!(month, 1..=12 | 20..=42) || month >= 50)
            && 97 - base % 97 == u64::from(number(&text[13..]))
    })
}

fn in_aadhaar(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let right = |text: &[u8]| matches!(text[0], b'2'..=b'9') && text.len() == 12 && verhoeff(text);
    if anchor == Anchor::TwelveRun {
        return plain(window, 12, right);
    }
    let joint = window.get(4);
    let digit_at = |place: isize| window.get(place).is_some_and(|byte| byte.is_ascii_digit());
    let more = window.get(14) == joint && digit_at(15) || window.get(-1) == joint && digit_at(-2);
    if window.get(9) != joint || more || !(10..14).all(digit_at) {
        return None;
    }
    Identifier::read(window, 0, 14, 12).filter(|found| right(found.text()))
}

fn it_cf(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let found = Identifier::read(window, -4, 16, 16)?;
    (found.text().len() == 16 && codice_fiscale(found.text())).then_some(found)
}

fn mx_curp(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    let found = Identifier::read(window, -2, 18, 18)?;
    (found.text().len() == 18 && curp(found.text())).then_some(found)
}

fn nl_bsn(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    plain(window, 9, |text| {
        let sum = weighted(&text[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
        sum % 11 == digit(text[8])
    })
}

fn pl_pesel(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    plain(window, 11, |text| {
        date(number(&text[2..4]) % 20, number(&text[4..6]))
            && weighted(text, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
    })
}

fn se_pnr(anchor: Anchor, window: &Window<'_>) -> Option<Identifier> {
    if anchor == Anchor::EightRun && window.get(8) != Some(b'-') {
        return None;
    }
    let length = match anchor {
        Anchor::TenRun => (10, 10),
        Anchor::TwelveRun => (12, 12),
        _ => (13, 12),
    };
    let found = Identifier::read(window, 0, length.0, length.1)?;
    let text = found.text();
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let short = &text[text.len().checked_sub(10)?..];
    let century = text.len() == 10 || matches!(number(&text[..2]), 18..=20);
    let day = number(&short[4..6]);
    let born = date(number(&short[2..4]), if day > 60 { day - 60 } else { day });
    (century && born && luhn(short)).then_some(found)
}

fn uk_nino(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    plain(window, 9, |text| {
        let never = [&b"BG"[..], b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&text[..2]);
        text[2..8].iter().all(u8::is_ascii_digit)
            && matches!(text[8], b'A'..=b'D')
            && !b"DFIQUV".contains(&text[0])
            && !b"DFIOQUV".contains(&text[1])
            && !never
    })
}

fn za_id(_: Anchor, window: &Window<'_>) -> Option<Identifier> {
    if window.run != 13 {
        return None;
    }
    plain(window, 13, |text| {
        date(number(&text[2..4]), number(&text[4..6])) && matches!(text[10], b'0'..=b'2') && luhn(text)
    })
}
