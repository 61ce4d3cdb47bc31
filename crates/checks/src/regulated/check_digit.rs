//! Check digits of identifiers. All take digits in ASCII, or letters in upper case.

/// Returns the value of a digit.
pub(crate) fn digit(byte: u8) -> u32 {
    u32::from(byte.wrapping_sub(b'0') % 10)
}

/// Returns the number that up to nine digits make.
pub(crate) fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |sum, byte| sum * 10 + digit(*byte))
}

/// Returns the sum of the digits, each times its weight.
pub(crate) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(byte, weight)| digit(*byte) * weight).sum()
}

/// Returns whether the last digit is right by ISO/IEC 7064 MOD 11,10.
pub(crate) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((last, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10, |product, byte| {
        let sum = (digit(*byte) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == digit(*last)
}

/// Returns whether the last character, a digit or `X`, is right by ISO/IEC 7064 MOD 11-2.
pub(crate) fn mod_11_2(text: &[u8]) -> bool {
    let value = |byte: u8| if byte == b'X' { 10 } else { digit(byte) };
    text.iter().fold(0, |sum, byte| (sum * 2 + value(*byte)) % 11) == 1
}

/// Returns whether the last digit is right by the scheme of Verhoeff (Mathematical
/// Centre Tracts 29, 1969), which multiplies in the dihedral group of ten elements.
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    const PERMUTATION: [u32; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let multiply = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => (a + b - 5) % 5 + 5,
        (false, true) => (a + 5 - b) % 5 + 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let permuted = |value: u32, times: usize| {
        (0..times % 8).fold(value, |value, _| PERMUTATION[usize::try_from(value).unwrap_or(0) % 10])
    };
    let reversed = digits.iter().rev().enumerate();
    reversed.fold(0, |sum, (place, byte)| multiply(sum, permuted(digit(*byte), place))) == 0
}

/// Returns the letter that belongs to a number in Spain.
pub(crate) fn dni_letter(value: u32) -> u8 {
    const LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    LETTERS[usize::try_from(value % 23).unwrap_or(0)]
}

/// Returns whether a tax code of Italy (decree of 23 December 1976) is well formed and
/// its last letter right. Digits may be replaced by letters where two people would
/// have the same code.
pub(crate) fn codice_fiscale(text: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let Ok(text) = <&[u8; 16]>::try_from(text) else { return false };
    let letters = [0, 1, 2, 3, 4, 5, 8, 11, 15];
    let formed = text.iter().enumerate().all(|(place, byte)| {
        if letters.contains(&place) { byte.is_ascii_uppercase() } else { byte.is_ascii_digit() }
    });
    let day = number(&text[9..11]);
    if !formed || !b"ABCDEHLMPRST".contains(&text[8]) || !matches!(day, 1..=31 | 41..=71) {
        return false;
    }
    let value = |byte: u8| if byte.is_ascii_digit() { digit(byte) } else { u32::from(byte - b'A') };
    let sum: u32 = text[..15]
        .iter()
        .enumerate()
        .map(|(place, byte)| {
            let value = value(*byte);
            if place % 2 == 0 { ODD[usize::try_from(value).unwrap_or(0) % 26] } else { value }
        })
        .sum();
    value(text[15]) == sum % 26
}

/// Returns whether a population register code of Mexico is well formed and its last
/// digit right.
pub(crate) fn curp(text: &[u8]) -> bool {
    let Ok(text) = <&[u8; 18]>::try_from(text) else { return false };
    let formed = text[..4].iter().all(u8::is_ascii_uppercase)
        && text[4..10].iter().all(u8::is_ascii_digit)
        && matches!(text[10], b'H' | b'M' | b'X')
        && text[11..16].iter().all(u8::is_ascii_uppercase)
        && text[17].is_ascii_digit();
    let born = (1..=12).contains(&number(&text[6..8])) && (1..=31).contains(&number(&text[8..10]));
    // The alphabet of the sum has an N with a tilde after N.
    let value = |byte: u8| match byte {
        b'0'..=b'9' => digit(byte),
        b'A'..=b'N' => u32::from(byte - b'A') + 10,
        _ => u32::from(byte.wrapping_sub(b'A')) + 11,
    };
    let sum: u32 = text[..17].iter().zip((2..=18).rev()).map(|(byte, weight)| value(*byte) * weight).sum();
    formed && born && (10 - sum % 10) % 10 == digit(text[17])
}
