//! Statements of accounts and files of payments.
//!
//! SWIFT user handbook, category 9 (MT940); ISO 20022; OFX 1.6 and 2.2; NACHA operating
//! rules, file header record; Quicken Interchange Format; ANSI X9.37, record type 01.

use crate::detectors::document::{Document, DocumentData, Kind, Look, Seen, holds};
use airlock_inspect::{Detector, Literal, Window};

const KINDS: &[Kind] = &[
    kind("mt940", const { &[Literal::new(b":60F:"), Literal::new(b":60M:")] }, mt940),
    kind("camt", const { &[Literal::new(b"urn:iso:std:iso:20022:tech:xsd:")] }, camt),
    kind("ofx", const { &[Literal::new(b"OFXHEADER")] }, ofx),
    kind("nacha", const { &[Literal::new(b"094101")] }, nacha),
    kind("qif", const { &[Literal::new(b"!Type:")] }, qif),
    kind("x937", const { &[Literal::new(b"\0\0\0P01"), Literal::new(b"\0\0\0P\xf0\xf1")] }, x937),
];

const fn kind(name: &'static str, literals: &'static [Literal], look: Look) -> Kind {
    Kind { name, check: "financial", literals, look }
}

/// Makes the detectors of all of them.
pub(crate) fn statements() -> impl Iterator<Item = Box<dyn Detector>> {
    KINDS.iter().map(|kind| Box::new(Document::new(*kind)) as Box<dyn Detector>)
}

fn seen(length: usize) -> Seen {
    Seen { first: 0, length, fields: 0 }
}

/// An opening balance: credit or debit, date, currency, amount; the account before it.
fn mt940(_: usize, window: &Window<'_>, _: &DocumentData) -> Option<Seen> {
    let text = window.after.get(5..16)?;
    let balance = matches!(text[0], b'C' | b'D')
        && text[1..7].iter().all(u8::is_ascii_digit)
        && text[7..10].iter().all(u8::is_ascii_uppercase)
        && text[10].is_ascii_digit();
    let before = window.before(0, 200);
    (balance && holds(before, ":25:") && holds(before, ":20:")).then(|| seen(16))
}

/// A statement (camt) or an order (pain): the name space of its root element.
fn camt(_: usize, window: &Window<'_>, _: &DocumentData) -> Option<Seen> {
    let name = window.after.get(31..39)?;
    let known = [&b"camt.052"[..], b"camt.053", b"camt.054", b"pain.001", b"pain.002", b"pain.008"];
    let root = holds(window.before(0, 200), "Document") && holds(window.before(0, 24), "xmlns");
    (known.contains(&name) && root).then(|| seen(39))
}

fn ofx(_: usize, window: &Window<'_>, _: &DocumentData) -> Option<Seen> {
    let marked = matches!(window.after.get(9), Some(b':' | b'='));
    (marked && holds(window.after, "<OFX>")).then(|| seen(10))
}

/// A file header of 94 characters: `101`, two institutions, a date, `094101`.
fn nacha(_: usize, window: &Window<'_>, _: &DocumentData) -> Option<Seen> {
    let front = window.before.last_chunk::<34>()?;
    let begins = window.before.len() == 34 && window.from_start
        || matches!(window.before.get(window.before.len().checked_sub(35)?), Some(b'\n' | 0));
    let number = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_digit() || *byte == b' ');
    let bank = front[4..13].iter().all(u8::is_ascii_digit);
    let dated = front[23..29].iter().all(u8::is_ascii_digit) && front[33].is_ascii_alphanumeric();
    let rest = window.after.get(..60)?;
    let printable = rest.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let right = front.starts_with(b"101") && bank && number(&front[13..23]) && dated && begins && printable;
    right.then_some(Seen { first: -34, length: 94, fields: 0 })
}

fn qif(_: usize, window: &Window<'_>, _: &DocumentData) -> Option<Seen> {
    let text = window.after.get(6..)?;
    let end = text.iter().position(|byte| *byte == b'\n')?;
    let name = text[..end].trim_ascii_end();
    let known = [&b"Bank"[..], b"CCard", b"Cash", b"Invst", b"Oth A", b"Oth L"].contains(&name);
    let mut entries = text[end + 1..].split(|byte| *byte == b'\n').take(12);
    let dated = entries.clone().any(|line| line.starts_with(b"D") && line.iter().any(u8::is_ascii_digit));
    let amount = entries.any(|line| line.starts_with(b"T") && line.iter().any(u8::is_ascii_digit));
    (known && dated && amount).then(|| seen(6 + end))
}

/// A header of 80 bytes behind its length: standard level, test or production, two
/// routing numbers, a date. Digits are those of ASCII or of EBCDIC.
fn x937(which: usize, window: &Window<'_>, _: &DocumentData) -> Option<Seen> {
    let text = window.after.get(4..36)?;
    let zero = if which == 0 { b'0' } else { 0xf0 };
    let letters = if which == 0 { *b"TP" } else { [0xe3, 0xd7] };
    let digit = |byte: &u8| byte.wrapping_sub(zero) < 10;
    let right = text[2..4].iter().all(digit) && letters.contains(&text[4]) && text[5..31].iter().all(digit);
    right.then(|| seen(window.after.len().min(84)))
}
