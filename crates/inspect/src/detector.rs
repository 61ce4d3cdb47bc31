//! The seam between the engine and its detectors.

use crate::anchor::Anchor;
use crate::literal::Literal;
use crate::window::Window;
use airlock_model::{Check, Confidence, Severity};
use std::fmt;
use zeroize::Zeroize;

/// Recognises one kind of value.
///
/// A detector is asked at each of its anchors and literals, and what it says may depend on the
/// [`Window`] only. Where two claim the same
/// value, the surer has it.
pub trait Detector: Send + Sync + fmt::Debug {
    /// Returns the name that findings carry, such as `pan`.
    fn name(&self) -> &'static str;

    /// Returns the classes of its values that go by a name of their own, such as `pan_test`, and
    /// how bad it would be if these left.
    fn classes(&self) -> &[(&'static str, Severity)] {
        &[]
    }

    /// Returns the check that it belongs to.
    fn check(&self) -> Check;

    /// Returns how bad it would be if the value left.
    fn severity(&self) -> Severity;

    /// Returns the shapes at which it wants to be asked.
    fn anchors(&self) -> &[Anchor] {
        &[]
    }

    /// Returns the strings at which it wants to be asked.
    fn literals(&self) -> &[Literal] {
        &[]
    }

    /// Looks at a position that one of its anchors fits.
    fn verify(&self, anchor: Anchor, window: &Window<'_>) -> Option<Hit> {
        let _ = (anchor, window);
        None
    }

    /// Looks at a position where the literal at place `which` of its list starts.
    fn verify_literal(&self, which: usize, window: &Window<'_>) -> Option<Hit> {
        let _ = (which, window);
        None
    }
}

/// What a detector found.
#[derive(Debug)]
pub enum Hit {
    /// A value that lies in the window.
    Value(Value),
    /// A value of the class at this place of [`Detector::classes`].
    OfClass(usize, Value),
    /// A block of armoured text whose head lies in the window and whose end may be
    /// far away. The engine follows it.
    Armor(Armor),
    /// A part of a document. Parts of the same detector that lie near each other are
    /// reported as one.
    Part(Part),
}

impl Hit {
    /// Returns whether both are values that share a character.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (Some(a), Some(b)) = (self.value(), other.value()) else { return false };
        let end = |value: &Value| value.first.saturating_add_unsigned(value.length);
        a.first < end(b) && b.first < end(a)
    }

    fn value(&self) -> Option<&Value> {
        match self {
            Self::Value(value) | Self::OfClass(_, value) => Some(value),
            Self::Armor(_) | Self::Part(_) => None,
        }
    }

    /// Returns how sure the detector is at most.
    pub(crate) fn confidence(&self) -> Confidence {
        match self {
            Self::Value(value) | Self::OfClass(_, value) => value.confidence,
            Self::Armor(armor) => armor.whole,
            Self::Part(part) => part.full,
        }
    }
}

/// A part of a document, such as a message in a file of messages.
#[derive(Debug)]
pub struct Part {
    /// Place of its first character, from the anchor.
    pub first: isize,
    /// Number of characters of it that were looked at.
    pub length: usize,
    /// Number of protected fields in these.
    pub fields: u64,
    /// How sure the detector is of a document without protected fields.
    pub bare: Confidence,
    /// How sure it is of one with some.
    pub full: Confidence,
    /// What identifies the document, if this is its first part.
    pub normal: Normal,
    /// What may be shown of the document besides the number of parts and fields.
    pub display: String,
}

/// A value in a window.
#[derive(Debug)]
pub struct Value {
    /// Place of its first character, from the anchor.
    pub first: isize,
    /// Number of its characters.
    pub length: usize,
    /// How sure the detector is.
    pub confidence: Confidence,
    /// What identifies the value; it goes into the fingerprint and nowhere else.
    pub normal: Normal,
    /// What may be shown.
    pub display: String,
}

/// The head of a block of armoured text: `-----BEGIN …-----`, a body of base64, and
/// `-----END …-----`.
#[derive(Debug)]
pub struct Armor {
    /// Number of characters of the head line, dashes included.
    pub head_length: usize,
    /// How sure the detector is if a body and an end follow.
    pub whole: Confidence,
    /// How sure it is if a body follows, but no end.
    pub cut: Confidence,
    /// How sure it is if no body follows.
    pub stub: Confidence,
    /// What may be shown.
    pub display: String,
}

/// Bytes that a normalised value may have.
pub const NORMAL_BYTES_MAX: usize = 64;

/// The digits and upper-case letters of a value. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Normal {
    bytes: [u8; NORMAL_BYTES_MAX],
    length: usize,
}

impl Normal {
    /// Takes the digits and upper-case letters of `value`.
    pub fn of(value: &[u8]) -> Self {
        let mut normal = Self { bytes: [0; NORMAL_BYTES_MAX], length: 0 };
        let kept = value.iter().copied().filter(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        for (slot, byte) in normal.bytes.iter_mut().zip(kept) {
            *slot = byte;
            normal.length = normal.length.saturating_add(1);
        }
        normal
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Normal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Normal(…)")
    }
}

impl Drop for Normal {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}
