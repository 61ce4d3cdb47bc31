//! Identifiers whose check digits alone prove little: one in ten numbers has a right
//! one. A label, a key or the name of a column makes them sure.

use super::context::{Words, key_before};
use super::rule::load;
use airlock_inspect::{Anchor, Detector, Hit, Normal, Value, Window};
use airlock_model::{Check, Confidence, Severity};
use serde::Deserialize;

/// Characters before an identifier in which a label counts.
const LABEL_BEFORE: usize = 64;

/// Characters in parentheses behind an identifier in which a label counts.
const LABEL_AFTER: usize = 24;

/// Letters that a line must have before an identifier to be looked at alone. With
/// fewer, the label may stand on the line before.
const LINE_LETTERS_MIN: usize = 3;

/// Characters of an identifier, without separators.
const CHARACTERS_MAX: usize = 24;

/// What the rule of an identifier holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LabelledData {
    /// Words that name it, and words that name something else.
    pub words: Words,
    /// How sure its structure and a label make, in percent.
    pub labelled: u8,
    /// How sure its structure alone makes, in percent; nothing is reported for zero.
    pub bare: u8,
    /// Texts that stand right before it and name it, such as qualifiers of a message.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Numbers that documents use as examples.
    #[serde(default)]
    pub published: Vec<String>,
}

/// An identifier in a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identifier {
    /// Its first character, from the anchor.
    pub first: isize,
    /// Characters, separators included.
    pub length: usize,
    text: [u8; CHARACTERS_MAX],
    count: usize,
}

impl Identifier {
    /// Takes the letters and digits of `length` characters from `first` on; none if
    /// these are not all in the window, or if there are not `count` of them.
    pub(crate) fn read(window: &Window<'_>, first: isize, length: usize, count: usize) -> Option<Self> {
        let mut identifier = Self { first, length, text: [0; CHARACTERS_MAX], count: 0 };
        for place in first..first + isize::try_from(length).ok()? {
            let byte = window.get(place)?;
            if byte.is_ascii_alphanumeric() {
                *identifier.text.get_mut(identifier.count)? = byte.to_ascii_uppercase();
                identifier.count += 1;
            }
        }
        (identifier.count == count).then_some(identifier)
    }

    /// Takes `length` letters and digits from the anchor on.
    pub(crate) fn run(window: &Window<'_>, length: usize) -> Option<Self> {
        let mut identifier = Self { first: 0, length, text: [0; CHARACTERS_MAX], count: length };
        let slots = identifier.text.get_mut(..length)?;
        for (slot, byte) in slots.iter_mut().zip(window.after.get(..length)?) {
            if !byte.is_ascii_alphanumeric() {
                return None;
            }
            *slot = byte.to_ascii_uppercase();
        }
        Some(identifier)
    }

    /// Returns its letters, in upper case, and digits.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text[..self.count]
    }
}

/// Finds an identifier around an anchor, if its structure and check digits are right.
pub(crate) type Find = fn(Anchor, &Window<'_>) -> Option<Identifier>;

/// What the code knows of an identifier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// The name of the detector.
    pub name: &'static str,
    /// The name of the check, under which its rule is.
    pub check: &'static str,
    /// Where it may be.
    pub anchors: &'static [Anchor],
    /// How it is recognised.
    pub find: Find,
}

/// Finds identifiers of one kind.
#[derive(Debug)]
pub(crate) struct Labelled {
    kind: Kind,
    check: Check,
    severity: Severity,
    data: LabelledData,
}

impl Labelled {
    /// Reads the rule of a kind.
    pub(crate) fn new(kind: Kind) -> Self {
        let rule = load::<LabelledData>(&format!("{}/{}", kind.check, kind.name));
        Self { kind, check: rule.check, severity: rule.severity, data: rule.data }
    }

    /// Returns whether what stands next to an identifier leaves it alone.
    fn alone(&self, window: &Window<'_>, found: &Identifier) -> bool {
        let end = found.first + isize::try_from(found.length).unwrap_or(0);
        let at = |place: isize| window.get(place).unwrap_or(b' ');
        let joins = |byte: u8| matches!(byte, b'-' | b'.' | b'/' | b'+' | b'@');
        let right = match at(end) {
            next if joins(next) => !at(end + 1).is_ascii_alphanumeric(),
            next => !next.is_ascii_alphanumeric() && next != b'_',
        };
        let left = match at(found.first - 1) {
            last if last.is_ascii_alphabetic() => {
                let before = window.before(found.first.min(0), 16);
                let letters = before.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
                self.data.words.names(&before[before.len() - letters..])
            }
            last if joins(last) => !at(found.first - 2).is_ascii_alphanumeric(),
            last => !last.is_ascii_digit() && last != b'_',
        };
        left && right
    }
}

/// Returns whether words that name an identifier stand before it, behind it in
/// parentheses, or in the name of its column.
pub(crate) fn labelled(window: &Window<'_>, words: &Words, first: isize, length: usize) -> bool {
    let ahead = usize::try_from(first).unwrap_or(0).min(window.after.len());
    let joined = (ahead > 0).then(|| [window.before(0, LABEL_BEFORE), &window.after[..ahead]].concat());
    let before = match &joined {
        Some(joined) => &joined[joined.len().saturating_sub(LABEL_BEFORE)..],
        None => window.before(first, LABEL_BEFORE),
    };
    let line = before.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |end| end + 1);
    let letters = before[line..].iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let near = if letters < LINE_LETTERS_MIN { before } else { &before[line..] };
    if words.names(near) {
        return true;
    }
    if let Some(column) = window.column(first)
        && words.names(column)
    {
        return true;
    }
    let end = first + isize::try_from(length).unwrap_or(0);
    let after = window.after(end.max(0), LABEL_AFTER);
    let after = after.strip_prefix(b" ").unwrap_or(after);
    after.strip_prefix(b"(").is_some_and(|text| {
        let end = text.iter().position(|byte| matches!(byte, b')' | b'\n')).unwrap_or(text.len());
        words.names(&text[..end])
    })
}

impl Detector for Labelled {
    fn name(&self) -> &'static str {
        self.kind.name
    }

    fn check(&self) -> Check {
        self.check
    }

    fn severity(&self) -> Severity {
        self.severity
    }

    fn anchors(&self) -> &[Anchor] {
        self.kind.anchors
    }

    fn verify(&self, anchor: Anchor, window: &Window<'_>) -> Option<Hit> {
        let found = (self.kind.find)(anchor, window)?;
        let text = found.text();
        if text.iter().all(|byte| *byte == text[0]) || !self.alone(window, &found) {
            return None;
        }
        let words = &self.data.words;
        let before = window.before(found.first.min(0), 16);
        let prefixed = self.data.prefixes.iter().any(|prefix| before.ends_with(prefix.as_bytes()));
        let percent = if prefixed || labelled(window, words, found.first, found.length) {
            self.data.labelled
        } else if words.denies(key_before(window, found.first.min(0)))
            || window.column(found.first).is_some_and(|column| words.denies(column))
        {
            0
        } else {
            self.data.bare
        };
        let published = self.data.published.iter().any(|known| known.as_bytes() == text);
        let percent = if published { percent.min(40) } else { percent };
        (percent > 0).then(|| {
            Hit::Value(Value {
                first: found.first,
                length: found.length,
                confidence: Confidence::percent(percent),
                normal: Normal::of(text),
                display: format!("{} ({} characters)", self.kind.name, text.len()),
            })
        })
    }
}
