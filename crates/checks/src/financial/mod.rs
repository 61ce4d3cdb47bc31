//! Payment cards and bank accounts.

mod iban;
mod issuer;
mod pan;
mod track;

pub use iban::Iban;
pub use issuer::{Issuers, luhn};
pub use pan::Pan;
pub use track::{Track1, Track2};

/// Returns the issuers, read from the rule of the card numbers.
pub(crate) fn issuers() -> Issuers {
    Issuers::new(&crate::detectors::rule::load::<pan::PanData>("financial/pan").data.issuers)
}
